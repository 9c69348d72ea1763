"""Every private name of Alembic that this package touches, and nothing else.

Each use says why the public API does not do; ``tests/test_alembic_internals.py`` fails loudly when
an upstream release changes one of them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import alembic
import alembic.context
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
    _render_server_default,
    _repr_type,
)
from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.operations.ops import CreateCheckConstraintOp
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import (
    HeadMaintainer,
    MigrationContext,
    RevisionStep,
    StampStep,
    log,
)
from alembic.script.base import Script, ScriptDirectory
from alembic.script.revision import RevisionMap
from alembic.util import memoized_property
from alembic.util.exc import CommandError
from sqlalchemy import Column, Constraint, Table, Update, bindparam
from sqlalchemy.dialects.postgresql import BIGINT, INTEGER, SMALLINT
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import NullType

from websauna_migrate.models.sqlalchemy_internals import escaped

if TYPE_CHECKING:
    from websauna_migrate.planning.revisions import Revision as KnownRevision
    from websauna_migrate.planning.steps import Step
    from websauna_migrate.revision_scripts.revision_reader import ScriptReader

__all__ = [
    "BoundedComparison",
    "LazyScript",
    "LinearRevisionMap",
    "LoadedScriptDirectory",
    "PlannedStep",
    "ProxiedEnvironment",
    "RowWriter",
    "comparator_modules",
    "destination_of_command",
    "execute_operations_by",
    "in_batch",
    "planned_step",
    "render_column",
    "render_constraint",
    "render_server_default",
    "render_type",
    "run_migrations",
    "stepped_aside",
    "steps_of_command",
    "without_version_table",
]

#: Alembic's version, as far as it is numbers.
ALEMBIC = tuple(map(int, re.findall(r"\d+", alembic.__version__)[:3]))


class ProxiedEnvironment(EnvironmentContext):
    """Base of an environment context that ``alembic.context`` stands for while it is entered.

    The module forwards to instances of ``EnvironmentContext`` itself, not to those of a subclass:
    ``ModuleClsProxy._setups`` has the modules by class, and nothing public adds one.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._setups[cls] = cls._setups[EnvironmentContext]


class LinearRevisionMap(RevisionMap):
    """Alembic's map of a package's scripts, made in linear time.

    ``RevisionMap._revision_map`` looks at the ancestors of each revision with dependencies, and at
    the descendants of each with a branch label: quadratic in their number.
    :class:`.PackageHistory` knows the same of all revisions at once.
    """

    def __init__(self, generator: Callable[[], Iterable[Script]], reader: ScriptReader) -> None:
        super().__init__(generator)
        self._reader = reader

    @memoized_property
    def _revision_map(self) -> dict[Any, Any]:
        history = self._reader.history
        found: dict[Any, Any] = {script.revision: script for script in self._generator()}
        aside = {id_: found.pop(id_) for id_ in [*found] if id_ not in history}
        for id_, script in found.items():
            position = history.position(id_)
            script.nextrev = frozenset(history.children(id_))
            script._all_nextrev = frozenset(history.ids[p] for p in history.all_up[position])
            script.branch_labels = set(history.labels_of(id_))
            script._resolved_dependencies = history.dependencies(id_)
            down = history.revisions[id_].down_revisions
            script._normalized_resolved_dependencies = tuple(
                one for one in history.normalized_down_revisions(id_) if one not in down
            )
        scripts = list(found.values())
        self.heads = tuple(s.revision for s in scripts if s.is_head)
        self._real_heads = tuple(s.revision for s in scripts if s._is_real_head)
        self.bases = tuple(s.revision for s in scripts if s.is_base)
        self._real_bases = tuple(s.revision for s in scripts if s._is_real_base)
        for label, id_ in history.labels.items():
            found[label] = found[id_]
        found[None] = found[()] = None
        # A database that has a part of a squash goes on by the old scripts, which no map leads to.
        for script in aside.values():
            script.nextrev = script._all_nextrev = frozenset()
            script._resolved_dependencies = script._normalized_resolved_dependencies = ()
        return {**aside, **found}


