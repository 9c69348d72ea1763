"""A change of a primary key, which Alembic neither finds nor writes."""

from __future__ import annotations

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext

from websauna_migrate.alembic_adapter.autogenerate_internals import in_batch
from websauna_migrate.autogenerate.operations.server_statements import ConstraintChange

__all__ = ["KeyChange"]


class KeyChange(ConstraintChange):
    """A primary key that goes, or comes: by its columns."""


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
        arguments = [name, *where, repr([*operation.content]), *more]
        return [f"{on}create_primary_key({', '.join(arguments)})"]
    arguments = [name, *where, "type_='primary'", *more]
    return [f"{on}drop_constraint({', '.join(arguments)})"]
