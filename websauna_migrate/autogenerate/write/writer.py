"""Writing the new revisions of some packages: all of them, or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from alembic.operations import ops
from alembic.runtime.environment import ProcessRevisionDirectiveFn
from alembic.runtime.migration import MigrationContext
from alembic.script.revision import MultipleHeads
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.autogenerate_internals import BoundedComparison
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.compare.leaning import (
    ForeignKey,
    given_up_keys,
    keys_that_come,
    keys_to_dropped,
    require_released,
    retyped_keys,
)
from websauna_migrate.autogenerate.compare.renaming import applicable
from websauna_migrate.autogenerate.comparison import (
    Comparison,
    command_arguments,
    compare_options,
    foreign_code_named,
)
from websauna_migrate.autogenerate.fact_comparison import FactComparison
from websauna_migrate.autogenerate.operations.ordering import target_of
from websauna_migrate.autogenerate.operations.rendering import (
    require_renderable,
    spell_for_databases,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import (
    NO_RENAMES,
    RenameCandidate,
    Renames,
    TableRename,
    bad_rename,
)
from websauna_migrate.autogenerate.revision_errors import (
    RevisionFailed,
    revisions_in_circle,
)
from websauna_migrate.autogenerate.write.advice import warned
from websauna_migrate.autogenerate.write.drops import require_meant
from websauna_migrate.autogenerate.write.infer_requires import (
    Columns,
    InferredRequires,
    dropped_by,
    gone_columns,
    release_warnings,
    releases,
    run_before,
)
from websauna_migrate.autogenerate.write.keys_apart import script_of_keys, take_out
from websauna_migrate.autogenerate.write.package_order import in_order, needs_of
from websauna_migrate.autogenerate.write.revision_files import (
    complete_imports,
    created,
    ensure_line,
    require_names,
)
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.settings import Settings
from websauna_migrate.config.template import (
    create_script_directory,
    ensure_template,
    require_editable,
)
from websauna_migrate.database.engines import driver_words, one_line
from websauna_migrate.facts.model_ddl import ModelsNotCreated
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.edges import RevisionCycle
from websauna_migrate.planning.history_errors import JOIN_HEADS
from websauna_migrate.planning.state import State
from websauna_migrate.results import CreatedScript
from websauna_migrate.revision_scripts.script_reader import read_effects


@dataclass(eq=False, kw_only=True)
class ScriptWriter:
    """Writes the new revisions of some packages, all of them or none.

    :ivar packages: by their names
    :ivar take_snapshot: reads the scripts; called again after each new one, so that the next
        package's script can require it
    :ivar requires: requirements besides those that are inferred
    :ivar arguments: those of Alembic's ``revision`` command
    :ivar renames: what the database has under another name than the models
    :ivar ask: tells whether a drop beside an addition is a rename; ``None`` where the author cannot
        be asked, and then the script warns, as where it answers ``None``. An answer holds where
        scripts are written once more
    """

    packages: Mapping[str, MigrationPackage]
    ownership: Ownership
    settings: Settings
    take_snapshot: Callable[[], LoadedScripts]
    requires: Sequence[str]
    arguments: Mapping[str, Any]
    renames: Renames = NO_RENAMES
    ask: Callable[..., bool | None] | None = None
    allow_drops: bool = False

    def __post_init__(self) -> None:
        self.ask = cache(self.ask) if self.ask else None
        self.renamed: set[str] = set()
        self._owned: PackageObjects | None = None
        #: The database that the packages are compared with, and the rows of their histories.
        self.reflection: Reflection
        self.default_schema: str | None = None
        self.applied: Mapping[str, tuple[str, ...]] = {}
        #: The tables that foreign keys point at, and whose key changes its type, or goes.
        self.retyped: frozenset[Key] = frozenset()
        #: The tables that get a key which foreign keys may refer to.
        self.with_new_keys: frozenset[Key] = frozenset()
        #: The packages whose foreign keys to each other go before, and come behind, all else.
        self.apart: frozenset[str] = frozenset()
        self.begin()

    def begin(self) -> None:
        """Have nothing written yet."""
        #: What they drop.
        self.dropped: list[tuple[CreatedScript, Columns]] = []
        self.made_directories: list[Path] = []
        self._snapshot: LoadedScripts | None = None
        self.written: list[CreatedScript] = []
        #: The packages that were compared already.
        self.compared: set[str] = set()
        #: What their new scripts rename.
        self.made_renames = NO_RENAMES
        #: Foreign keys that wait for other packages' tables: package, comparison, revision, keys.
        self.keys_left: list[tuple[str, Comparison, str, list[TableChanges]]] = []

    def write(
        self,
        connection: Connection | None,
        applied: Mapping[str, tuple[str, ...]],
    ) -> tuple[CreatedScript, ...]:
        """Write the scripts.

        :param connection: the database to compare with; ``None`` for empty scripts
        :param applied: the rows of each package's history table
        """
        try:
            if connection is None:
                for name in self.packages:
                    self.require_place(name)
                for name in sorted(self.packages):
                    self.make_directory(name)
                    self.written += self.write_empty(name)
            else:
                self.compare_and_write(connection, applied)
        except BaseException:
            self.undo()
            raise
        wanted = {self.packages[one.package].script_directory for one in self.written}
        for directory in self.made_directories:
            # A directory that was made for a script that turned out empty is not wanted.
            if directory not in wanted:
                shutil.rmtree(directory)
        return tuple(self.written)

    def compare_and_write(
        self, connection: Connection, applied: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Write the script of each package that has changes; the database is read once."""
        self.default_schema = connection.dialect.default_schema_name
        self.applied = applied
        self.ownership.require_targets(self.packages)
        keys = [self.owned_by(name).keys for name in self.packages]
        facts = FactComparison(connection, self.settings, self.ownership)
        self.reflection = Reflection(connection, frozenset().union(*keys), facts)
        while True:
            try:
                self.write_all()
                break
            except RevisionCycle as exc:
                packages = {script.package for script in self.written}
                if not packages:
                    raise
                waiting = {one.package for one in exc.revisions} & packages
                if waiting <= self.apart:
                    raise revisions_in_circle(sorted(packages)) from exc
                self.undo()
                self.begin()
                self.apart |= waiting
        connection.rollback()
        for rename in self.renames.everything:
            if rename.option not in self.renamed:
                raise bad_rename(
                    rename.option,
                    "no model of the packages that get a revision has the new name.",
                )

    def write_all(self) -> None:
        """Write the scripts of all packages.

        :raises RevisionCycle: if they wait for each other
        """
        ordered = self.ordered()
        self.owned_before = self.owned_by(ordered[0])
        for name in ordered:
            if name in self.apart:
                self.written += self.write_one(name, opening=True)
        for name in ordered:
            self.make_directory(name)
            self.written += self.write_one(name)
            self.compared.add(name)
        for script in self.write_keys():
            self.written.append(script)
        # Requirements that form a circle are found before the scripts are used.
        _ = self.snapshot.graph

    @property
    def snapshot(self) -> LoadedScripts:
        """The scripts as they are now; they are read again after each change."""
        if self._snapshot is None:
            self._snapshot = self.take_snapshot()
        return self._snapshot

    def owned_by(self, name: str) -> PackageObjects:
        """Return what belongs to a package, by the scripts as they are now."""
        if self._owned is None:
            self._owned = PackageObjects(name, self.ownership, self.snapshot, self.default_schema)
        elif self._owned.snapshot is not self.snapshot:
            self._owned = self._owned.over(self.snapshot)
        return self._owned.beside(name)

    def make_directory(self, name: str) -> None:
        """Make a package's script directory unless it is there."""
        if create_script_directory(self.packages[name]):
            self._snapshot = None
            self.made_directories.append(self.packages[name].script_directory)

    def require_place(self, name: str) -> None:
        """Require that a script of a package can be written, and give it the template."""
        folder = self.arguments.get("version_path")
        require_editable(self.packages[name], Path(folder) if folder else None)
        ensure_template(self.packages[name])

    def undo(self) -> None:
        """Remove what was written so far."""
        for script in self.written:
            Path(script.path).unlink(missing_ok=True)
        for directory in self.made_directories:
            shutil.rmtree(directory, ignore_errors=True)

    def ordered(self) -> list[str]:
        """Return the packages so that one whose tables or types are used comes before the users.

        Where the type of a key changes, or a key goes, those whose foreign keys point at it come
        first: they drop these, and add them in a second revision.
        """
        owned, reflection = self.owned_by(min(self.packages)), self.reflection
        with reported(min(self.packages)):
            found = reflection.facts.under(self.renames)
        self.with_new_keys = frozenset(one[:2] for one in keys_that_come(found))
        tables, types = needs_of(self.ownership, self.packages)
        new, _ = needs_of(self.ownership, self.packages, self.is_new)
        reflection.given_up = given_up_keys(found, owned, reflection, self.packages)
        self.retyped = frozenset((schema, name) for schema, name, _ in reflection.given_up)
        if reflection.connection.dialect.name != "sqlite":
            # There keys say nothing of types.
            known = [table for name in self.packages for table in self.ownership.tables_of(name)]
            self.retyped |= retyped_keys(known, found, owned)
        freed, _ = needs_of(self.ownership, self.packages, self.is_retyped)
        needs = {name: owners - freed[name] for name, owners in tables.items()}
        for name, owners in freed.items():
            for owner in owners:
                needs[owner] = needs[owner] | {name}
        return in_order(needs, types, new)

    def is_retyped(self, key: Key) -> bool:
        """Tell whether a key that foreign keys point at changes its type in a table, or goes."""
        default = self._owned.normal(key[0]) if self._owned is not None else key[0]
        return (default, key[1]) in self.retyped

    def is_new(self, key: Key) -> bool:
        """Tell whether a table is not there yet, and no script makes it; or a key of it is new."""
        owned = self.owned_by(min(self.packages))
        if (owned.normal(key[0]), key[1]) in self.with_new_keys:
            return True
        made = any(self.snapshot.created.table_origin(*form) for form in owned.forms(*key))
        return not made and not self.reflection.has_table(*key)

    def is_later(self, package: str) -> Callable[[Key], bool]:
        """Return what tells whether a table is made by a script that this command writes later."""
        left = set(self.packages) - self.compared - {package}
        owner_of = self.owned_by(package).owner_of
        is_apart = self.is_apart(package)
        return lambda key: (
            is_apart(key) or (owner_of(*key) in left and (self.is_retyped(key) or self.is_new(key)))
        )

    def is_apart(self, package: str) -> Callable[[Key], bool]:
        """Return what tells whether a package's keys to a table go before all, and come last."""
        others = self.apart - {package} if package in self.apart else frozenset()
        # A script of this command may have dropped the table since.
        owner_of = self.owned_before.owner_of
        return lambda key: owner_of(*key) in others

    def write_keys(self) -> Iterator[CreatedScript]:
        """Write the second revisions of packages whose new tables refer to each other."""
        for name, comparison, first, changes in self.keys_left:
            snapshot, context = self.snapshot, comparison.context
            owned = self.owned_by(name)
            script = script_of_keys(context.generated_revisions[-1], first, changes)
            context.generated_revisions[:] = [script]
            environment = snapshot.environments[name]
            context.script_directory = environment.scripts
            requires = [
                *InferredRequires(owned, self.reflection).requires([script]),
                *self.changed(owned, changes),
            ]
            self.say(name, context, sorted(set(requires)))
            yield from self.keep(name, context, owned)

    def changed(self, owned: PackageObjects, changes: Sequence[TableChanges]) -> Iterator[str]:
        """Yield the new revisions that change what foreign keys point at."""
        newest = {one.package: one.revision for one in self.written}
        for key in {key for one in changes for op in one.ops for key in target_of(op)}:
            owner = owned.owner_of(*key)
            known = self.is_retyped(key) or {owner, owned.package} <= self.apart
            if known and owner in newest and owner != owned.package:
                yield f"{owner}@{newest[owner]}"

    def write_empty(self, name: str) -> list[CreatedScript]:
        """Write one package's script without any operation."""
        snapshot = self.snapshot
        self.require_new_identifier(snapshot, name)
        environment = snapshot.environments[name]
        context = BoundedComparison(
            environment.config,
            environment.scripts,
            command_arguments(**{**self.arguments, "autogenerate": False}),
        )
        self.say(name, context, self.requires, known=False)
        return self.keep(name, context)

    def say(
        self,
        name: str,
        context: BoundedComparison,
        requires: Iterable[str],
        run_before: Iterable[str] = (),
        *,
        known: bool = True,
    ) -> None:
        """Let a package's new script say what it requires, and what it was written against.

        :param known: the requirements were found, and the author did not name them
        """
        needed, others = tuple(dict.fromkeys(requires)), tuple(run_before)
        context.template_args.update(
            requires=needed,
            run_before=others,
            written_against=self.snapshot.graph.written_against(
                name, [*needed, *others], known=known
            ),
        )

    def write_one(self, name: str, *, opening: bool = False) -> list[CreatedScript]:
        """Write one package's script, or none if nothing changed.

        :param opening: write only what drops foreign keys that go apart
        """
        snapshot, reflection, rows = self.snapshot, self.reflection, self.applied.get(name, ())
        self.require_new_identifier(snapshot, name)
        require_up_to_date(snapshot, name, rows, {one.revision for one in self.written})
        owned = self.owned_by(name)
        options = compare_options(
            owned,
            keep_types=self.settings.render_types == "keep",
            databases=self.settings.databases_of(name),
        )
        renames = applicable(self.renames, owned, reflection)
        self.renamed |= {one.option for one in renames.everything}
        rejected: list[RenameCandidate] = []
        while True:
            comparison = Comparison(
                snapshot.environments[name],
                owned,
                reflection,
                options,
                renames=renames,
                others_renames=self.made_renames,
                arguments=self.arguments,
            )
            keys: list[TableChanges] = []
            with reported(name):
                comparison.run(rows, self.finisher(comparison, keys, opening))
            candidates = [one for one in comparison.rename_candidates() if one not in rejected]
            accepted = self.answered(candidates, rejected)
            if accepted is None:
                break
            renames = applicable(renames.also(accepted), owned, reflection)
            comparison.restore_models()
        if not opening:
            self.made_renames = self.made_renames.beside(renames)
        operations = comparison.operations
        unanswered = [one for one in candidates if one not in rejected]
        hints = [one.warning(name) for one in unanswered]
        warnings = warned(comparison, hints, reflection.connection.dialect)
        if not self.allow_drops and not opening:
            moved = [one for one in unanswered if isinstance(one, TableRename)]
            require_meant(owned, reflection, operations, self.ask, self.packages, moved)
        others = [] if opening else keys_to_dropped(owned, reflection, operations, self.packages)
        try:
            found = self.keep(name, comparison.context, owned, warnings, operations, others)
        finally:
            comparison.restore_models()
        for script in found:
            self.dropped += [(script, one) for one in dropped_by(operations)]
        if keys:
            self.keys_left.append((name, comparison, found[-1].revision, keys))
        return found

    def require_new_identifier(self, snapshot: LoadedScripts, name: str) -> None:
        """Refuse an identifier that a revision of the package has already."""
        wanted = self.arguments.get("rev_id")
        if wanted and wanted in snapshot.histories[name]:
            path = snapshot.histories[name].revisions[wanted].path
            raise RevisionFailed(name, f'revision "{wanted}" is there already ("{path}")')

    def answered(
        self, candidates: Sequence[RenameCandidate], rejected: list[RenameCandidate]
    ) -> RenameCandidate | None:
        """Ask about renames, and return the first that is one."""
        if self.ask is None:
            return None
        for one in candidates:
            answer = self.ask(one)
            if answer:
                return one
            if answer is not None:
                rejected.append(one)
        return None

    def finisher(
        self, comparison: Comparison, keys: list[TableChanges], opening: bool
    ) -> ProcessRevisionDirectiveFn:
        """Return what is done with the operations after the package's own hooks.

        :param keys: gets the foreign keys that a second revision has to add
        :param opening: leave only the drops of foreign keys that go apart
        """
        owned, context = comparison.owned, comparison.context
        is_later = self.is_later(owned.package)
        is_apart = self.is_apart(owned.package)
        inference = InferredRequires(owned, comparison.reflection, is_later, set(self.packages))

        def finish(
            migration_context: MigrationContext,
            revision: object,
            directives: list[ops.MigrationScript],
        ) -> None:
            drops = take_out(directives, ops.DropConstraintOp, is_apart)
            if opening:
                words = "foreign keys that go"
                directives[:] = [
                    script_of_keys(one, one.head, drops, words) for one in directives[:1] if drops
                ]
            else:
                keys.extend(take_out(directives, ops.CreateForeignKeyOp, is_later))
            drop_empty_scripts(directives)
            operations = comparison.operations
            requires = [*self.requires, *inference.requires(directives)]
            before = run_before(owned.package, operations, self.dropped)
            self.say(owned.package, context, requires, before)
            renames = comparison.renaming.renames
            spell_for_databases(context.autogen_context, owned, directives, renames)
            require_renderable(owned, context.autogen_context, directives)

        return finish

    def keep(
        self,
        name: str,
        context: BoundedComparison,
        owned: PackageObjects | None = None,
        warnings: Sequence[str] = (),
        operations: Sequence[ops.MigrateOperation] = (),
        others: Sequence[ForeignKey] = (),
    ) -> list[CreatedScript]:
        """Write the files, and remove them again if one cannot run.

        :param others: other packages' foreign keys, which revisions of theirs have to drop before
        """
        scripts = self.snapshot.environments[name].scripts
        before = set(scripts.list_files())
        released: list[str] = []

        def complete(body: str, imports: set[str]) -> Mapping[str, Any]:
            self.require_place(name)
            complete_imports(scripts, body, imports)
            released[:] = self.require_releases(name, context, body, operations)
            require_released(name, others, context.template_args["requires"])
            return {
                one: context.template_args.get(one, ()) for one in ("requires", "written_against")
            }

        context.complete = complete
        try:
            with reported(name), foreign_code_named(name):
                found = [script for script in context.generate_scripts() if script is not None]
            for script in found:
                ensure_line(script, "requires", context.template_args["requires"])
                ensure_line(script, "run_before", context.template_args.get("run_before", ()))
                ensure_line(script, "written_against", context.template_args["written_against"])
                require_names(name, Path(script.path), owned)
        except BaseException:
            for path in set(scripts.list_files()) - before:
                path.unlink(missing_ok=True)
            raise
        if found:
            self._snapshot = None
        return [
            created(name, script, [*warnings, *release_warnings(name, script.revision, released)])
            for script in found
        ]

    def require_releases(
        self,
        name: str,
        context: BoundedComparison,
        body: str,
        operations: Sequence[ops.MigrateOperation],
    ) -> list[str]:
        """Require the revisions in which other packages let go of what a new script drops.

        :param body: the script's functions
        :returns: those revisions
        """
        token = str(context.generated_revisions[-1].upgrade_ops_list[-1].upgrade_token)
        accesses = read_effects(
            f"from alembic import op\nimport sqlalchemy as sa\n{body}", name, token
        )
        going = gone_columns(accesses, operations)
        arguments = context.template_args
        released = releases(self.snapshot, name, going)
        if released:
            self.say(
                name, context, [*arguments["requires"], *released], arguments.get("run_before", ())
            )
        return released


