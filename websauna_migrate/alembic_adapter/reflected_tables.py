"""A batch on SQLite sees each constraint that the table has, under the name that it has.

Alembic makes the new table from what SQLAlchemy reflects of the old one, and drops what a script
names. So what SQLAlchemy does not see is put right before the batch begins.
"""

from __future__ import annotations

from typing import Any

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine import Connection

from websauna_migrate.facts.written_tables import (
    WrittenKey,
    WrittenTable,
    written_table,
)
from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["see_all_constraints", "table_text"]


def see_all_constraints(impl: DefaultImpl, connection: Connection) -> None:
    """Let an implementation of SQLite complete each table that it reflects for a batch."""
    reflect_column: Any = impl.autogen_column_reflect

    def reflect(inspector: Any, table: Table, column_info: dict[str, Any]) -> None:
        reflect_column(inspector, table, column_info)
        # SQLAlchemy makes SQL of both, in which ``:name`` in a string would be a parameter.
        if isinstance(column_info.get("default"), str):
            column_info["default"] = escaped(column_info["default"])
        if column_info.get("computed"):
            sql = escaped(str(column_info["computed"]["sqltext"]))
            column_info["computed"] = {**column_info["computed"], "sqltext": sql}
        if not event.contains(table, "after_parent_attach", complete):
            # It is called once the table is reflected.
            event.listen(table, "after_parent_attach", complete)

    def complete(table: Table, parent: Any) -> None:
        text = table_text(connection, table.schema, str(table.name))
        found = written_table(text) if text else None
        if found is not None:
            correct(table, found)

    impl.autogen_column_reflect = reflect  # type: ignore[method-assign]


def table_text(connection: Connection, schema: str | None, name: str) -> str | None:
    """Return the CREATE TABLE of a table, ``None`` if it has none."""
    quoted = (schema or "main").replace('"', '""')
    text: str | None = connection.exec_driver_sql(
        f"SELECT sql FROM \"{quoted}\".sqlite_master WHERE type = 'table' AND name = ?", (name,)
    ).scalar()
    return text


def correct(table: Table, found: WrittenTable) -> None:
    """Give a reflected table the constraints that its CREATE TABLE has."""
    table.primary_key.name = found.key_name
    for one in [*table.constraints]:
        if isinstance(one, (UniqueConstraint, CheckConstraint)):
            table.constraints.discard(one)
    for name, columns in found.uniques:
        table.append_constraint(UniqueConstraint(*(table.c[one] for one in columns), name=name))
    for name, text in found.checks:
        table.append_constraint(CheckConstraint(escaped(text), name=name))
    waiting = [*found.foreign_keys]
    for key in table.foreign_key_constraints:
        written = next((one for one in waiting if is_same(one, key)), None)
        if written is not None:
            waiting.remove(written)
            key.name = written.name
            key.ondelete = written.options.get("ondelete")
            key.onupdate = written.options.get("onupdate")
            key.deferrable = written.options.get("deferrable")
            key.initially = written.options.get("initially")


def is_same(written: WrittenKey, key: ForeignKeyConstraint) -> bool:
    """True if a reflected foreign key is that which a table says."""
    targets = [one.target_fullname.split(".") for one in key.elements]
    columns = [str(column.name) for column in key.columns]
    return written.is_that_of(columns, targets[0][-2], [one[-1] for one in targets])
