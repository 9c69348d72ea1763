"""Packages whose scripts were left out of their wheel.

A package that owns tables needs scripts, or a deploy finds nothing to do and leaves them unmade.
Before its first revision it has none either: there, in a checkout or an editable installation,
``revision`` would make them. What an installer put in place is not edited: there they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from importlib.metadata import distributions
from pathlib import Path

from sqlalchemy import Table

from websauna_migrate.config.packages import MigrationPackage, ScriptDirectoryError, is_installed

__all__ = ["require_scripts"]


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
        if len(revisions[package.name]) or not any(one.tables for one in package.metadata):
            continue
        if was_installed(package) and (tables := [*tables_of(package.name)]):
            raise left_out(package, tables)


def left_out(package: MigrationPackage, tables: Iterable[Table]) -> ScriptDirectoryError:
    """Return the error of an installed package that owns tables and has no script."""
    names = sorted(table.fullname for table in tables)
    some = ", ".join(f'"{name}"' for name in names[:3]) + (", ..." if len(names) > 3 else "")
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
