"""Whether an application may serve: asked by probes, in few queries and without a lock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.engines import connect
from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.planning.state import State
from websauna_migrate.results import Readiness
from websauna_migrate.revision_scripts.script_files import SETTLED_NS, folder_times
from websauna_migrate.runs.in_progress import at_work, marked_steps, run_in_progress
from websauna_migrate.runs.site import Site

#: How long a look waits for a lock, by the database; MariaDB knows whole seconds. PostgreSQL's ends
#: with the transaction: behind a pooler the session is another one's next.
LIMITS = {
    "postgresql": ("SET LOCAL lock_timeout = 500",),
    "mysql": ("SET SESSION lock_wait_timeout = 1", "SET SESSION innodb_lock_wait_timeout = 1"),
    "sqlite": ("PRAGMA busy_timeout = 500",),
}


def look(site: Site) -> Readiness:
    """Return what the database is to the scripts.

    Where nothing is half done, and no run at work, that takes three queries whatever the number of
    packages: the tables that exist, the rows of all histories, and the ledger's marks.
    """
    with site.reading() as connection:
        return look_at(site, connection)


def look_at(site: Site, connection: Connection | None) -> Readiness:
    """Return what the database is to the scripts.

    A session that holds a history table or the ledger exclusively keeps a look waiting for a
    moment: then it is not known where packages stand, and a run that is at work is told.

    :param connection: to the database; ``None`` where its file does not exist
    """
    if connection is None:
        return Readiness(standing_of(site, dict.fromkeys(site.packages, ())))
    kind = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    # In a transaction of the caller's a look that fails would be the end of that.
    for statement in () if given_state(connection) else LIMITS.get(kind, ()):
        connection.exec_driver_sql(statement)
    try:
        return read_readiness(site, connection)
    except DBAPIError as exc:
        connection.rollback()
        if given_state(connection) or not is_lock_failure(exc, kind):
            raise
    running = run_in_progress(site, connection, has_ledger=False)
    return Readiness(dict.fromkeys(sorted(site.packages), "unknown"), running)


def read_readiness(site: Site, connection: Connection) -> Readiness:
    """Return what the histories and the ledger say."""
    applied, tables = site.read(connection)
    standing = standing_of(site, applied)
    marked = marked_steps(site, connection, tables)
    # A run that changes nothing any more need not be asked for.
    if "behind" not in standing.values() and not marked:
        return Readiness(standing)
    return Readiness(standing, *at_work(site, connection, tables, marked))


def standing_of(site: Site, applied: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return where each package stands, by name.

    :param applied: the rows of the packages' history tables
    """
    waiting = State(site.loaded.graph, applied).pending()
    histories = site.loaded.histories
    return {
        name: "ahead"
        if histories[name].standing_for(found).lost(found)
        else "behind"
        if waiting.get(name)
        else "current"
        for name, found in sorted(applied.items())
    }


class ReadinessWatch:
    """Looks again and again, for little: by one thread at a time.

    The scripts are read again when one of their folders has changed. The connection is kept, and a
    forked process makes one of its own.
    """

    def __init__(self, make_site: Callable[[], Site], make_engine: Callable[[], Engine]) -> None:
        """Prepare; nothing is read and nothing connects yet.

        :param make_engine: makes an engine whose pool keeps one connection
        """
        self._make_site = make_site
        self._make_engine = make_engine
        self._site: Site | None = None
        self._engine: Engine | None = None
        self._process = os.getpid()
        self._times: tuple[int, ...] = ()

    def look(self) -> Readiness:
        """Return what the database is to the scripts.

        :raises MigrationError: if the database or the scripts cannot be read
        """
        site = self._current_site()
        if not site.has_database:
            return look_at(site, None)
        if self._engine is not None and self._process != os.getpid():
            # It is the parent's, which goes on with it.
            self._engine.dispose(close=False)
            self._engine = None
        if self._engine is None:
            self._engine = self._make_engine()
            self._process = os.getpid()
        with connect(self._engine) as connection:
            found = look_at(site, connection)
            connection.rollback()
            return found

    def close(self) -> None:
        """Let the connection and the scripts go."""
        if self._engine is not None:
            self._engine.dispose()
        self._engine = self._site = None

    def _current_site(self) -> Site:
        """Return the scripts, as they were when one of their folders last changed."""
        began = time.time_ns()
        site = self._site or self._make_site()
        times = folder_times(
            folder for one in site.packages.values() for folder in one.version_locations
        )
        if times != self._times:
            site = site if self._site is None else self._make_site()
            self._times = times
        # Within a tick of the file system's clock a folder may change twice.
        is_settled = max(times, default=0) < began - SETTLED_NS
        self._site = site if is_settled else None
        return site
