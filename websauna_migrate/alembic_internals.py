"""Every private name of Alembic that this package touches, and nothing else.

Each use says why the public API does not do; ``tests/test_alembic_internals.py`` fails loudly when
an upstream release changes one of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import alembic.context  # noqa: F401 - it is what fills EnvironmentContext's setups
from alembic.autogenerate import RevisionContext
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.compare import _populate_migration_script
from alembic.autogenerate.render import (
    _alembic_autogenerate_prefix,
    _render_column,
    _render_python_into_templatevars,
    _render_server_default,
    _repr_type,
)
from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script.base import Script, ScriptDirectory
from sqlalchemy import Column, Table
from sqlalchemy.engine.reflection import Inspector

__all__ = [
    "BoundedComparison",
    "LoadedScriptDirectory",
    "ProxiedEnvironment",
    "in_batch",
    "render_column",
    "render_server_default",
    "render_type",
]


class ProxiedEnvironment(EnvironmentContext):
    """Base of an environment context that ``alembic.context`` stands for while it is entered.

    The module forwards to instances of ``EnvironmentContext`` itself, not to those of a subclass:
    ``ModuleClsProxy._setups`` has the modules by class, and nothing public adds one.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._setups[cls] = cls._setups[EnvironmentContext]


class LoadedScriptDirectory(ScriptDirectory):
    """A script directory whose files are read once, by a reader that names what is wrong.

    ``ScriptDirectory._load_revisions`` is the one place where revision files are read; public
    methods read the same files again and report a broken one without naming it.
    """

    on_error: Callable[[Path, BaseException], None] | None = None
    _loaded: list[Script] | None = None

    @classmethod
    def load(
        cls, config: Config, on_error: Callable[[Path, BaseException], None] | None = None
    ) -> LoadedScriptDirectory:
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
        scripts.on_error = on_error
        return scripts

    def load_scripts(self) -> list[Script]:
        """Return the scripts of all version locations, in file order.

        What ``on_error`` raises for a file that cannot be read comes through.
        """
        if self._loaded is None:
            scripts = []
            for path in self.list_files():
                try:
                    script = Script._from_path(self, path)
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as exc:
                    if self.on_error is not None:
                        self.on_error(path, exc)
                    raise
                if script is not None:
                    scripts.append(script)
            self._loaded = scripts
        return self._loaded

    def list_files(self) -> list[Path]:
        """Return the files that may be revision scripts, each real file once."""
        found: dict[Path, None] = {}
        for location in self._version_locations:
            if location.exists():
                for path in Script._list_py_dir(self, location):
                    found.setdefault(path.resolve())
        return list(found)

    def _load_revisions(self) -> Iterator[Script]:
        return iter(self.load_scripts())


def render_type(type_: Any, autogen_context: Any) -> str:
    """Return the Python source of a column type and note the imports that it needs.

    Public hooks replace the rendering of a type, but none gives the default rendering of another
    type, which a hook needs that renders a decorated type as what it stores.
    """
    return _repr_type(type_, autogen_context)


def render_column(column: Column[Any], autogen_context: AutogenContext) -> str:
    """Return the Python source of a column; an operation of our own has one as well."""
    return _render_column(column, autogen_context)


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

    impl.compare_type = compare_type  # type: ignore[method-assign]
    impl.compare_server_default = compare_server_default  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            # Both are compared in another way.
            warnings.filterwarnings("ignore", "Computed default on .* cannot be modified")
            warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression")
            yield
    finally:
        del impl.compare_type  # type: ignore[method-assign]
        del impl.compare_server_default  # type: ignore[method-assign]


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
        if self.tables is not None:
            # Memoized on the first use, so that a value set before takes its place.
            context.__dict__["sorted_tables"] = list(self.tables)
            context.__dict__["table_key_to_table"] = {table.key: table for table in self.tables}
        if self.inspector is not None:
            context.__dict__["inspector"] = self.inspector
        self._last_autogen_context = context
        if autogenerate:
            with matched_by(migration_context.impl, self.matching):
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
            with single_percent(context.migration_context.impl):
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
def single_percent(impl: DefaultImpl) -> Iterator[None]:
    """Let an implementation render SQL without the doubling of ``%`` that its driver asks for."""
    original = impl.render_ddl_sql_expr

    def render(expr: Any, *args: Any, **kw: Any) -> str:
        rendered = original(expr, *args, **kw)
        doubled = impl.dialect.paramstyle in ("format", "pyformat")
        return rendered.replace("%%", "%") if doubled else rendered

    impl.render_ddl_sql_expr = render  # type: ignore[method-assign]
    try:
        yield
    finally:
        del impl.render_ddl_sql_expr  # type: ignore[method-assign]
