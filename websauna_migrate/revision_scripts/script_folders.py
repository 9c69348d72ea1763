"""Where an existing project keeps its scripts, if they are not where the service looks."""

from __future__ import annotations

import configparser
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from websauna_migrate.revision_scripts.script_literals import read_literals

__all__ = ["alembic_ini", "find_script_folders", "revisions_in"]

#: How many folders deep script directories are looked for.
DEEP = 4

#: Folders that are no part of a project's own code.
NOT_LOOKED = frozenset({"node_modules", "site-packages", "dist-packages", "build", "dist", "venv"})


def find_script_folders(top: Path, known: Collection[Path] = ()) -> tuple[Path, ...]:
    """Return the script directories in a project, told by what is beside ``versions``.

    One that the project's ``alembic.ini`` names comes first, and alone.

    :param known: those that are left out
    """
    if (named := alembic_ini(top)) is not None and named not in known:
        return (named,)
    return tuple(sorted(one for one in walk(top) if one.resolve() not in known))


def walk(top: Path) -> Iterator[Path]:
    """Yield the folders that have ``versions``, and an ``env.py`` or a template of scripts."""
    for root, folders, _ in os.walk(top):
        here = Path(root)
        folders[:] = [
            name for name in sorted(folders) if name not in NOT_LOOKED and not name.startswith(".")
        ]
        if is_script_folder(here):
            yield here.resolve()
            folders[:] = []
        if len(here.relative_to(top).parts) >= DEEP:
            folders[:] = []


def alembic_ini(top: Path) -> Path | None:
    """Return the script directory that a project's ``alembic.ini`` names, if it is there."""
    parser = configparser.ConfigParser({"here": str(top)})
    try:
        parser.read(top / "alembic.ini", encoding="utf-8")
        location = parser.get("alembic", "script_location")
    except (configparser.Error, UnicodeDecodeError):
        return None
    package, colon, path = location.partition(":")
    folder = top / Path(*package.split(".")) / path if colon else top / location
    found = (folder / "env.py").is_file() or is_script_folder(folder)
    return folder.resolve() if found else None


def is_script_folder(folder: Path) -> bool:
    """Tell whether a folder is one of Alembic's; without ``env.py`` the service brings its own."""
    files = (folder / "env.py", folder / "script.py.mako")
    return (folder / "versions").is_dir() and any(one.is_file() for one in files)


def revisions_in(folder: Path) -> frozenset[str]:
    """Return the identifiers of a script directory's revisions, as far as texts tell."""
    found = (read_literals(path.read_bytes()) for path in (folder / "versions").glob("*.py"))
    return frozenset(str(one["id"]) for one in found if one and "id" in one)
