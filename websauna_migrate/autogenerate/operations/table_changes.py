"""The changes of one table in a script: plain operations, or a batch where SQLite needs one.

SQLite changes a table by making it anew. The batch does that there and nothing special elsewhere,
so a script that needs one has it wherever it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TypeAlias

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy.schema import Column, Computed, DefaultClause, Table
from sqlalchemy.types import SchemaType

from websauna_migrate.alembic_adapter.autogenerate_internals import render_column
from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.script_op import on_databases, on_dialect

if TYPE_CHECKING:
    from typing_extensions import Self

#: The value of ``render_as_batch`` that leaves it to each table's changes.
AUTOMATIC = "automatic"

#: Computed columns, each with the name of the column before it.
ComputedColumns: TypeAlias = Sequence[tuple[Column[Any], str | None]]

#: Operations that SQLite does without making the table anew.
SIMPLE = (
    ops.CreateIndexOp,
    ops.DropIndexOp,
    ops.CreateTableCommentOp,
    ops.DropTableCommentOp,
)


class TableChanges(ops.ModifyTableOps):
    """Changes of one table.

    :ivar table_args: sources of what SQLite's new table needs besides that which is reflected of
        the old one: CHECK constraints without a name; by direction, upgrade first
    :ivar naming_convention: names for constraints without one, so that they can be dropped
    :ivar recreate: make the table anew on any account
    :ivar stage: -1 for what comes before the table's other changes, 1 for what comes behind them
    :ivar options: those that SQLite's new table gets; by direction, upgrade first
    :ivar databases: those that the changes are made on; none for all
    """

    table_args: tuple[Sequence[str], Sequence[str]] = ((), ())
    naming_convention: Mapping[str, str] | None = None
    recreate: bool = False
    stage: int = 0
    options: tuple[Mapping[str, bool], Mapping[str, bool]] = ({}, {})
    databases: Sequence[str] = ()
    #: Computed columns that stay.
    computed: ComputedColumns = ()
    #: The comparison of the table's CHECK constraints that the changes come from.
    checks: Any = None

    @classmethod
    def of(cls, operation: ops.MigrateOperation) -> ops.MigrateOperation:
        """Return an operation; changes of a table as this class."""
        if not isinstance(operation, ops.ModifyTableOps) or isinstance(operation, cls):
            return operation
        return cls(operation.table_name, operation.ops, schema=operation.schema)

    def reverse(self) -> Self:
        """Return the changes back."""
        back = copy(self)
        back.ops = [operation.reverse() for operation in reversed(self.ops)]
        back.table_args = (self.table_args[1], self.table_args[0])
        back.options = (self.options[1], self.options[0])
        return back

    def plain(self, operations: list[ops.MigrateOperation]) -> TableChanges:
        """Return some of the changes, on the same databases, that need no batch."""
        part = TableChanges(self.table_name, operations, schema=self.schema)
        part.databases = self.databases
        return part

    @property
    def needs_batch(self) -> bool:
        """Whether SQLite makes the changes, and could not do so one by one."""
        if self.databases and "sqlite" not in self.databases:
            return False
        return self.recreate or not all(map(is_simple, self.ops))


class WithTable(TableChanges):
    """The indexes of a table that is created or dropped: they go with it.

    :ivar silent: whether the table is dropped
    """

    silent = False

    def reverse(self) -> Self:
        """Return the changes back."""
        back = super().reverse()
        back.silent = not self.silent
        return back


@renderers.dispatch_for(TableChanges)
def render_table_changes(context: AutogenContext, operation: TableChanges) -> list[str]:
    """Return the lines of a table's changes, for Alembic's printer."""
    if isinstance(operation, WithTable) and operation.silent:
        return []
    batch = context.opts.get("render_as_batch", False)
    if batch == AUTOMATIC:
        batch = operation.needs_batch and "sqlite" in written_for(context)
    given = context.opts
    context.opts = {**given, "render_as_batch": bool(batch)}
    try:
        plain = ops.ModifyTableOps(operation.table_name, operation.ops, schema=operation.schema)
        lines: list[str] = renderers.dispatch(plain)(context, plain)
    finally:
        context.opts = given
    if batch and operation.recreate and not lines:
        lines = ["", "pass", ""]
    if batch and lines:
        lines[:1] = [batch_line(context, operation), *computed_lines(context, operation)]
    return on_databases(context, operation.databases, lines) if operation.databases else lines


def computed_columns(table: Table) -> ComputedColumns:
    """Return the computed columns of a table."""
    return computed_among([*table.columns])


def computed_among(columns: Sequence[Column[Any]]) -> ComputedColumns:
    """Return the computed ones of a table's columns."""
    names = [None, *(column.name for column in columns)]
    return [
        (column, before)
        for column, before in zip(columns, names, strict=False)
        if isinstance(column.server_default, Computed)
    ]


def computed_lines(context: AutogenContext, operation: TableChanges) -> list[str]:
    """Return the lines that keep computed columns where SQLite's table is made anew.

    Alembic copies their values with the others, which SQLite refuses; a column that is taken out
    and put in again has none to copy.
    """
    touched = {
        op.column_name if isinstance(op, ops.DropColumnOp) else op.column.name
        for op in operation.ops
        if isinstance(op, (ops.AddColumnOp, ops.DropColumnOp))
    }
    lines = []
    for column, previous in operation.computed:
        if column.name in touched:
            continue
        rendered = render_column(column, context)
        place = f", insert_after={previous!r}" if previous and previous not in touched else ""
        lines += [
            f"batch_op.drop_column({str(column.name)!r})",
            f"batch_op.add_column({rendered}{place})",
        ]
    return on_dialect(context, "sqlite", lines) if lines else []


def batch_line(context: AutogenContext, operation: TableChanges) -> str:
    """Return the line that begins a batch."""
    arguments = [repr(str(operation.table_name))]
    if operation.schema:
        arguments.append(f"schema={operation.schema!r}")
    if operation.recreate:
        recreate = "recreate='always'"
        if len(operation.databases or written_for(context)) > 1:
            # Another database would make the table anew as well.
            prefix = context.opts["alembic_module_prefix"]
            recreate += f" if {prefix}get_context().dialect.name == 'sqlite' else 'never'"
        arguments.append(recreate)
    if operation.naming_convention:
        arguments.append(f"naming_convention={dict(operation.naming_convention)!r}")
    if operation.options[0]:
        arguments.append(f"table_kwargs={dict(operation.options[0])!r}")
    if operation.table_args[0]:
        arguments.append(f"table_args=[{', '.join(operation.table_args[0])}]")
    prefix = context.opts["alembic_module_prefix"]
    return f"with {prefix}batch_alter_table({', '.join(arguments)}) as batch_op:"


def is_simple(operation: ops.MigrateOperation) -> bool:
    """Tell whether SQLite does an operation without making the table anew."""
    if not isinstance(operation, ops.AddColumnOp):
        return isinstance(operation, SIMPLE)
    column = operation.column
    default = column.server_default
    if isinstance(column.type, SchemaType) and getattr(column.type, "create_constraint", False):
        return False
    if isinstance(default, Computed):
        return not default.persisted
    if default is None:
        return bool(column.nullable)
    return isinstance(default, DefaultClause) and isinstance(default.arg, str)
