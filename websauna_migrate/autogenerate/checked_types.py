"""Types that bring a CHECK constraint, under the name that the constraint really has.

A naming convention is part of the models' ``MetaData``, not of the script's: where it makes the
constraint's name from the type's, the script has to say the result.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.engine import Connection

from websauna_migrate.autogenerate.checks import final_name
from websauna_migrate.models.sqlalchemy_internals import is_type_bound

__all__ = ["CheckedBoolean", "CheckedEnum", "name_checks"]


class CheckedEnum(sa.Enum):
    """An enum whose CHECK has a name of its own, beside that of the type.

    Copies of a type are made by its class alone, so each name has a class.
    """

    check_name: str | None = None

    @classmethod
    def called(cls, name: str) -> type[CheckedEnum]:
        """Return the class for a name."""
        return type(cls.__name__, (cls,), {"check_name": name, "__module__": cls.__module__})


class CheckedBoolean(sa.Boolean):
    """A boolean whose CHECK has a final name."""


def name_checks(upgrade: Any, models: dict[Any, Table], connection: Connection) -> None:
    """Let the new columns' types say what their CHECK constraints are called.

    :param models: the package's tables by key
    """
    for op in upgrade.ops:
        table = models.get((getattr(op, "schema", None), getattr(op, "table_name", None)))
        if table is None:
            continue
        if isinstance(op, ops.CreateTableOp):
            op.columns = [named(item, table, connection) for item in op.columns]
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                if isinstance(inner, ops.AddColumnOp):
                    inner.column = named(inner.column, table, connection)


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