@contextmanager
def reported(package: str) -> Iterator[None]:
    """Turn what Alembic says about a revision into an error that names the package."""
    try:
        yield
    except ModelsNotCreated as exc:
        raise RevisionFailed(
            exc.package or package,
            exc.problem if exc.kind == "type" else f"{exc.place}: {exc.problem}",
            kind="cannot-render",
            place=exc.place,
        ) from exc
    except CommandError as exc:
        words = str(exc)
        if isinstance(exc.__cause__, MultipleHeads):
            words += f" {JOIN_HEADS.format(package=package)}"
        raise RevisionFailed(package, words) from exc
    except DBAPIError as exc:
        raise RevisionFailed(
            package,
            "the database refused what the comparison asked: "
            f"{one_line(driver_words(exc.orig))} A view needs the tables that it is on: they "
            "get a revision first, which is applied, then the view gets its own",
        ) from exc
    except SyntaxError as exc:
        raise RevisionFailed(
            package,
            f"the script is not valid Python, in line {exc.lineno}: {exc.msg}: "
            f"{str(exc.text).strip()} The models have a value there that is no Python source",
        ) from exc


def require_up_to_date(
    snapshot: LoadedScripts, name: str, rows: tuple[str, ...], written: Collection[str]
) -> None:
    """Refuse to compare a package while revisions of it are not applied.

    :param written: the revisions that this command wrote
    :raises RevisionFailed: naming the next one
    """
    state = State(snapshot.graph, {name: rows})
    waiting = [one.id for one in state.pending()[name] if one.id not in written]
    if waiting:
        raise RevisionFailed(
            name,
            f'The database is not up to date for package "{name}": '
            f"{counted(len(waiting), 'revision is', 'revisions are')} not applied, the next one is "
            f'"{waiting[0]}". Nothing was written. Run first: ws-alembic -x packages={name} '
            "upgrade",
            kind="pending",
        )


def drop_empty_scripts(directives: list[ops.MigrationScript]) -> None:
    """Remove scripts without an operation, after the package's own hook had its say."""
    directives[:] = [
        script
        for script in directives
        if not isinstance(script, ops.MigrationScript)
        or not all(container.is_empty() for container in script.upgrade_ops_list)
    ]
