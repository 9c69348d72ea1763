"""Taking revisions as applied without running a script."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import list_tables, write_rows
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.package_targets import targets_for
from websauna_migrate.planning.plan import plan_stamp
from websauna_migrate.results import StampedPackage
from websauna_migrate.runs.other_histories import refuse_elsewhere
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import explained


def stamp(
    site: Site,
    revisions: Targets,
    packages: Packages,
    *,
    purge: bool = False,
    with_requirements: bool = False,
) -> tuple[StampedPackage, ...]:
    """Write the history tables as if the revisions were applied.

    :returns: the packages whose rows changed, by name
    """
    loaded, selected = site.loaded, site.select(packages)
    with explained(site), Runner(site).locked() as (connection, read):
        before = read()
        stamped = plan_stamp(
            loaded.graph,
            before,
            targets_for(revisions, selected, loaded.histories),
            purge=purge,
            with_requirements=with_requirements,
        )
        changed = write_stamps(site, connection, before, stamped, purge=purge)
        connection.commit()
    return changed


def write_stamps(
    site: Site,
    connection: Connection,
    before: Mapping[str, Sequence[str]],
    stamped: Mapping[str, Collection[str]],
    notes: Mapping[str, str] = MappingProxyType({}),
    *,
    purge: bool = False,
) -> tuple[StampedPackage, ...]:
    """Write history tables and the ledger, in the current transaction.

    :param before: the rows that the history tables have
    :param stamped: the rows that they get
    :param notes: what the ledger says of packages besides
    :param purge: write them too where another version table has the package's revisions
    :returns: the packages whose rows changed, by name
    """
    after = {name: tuple(sorted(rows)) for name, rows in stamped.items()}
    changed = tuple(
        StampedPackage(name, tuple(before[name]), after[name])
        for name in sorted(after)
        if after[name] != tuple(before[name])
    )
    if not purge:
        refuse_elsewhere(site, connection, before, stamped)
    # Also where no row changes: it is the user's word against what the ledger says.
    tells = bool(changed) or site.ledger.table.name in list_tables(connection, site.schema)
    if tells:
        site.ledger.create(connection)
    for one in changed:
        table = site.packages[one.package].history_table
        write_rows(connection, table, site.schema, one.after)
    if tells:
        for name, rows in after.items():
            table, note = site.packages[name].history_table, notes.get(name, "")
            site.ledger.stamp(connection, name, table, rows, note)
    return changed


def ensure_version(site: Site, packages: Packages) -> None:
    """Create the history tables that are missing."""
    with Runner(site).locked() as (connection, read):
        rows = read()
        for name in site.select(packages):
            write_rows(connection, site.packages[name].history_table, site.schema, rows[name])
        connection.commit()
