"""The run at work, seen from another session without its lock, and steps that ended half done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.servers import Server, examine
from websauna_migrate.locks.choice import make_lock
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.results import Activity, LedgerEntry, RunInProgress
from websauna_migrate.runs.blockers import SecondConnection, find_blockers
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.statement_log import Statement, kind_of, table_of


def marked_steps(
    site: Site, connection: Connection, tables: Collection[str]
) -> tuple[LedgerEntry, ...]:
    """Return the steps that the ledger marks as running, oldest first: half done, or at work.

    :param tables: the names of those that exist
    """
    return site.ledger.interrupted(connection) if LEDGER_TABLE in tables else ()


def at_work(
    site: Site,
    connection: Connection,
    tables: Collection[str],
    marked: tuple[LedgerEntry, ...] | None = None,
) -> tuple[RunInProgress | None, tuple[LedgerEntry, ...]]:
    """Return the run in progress, and the steps that ended half done, by the last mark of each.

    :param tables: the names of those that exist
    :param marked: the steps that the ledger marks as running; default: it is asked
    """
    if marked is None:
        marked = marked_steps(site, connection, tables)
    running = run_in_progress(site, connection, has_ledger=LEDGER_TABLE in tables)
    ended = (entry for entry in marked if not is_of(entry, running))
    return running, tuple({(one.package, one.revision): one for one in ended}.values())


def is_of(entry: LedgerEntry, running: RunInProgress | None) -> bool:
    """True if a step belongs to the run in progress."""
    return running is not None and running.step is not None and running.step.run == entry.run


def run_in_progress(
    site: Site, connection: Connection, *, has_ledger: bool
) -> RunInProgress | None:
    """Return the run that holds the lock, which is not taken for that; ``None`` if it is free."""
    server = examine(connection, looks=True)
    lock = make_lock(connection, server, site.make_engine, site.schema)
    holder = lock.holder()
    connection.rollback()
    if not holder:
        return None
    steps = site.ledger.run_of(connection) if has_ledger else ()
    connection.rollback()
    step = steps[-1] if steps and holds(steps[-1], lock) else None
    activity = Activity(kind_of(lock.other_statement))
    # Behind a pooler, and on Galera, the lock is not of the session that does the work.
    session = None if step is None else lock.other_session
    if session and lock.other_statement:
        with contextlib.suppress(DBAPIError):
            activity = activity_of(connection, server, session)
    return RunInProgress(holder, step, activity.statement, activity.waits_for, activity.done)


def holds(step: LedgerEntry, lock: RunLock) -> bool:
    """True if the run of a step holds the lock, as far as that can be told."""
    if lock.other_process is not None:
        return step.process == lock.other_process
    return not lock.other_session or step.session == lock.other_session


POSTGRESQL = text(
    "SELECT CASE a.state WHEN 'active' THEN a.query ELSE '' END, p.phase, "
    "CASE WHEN p.blocks_total > 0 THEN 100.0 * p.blocks_done / p.blocks_total END, "
    "a.wait_event_type = 'Lock' "
    "FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid "
    "WHERE a.pid = :process"
)

#: MariaDB tells the progress of an ALTER TABLE by its stage.
MYSQL = text(
    "SELECT info, CASE WHEN max_stage > 0 THEN state END, "
    "CASE WHEN max_stage > 0 THEN progress END, state LIKE 'Waiting for %lock%' "
    "FROM information_schema.processlist WHERE id = :process"
)

QUERIES = {"postgresql": POSTGRESQL, "mysql": MYSQL}


def activity_of(connection: Connection, server: Server, process: int) -> Activity:
    """Return what a session does, as the server tells.

    :param connection: of another session; it is left without a transaction
    :param process: the session's number at the server
    :raises SQLAlchemyError: where the server does not tell
    """
    try:
        row = connection.execute(QUERIES[server.kind], {"process": process}).first()
        if row is None:
            return Activity()
        query, phase, percent, waits = row
        done = phase or ""
        if done and percent is not None:
            done += f", {percent:.0f} %"
        kind = kind_of(query or "")
        blockers: Sequence[object] = ()
        if query:
            table = table_of(kind)
            blockers = find_blockers(connection, server, process, table, guess=bool(waits))
        return Activity(kind, "; ".join(map(str, blockers)), done)
    finally:
        # No transaction stays open: it would hold a snapshot.
        connection.rollback()


class ActivityLook:
    """Tells what a run's session does; may be called from any thread.

    :ivar running: gives the statement that is being executed, as far as this process knows
    """

    def __init__(self, make_engine: Callable[[], Engine], server: Server) -> None:
        """Prepare; nothing is connected yet."""
        self._second = SecondConnection(make_engine)
        self._server = server
        self.running: Callable[[], Statement | None] = lambda: None
        self._lock = threading.Lock()
        # Behind a pooler the session is another one each time.
        self._process = None if server.kind not in QUERIES or server.pooled else server.process

    def __call__(self) -> Activity:
        """Return what the session does, as this process knows and the server tells."""
        with self._lock:
            found = self._ask()
        own = self.running()
        if own is None or (found.statement and found.statement != own.kind):
            return found
        place = f" (line {own.line})" if own.line else ""
        return Activity(f"{own.kind}{place}", found.waits_for, found.done)

    def close(self) -> None:
        """Let the second connection go."""
        with self._lock:
            self._second.close()

    def _ask(self) -> Activity:
        """Return what the server tells."""
        process = self._process
        if process is None:
            return Activity()
        found = self._second.ask(lambda one: activity_of(one, self._server, process))
        return found or Activity()
