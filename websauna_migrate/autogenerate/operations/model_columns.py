"""The models' columns in operations, which a package's hooks may change for its script alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

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
