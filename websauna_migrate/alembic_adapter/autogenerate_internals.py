"""The private names of Alembic that a comparison of models touches, and nothing else.

Each use says why the public API does not do; ``tests/test_alembic_internals.py`` fails loudly when
an upstream release changes one of them. Those that runs touch are in :mod:`.internals`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from alembic.autogenerate import RevisionContext, renderers
from alembic.autogenerate import comparators as OLD_COMPARATORS
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.compare import _populate_migration_script
from alembic.autogenerate.render import (
    _alembic_autogenerate_prefix,
    _render_column,
    _render_constraint,
    _render_potential_expr,
    _render_python_into_templatevars,
    _repr_type,
)
from alembic.ddl.impl import DefaultImpl
from alembic.operations.ops import CreateCheckConstraintOp, DropTableOp, MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script.base import Script
from sqlalchemy import Column, Constraint, MetaData, Table
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import NullType, TypeEngine

from websauna_migrate.alembic_adapter.internals import ALEMBIC
from websauna_migrate.alembic_adapter.written_expressions import written_plainly


def render_type(type_: TypeEngine[Any], autogen_context: AutogenContext) -> str:
    """Return the Python source of a column type and note the imports that it needs.

    Public hooks replace the rendering of a type, but none gives the default rendering of another
    type, which a hook needs that renders a decorated type as what it stores.
    """
    return _repr_type(type_, autogen_context)


def render_column(column: Column[Any], autogen_context: AutogenContext) -> str:
    """Return the Python source of a column; an operation of our own has one as well."""
    return _render_column(column, autogen_context)


def render_constraint(constraint: Constraint, autogen_context: AutogenContext) -> str | bool:
    """Return the Python source of a constraint of a new table; ``False`` for one that has none."""
    metadata = constraint.table.metadata
    return _render_constraint(constraint, autogen_context, metadata) or False


def in_batch(autogen_context: AutogenContext) -> bool:
    """Tell whether what is rendered now stands in a ``batch_alter_table`` block.

    A renderer of an operation of its own has to write another prefix there, and public Alembic
    has no question for it.
    """
    return _alembic_autogenerate_prefix(autogen_context) == "batch_op."


def render_new_check(autogen_context: AutogenContext, op: CreateCheckConstraintOp) -> str:
    """Return the Python source that adds a CHECK constraint; Alembic before 1.19 has none."""
    name = op.constraint_name
    args = [f"op.f({str(name)!r})" if isinstance(name, conv) else repr(name)]
    batch = in_batch(autogen_context)
    if not batch:
        args.append(repr(str(op.table_name)))
    args.append(_render_potential_expr(op.condition, autogen_context, wrap_in_element=False))
    if op.schema and not batch:
        args.append(f"schema={str(op.schema)!r}")
    prefix = _alembic_autogenerate_prefix(autogen_context)
    return f"{prefix}create_check_constraint({', '.join(args)})"


if ALEMBIC < (1, 19):
    renderers._registry[CreateCheckConstraintOp, "default"] = render_new_check


def comparator_modules(autogen_context: AutogenContext) -> set[str]:
    """Return the modules of all functions that take part in a comparison, plugins' included.

    Alembic's dispatcher calls them, and does not tell which they are. Before 1.18 there was one for
    the process, and it kept functions without a group.
    """
    dispatcher = getattr(autogen_context, "comparators", OLD_COMPARATORS)
    return {module_of(entry) for entries in dispatcher._registry.values() for entry in entries}


#: Modules whose comparisons the service does itself, whichever way they came into a process:
#: Alembic's of CHECK constraints, which 1.19.0 has always and later ones where
#: ``autogenerate_plugins`` names it; and those of the libraries for the values of enums.
REPLACED = re.compile(
    r"alembic\..*\.(check_constraints|checkconstraint_byname)$|"
    r"alembic_(postgresql_enum|autogenerate_enums|pg_enum_generator)(\.|$)"
)

#: A function of Alembic's whose work the service does itself; it fails where an identity becomes a
#: plain default, or the other way.
REPLACED_FUNCTION = "_compare_identity_default"


@contextmanager
def without_replaced(autogen_context: AutogenContext) -> Iterator[None]:
    """Take the comparisons that the service does itself out of a comparison."""
    registry = getattr(autogen_context, "comparators", OLD_COMPARATORS)._registry
    before = {key: list(entries) for key, entries in registry.items()}
    for entries in registry.values():
        entries[:] = [one for one in entries if not is_replaced(one)]
    try:
        yield
    finally:
        for key, entries in before.items():
            registry[key][:] = entries


def is_replaced(entry: object) -> bool:
    """Tell whether the service does itself what a function in a dispatcher does."""
    function = entry[0] if isinstance(entry, tuple) else entry
    name = getattr(function, "__name__", None)
    return name == REPLACED_FUNCTION or REPLACED.match(module_of(entry)) is not None


def module_of(entry: object) -> str:
    """Return the module of a function in a dispatcher, with its group or alone."""
    return str((entry[0] if isinstance(entry, tuple) else entry).__module__)


#: Tells of a model's column whether its ``type`` or ``default`` is another one in the database.
Differs: TypeAlias = Callable[[Column[Any], str], bool]


@contextmanager
def compared_by(impl: DefaultImpl, differs: Differs | None) -> Iterator[None]:
    """Let an implementation ask ``differs`` whether types and server defaults are others.

    The options ``compare_type`` and ``compare_server_default`` are the user's, and the latter
    fails on computed columns before it is asked.
    """
    if differs is None:
        yield
        return

    def compare_type(_: object, model: Column[Any]) -> bool:
        return differs(model, "type")

    def compare_server_default(_: object, model: Column[Any], *others: object) -> bool:
        return differs(model, "default")

    impl.compare_type = compare_type  # type: ignore[assignment, method-assign]
    impl.compare_server_default = compare_server_default  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            # All of it is compared in another way.
            warnings.filterwarnings("ignore", "Computed default on .* cannot be modified")
            warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression")
            warnings.filterwarnings("ignore", "Expression #.* in index .* operator clause")
            yield
    finally:
        del impl.compare_type
        del impl.compare_server_default


def resolve_by(inspector: Inspector) -> None:
    """Let an inspector reflect the tables that a reflected table refers to as well.

    Alembic before 1.18 leaves them to SQLAlchemy, which asks the database and knows of no renames;
    1.18.0 to 1.18.2 leave them out and fail. Later ones need nothing of them.
    """
    if ALEMBIC >= (1, 18, 3):
        return
    original = inspector.reflect_table

    def reflect_table(
        table: Table, include_columns: Collection[str] | None = None, **arguments: Any
    ) -> None:
        arguments["resolve_fks"] = False
        original(table, include_columns, **arguments)
        for key in inspector.get_foreign_keys(table.name, schema=table.schema):
            schema, name = key["referred_schema"], key["referred_table"]
            if (f"{schema}.{name}" if schema else name) not in table.metadata.tables:
                referred = Table(name, table.metadata, schema=schema)
                referred.dispatch._update(table.dispatch, only_propagate=False)
                try:
                    reflect_table(referred)
                except NoSuchTableError:
                    # The search path finds it in another schema.
                    for column in key["referred_columns"]:
                        referred.append_column(Column(column, NullType()))

    inspector.reflect_table = reflect_table  # type: ignore[assignment, method-assign]


class BoundedComparison(RevisionContext):
    """A comparison of given tables, through a given inspector.

    ``RevisionContext._run_environment`` makes its own ``AutogenContext``, which takes all tables
    of the ``MetaData`` and inspects the database afresh: for each of many packages that share
    both, that is the work of all of them.

    :ivar tables: the tables to compare, those that are referred to first; ``None`` for all that
        ``env.py`` gave
    :ivar inspector: reflects the database
    :ivar registered: the package's models, where ``env.py`` gives none, as that of Alembic's own
        template does
    """

    tables: tuple[Table, ...] | None = None
    registered: MetaData | list[MetaData] | None = None
    inspector: Inspector | None = None
    template_args: dict[str, Any]

    #: Looks at both sides before anything is compared; may leave out tables.
    prepare: Callable[[AutogenContext], None] | None = None
    #: Compares types and server defaults in place of Alembic.
    differs: Differs | None = None
    #: Gets a script's two functions and its imports, which it may add to; returns what the template
    #: gets besides.
    complete: Callable[[str, set[str]], Mapping[str, object]] | None = None

    @property
    def autogen_context(self) -> AutogenContext:
        """The context of the comparison that was made, in which a script is rendered."""
        return self._last_autogen_context

    def _run_environment(
        self,
        rev: str | Iterable[str | None] | Iterable[str],
        migration_context: MigrationContext,
        autogenerate: bool,
    ) -> None:
        (script,) = self.generated_revisions
        options = migration_context.opts
        script.upgrade_ops_list[-1].upgrade_token = options["upgrade_token"]
        script.downgrade_ops_list[-1].downgrade_token = options["downgrade_token"]
        metadata = options.get("target_metadata")
        context = AutogenContext(
            migration_context,
            metadata=self.registered if metadata is None else metadata,
            autogenerate=autogenerate,
        )
        if autogenerate and self.prepare is not None:
            self.prepare(context)
        if self.tables is not None:
            # Memoized on the first use, so that a value set before takes its place.
            context.__dict__["sorted_tables"] = list(self.tables)
            context.__dict__["table_key_to_table"] = {table.key: table for table in self.tables}
        if self.inspector is not None:
            resolve_by(self.inspector)
            context.__dict__["inspector"] = self.inspector
        self._last_autogen_context = context
        if autogenerate:
            with (
                without_replaced(context),
                compared_by(migration_context.impl, self.differs),
            ):
                _populate_migration_script(context, script)
        for hook in (
            self.process_revision_directives,
            options["process_revision_directives"],
        ):
            if hook:
                hook(migration_context, rev, self.generated_revisions)
        for script in self.generated_revisions:
            script._needs_render = True

    def _to_script(self, migration_script: MigrationScript) -> Script | None:
        """Write a script as Alembic does, with its imports completed and ``%`` as it was.

        Alembic renders SQL in the driver's form, where ``%`` is doubled; what a script says is
        compiled again when it runs.
        """
        arguments: dict[str, Any] = dict(self.template_args)
        if getattr(migration_script, "_needs_render", False):
            context = self.autogen_context
            context.imports = set(migration_script.imports)
            with written_plainly(context):
                _render_python_into_templatevars(context, migration_script, arguments)
                if self.complete is not None:
                    names = (
                        migration_script.upgrade_ops_list[-1].upgrade_token,
                        migration_script.downgrade_ops_list[-1].downgrade_token,
                    )
                    body = "".join(
                        f"def {name}():\n    {arguments[name]}\n" for name in names if name
                    )
                    arguments |= self.complete(body, context.imports)
            arguments["imports"] = "\n".join(sorted(context.imports))
        assert migration_script.rev_id is not None
        return self.script_directory.generate_revision(
            migration_script.rev_id,
            migration_script.message,
            refresh=True,
            head=migration_script.head,
            splice=migration_script.splice,
            branch_labels=migration_script.branch_label,
            version_path=migration_script.version_path,
            depends_on=migration_script.depends_on,
            **arguments,
        )


def columns_that_come_back(drop: DropTableOp) -> list[Column[Any]]:
    """Return the columns of a table that goes, those that its creation in the downgrade has."""
    return [one for one in parts_that_come_back(drop) if isinstance(one, Column)]


def parts_that_come_back(drop: DropTableOp) -> list[SchemaItem]:
    """Return columns and constraints of a table that goes, as its creation in the downgrade has."""
    return getattr(drop._reverse, "columns", [])
