"""Registered packages: what one is, where its scripts are, and what cannot be registered."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from pyramid.exceptions import ConfigurationError
from sqlalchemy import MetaData, Table
from zope.interface import implementer

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.history_tables import history_table_name, problem_of_table_name
from websauna_migrate.interfaces import IMigrationPackage
from websauna_migrate.plain_text import in_quotes

#: What marks the folder of a project, as DESIGN.md says.
PROJECT_FILES = ("setup.py", "pyproject.toml")


class ScriptDirectoryError(MigrationError, OSError):
    """A package's script directory is not there, or no revision can be written to it.

    :ivar kind: ``not editable`` for a directory that is installed or write-protected,
        ``missing`` for one that a registration or a setting names, ``left out`` where an installed
        package owns tables and has no script
    :ivar package: name of the package
    :ivar path: the directory
    """

    def __init__(self, kind: str, package: str, path: Path, message: str) -> None:
        self.kind, self.package, self.path = kind, package, path
        super().__init__(message)


#: The identifier of a script that only an import could tell for certain.
REVISION = re.compile(rb"""^revision\b[^=\n]*=[ \t]*['"]([^'"\n]+)""", re.MULTILINE)


class RegistrationError(MigrationError, ConfigurationError):  # type: ignore[misc]  # untyped
    """A package was registered in a way that cannot work; ``package`` is the name as given."""

    def __init__(self, package: str, problem: str) -> None:
        self.package = package
        super().__init__(f'Package "{package}" cannot be registered for migrations: {problem}')


@implementer(IMigrationPackage)
@dataclass(eq=False, repr=False, kw_only=True)
class MigrationPackage:
    """A registered package; the attributes are documented on :class:`.IMigrationPackage`.

    :ivar folder: the package's own
    :ivar own_env_py: another file than the script directory's: the one that is about to replace it
    :ivar own_version_locations: the folders with revision scripts, where the settings name some
    :ivar explicit: whether the script directory was named
    """

    name: str
    folder: Path
    metadata: tuple[MetaData, ...] = ()
    script_directory: Path
    own_env_py: Path | None = None
    own_version_locations: tuple[Path, ...] = ()
    depends_on: tuple[str, ...] = ()
    history_table: str
    explicit: bool = False
    place: str = ""

    @property
    def env_py(self) -> Path:
        """Where the ``env.py`` is, if the package has one."""
        return self.own_env_py or self.script_directory / "env.py"

    @property
    def version_locations(self) -> tuple[Path, ...]:
        """The folders with revision scripts: the configured ones, else ``versions``."""
        return self.own_version_locations or (self.script_directory / "versions",)

    def location_of(self, path: str) -> Path:
        """Return which of the folders with revision scripts a script is in, or below of."""
        folder = Path(path).parent
        locations = self.version_locations
        return next((one for one in locations if folder.is_relative_to(one.resolve())), folder)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {str(self.script_directory)!r}>"


def make_package(
    name: str,
    settings: Settings,
    *,
    metadata: object = None,
    script_location: str | None = None,
    depends_on: str | Sequence[str] = (),
    version_table: str | None = None,
    place: str = "",
) -> MigrationPackage:
    """Validate what ``add_migration_package`` was given.

    :param metadata: a ``MetaData``, a declarative base, a sequence of them, or ``None``
    :param script_location: an asset spec or a path; a relative path starts at the package's own
        folder. The setting ``websauna_migrate.script_location.NAME`` wins.
    :raises RegistrationError: when the name is no importable package, or an argument is of the
        wrong kind
    """
    folder = package_folder(name)
    location = settings.script_location.get(name) or script_location
    directory = (
        locate(name, location, folder) if location else default_script_directory(name, folder)
    )
    table = settings.version_table.get(name) or version_table or history_table_name(name)
    if problem := problem_of_table_name(table):
        raise RegistrationError(name, f"its history table cannot be called so: {problem}")
    return MigrationPackage(
        name=name,
        folder=folder,
        metadata=collect_metadata(name, metadata),
        script_directory=directory,
        own_version_locations=tuple(
            locate(name, text, folder) for text in settings.version_locations.get(name, ())
        )
        or ((directory,) if has_flat_scripts(directory) else ()),
        depends_on=(depends_on,) if isinstance(depends_on, str) else tuple(depends_on),
        history_table=table,
        explicit=bool(location),
        place=place,
    )


