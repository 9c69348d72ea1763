"""What comes with a new column or table: no more than the database gets, CHECKs named as there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, Constraint, Table
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import conv

from websauna_migrate.autogenerate.operations.column_types import CheckedBoolean, CheckedEnum
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.model_sql import column_checks, final_name, sql_text
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created, is_type_bound


def name_checks(upgrade: ops.UpgradeOps, models: dict[Key, Table], connection: Connection) -> None:
    """Let the new columns' types say what their CHECK constraints are called.

    :param models: the package's tables by key
    """
    for op in upgrade.ops:
        table = models.get((getattr(op, "schema", None), getattr(op, "table_name", "")))
        if table is None:
            continue
        if isinstance(op, ops.CreateTableOp):
            op.columns = [
                named(item, table, connection)
                for item in op.columns
                if not isinstance(item, Constraint) or is_created(item, connection.dialect)
            ]
            # Alembic leaves out what stands with a column.
            op.columns += [on_table(check, connection) for check in column_checks(table)]
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                if isinstance(inner, ops.CreateIndexOp):
                    model = next((i for i in table.indexes if i.name == inner.index_name), None)
                    if model is not None and not is_created(model, connection.dialect):
                        op.ops = [one for one in op.ops if one is not inner]
                elif isinstance(inner, ops.AddColumnOp):
                    inner.column = named(inner.column, table, connection)


def on_table(check: CheckConstraint, connection: Connection) -> CheckConstraint:
    """Return a CHECK of a column as one of its table."""
    name = final_name(check, connection)
    return CheckConstraint(
        escaped(sql_text(check.sqltext, connection)), name=conv(name) if name else None
    )


def named(item: Any, table: Table, connection: Connection) -> Any:
    """Return a column whose type names its CHECK as the model's table does; others as they are."""
    if not isinstance(item, Column) or not getattr(item.type, "create_constraint", False):
        return item
    check = next(
        (
            one
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and is_type_bound(one)
            and {column.name for column in one.columns} == {item.name}
        ),
        None,
    )
    name = None if check is None else final_name(check, connection)
    if name is None or name == getattr(item.type, "name", None):
        return item
    type_: Any
    if isinstance(item.type, sa.Enum):
        type_ = CheckedEnum.called(name)(
            *item.type.enums,
            name=item.type.name,
            schema=item.type.schema,
            native_enum=item.type.native_enum,
            create_constraint=True,
            length=item.type.length,
        )
    elif isinstance(item.type, sa.Boolean):
        type_ = CheckedBoolean(create_constraint=True, name=name)
    else:
        return item
    return Column(
        item.name,
        type_,
        key=item.key,
        nullable=item.nullable,
        server_default=item.server_default,
        comment=item.comment,
        primary_key=item.primary_key,
    )
