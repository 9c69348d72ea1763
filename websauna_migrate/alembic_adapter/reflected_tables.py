"""A batch on SQLite sees each constraint that the table has, under the name that it has.

Alembic makes the new table from what SQLAlchemy reflects of the old one, and drops what a script
names. So what SQLAlchemy does not see is put right before the batch begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine import Connection, Inspector
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.sql.elements import conv

from websauna_migrate.facts.postgresql import check_name
from websauna_migrate.facts.sqlite_sql import WrittenTable, written_table
from websauna_migrate.models.sqlalchemy_internals import escaped

#: A constant in quotes.
STRING = re.compile(r"'(?:[^']|'')*'")


def see_all_constraints(impl: DefaultImpl, connection: Connection) -> None:
    """Let an implementation of SQLite complete each table that it reflects for a batch."""
    reflect_column: Callable[[Inspector, Table, ReflectedColumn], None] = (
        impl.autogen_column_reflect
    )

    def reflect(inspector: Inspector, table: Table, column_info: ReflectedColumn) -> None:
        column_info["default"] = in_brackets(column_info["default"])
        reflect_column(inspector, table, column_info)
        without_parameters("columns", [column_info])
        if not event.contains(table, "after_parent_attach", complete):
            # It is called once the table is reflected.
            event.listen(table, "after_parent_attach", complete)

    def complete(table: Table, parent: object) -> None:
        text = table_text(connection, table.schema, str(table.name))
        found = written_table(text) if text else None
        if found is not None:
            correct(table, found)

    impl.autogen_column_reflect = reflect  # type: ignore[method-assign]


def in_brackets(default: str | None) -> str | None:
    """Return a default of SQLite's, an expression in the brackets that SQLite leaves out.

    Alembic gives them to others, and takes for a constant what begins and ends as one.
    """
    if not default or default[0] not in "'(" or STRING.fullmatch(default):
        return default
    return f"({default})"


def without_parameters(kind: str, facts: Any) -> Any:
    """Return facts of which SQLAlchemy makes SQL, so that it reads no ``:name`` as a parameter."""
    if kind == "columns":
        for column in facts:
            if isinstance(column.get("default"), str):
                column["default"] = escaped(column["default"])
            if column.get("computed"):
                sql = escaped(str(column["computed"]["sqltext"]))
                column["computed"] = {**column["computed"], "sqltext": sql}
    elif kind == "check_constraints":
        for check in facts:
            check["sqltext"] = escaped(str(check["sqltext"]))
    return facts


def table_text(connection: Connection, schema: str | None, name: str) -> str | None:
    """Return the CREATE TABLE of a table, ``None`` if it has none."""
    quoted = (schema or "main").replace('"', '""')
    text: str | None = connection.exec_driver_sql(
        f"SELECT sql FROM \"{quoted}\".sqlite_master WHERE type = 'table' AND name = ?", (name,)
    ).scalar()
    return text


def correct(table: Table, found: WrittenTable) -> None:
    """Give a reflected table the constraints that its CREATE TABLE has."""
    table.primary_key.name = found.key_name or by_convention(table.primary_key)
    for one in [*table.constraints]:
        if isinstance(one, (UniqueConstraint, CheckConstraint)):
            table.constraints.discard(one)
    for name, columns in found.uniques:
        table.append_constraint(UniqueConstraint(*(table.c[one] for one in columns), name=name))
    names = check_names(table, found.checks)
    for (_, text), name in zip(found.checks, names, strict=True):
        table.append_constraint(CheckConstraint(escaped(text), name=name))
    for key, written in found.paired(table.foreign_key_constraints, ends):
        key.name = written.name or by_convention(key)
        key.ondelete = written.options.get("ondelete")
        key.onupdate = written.options.get("onupdate")
        key.deferrable = written.options.get("deferrable")
        key.initially = written.options.get("initially")
    tell_keys_apart(table)


def by_convention(constraint: Constraint) -> conv | None:
    """Return the name that a batch's naming convention gave; SQLAlchemy 2.0.25 has it by now."""
    return constraint.name if isinstance(constraint.name, conv) else None


def tell_keys_apart(table: Table) -> None:
    """Let several foreign keys without a name on the same columns have names of their own.

    A batch's naming convention would give them one, and Alembic would lose all but one of them.
    """
    keys = table.foreign_key_constraints
    unnamed = [one for one in keys if by_convention(one) or not one.name]
    columns = [ends(one)[0] for one in unnamed]
    for one in unnamed:
        if columns.count(ends(one)[0]) > 1:
            one.name = conv(name_apart(str(table.name), *ends(one)))


def name_apart(table: str, columns: Sequence[str], target: str, referred: Sequence[str]) -> str:
    """Return a name for one of several foreign keys on the same columns of a table."""
    return "_".join([table, *columns, target, *referred, "fkey"])


def check_names(table: Table, checks: Sequence[tuple[str | None, str]]) -> list[str | None]:
    """Return the names of a table's CHECK constraints while a batch makes the table anew.

    Alembic would lose those without a name. They get the one that PostgreSQL gives, which a script
    may drop that was written there; where several would have it, their text.

    :param checks: their names, and expressions
    """
    if "ck" in table.metadata.naming_convention:
        return [name for name, _ in checks]
    columns = [str(column.name) for column in table.columns]
    found = [name or check_name(str(table.name), text, columns) for name, text in checks]
    return [
        name or conv(default if found.count(default) == 1 else text)
        for (name, text), default in zip(checks, found, strict=True)
    ]


def ends(key: ForeignKeyConstraint) -> tuple[list[str], str, list[str]]:
    """Return the columns of a reflected foreign key, its table, and the columns there."""
    targets = [one.target_fullname.split(".") for one in key.elements]
    columns = [str(column.name) for column in key.columns]
    return columns, targets[0][-2], [one[-1] for one in targets]
