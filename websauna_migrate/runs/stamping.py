"""Writing a history table without running a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, Table, delete, insert, inspect
from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import usable, version_table
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.plan import plan_stamp
from websauna_migrate.planning.several import targets_for
from websauna_migrate.results import StampedPackage
from websauna_migrate.runs.site import Site

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["ensure_version", "full_version_table", "stamp", "write_rows"]


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
    with site.runner().locked() as (connection, read):
        before = read()
        stamped = plan_stamp(
            loaded.graph,
            before,
            targets_for(revisions, selected, loaded.lineages),
            purge=purge,
            with_requirements=with_requirements,
        )
        after = {name: tuple(sorted(rows)) for name, rows in stamped.items()}
        changed = tuple(
            StampedPackage(name, before[name], after[name])
            for name in sorted(after)
            if after[name] != before[name]
        )
        for one in changed:
            table = site.packages[one.package].history_table
            write_rows(connection, table, site.schema, one.after)
        connection.commit()
    return changed


def ensure_version(site: Site, packages: Packages) -> None:
    """Create the history tables that are missing."""
    with site.runner().locked() as (connection, read):
        rows = read()
        for name in site.select(packages):
            write_rows(connection, site.packages[name].history_table, site.schema, rows[name])
        connection.commit()


def write_rows(
    connection: Connection, name: str, schema: str | None, rows: Sequence[str] | None
) -> None:
    """Let a history table hold exactly these rows, in the current transaction.

    :param rows: the identifiers; the table is created if need be. ``None`` drops the table.
    :raises HistoryTableBroken: if something else has its name
    """
    with usable(connection, name):
        if rows is None:
            Table(name, MetaData(), schema=schema).drop(connection, checkfirst=True)
            return
        table = version_table(name, schema)
        if not inspect(connection).has_table(name, schema=schema):
            create_history_table(connection, name, schema)
        connection.execute(delete(table))
        if rows:
            connection.execute(insert(table), [{"version_num": row} for row in sorted(rows)])


def create_history_table(connection: Connection, name: str, schema: str | None) -> None:
    """Create a history table."""
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection)
    full_version_table(context, name, schema).create(connection)


def full_version_table(context: MigrationContext, name: str, schema: str | None) -> Table:
    """Return a history table in the shape that Alembic gives it, also on a third party dialect."""
    return context.impl.version_table_impl(
        version_table=name, version_table_schema=schema, version_table_pk=True
    )
