"""The models' columns in operations, which a package's hooks may change for its script alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column

#: What hooks give a column in place of what the model says.
ATTRIBUTES = (
    *("nullable", "type", "server_default", "default", "onupdate", "server_onupdate", "comment"),
    *("autoincrement", "primary_key", "index", "unique", "identity", "computed"),
)


class ModelColumns:
    """Columns as they were before the hooks of a package's ``env.py``.

    The operations have the models' own columns. Alembic's documentation lets a ``Rewriter`` make
    one nullable, so that it is added before it is NOT NULL; the models do not say so.
    """

    def __init__(self, directives: Sequence[ops.MigrationScript]) -> None:
        self._before: list[tuple[Column[Any], dict[str, Any]]] = [
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
    if isinstance(operation, ops.AddColumnOp):
        yield operation.column
    elif isinstance(operation, ops.CreateTableOp):
        yield from (one for one in operation.columns if isinstance(one, Column))
    for inner in getattr(operation, "ops", ()):
        yield from columns_in(inner)
