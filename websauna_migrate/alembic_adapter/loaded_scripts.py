"""The scripts of all packages, read once: what one call of the service works with."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from websauna_migrate.alembic_adapter.package_environment import AlembicOptions, PackageEnvironment
from websauna_migrate.config.packages import MigrationPackage, ScriptDirectoryError
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.cache import Cache
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.history_errors import HistoryError
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.revision_scripts.git_history import where_it_is
from websauna_migrate.revision_scripts.script_files import is_settled

if TYPE_CHECKING:
    from websauna_migrate.planning.accesses import Access
    from websauna_migrate.planning.revisions import Revision
    from websauna_migrate.revision_scripts.table_origins import CreatedObjects

#: What :meth:`LoadedScripts.take_over` takes.
READ = ("histories", "graph", "effects", "_upgrades", "created")


class LoadedScripts:
    """The packages' environments and their scripts' graph; nothing is read before it is needed."""

    def __init__(
        self,
        packages: Iterable[MigrationPackage],
        settings: Settings,
        options: AlembicOptions,
        *,
        may_be_missing: Iterable[str] = (),
        use_index: bool = True,
    ) -> None:
        """Make an environment for each package.

        :param use_index: read scripts from their text, and remember it; else import them all
        :param may_be_missing: packages whose script directory is about to be made
        """
        self.packages: Mapping[str, MigrationPackage] = {p.name: p for p in packages}
        self.settings = settings
        self.options = options
        self.use_index = use_index
        self.may_be_missing = frozenset(may_be_missing)
        self._began = time.time_ns()
        cache = Cache.of(settings.cache) if use_index else None
        #: Where what was read is kept; it has no folder where nothing is to be kept.
        self.cache = cache or Cache(None)
        self.environments: Mapping[str, PackageEnvironment] = {
            name: PackageEnvironment(
                package,
                url=settings.url,
                home=settings.home,
                engine_options=settings.engine_options,
                schema=settings.version_table_schema,
                options=options,
                cache=cache,
            )
            for name, package in self.packages.items()
        }

    def again(self) -> LoadedScripts:
        """Return the same scripts with environments of their own, to be read anew."""
        return LoadedScripts(
            self.packages.values(), self.settings, self.options, use_index=self.use_index
        )

    def take_over(self, earlier: LoadedScripts) -> None:
        """Take what was read of the same scripts earlier in this process, if no file has changed.

        Only what is plain data, and was read from texts: environments and modules are one's own.
        """
        read = {name: vars(earlier)[name] for name in READ if name in vars(earlier)}
        same = self.packages == earlier.packages and self.options is earlier.options
        if "histories" not in read or not same or not earlier._can_be_kept:
            return
        if all(self._is_unchanged(name, before) for name, before in earlier.environments.items()):
            vars(self).update(read, _can_be_kept=True)

    @cached_property
    def _can_be_kept(self) -> bool:
        """True if all scripts were read from texts that cannot change without being seen."""
        readers = [one.reader for one in self.environments.values() if one.exists]
        return all(
            one.is_from_text and all(is_settled(stamp, self._began) for stamp in one.files.values())
            for one in readers
        )

    def _is_unchanged(self, package: str, before: PackageEnvironment) -> bool:
        """True if the files of a package are those that they were."""
        now = self.environments[package]
        if now.exists != before.exists:
            return False
        return not now.exists or now.reader.files == before.reader.files

    @cached_property
    def histories(self) -> Mapping[str, PackageHistory]:
        """Each package's revisions.

        :raises MigrationError: naming the script, or the directory, that is at fault
        """
        return {name: self._read(environment) for name, environment in self.environments.items()}

    @cached_property
    def graph(self) -> Graph:
        """The graph over all packages.

        :raises MigrationError: for a requirement that names nothing, and for a cycle
        """
        required = {name: package.depends_on for name, package in self.packages.items()}
        histories = self.histories
        try:
            return Graph(histories, required)
        except HistoryError as exc:
            raise self._with_place(exc) from exc

    @cached_property
    def effects(self) -> Mapping[tuple[str, str], tuple[Access, ...]]:
        """What each script's upgrade does to tables and types, by its source, by revision.

        Those of scripts that squashes stand for are left out.
        """
        return {
            (name, id_): self.all_effects[name, id_]
            for name, history in self.histories.items()
            for id_ in history.ids
        }

    @cached_property
    def all_effects(self) -> Mapping[tuple[str, str], tuple[Access, ...]]:
        """As :attr:`effects`, with the scripts that squashes stand for."""
        from websauna_migrate.planning.accesses import what_is_given, what_is_taken

        return {
            (name, revision.id): (
                *what_is_taken(revision),
                *self._upgrades[name, revision.id],
                *what_is_given(revision),
            )
            for name, history in self.histories.items()
            for revision in history.replacements.written.values()
        }

    @cached_property
    def _upgrades(self) -> Mapping[tuple[str, str], tuple[Access, ...]]:
        found = {}
        for name, history in self.histories.items():
            index = self.environments[name].reader.index
            for revision in history.replacements.written.values():
                found[name, revision.id] = index.upgrade(revision.path)
            index.save()
        return found

    @cached_property
    def created(self) -> CreatedObjects:
        """Which revision created which table, column and type."""
        return self.created_by({name: one.revisions for name, one in self.histories.items()})

    def created_by(self, applied: Mapping[str, Collection[str]]) -> CreatedObjects:
        """Return which of some revisions created which table, column and type.

        :param applied: the identifiers by package
        """
        from websauna_migrate.revision_scripts.table_origins import CreatedObjects

        return CreatedObjects(
            (revision.package, revision.id, self.effects[revision.package, revision.id])
            for revision in self.graph.timeline()
            if revision.id in applied[revision.package]
        )

    def conflict(self, one: Revision, other: Revision) -> str | None:
        """Return why the order of two revisions matters, a clause; ``None`` if it does not.

        What cannot be read of a script counts for nothing here; ``check`` says how much that is.
        """
        from websauna_migrate.planning.accesses import conflicts

        some, others = (self.all_effects[each.package, each.id] for each in (one, other))
        for first, second in conflicts(some, others):
            return (
                f'"{one}" {first} in line {first.line}, '
                f'and "{other}" {second} in line {second.line}'
            )
        return None

    def _read(self, environment: PackageEnvironment) -> PackageHistory:
        package = environment.package
        if not environment.exists:
            if package.explicit and package.name not in self.may_be_missing:
                raise missing(package)
            return PackageHistory(package.name)
        try:
            return environment.reader.history
        except HistoryError as exc:
            raise self._with_place(exc) from exc

    def _with_place(self, error: HistoryError) -> HistoryError:
        """Return the error of a missing script, with where git has it if it does."""
        folder = self.packages[error.revision.package].script_directory
        found = where_it_is(folder, error.name) if error.kind == "missing_revision" else ()
        if not found:
            return error
        message = "\n  ".join([f'{error} Of "{error.name}": {found[0]}', *found[1:]])
        return HistoryError(error.kind, error.revision, error.name, message, error.other)


def missing(package: MigrationPackage) -> ScriptDirectoryError:
    """Return the error of a script directory that was named and is not there."""
    return ScriptDirectoryError(
        "missing",
        package.name,
        package.script_directory,
        f'The script directory "{package.script_directory}" of package "{package.name}" is '
        f"missing. It was named where the package is registered ({package.place}), or by the "
        f'setting "websauna_migrate.script_location.{package.name}": correct that, restore '
        "the directory, or let the package's first revision make it: ws-alembic -x "
        f'packages={package.name} revision --autogenerate -m "..."',
    )
