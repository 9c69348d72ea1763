"""Whether an application may serve: asked by probes, in few queries and without a lock."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import list_tables, read_rows
from websauna_migrate.database.servers import examine
from websauna_migrate.locks.choice import make_lock
from websauna_migrate.planning.plan import pending
from websauna_migrate.results import LedgerEntry, Readiness, RunInProgress
from websauna_migrate.runs.ledger import LEDGER_TABLE
from websauna_migrate.runs.running_steps import is_marked
from websauna_migrate.runs.site import Site

__all__ = ["look", "run_in_progress"]


def look(site: Site) -> Readiness:
    """Return what the database is to the scripts.

    Where nothing is half done, and no run at work, that takes three queries whatever the number of
    packages: the tables that exist, the rows of all histories, and the ledger's marks.
    """
    with site.reading() as connection:
        if connection is None:
            return Readiness(standing_of(site, {}))
        tables = list_tables(connection, site.schema)
        ours = {package.history_table for package in site.packages.values()}
        rows = read_rows(connection, tables & ours, site.schema)
        standing = standing_of(site, dict(rows))
        marked: tuple[LedgerEntry, ...] = ()
        if LEDGER_TABLE in tables and is_marked(connection, site.schema):
            marked = site.ledger.interrupted(connection)
        connection.rollback()
        # A run that changes nothing any more need not be asked for.
        if not marked and "behind" not in standing.values():
            return Readiness(standing)
        running = run_in_progress(site, connection, has_ledger=LEDGER_TABLE in tables)
    return Readiness(standing, running, marked if running is None else ())


def standing_of(site: Site, rows: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return where each package stands, by name.

    :param rows: of the history tables that exist
    """
    applied = {name: rows.get(one.history_table, ()) for name, one in site.packages.items()}
    waiting = pending(site.loaded.graph, applied)
    lineages = site.loaded.lineages
    return {
        name: "ahead"
        if any(row not in lineages[name] for row in found)
        else "behind"
        if waiting.get(name)
        else "current"
        for name, found in sorted(applied.items())
    }


def run_in_progress(
    site: Site, connection: Connection, *, has_ledger: bool
) -> RunInProgress | None:
    """Return the run that holds the lock, which is not taken for that; ``None`` if it is free."""
    lock = make_lock(
        connection,
        examine(connection),
        scope=site.schema or "",
        second_engine=site.make_engine,
        schema=site.schema,
    )
    holder = lock.holder()
    connection.rollback()
    if not holder:
        return None
    steps = site.ledger.run_of(connection) if has_ledger else ()
    connection.rollback()
    mine = steps and (not lock.other_session or steps[-1].session == lock.other_session)
    return RunInProgress(holder, steps[-1] if mine else None)
