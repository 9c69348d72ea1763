"""Computed columns: compared as the database reads them, and made anew where they changed."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Table
from sqlalchemy.schema import Computed

from websauna_migrate.autogenerate.compare.checks import plain
from websauna_migrate.autogenerate.compare.temporary_table import sql_text
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables

__all__ = ["changed_columns", "kept_columns"]


def changed_columns(
    table: Table, schema: str | None, inspector: Any, temporary_tables: TemporaryTables
) -> list[Any]:
    """Return the operations that make changed computed columns anew; they hold nothing of value."""
    found: list[Any] = []
    facts = {one["name"]: one for one in inspector.get_columns(table.name, schema=schema)}
    for column in table.columns:
        one = facts.get(column.name)
        if one is None or not differs(column, one, temporary_tables):
            continue
        found += [
            ops.DropColumnOp.from_column_and_tablename(schema, table.name, as_column(one)),
            ops.AddColumnOp.from_column_and_tablename(schema, table.name, column),
        ]
    return found


def differs(column: Column[Any], facts: Any, temporary_tables: TemporaryTables) -> bool:
    """Tell whether a column is computed in another way than its model says."""
    model = column.server_default if isinstance(column.server_default, Computed) else None
    stored = facts.get("computed")
    if model is None or not stored:
        return (model is None) != (not stored)
    wanted = sql_text(model.sqltext, temporary_tables.connection)
    if plain(wanted) == plain(str(stored["sqltext"])):
        return False
    temporary = temporary_tables.of(column.table)
    made = temporary.columns.get(column.name, {}).get("computed") if temporary else None
    return made is not None and plain(str(made["sqltext"])) != plain(str(stored["sqltext"]))


def as_column(facts: Any) -> Column[Any]:
    """Return a reflected column as an object."""
    computed = facts.get("computed")
    extra = (
        [Computed(str(computed["sqltext"]), persisted=computed.get("persisted"))]
        if computed
        else []
    )
    return Column(facts["name"], facts["type"], *extra, nullable=facts["nullable"])


def kept_columns(table: Table) -> list[tuple[Column[Any], str | None]]:
    """Return a model's computed columns, each with the name of the column before it."""
    found = []
    previous: str | None = None
    for column in table.columns:
        if isinstance(column.server_default, Computed):
            found.append((column, previous))
        previous = column.name
    return found