def refuse_conflict(package: MigrationPackage, registered: Iterable[MigrationPackage]) -> None:
    """Refuse a package that would share what each package needs for itself.

    :raises RegistrationError: if it is registered already, or shares its history table or its
        script directory with another package
    """
    for other in registered:
        if other.name == package.name:
            raise RegistrationError(
                package.name, f"it is registered twice, in {other.place} and in {package.place}."
            )
        if other.history_table.lower() == package.history_table.lower():
            raise RegistrationError(
                package.name,
                f'its history table "{package.history_table}" is that of package "{other.name}".\n'
                f'  "{other.name}" is registered in {other.place}\n'
                f'  "{package.name}" is registered in {package.place}\n'
                'Give one of them a table of its own with version_table="...".',
            )
        if other.script_directory == package.script_directory and package.script_directory.exists():
            raise RegistrationError(
                package.name,
                f'its script directory "{package.script_directory}" is that of package '
                f'"{other.name}" (registered in {other.place}). Make the folder '
                f'"{package.folder / "alembic"}", which is its own then, or give it another with '
                "script_location.",
            )


def package_folder(name: str) -> Path:
    """Return the folder of an importable package, without importing the package itself.

    :raises RegistrationError: if there is no such package, or the name is that of a module
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError):
        spec = None
    if spec is None:
        raise RegistrationError(
            name, "there is no such Python package. Name an importable package, dotted."
        )
    if not spec.submodule_search_locations:
        raise RegistrationError(
            name,
            "it is a module, not a package. Name the package that contains it, or make it a "
            "folder with an __init__.py.",
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def project_folder(folder: Path) -> Path | None:
    """Return the nearest folder at or above a package with ``setup.py`` or ``pyproject.toml``.

    An installed package (below ``site-packages`` or ``dist-packages``) has no project.
    """
    if is_installed(folder):
        return None
    for candidate in (folder, *folder.parents):
        if any((candidate / name).is_file() for name in PROJECT_FILES):
            return candidate
    return None


def project_of(package: MigrationPackage) -> Path:
    """Return the folder of a package's project; what has no project file is where it stands."""
    return project_folder(package.folder) or package.folder.parent


def has_flat_scripts(directory: Path) -> bool:
    """True if a script directory holds scripts in place of ``versions`` and ``env.py``.

    Flask-Alembic keeps them so.
    """
    if (directory / "versions").exists() or (directory / "env.py").exists():
        return False
    return any(REVISION.search(path.read_bytes()) for path in directory.glob("*.py"))


def lacks_scripts(package: MigrationPackage) -> bool:
    """True if a package has no revision script, and nothing says where they should be."""
    return not package.explicit and not any(
        script for folder in package.version_locations for script in folder.glob("*.py")
    )


def is_installed(folder: Path) -> bool:
    """True if a folder lies where installers put packages: it must not be edited."""
    return any(part in ("site-packages", "dist-packages") for part in folder.parts)


def default_script_directory(name: str, folder: Path) -> Path:
    """Return ``alembic/`` inside the package if it is there, else beside the project's setup file.

    Where neither is there, the package's own folder is where the first revision makes it: scripts
    inside the package travel in its wheel. A project that holds several packages keeps theirs
    apart by the package's own ``alembic/`` folders.
    """
    inside = folder / "alembic"
    if inside.is_dir():
        return inside
    project = project_folder(folder)
    if project is not None and project != folder:
        beside = project / "alembic"
        # A folder with an __init__.py is a package of that name, not a script directory.
        if beside.is_dir() and not (beside / "__init__.py").exists():
            return beside
    return inside


def locate(name: str, location: str, folder: Path) -> Path:
    """Return the absolute path of an asset spec or path.

    :raises RegistrationError: if the asset spec names a package that cannot be imported, or the
        location is no possible path
    """
    if "\0" in location:
        raise RegistrationError(name, "its script location has a NUL character.")
    package, colon, path = location.partition(":")
    if colon and not Path(location).is_absolute() and package.replace(".", "").isidentifier():
        try:
            base = package_folder(package)
        except RegistrationError:
            raise RegistrationError(
                name,
                f'its script location "{location}" names package "{package}", which cannot be '
                "imported. Write an importable package before the colon, or a path.",
            ) from None
        return (base / path).resolve()
    try:
        given = Path(location).expanduser()
    except RuntimeError:
        raise RegistrationError(
            name, f'its script location "{location}" begins with a user who has no home folder.'
        ) from None
    return (given if given.is_absolute() else folder / given).resolve()


