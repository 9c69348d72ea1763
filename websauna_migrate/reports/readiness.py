"""Whether an application may serve: asked by probes, in few queries and without a lock."""

from __future__ import annotations

from websauna_migrate.database.history_tables import list_tables, read_rows
from websauna_migrate.planning.plan import pending
from websauna_migrate.results import Readiness
from websauna_migrate.runs.in_progress import find_at_work, marked_steps
from websauna_migrate.runs.site import Site

__all__ = ["look"]


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
        # A run that changes nothing any more need not be asked for.
        if "behind" not in standing.values() and not marked_steps(site, connection, tables):
            return Readiness(standing)
        running, half_done = find_at_work(site, connection, tables)
    return Readiness(standing, running, half_done)


def standing_of(site: Site, rows: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return where each package stands, by name.

    :param rows: of the history tables that exist
    """
    applied = {name: rows.get(one.history_table, ()) for name, one in site.packages.items()}
    waiting = pending(site.loaded.graph, applied)
    histories = site.loaded.histories
    return {
        name: "ahead"
        if any(row not in histories[name] for row in found)
        else "behind"
        if waiting.get(name)
        else "current"
        for name, found in sorted(applied.items())
    }
