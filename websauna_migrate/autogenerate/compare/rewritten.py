"""What only the database can tell: where model and table are written in different words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.schema import Computed

from websauna_migrate.autogenerate.compare.checks import plain
from websauna_migrate.autogenerate.compare.defaults import is_serial, normal_default
from websauna_migrate.autogenerate.compare.equality import ODD, Equality
from websauna_migrate.autogenerate.compare.indexes import reads_alike
from websauna_migrate.autogenerate.compare.temporary_table import sql_text

__all__ = ["asks"]


def asks(equality: Equality, table: Table, schema: str | None) -> bool:
    """Tell whether a comparison in full may have to ask the database how it reads a model.

    A table that is foreseen here is asked about together with others; one that is not is asked
    about by itself.

    :param schema: the model's, ``None`` for the default one
    """
    facts = equality.reflection.facts(schema, str(table.name))
    try:
        columns = {one["name"]: one for one in facts("columns")}
        indexes = {one["name"]: one for one in facts("indexes")}
        checks = facts("check_constraints")
        return (
            any(
                column.name in columns and column_asks(equality, column, columns[column.name])
                for column in table.columns
            )
            or (bool(checks) and not equality.checks(table, checks))
            or any(
                str(index.name) in indexes
                and not reads_alike(index, indexes[str(index.name)], equality.connection)
                for index in table.indexes
            )
        )
    except ODD:
        return False


def column_asks(equality: Equality, column: Column[Any], found: Any) -> bool:
    """Tell whether a column's type, default or expression is written in different words."""
    if not equality.types.alike(column.type, found["type"]):
        return True
    default = column.server_default
    if isinstance(default, Computed):
        text = plain(sql_text(default.sqltext, equality.connection))
        return bool(found.get("computed")) and text != plain(str(found["computed"]["sqltext"]))
    wanted = None if is_serial(column) else equality.defaults.of(column)
    if wanted is None or found["default"] is None:
        return False
    return normal_default(wanted) != normal_default(found["default"])
