"""Where an existing project keeps its scripts, if they are not where the service looks."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from websauna_migrate.revision_scripts.script_literals import read_literals

__all__ = ["alembic_ini", "find_script_folders", "revisions_in", "version_folders"]

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
    said = section_of(top / "alembic.ini")
    if "script_location" not in said:
        return None
    folder = place_of(top, said["script_location"])
    found = (folder / "env.py").is_file() or is_script_folder(folder)
    return folder if found else None


def version_folders(ini: Path, folder: Path) -> tuple[Path, ...]:
    """Return the folders of scripts that an INI file's ``[alembic]`` names, if it names others.

    Folders below them are among these, where it says so.

    :param folder: the script directory
    """
    said, top = section_of(ini), ini.parent
    if "script_location" not in said or place_of(top, said["script_location"]) != folder.resolve():
        return ()
    separator = said.get("path_separator") or said.get("version_path_separator")
    between = re.escape(SEPARATORS[separator]) if separator in SEPARATORS else "[, ]+"
    parts = re.split(f"{between}|\n", said.get("version_locations", str(folder / "versions")))
    found = [place_of(top, part.strip()) for part in parts if part.strip()]
    if said.get("recursive_version_locations", "").lower() == "true":
        found += [one for each in found for one in sorted(each.rglob("*")) if [*one.glob("*.py")]]
    return () if found == [folder.resolve() / "versions"] else tuple(dict.fromkeys(found))


#: How Alembic names what is between two folders.
SEPARATORS = {"os": os.pathsep, ":": ":", ";": ";", "space": " ", "newline": "\n"}


def section_of(ini: Path) -> Mapping[str, str]:
    """Return what an INI file says in ``[alembic]``, as far as it can be read."""
    parser = configparser.ConfigParser({"here": str(ini.parent)})
    try:
        parser.read(ini, encoding="utf-8")
        return dict(parser["alembic"])
    except (configparser.Error, KeyError, UnicodeDecodeError):
        return {}


def place_of(top: Path, location: str) -> Path:
    """Return a folder that Alembic's configuration names: in a package, or by its path."""
    package, colon, path = location.partition(":")
    return (top / Path(*package.split(".")) / path if colon else top / location).resolve()


def is_script_folder(folder: Path) -> bool:
    """Tell whether a folder is one of Alembic's; without ``env.py`` the service brings its own."""
    files = (folder / "env.py", folder / "script.py.mako")
    return (folder / "versions").is_dir() and any(one.is_file() for one in files)


def revisions_in(folder: Path, top: Path) -> frozenset[str]:
    """Return the identifiers of a script directory's revisions, as far as texts tell.

    :param top: the project's folder
    """
    folders = version_folders(top.resolve() / "alembic.ini", folder) or (folder / "versions",)
    found = (read_literals(path.read_bytes()) for one in folders for path in one.glob("*.py"))
    return frozenset(str(one["id"]) for one in found if one and "id" in one)
