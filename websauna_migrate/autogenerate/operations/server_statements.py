"""What Alembic has no operation for: primary keys, and statements in PostgreSQL's own words."""

from __future__ import annotations

from collections.abc import Sequence

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Table, UniqueConstraint

from websauna_migrate.alembic_adapter.autogenerate_internals import in_batch
from websauna_migrate.autogenerate.operations.enum_change import source_of
from websauna_migrate.autogenerate.operations.script_op import Diff, ScriptOp, on_dialect
from websauna_migrate.facts.brackets import split_brackets, split_commas
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.model_sql import unquoted

#: A constraint's definition, or the columns of a key.
Content = str | tuple[str, ...]


class ConstraintChange(MigrateOperation):
    """A constraint that goes, or comes.

    :ivar content: what it is besides its name
    :ivar place: where it stands among the changes of its table, see ``operations/ordering``
    """

    def __init__(self, table: Table, name: str, content: Content, *, added: bool) -> None:
        self.table = table
        self.name = name
        self.content = content
        self.added = added

    @property
    def place(self) -> int:
        """Drops come before what they are in the way of, creations behind what they need."""
        return 6 if self.added else 2

    def reverse(self) -> ConstraintChange:
        """Return the operation that undoes this one."""
        return type(self)(self.table, self.name, self.content, added=not self.added)

    def to_diff_tuple(self) -> Diff:
        """Return the difference."""
        what = "add_constraint" if self.added else "remove_constraint"
        return (what, self.name, self.table.fullname, self.content)


class ServerConstraint(ConstraintChange):
    """A constraint by its definition."""


@renderers.dispatch_for(ServerConstraint)
def render_server_constraint(context: AutogenContext, operation: ServerConstraint) -> list[str]:
    """Return the lines of a constraint."""
    table = qualified(operation.table.schema, str(operation.table.name))
    name = quote_name(operation.name)
    change = (
        f"ADD CONSTRAINT {name} {operation.content}"
        if operation.added
        else f"DROP CONSTRAINT {name}"
    )
    return lines(context, [f"ALTER TABLE {table} {change}"])


def statements(
    diff: Diff, up: Sequence[str], down: Sequence[str], dialect: str = "postgresql"
) -> ScriptOp:
    """Return the operation that sends statements to one kind of database, in both directions.

    :param diff: the difference, as Alembic's tuples are
    """
    return ScriptOp(
        diff,
        lambda context: lines(context, up, dialect),
        lambda context: lines(context, down, dialect),
    )


def lines(context: AutogenContext, texts: Sequence[str], dialect: str = "postgresql") -> list[str]:
    """Return the lines that send statements to one kind of database alone."""
    if not texts:
        return []
    execute = f"{context.opts['alembic_module_prefix']}execute"
    return on_dialect(context, dialect, [f"{execute}({source_of(one)})" for one in texts])


def qualified(schema: str | None, name: str) -> str:
    """Return a name with its schema as it stands in SQL."""
    return f"{quote_name(schema)}.{quote_name(name)}" if schema else quote_name(name)


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


def columns_of_dropped_key(op: MigrateOperation) -> list[str]:
    """Return the columns of a key or an index that an operation drops, in order; else nothing.

    An expression in an index has an empty name.
    """
    if isinstance(op, KeyChange) and not op.added:
        return [*op.content]
    if isinstance(op, ServerConstraint) and not op.added:
        text = str(op.content)
        inside, _ = split_brackets(text[text.find("(") :])
        return [*map(unquoted, split_commas(inside))]
    if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "unique":
        constraint = op.to_constraint()
        assert isinstance(constraint, UniqueConstraint)
        return [str(column.name) for column in constraint.columns]
    if isinstance(op, ops.DropIndexOp):
        return [str(getattr(one, "name", "")) for one in op.to_index().expressions]
    return []
