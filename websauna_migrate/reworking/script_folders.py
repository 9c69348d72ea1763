"""Where a project that is taken over keeps its scripts, and what its INI files say."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

__all__ = ["add_settings", "alembic_ini", "find_script_folders", "remove_settings"]

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


# Settings

SECTION = re.compile(r"^\[(app:[^\]]+)\][ \t]*(?:[#;].*)?$", re.M)


def add_settings(text: str, settings: Mapping[str, str]) -> str | None:
    """Return an INI file's text with more settings at the top of its application's section.

    :returns: ``None`` if there is no such section, or several and none is ``main``
    """
    sections = {found[1].strip(): found for found in SECTION.finditer(text)}
    found = sections.get("app:main") or (
        next(iter(sections.values())) if len(sections) == 1 else None
    )
    if found is None:
        return None
    lines = "".join(f"{line}\n" for line in lines_of(settings))
    end = text.find("\n", found.end()) + 1 or len(text)
    head = text[:end] if text[:end].endswith("\n") else text[:end] + "\n"
    return head + lines + text[end:]


def remove_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return an INI file's text without settings that :func:`add_settings` has added."""
    for line in lines_of(settings):
        text = text.replace(f"{line}\n", "", 1)
    return text


def lines_of(settings: Mapping[str, str]) -> list[str]:
    """Return settings as lines."""
    return [f"{key} = {value}" for key, value in settings.items()]
