"""Writing the rows of a history table without running a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, Table, delete, insert, inspect
from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import usable, version_table

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["full_version_table", "write_rows"]


def write_rows(
    connection: Connection, name: str, schema: str | None, rows: Sequence[str] | None
) -> None:
    """Let a history table hold exactly these rows, in the current transaction.

    :param rows: the identifiers; the table is created if need be. ``None`` drops the table.
    :raises RecordsBroken: if something else has its name
    """
    with usable(connection, name, schema):
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