class LazyScript(Script):
    """A script that is known from its text, and imported when its module is asked for."""

    def __init__(self, reader: ScriptReader, revision: KnownRevision) -> None:
        self._reader = reader
        self._known = revision
        self.path = revision.path
        # Script's own constructor asks the module for everything.
        super(Script, self).__init__(
            revision.id,
            revision.down_revisions,
            dependencies=revision.depends_on,
            branch_labels=revision.branch_labels,
        )

    @property
    def module(self) -> ModuleType:  # type: ignore[override]
        """The script's newest module; it is verified to say what the text said."""
        return self._reader.imported(self._known)

    @property
    def longdoc(self) -> str:
        """The script's docstring."""
        return self._known.doc


class LoadedScriptDirectory(ScriptDirectory):
    """A script directory whose files are read once, by a reader that names what is wrong.

    ``ScriptDirectory._load_revisions`` is the one place where revision files are read; public
    methods read the same files again and report a broken one without naming it.
    """

    reader: ScriptReader

    @classmethod
    def load(cls, config: Config, reader: ScriptReader) -> LoadedScriptDirectory:
        """Return the script directory that a configuration names; its files are read later."""
        plain = ScriptDirectory.from_config(config)
        scripts = cls(
            plain.dir,
            file_template=plain.file_template,
            truncate_slug_length=plain.truncate_slug_length,
            version_locations=plain.version_locations,
            sourceless=plain.sourceless,
            output_encoding=plain.output_encoding,
            timezone=plain.timezone,
            hooks=plain.hooks,
            recursive_version_locations=plain.recursive_version_locations,
            # Its messages go to stdout, where results belong.
            messaging_opts={"quiet": True},
        )
        scripts.reader = reader
        scripts.revision_map = LinearRevisionMap(scripts._load_revisions, reader)
        return scripts

    def import_script(self, path: Path) -> Script | None:
        """Import a file; ``None`` if it is no revision script after all."""
        return Script._from_path(self, path)

    def list_files(self) -> list[Path]:
        """Return the files that may be revision scripts, each real file once."""
        found: dict[Path, None] = {}
        for location in self._version_locations:
            if location.exists():
                for path in Script._list_py_dir(self, location):
                    found.setdefault(path.resolve())
        return list(found)

    def get_revision(self, id_: str) -> Script:
        """Return a revision; one that is named in full is found at once."""
        found = self.revision_map._revision_map.get(id_)
        return found if isinstance(found, Script) else super().get_revision(id_)

    def _load_revisions(self) -> Iterator[Script]:
        history = self.reader.history
        revisions = (*history, *history.replacements.aside)
        return (LazyScript(self.reader, revision) for revision in revisions)


class PlannedStep(RevisionStep):
    """A step of which the plan knows the history table's rows before and after.

    ``RevisionStep`` finds them out by walking through all ancestors of the rows, at each step.
    """

    def __init__(self, scripts: LoadedScriptDirectory, step: Step) -> None:
        super().__init__(
            scripts.revision_map,
            scripts.get_revision(step.revision.id),
            step.direction == "upgrade",
        )
        self.rows_before = step.rows_before
        self._gone = sorted(step.rows_before - step.rows_after)
        self._new = sorted(step.rows_after - step.rows_before)

    def should_delete_branch(self, heads: set[str]) -> bool:
        """Tell whether one row goes, and none comes."""
        return len(self._gone) == 1 and not self._new

    def should_create_branch(self, heads: set[str]) -> bool:
        """Tell whether one row comes, and none goes."""
        return len(self._new) == 1 and not self._gone

    def should_merge_branches(self, heads: set[str]) -> bool:
        """Tell whether one row comes in place of several."""
        return len(self._gone) > 1 and len(self._new) == 1

    def merge_branch_idents(self, heads: set[str]) -> tuple[list[str], str, str]:
        """Return the rows that go, and the last of them with what it becomes."""
        return self._gone[:-1], self._gone[-1], self._new[0]

    def should_unmerge_branches(self, heads: set[str]) -> bool:
        """Tell whether several rows come in place of one."""
        return len(self._gone) == 1 and len(self._new) > 1

    def unmerge_branch_idents(self, heads: set[str]) -> tuple[str, str, tuple[str, ...]]:
        """Return a row with what it becomes, and the rows that come besides."""
        return self._gone[0], self._new[-1], tuple(self._new[:-1])

    def update_version_num(self, heads: set[str]) -> tuple[str, str]:
        """Return a row with what it becomes."""
        (gone,), (new,) = self._gone, self._new
        return gone, new


