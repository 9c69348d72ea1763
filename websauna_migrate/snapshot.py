"""The scripts of all packages, read once: what one call of the service works with."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.script.base import Script
from alembic.util.exc import CommandError

from websauna_migrate.environment import AlembicOptions, PackageEnvironment
from websauna_migrate.errors import MigrationError
from websauna_migrate.graph import Graph
from websauna_migrate.lineage import Lineage
from websauna_migrate.moves import what_is_given, what_is_taken
from websauna_migrate.packages import MigrationPackage
from websauna_migrate.revisions import Revision
from websauna_migrate.settings import Settings

if TYPE_CHECKING:
    from websauna_migrate.created import CreatedObjects
    from websauna_migrate.effects import Effect

__all__ = ["ScriptBroken", "ScriptDirectoryMissing", "Snapshot"]


class ScriptBroken(MigrationError, ValueError):
    """A revision script cannot be read.

    :ivar path: the script's file
    """

    def __init__(self, package: str, path: str, problem: str) -> None:
        self.package = package
        self.path = path
        super().__init__(
            f'Revision script "{path}" of package "{package}" cannot be read: {problem}\n'
            "Correct the script, or remove it. Nothing was changed."
        )


class ScriptDirectoryMissing(MigrationError, FileNotFoundError):
    """The script directory that a registration or a setting names is not there."""

    def __init__(self, package: MigrationPackage) -> None:
        self.package = package.name
        self.directory = package.script_directory
        super().__init__(
            f'The script directory "{package.script_directory}" of package "{package.name}" is '
            f"missing. It was named where the package is registered ({package.place}), or by the "
            f'setting "websauna_migrate.script_location.{package.name}": correct that, restore '
            "the directory, or let the package's first revision make it: ws-alembic -x "
            f'packages={package.name} revision --autogenerate -m "..."'
        )


class Snapshot:
    """The packages' environments and their scripts' graph; nothing is read before it is needed."""

    def __init__(
        self,
        packages: Iterable[MigrationPackage],
        settings: Settings,
        options: AlembicOptions,
        *,
        may_be_missing: Iterable[str] = (),
    ) -> None:
        """Make an environment for each package.

        :param may_be_missing: packages whose script directory is about to be made
        """
        self.packages: Mapping[str, MigrationPackage] = {p.name: p for p in packages}
        self.may_be_missing = frozenset(may_be_missing)
        self.environments: Mapping[str, PackageEnvironment] = {
            name: PackageEnvironment(
                package,
                url=settings.url,
                engine_options=settings.engine_options,
                schema=settings.version_table_schema,
                options=options,
                on_error=reporter(name),
            )
            for name, package in self.packages.items()
        }

    @cached_property
    def lineages(self) -> Mapping[str, Lineage]:
        """Each package's revisions.

        :raises MigrationError: naming the script, or the directory, that is at fault
        """
        return {
            name: Lineage(name, self._read(environment))
            for name, environment in self.environments.items()
        }

    @cached_property
    def graph(self) -> Graph:
        """The graph over all packages.

        :raises MigrationError: for a requirement that names nothing, and for a cycle
        """
        return Graph(
            self.lineages, {name: package.depends_on for name, package in self.packages.items()}
        )

    @cached_property
    def effects(self) -> Mapping[tuple[str, str], tuple[Effect, ...]]:
        """What each script's upgrade does to the schema, read from its source, by revision."""
        from websauna_migrate.script_reader import read_effects

        return {
            (revision.package, revision.id): (
                *what_is_taken(revision),
                *read_effects(Path(revision.path).read_text(encoding="utf-8"), revision.path),
                *what_is_given(revision),
            )
            for lineage in self.lineages.values()
            for revision in lineage
        }

    @cached_property
    def created(self) -> CreatedObjects:
        """Which revision created which table, column and type."""
        from websauna_migrate.created import CreatedObjects

        return CreatedObjects(
            (revision.package, revision.id, self.effects[revision.package, revision.id])
            for revision in self.graph.timeline()
        )

    def _read(self, environment: PackageEnvironment) -> list[Revision]:
        package = environment.package
        if not environment.exists:
            if package.explicit and package.name not in self.may_be_missing:
                raise ScriptDirectoryMissing(package)
            return []
        return [to_revision(package.name, script) for script in environment.scripts.load_scripts()]


def reporter(package: str) -> Callable[[Path, BaseException], None]:
    """Return what names the script when one cannot be loaded."""

    def report(path: Path, exc: BaseException) -> None:
        if isinstance(exc, SyntaxError):
            where = f"line {exc.lineno}: {exc.msg}" if exc.lineno else exc.msg
            raise ScriptBroken(package, str(path), f"it has a syntax error in {where}.") from exc
        if isinstance(exc, CommandError):
            raise ScriptBroken(package, str(path), str(exc)) from exc
        if isinstance(exc, AttributeError) and "down_revision" in str(exc):
            raise ScriptBroken(package, str(path), 'it has no "down_revision".') from exc
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(exc.__traceback__)
            if frame.filename == str(path)
        ]
        where = f" in line {lines[-1]}" if lines else ""
        raise ScriptBroken(
            package, str(path), f"it raises {type(exc).__name__}{where}: {exc}"
        ) from exc

    return report


def to_revision(package: str, script: Script) -> Revision:
    """Return a loaded script as plain data.

    :raises ScriptBroken: when one of its identifiers is not a text or a sequence of texts
    """
    module = script.module

    def texts(attribute: str) -> tuple[str, ...]:
        value: Any = getattr(module, attribute, None)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if isinstance(value, (tuple, list, set, frozenset)) and all(
            isinstance(part, str) for part in value
        ):
            return tuple(sorted(value)) if isinstance(value, (set, frozenset)) else tuple(value)
        raise ScriptBroken(
            package,
            script.path,
            f"its {attribute} is {value!r}, neither a text nor a sequence of texts.",
        )

    def moved(attribute: str) -> tuple[tuple[str, str], ...]:
        value: Any = getattr(module, attribute, None) or {}
        if isinstance(value, dict) and all(
            isinstance(part, str) and part for pair in value.items() for part in pair
        ):
            return tuple(sorted(value.items()))
        raise ScriptBroken(
            package,
            script.path,
            f"its {attribute} is {value!r}, not a dictionary of names and packages.",
        )

    if not isinstance(script.revision, str) or not script.revision:
        raise ScriptBroken(
            package, script.path, f"its revision is {script.revision!r}, not a text."
        )
    return Revision(
        package=package,
        id=script.revision,
        down_revisions=texts("down_revision"),
        depends_on=texts("depends_on"),
        branch_labels=texts("branch_labels"),
        requires=texts("requires"),
        run_before=texts("run_before"),
        replaces=texts("replaces"),
        gives_tables=moved("gives_tables"),
        takes_tables=moved("takes_tables"),
        gives_types=moved("gives_types"),
        takes_types=moved("takes_types"),
        doc=script.longdoc,
        path=script.path,
    )