def collect_metadata(name: str, given: object) -> tuple[MetaData, ...]:
    """Return the MetaData behind what a registration was given, each once, in order.

    :raises RegistrationError: for anything that is no MetaData and has none
    """
    if given is None:
        return ()
    if isinstance(given, str):
        return collect_metadata(name, resolve_dotted(name, given))
    if isinstance(given, MetaData):
        return (given,)
    own = getattr(given, "metadata", None)
    if isinstance(own, MetaData):
        return (own,)
    if isinstance(given, Iterable):
        found: list[MetaData] = []
        for part in given:
            found += [m for m in collect_metadata(name, part) if m not in found]
        return tuple(found)
    raise RegistrationError(
        name,
        f"metadata={type(given).__name__} is neither a MetaData nor a declarative base, nor a "
        "sequence of them, nor a dotted name of one.",
    )


def resolve_dotted(name: str, dotted: str) -> object:
    """Return the object of a dotted name, ``pkg.models.Base`` or ``pkg.web:db.metadata``."""
    module_name, colon, attributes = dotted.partition(":")
    if not colon:
        module_name, _, attributes = dotted.rpartition(".")
    try:
        while True:
            try:
                module = importlib.import_module(module_name)
                found: object = operator.attrgetter(attributes)(module)
                return found
            except ModuleNotFoundError as exc:
                # What is no module may be an attribute of the one before.
                parent, _, last = module_name.rpartition(".")
                if colon or not parent or exc.name != module_name:
                    raise
                module_name, attributes = parent, f"{last}.{attributes}"
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        raise RegistrationError(
            name, f'metadata="{dotted}" cannot be resolved: {type(exc).__name__}: {exc}'
        ) from exc


def is_importable(name: str) -> bool:
    """Return True if a package or module of a dotted name is installed.

    The packages around it are not imported, as ``importlib.util.find_spec`` does: the name may come
    from a database.
    """
    path: Sequence[str] | None = None
    done: list[str] = []
    for part in name.split("."):
        done.append(part)
        for finder in sys.meta_path:
            try:
                spec = finder.find_spec(".".join(done), path)
            except (AttributeError, ImportError, ValueError):
                continue
            if spec is not None:
                break
        else:
            return False
        path = spec.submodule_search_locations
        if path is None and len(done) <= name.count("."):
            return False
    return True


def require_scripts(
    packages: Iterable[MigrationPackage],
    revisions: Mapping[str, Sized],
    tables_of: Callable[[str], Iterable[Table]],
) -> None:
    """Refuse to go on where an installed package owns tables and has no script.

    :param revisions: each package's revisions
    :param tables_of: returns the tables that a package owns by the models; asked where it matters
    :raises ScriptDirectoryError: naming the first of them
    """
    for package in packages:
        if len(revisions[package.name]) or not was_installed(package):
            continue
        if tables := [*tables_of(package.name)]:
            raise left_out(package, tables)


def left_out(package: MigrationPackage, tables: Iterable[Table]) -> ScriptDirectoryError:
    """Return the error of an installed package that owns tables and has no script."""
    names = sorted(table.fullname for table in tables)
    some = in_quotes(names[:3]) + (", ..." if len(names) > 3 else "")
    return ScriptDirectoryError(
        "left out",
        package.name,
        package.script_directory,
        f'Package "{package.name}" owns tables ({some}) and has no revision script: it was '
        f'installed without "{package.script_directory}". Nothing was run. In the package\'s own '
        "project, keep alembic/ inside the package and add to pyproject.toml:\n"
        "  [tool.setuptools.package-data]\n"
        f'  "{package.name}" = ["alembic/*", "alembic/versions/*.py"]\n'
        f'(in setup.py: package_data={{"{package.name}": ["alembic/*", '
        '"alembic/versions/*.py"]}), then build and install it again. Or name the directory of '
        f"scripts that are kept elsewhere: websauna_migrate.script_location.{package.name}",
    )


def was_installed(package: MigrationPackage) -> bool:
    """Tell whether an installer put a package, and with it its scripts, where they are.

    Of an editable installation, the files belong to no distribution: what setuptools lists in an
    ``egg-info`` beside the package are its sources. A script directory outside of the package is
    not an installer's.
    """
    if not package.script_directory.is_relative_to(package.folder):
        return False
    if is_installed(package.folder):
        return True
    parts = package.name.split(".")
    site, module = package.folder.parents[len(parts) - 1], "/".join((*parts, "__init__.py"))
    return any(
        str(file) == module
        for one in distributions(path=[str(site)])
        if Path(str(one.locate_file(""))).resolve() == site
        if one.read_text("RECORD") or one.read_text("installed-files.txt")
        for file in one.files or ()
    )