class RowWriter(HeadMaintainer):
    """Keeps the rows of a history table by a statement that is compiled once.

    Alembic's has the revisions in its text, so that each step's is compiled anew.
    """

    @cached_property
    def _update(self) -> Update:
        table = self.context._version
        return (
            table.update()
            .where(table.c.version_num == bindparam("gone"))
            .values(version_num=bindparam("new"))
        )

    def _update_version(self, from_: str, to_: str) -> None:
        if "%(" in self.context.version_table:
            # SQLAlchemy would take a part of the name for a parameter.
            super()._update_version(from_, to_)
            return
        connection = self.context.connection
        assert connection is not None and to_ not in self.heads
        found = connection.execute(self._update, {"gone": from_, "new": to_})
        if self.context.dialect.supports_sane_rowcount and found.rowcount != 1:
            raise CommandError(
                f"Online migration expected to match one row when updating '{from_}' to '{to_}' "
                f"in '{self.context.version_table}'; {found.rowcount} found"
            )
        self.heads.remove(from_)
        self.heads.add(to_)


def run_migrations(context: MigrationContext, **arguments: Any) -> None:
    """Do what ``MigrationContext.run_migrations`` does on a connection, with a :class:`RowWriter`.

    The method makes its ``HeadMaintainer`` itself, and nothing public puts another in its place.
    The history table is made in the first step's transaction here, not in one before.
    """

    def ensure_table() -> None:
        if not heads and not context.opts.get("dont_mutate", False):
            context._ensure_version_table()

    assert context.connection is not None
    context.impl.start_migrations()
    heads = context.get_current_heads()
    rows = RowWriter(context, heads)
    assert context._migrations_fn is not None
    is_first = True
    for step in context._migrations_fn(heads, context):
        with context.begin_transaction(_per_migration=True):
            if is_first:
                ensure_table()
                is_first = False
            log.info("Running %s", step)
            step.migration_fn(**arguments)
            rows.update_to_step(step)
            for callback in context.on_version_apply_callbacks:
                callback(ctx=context, step=step.info, heads=set(rows.heads), run_args=arguments)
    if is_first:
        ensure_table()


