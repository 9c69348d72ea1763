"""A change of a primary key, which Alembic neither finds nor writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Table

from websauna_migrate.alembic_adapter.internals import in_batch

__all__ = ["KeyChange"]


class KeyChange(MigrateOperation):
    """A primary key that goes, or comes.

    :ivar place: where it stands among the changes of its table, see ``operations/ordering``
    """

    def __init__(self, table: Table, name: str, columns: Sequence[str], *, added: bool) -> None:
        """Keep the key.

        :param name: where the server has one of its own, that which PostgreSQL would give
        """
        self.table = table
        self.name = name
        self.columns = tuple(columns)
        self.added = added

    @property
    def place(self) -> int:
        """Drops come before what they are in the way of, creations behind what they need."""
        return 6 if self.added else 2

    def reverse(self) -> KeyChange:
        """Return the operation that undoes this one."""
        return KeyChange(self.table, self.name, self.columns, added=not self.added)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference."""
        what = "add_constraint" if self.added else "remove_constraint"
        return (what, self.name, self.table.fullname, self.columns)


@renderers.dispatch_for(KeyChange)
def render_key_change(context: AutogenContext, operation: KeyChange) -> list[str]:
    """Return the lines of a key."""
    batch = in_batch(context)
    on = "batch_op." if batch else f"{context.opts['alembic_module_prefix']}"
    table, schema = str(operation.table.name), operation.table.schema
    where = [] if batch else [repr(table)]
    more = [f"schema={schema!r}"] if schema and not batch else []
    name = f"{context.opts['alembic_module_prefix']}f({operation.name!r})"
    if operation.added:
        arguments = [name, *where, repr([*operation.columns]), *more]
        return [f"{on}create_primary_key({', '.join(arguments)})"]
    arguments = [name, *where, "type_='primary'", *more]
    return [f"{on}drop_constraint({', '.join(arguments)})"]
