"""New tables and columns, as the database makes them of their models; CHECKs are named as there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, Constraint, Table
from sqlalchemy.engine import Connection
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import TypeEngine

from websauna_migrate.autogenerate.operations.column_types import (
    CharacterEnum,
    CheckedBoolean,
    CheckedEnum,
)
from websauna_migrate.autogenerate.operations.model_columns import changed
from websauna_migrate.autogenerate.operations.rendering import EmptyTable
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.model_sql import column_checks, final_name, sql_text
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created, is_type_bound


def finish_new(
    upgrade: ops.UpgradeOps, models: Mapping[Key, Table], connection: Connection
) -> None:
    """Let new tables and columns be no more than the database gets.

    :param models: the package's tables by key
    """
    for op in upgrade.ops:
        table = models.get((getattr(op, "schema", None), getattr(op, "table_name", "")))
        if isinstance(op, ops.CreateTableOp):
            finish_table(op, table, connection)
        elif isinstance(op, ops.ModifyTableOps) and table is not None:
            for inner in op.ops:
                if isinstance(inner, ops.AddColumnOp):
                    type_ = checked_type(inner.column, table, connection)
                    inner.column = changed(inner.column, type=type_)


def finish_table(op: ops.CreateTableOp, table: Table | None, connection: Connection) -> None:
    """Let a new table be as the database makes it of its model, if that is known.

    ``Table.info`` is the models' own, and may hold anything.
    """
    op.info = {}
    items: list[SchemaItem] = []
    for item in op.columns:
        if not isinstance(item, Column):
            if not isinstance(item, Constraint) or is_created(item, connection.dialect):
                items.append(item)
            continue
        type_ = checked_type(item, table, connection) if table is not None else item.type
        column = changed(item, type=CharacterEnum.of(type_))
        if isinstance(item.default, sa.Sequence):
            # It takes its values from there, and needs no sequence of its own.
            column = changed(column, default=None, autoincrement=False)
        items.append(column)
    if not any(isinstance(item, Column) for item in items):
        op.__class__ = EmptyTable
    # Alembic leaves out what stands with a column.
    for check in column_checks(table) if table is not None else ():
        items.append(on_table(check, connection))
    op.columns = items


def on_table(check: CheckConstraint, connection: Connection) -> CheckConstraint:
    """Return a CHECK of a column as one of its table."""
    name = final_name(check, connection)
    return CheckConstraint(
        escaped(sql_text(check.sqltext, connection)), name=conv(name) if name else None
    )


def checked_type(column: Column[Any], table: Table, connection: Connection) -> TypeEngine[Any]:
    """Return the type of a column, which names its CHECK as the model's table does."""
    type_ = column.type
    check = next(
        (
            one
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and is_type_bound(one)
            and {each.name for each in one.columns} == {column.name}
        ),
        None,
    )
    name = None if check is None else final_name(check, connection)
    if name is None or name == getattr(type_, "name", None):
        return type_
    if isinstance(type_, sa.Enum) and type_.create_constraint:
        return CheckedEnum.called(name)(
            *type_.enums,
            name=type_.name,
            schema=type_.schema,
            native_enum=type_.native_enum,
            create_constraint=True,
            length=type_.length,
        )
    if isinstance(type_, sa.Boolean) and type_.create_constraint:
        return CheckedBoolean(create_constraint=True, name=name)
    return type_