def execute_operations_by(
    context: MigrationContext, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Let a context execute the statements of its operations by a function of ours.

    ``DefaultImpl._exec`` is the one way of all operations to the connection. Public is only
    ``execute``, by which ``op.execute`` goes and no other.
    """
    context.impl._exec = wrap(context.impl._exec)  # type: ignore[method-assign]


def without_version_table(context: MigrationContext) -> None:
    """Let a SQL script not create the history table, which is there and has no row.

    ``run_migrations`` creates it whenever a script begins at base; no option keeps it from that.
    """
    context._version.create = lambda bind, checkfirst=False: None  # type: ignore[method-assign]


def steps_of_command(context: MigrationContext) -> list[RevisionStep | StampStep]:
    """Call the function of Alembic's command that runs ``env.py``, and return its steps; none runs.

    Commands that only look do their work in it, and have no steps. Nothing public calls it alone.
    """
    assert context._migrations_fn is not None
    heads: tuple[str, ...] = context.get_current_heads()
    return [*context._migrations_fn(heads, context)]


def destination_of_command() -> str:
    """Return the target of the command that runs ``env.py``, as it was given.

    ``get_revision_argument`` resolves it, which relative targets do not survive.
    """
    environment: EnvironmentContext = alembic.context._proxy  # type: ignore[attr-defined]
    return str(environment.context_opts["destination_rev"])


@contextmanager
def stepped_aside() -> Iterator[None]:
    """Let other environments be entered within ``env.py``, and be itself again afterwards.

    ``alembic.context`` stands for one environment at a time, and leaving it forgets which was
    there before.
    """
    outer: EnvironmentContext = alembic.context._proxy  # type: ignore[attr-defined]
    outer._remove_proxy()
    try:
        yield
    finally:
        outer._install_proxy()


def planned_step(scripts: LoadedScriptDirectory, step: Step) -> RevisionStep:
    """Return a step of a plan as Alembic runs it, with the function of a fresh module.

    :raises ScriptError: if the script cannot be executed
    """
    scripts.reader.fresh(step.revision)
    rows = step.rows_before, step.rows_after
    if min(len(rows[0] - rows[1]), len(rows[1] - rows[0])) > 1 or rows[0] == rows[1]:
        # No single step of Alembic's changes rows like that; let it say what is wrong.
        script = scripts.get_revision(step.revision.id)
        return RevisionStep(scripts.revision_map, script, step.direction == "upgrade")
    return PlannedStep(scripts, step)


def render_type(type_: Any, autogen_context: Any) -> str:
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


def render_server_default(default: Any, autogen_context: AutogenContext) -> str:
    """Return the Python source of a server default.

    Alembic leaves the existing one out of a change of an identity, which cannot run without.
    """
    return str(_render_server_default(default, autogen_context))


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
#: ``autogenerate_plugins`` names it; and those of alembic-postgresql-enum.
REPLACED = re.compile(
    r"alembic\..*\.(check_constraints|checkconstraint_byname)$|alembic_postgresql_enum(\.|$)"
)


@contextmanager
def without_replaced(autogen_context: AutogenContext) -> Iterator[None]:
    """Take the comparisons that the service does itself out of a comparison."""
    registry = getattr(autogen_context, "comparators", OLD_COMPARATORS)._registry
    before = {key: list(entries) for key, entries in registry.items()}
    for entries in registry.values():
        entries[:] = [one for one in entries if not REPLACED.match(module_of(one))]
    try:
        yield
    finally:
        for key, entries in before.items():
            registry[key][:] = entries


def module_of(entry: object) -> str:
    """Return the module of a function in a dispatcher, with its group or alone."""
    return str((entry[0] if isinstance(entry, tuple) else entry).__module__)


class Matcher(Protocol):
    """Tells whether types and server defaults of columns differ."""

    def types_differ(
        self, original: Callable[..., bool], inspected: Column[Any], model: Column[Any]
    ) -> bool:
        """Tell whether a column's type is another one; ``original`` is Alembic's answer."""

    def defaults_differ(self, inspected: Column[Any], model: Column[Any]) -> bool:
        """Tell whether a column's server default is another one."""


@contextmanager
def matched_by(impl: DefaultImpl, matching: Matcher | None) -> Iterator[None]:
    """Let an implementation compare through ``matching``.

    The options ``compare_type`` and ``compare_server_default`` are the user's, and the latter
    fails on computed columns before it is asked.
    """
    if matching is None:
        yield
        return
    original = impl.compare_type

    def compare_type(inspected: Any, model: Any) -> bool:
        return matching.types_differ(original, inspected, model)

    def compare_server_default(inspected: Any, model: Any, *_: Any) -> bool:
        return matching.defaults_differ(inspected, model)

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

    def reflect_table(table: Table, include_columns: Any = None, **arguments: Any) -> None:
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


@contextmanager
def serials_known(impl: DefaultImpl, is_serial: Callable[[Any], bool] | None) -> Iterator[None]:
    """Let PostgreSQL's implementation tell serial columns without a query for each of them.

    ``PostgresqlImpl.autogen_column_reflect`` asks the server about every default that is a
    sequence's next value. There is no option for it.

    :param is_serial: tells of a reflected column whether its sequence is its own; ``None`` leaves
        Alembic to itself
    """
    if is_serial is None:
        yield
        return

    def column_reflect(inspector: Inspector, table: Table, column_info: Any) -> None:
        if (
            column_info.get("default")
            and isinstance(column_info["type"], (SMALLINT, INTEGER, BIGINT))
            and is_serial(column_info)
        ):
            # The sequence is part of the column.
            del column_info["default"]

    impl.autogen_column_reflect = column_reflect  # type: ignore[method-assign]
    try:
        yield
    finally:
        del impl.autogen_column_reflect


class BoundedComparison(RevisionContext):
    """A comparison of given tables, through a given inspector.

    ``RevisionContext._run_environment`` makes its own ``AutogenContext``, which takes all tables
    of the ``MetaData`` and inspects the database afresh: for each of many packages that share
    both, that is the work of all of them.

    :ivar tables: the tables to compare, those that are referred to first; ``None`` for all that
        ``env.py`` gave
    :ivar inspector: reflects the database
    """

    tables: tuple[Table, ...] | None = None
    inspector: Inspector | None = None
    template_args: dict[str, Any]

    #: Looks at both sides before anything is compared; may leave out tables.
    prepare: Callable[[AutogenContext], None] | None = None
    #: Tells serial columns on PostgreSQL, see :func:`serials_known`.
    is_serial: Callable[[Any], bool] | None = None
    #: Tells types and server defaults apart in place of Alembic.
    matching: Matcher | None = None
    #: Adds the imports that a script's two functions need besides those that were noted.
    complete_imports: Callable[[str, set[str]], None] | None = None

    @property
    def autogen_context(self) -> AutogenContext:
        """The context of the comparison that was made, in which a script is rendered."""
        return self._last_autogen_context

    def _run_environment(
        self, rev: Any, migration_context: MigrationContext, autogenerate: bool
    ) -> None:
        (script,) = self.generated_revisions
        options = migration_context.opts
        script.upgrade_ops_list[-1].upgrade_token = options["upgrade_token"]
        script.downgrade_ops_list[-1].downgrade_token = options["downgrade_token"]
        context = AutogenContext(migration_context, autogenerate=autogenerate)
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
            impl = migration_context.impl
            with (
                without_replaced(context),
                matched_by(impl, self.matching),
                serials_known(impl, self.is_serial),
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

    def _to_script(self, migration_script: Any) -> Script | None:
        """Write a script as Alembic does, with its imports completed and ``%`` as it was.

        Alembic renders SQL in the driver's form, where ``%`` is doubled; what a script says is
        compiled again when it runs.
        """
        arguments: dict[str, Any] = dict(self.template_args)
        if getattr(migration_script, "_needs_render", False):
            context = self.autogen_context
            context.imports = set(migration_script.imports)
            with written_plainly(context.migration_context.impl):
                _render_python_into_templatevars(context, migration_script, arguments)
                if self.complete_imports is not None:
                    names = (
                        migration_script.upgrade_ops_list[-1].upgrade_token,
                        migration_script.downgrade_ops_list[-1].downgrade_token,
                    )
                    body = "".join(
                        f"def {name}():\n    {arguments[name]}\n" for name in names if name
                    )
                    self.complete_imports(body, context.imports)
            arguments["imports"] = "\n".join(sorted(context.imports))
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


@contextmanager
def written_plainly(impl: DefaultImpl) -> Iterator[None]:
    """Let an implementation render SQL as text that means the same when it is read again.

    Without the doubling of ``%`` that its driver asks for, and with no ``:name`` that SQLAlchemy
    would read as a parameter. Expressions of an index become ``literal_column``, which reads none.
    """
    original = impl.render_ddl_sql_expr
    doubled = impl.dialect.paramstyle in ("format", "pyformat")

    def render(expr: Any, *args: Any, **kw: Any) -> str:
        rendered = original(expr, *args, **kw)
        rendered = rendered.replace("%%", "%") if doubled else rendered
        return rendered if kw.get("is_index") else escaped(rendered)

    impl.render_ddl_sql_expr = render  # type: ignore[method-assign]
    try:
        yield
    finally:
        del impl.render_ddl_sql_expr
