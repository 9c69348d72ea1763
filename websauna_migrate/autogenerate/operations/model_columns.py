"""The models' columns in operations: what hooks change of them, and those that number rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column
from sqlalchemy.schema import ColumnCollectionConstraint

from websauna_migrate.autogenerate.operations.script_op import single

#: What hooks give a column in place of what the model says.
ATTRIBUTES = (
    *("nullable", "type", "server_default", "default", "onupdate", "server_onupdate", "comment"),
    *("autoincrement", "primary_key", "index", "unique", "identity", "computed"),
)


def changed(column: Column[Any], **attributes: object) -> Column[Any]:
    """Return a column with other attributes; the same one if it has them already."""
    if all(getattr(column, name) is value for name, value in attributes.items()):
        return column
    copy = column._copy()
    for name, value in attributes.items():
        setattr(copy, name, value)
    return copy


class ModelColumns:
    """Columns as they were before the hooks of a package's ``env.py``.

    The operations have the models' own columns. Alembic's documentation lets a ``Rewriter`` make
    one nullable, so that it is added before it is NOT NULL; the models do not say so.
    """

    def __init__(self, directives: Sequence[ops.MigrationScript]) -> None:
        self._before: list[tuple[Column[Any], dict[str, object]]] = [
            (
                column,
                {name: column.__dict__[name] for name in ATTRIBUTES if name in column.__dict__},
            )
            for script in directives
            for container in (*script.upgrade_ops_list, *script.downgrade_ops_list)
            for column in columns_in(container)
        ]

    def restore(self) -> None:
        """Let the columns be as they were."""
        for column, attributes in self._before:
            column.__dict__.update(attributes)


def columns_in(operation: ops.MigrateOperation) -> Iterator[Column[Any]]:
    """Yield the columns that an operation, or one in it, adds."""
    for op in single(operation):
        if isinstance(op, ops.AddColumnOp):
            yield op.column
        elif isinstance(op, ops.CreateTableOp):
            yield from (one for one in op.columns if isinstance(one, Column))


def columns_of_drop(op: ops.DropConstraintOp) -> list[str]:
    """Return the columns of a constraint that an operation drops."""
    constraint = cast(ColumnCollectionConstraint, op.to_constraint())
    return [str(column.name) for column in constraint.columns]


class NumberedColumn(ops.AddColumnOp):
    """A column that comes and numbers the rows that are there."""

    def reverse(self) -> NumberedColumnDrop:
        """Return its drop."""
        found = NumberedColumnDrop.from_column_and_tablename(
            self.schema, self.table_name, self.column
        )
        return cast(NumberedColumnDrop, found)


class NumberedColumnDrop(ops.DropColumnOp):
    """The drop of such a column."""

    def reverse(self) -> NumberedColumn:
        """Return what adds it again."""
        column = changed(self.to_column(), server_default=None)
        return NumberedColumn(self.table_name, column, schema=self.schema)


@renderers.dispatch_for(NumberedColumn)
def render_numbered_column(context: AutogenContext, operation: NumberedColumn) -> str:
    """Return the source of its addition: a column of a primary key is numbered."""
    source = str(renderers.dispatch(ops.AddColumnOp)(context, operation))
    return re.sub(r"\bnullable=False", "primary_key=True, nullable=False", source, count=1)


def numbered(operation: ops.MigrateOperation) -> ops.MigrateOperation:
    """Return an operation; that of a column that numbers its table as one that knows of it."""
    kind: type[NumberedColumn | NumberedColumnDrop]
    if isinstance(operation, ops.AddColumnOp):
        kind, column = NumberedColumn, operation.column
    elif isinstance(operation, ops.DropColumnOp):
        kind, column = NumberedColumnDrop, operation.to_column()
    else:
        return operation
    if column.table is None or column.table.autoincrement_column is not column:
        return operation
    return kind.from_column_and_tablename(operation.schema, operation.table_name, column)
