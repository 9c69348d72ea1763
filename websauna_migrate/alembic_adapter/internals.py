"""Every private name of Alembic that runs and histories touch, and nothing else.

Each use says why the public API does not do; ``tests/test_alembic_internals.py`` fails loudly when
an upstream release changes one of them. Those of comparisons are in :mod:`.autogenerate_internals`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import alembic
import alembic.context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationContext, RevisionStep, StampStep, log
from alembic.script.base import Script, ScriptDirectory
from alembic.script.revision import Revision, RevisionMap
from alembic.util import memoized_property
from alembic.util.exc import CommandError
from sqlalchemy import Update, bindparam

from websauna_migrate.planning.revisions import Revision as KnownRevision
from websauna_migrate.planning.steps import Step
from websauna_migrate.revision_scripts.revision_reader import ScriptReader

#: Alembic's version, as far as it is numbers.
ALEMBIC = tuple(map(int, re.findall(r"\d+", alembic.__version__)[:3]))


class ProxiedEnvironment(EnvironmentContext):
    """Base of an environment context that ``alembic.context`` stands for while it is entered.

    The module forwards to instances of ``EnvironmentContext`` itself, not to those of a subclass:
    ``ModuleClsProxy._setups`` has the modules by class, and nothing public adds one.

    :ivar failure: the first error of :meth:`configure` or :meth:`run_migrations`
    """

    failure: BaseException | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._setups[cls] = cls._setups[EnvironmentContext]
        for name in {"configure", "run_migrations"} & vars(cls).keys():
            setattr(cls, name, noting_failure(vars(cls)[name]))

    @contextmanager
    def failure_raised(self) -> Iterator[None]:
        """Raise the kept error, whatever ``env.py`` has made of it."""
        try:
            yield
        finally:
            if self.failure is not None:
                raise self.failure


def noting_failure(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method of an environment that keeps its error: ``env.py`` may catch it and go on."""

    def call(self: ProxiedEnvironment, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except BaseException as exc:
            self.failure = self.failure or exc
            raise

    return call


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
    def _revision_map(self) -> dict[str | tuple[()] | None, Revision | None]:
        history = self._reader.history
        found: dict[Any, Revision] = {script.revision: script for script in self._generator()}
        aside = {id_: found.pop(id_) for id_ in [*found] if id_ not in history}
        for id_, script in found.items():
            position = history.position(id_)
            script.nextrev = frozenset(history.children(id_))
            script._all_nextrev = frozenset(history.ids[p] for p in history.all_up[position])
            script.branch_labels = set(history.labels_of(id_))
            if others := history.others.get(id_):
                # Alembic would look for those in this package.
                named = history.revisions[id_].depends_on
                script.dependencies = tuple(one for one in named if one not in others) or None
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
        # A database that has a part of a squash goes on by the old scripts, which no map leads to.
        for script in aside.values():
            script.nextrev = script._all_nextrev = frozenset()
            script._resolved_dependencies = script._normalized_resolved_dependencies = ()
        return {**aside, **found, None: None, (): None}


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
    """A step of which the plan knows the rows of the history table that go, and those that come.

    ``RevisionStep`` finds them out by walking through all ancestors of the rows, at each step.
    """

    def __init__(self, scripts: LoadedScriptDirectory, step: Step) -> None:
        super().__init__(
            scripts.revision_map,
            scripts.get_revision(step.revision.id),
            step.direction == "upgrade",
        )
        self.gone = sorted(step.rows_before - step.rows_after)
        self.new = sorted(step.rows_after - step.rows_before)


class RowWriter(HeadMaintainer):
    """Keeps the rows of a history table as the plan says, by an UPDATE that is compiled once.

    Alembic's has the revisions in its text, so that each step's is compiled anew.
    """

    def update_to_step(self, step: RevisionStep | StampStep) -> None:
        """Let rows go and come; where there are both, one becomes another."""
        assert isinstance(step, PlannedStep)
        changed = bool(step.gone and step.new)
        for gone in step.gone[:-1] if changed else step.gone:
            self._delete_version(gone)
        if changed:
            self._update_version(step.gone[-1], step.new[-1])
        for new in step.new[:-1] if changed else step.new:
            self._insert_version(new)

    @cached_property
    def _update(self) -> Update:
        table = self.context._version
        return (
            table.update()
            .where(table.c.version_num == bindparam("gone"))
            .values(version_num=bindparam("new"))
        )

    def _update_version(self, from_: str, to_: str) -> None:
        if self.context.as_sql or "%(" in self.context.version_table:
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
    """Do what ``MigrationContext.run_migrations`` does, with a :class:`RowWriter`.

    The method makes its ``HeadMaintainer`` itself, and nothing public puts another in its place.
    The history table is made in the first step's transaction here, not in one before; in a SQL
    script, too, the option ``dont_mutate`` says that it is there.
    """

    def ensure_table() -> None:
        if not heads and not context.opts.get("dont_mutate", False):
            context._ensure_version_table()

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
            if context.as_sql:
                context.impl.static_output(f"-- Running {step.short_log}")
            step.migration_fn(**arguments)
            rows.update_to_step(step)
            for callback in context.on_version_apply_callbacks:
                callback(ctx=context, step=step.info, heads=set(rows.heads), run_args=arguments)
    if is_first and not context.as_sql:
        ensure_table()


def execute_operations_by(
    context: MigrationContext, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Let a context execute the statements of its operations by a function of ours.

    ``DefaultImpl._exec`` is the one way of all operations to the connection. Public is only
    ``execute``, by which ``op.execute`` goes and no other.
    """
    context.impl._exec = wrap(context.impl._exec)  # type: ignore[method-assign]


def steps_of_command(context: MigrationContext) -> list[RevisionStep | StampStep]:
    """Call the function of Alembic's command that runs ``env.py``, and return its steps; none runs.

    Commands that only look do their work in it, and have no steps. Nothing public calls it alone.
    """
    assert context._migrations_fn is not None
    heads: tuple[str, ...] = () if context.purge else context.get_current_heads()
    return [*context._migrations_fn(heads, context)]


def destination_of_command() -> str:
    """Return the target of the command that runs ``env.py``, as it was given.

    ``get_revision_argument`` resolves it, which relative targets do not survive.
    """
    environment: EnvironmentContext = alembic.context._proxy  # type: ignore[attr-defined]
    given = environment.context_opts["destination_rev"]
    return given if isinstance(given, str) else " ".join(given)


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


def planned_step(scripts: LoadedScriptDirectory, step: Step) -> PlannedStep:
    """Return a step of a plan as Alembic runs it, with the function of a fresh module.

    :raises ScriptError: if the script cannot be executed
    """
    scripts.reader.fresh(step.revision)
    return PlannedStep(scripts, step)
