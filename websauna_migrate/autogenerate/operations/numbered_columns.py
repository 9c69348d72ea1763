"""Columns that come, or go, and number the rows of a table as its primary key."""

from __future__ import annotations

import re
from typing import cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops

from websauna_migrate.autogenerate.operations.model_columns import changed


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
