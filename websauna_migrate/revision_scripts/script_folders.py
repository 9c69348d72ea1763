"""Where an existing project keeps its scripts, if they are not where the service looks."""

from __future__ import annotations

import configparser
import os
import re
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from websauna_migrate.config.packages import REVISION
from websauna_migrate.revision_scripts.script_literals import read_literals

#: How many folders deep script directories are looked for.
DEEP = 4

#: Folders that are no part of a project's own code.
NOT_LOOKED = frozenset({"node_modules", "site-packages", "dist-packages", "build", "dist", "venv"})


RECURSIVE = "recursive_version_locations"


def find_script_folders(top: Path, known: Collection[Path] = ()) -> tuple[Path, ...]:
    """Return the script directories in a project, told by what is beside ``versions``.

    One that Alembic's configuration of the project names comes first, and alone.

    :param known: those that are left out
    """
    if (named := named_folder(top)) is not None and named not in known:
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


def named_folder(top: Path) -> Path | None:
    """Return the script directory that a project's Alembic is told of, if it is there."""
    location, _, _ = configured(top / "alembic.ini")
    if not location:
        return None
    folder = place_of(top, location)
    found = (folder / "env.py").is_file() or is_script_folder(folder)
    return folder if found else None


def version_folders(ini: Path, folder: Path) -> tuple[Path, ...]:
    """Return the folders of scripts that a project's Alembic is told of, if these are others.

    Folders below them are among these, where it says so.

    :param ini: a file that may have ``[alembic]``
    :param folder: the script directory
    """
    location, parts, recursive = configured(ini)
    if not location or place_of(ini.parent, location) != folder.resolve():
        return ()
    parts = parts or [str(folder / "versions")]
    found = [place_of(ini.parent, part.strip()) for part in parts if part.strip()]
    if recursive:
        found += [one for each in found for one in sorted(each.rglob("*")) if [*one.glob("*.py")]]
    return () if found == [folder.resolve() / "versions"] else tuple(dict.fromkeys(found))


def sections_of(top: Path) -> tuple[str, ...]:
    """Return the sections of a project's ``alembic.ini`` that an ``env.py`` may read."""
    parser = configparser.ConfigParser()
    try:
        parser.read(top / "alembic.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return ()
    return tuple(one for one in parser.sections() if not NOT_READ.match(one))


#: Sections of Alembic's own, and of logging.
NOT_READ = re.compile(
    "(alembic|post_write_hooks|loggers|handlers|formatters)$|(logger|handler|formatter)_"
)


def configured(ini: Path) -> tuple[str, list[str] | None, bool]:
    """Return what Alembic is told in an INI file, or in the ``pyproject.toml`` beside it.

    :returns: its script_location, version_locations and recursive_version_locations; an empty
        text first if they cannot be read
    """
    # Few commands look for another folder.
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(ini, toml_file=ini.parent / "pyproject.toml")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return (
                str(config.get_alembic_option("script_location") or ""),
                config.get_version_locations_list(),
                # Alembic 1.16.2 has no function for it.
                (config.get_main_option(RECURSIVE) or config.toml_alembic_config.get(RECURSIVE))
                in (True, "true"),
            )
    except (configparser.Error, ValueError, CommandError):
        return "", None, False


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
    texts = [path.read_bytes() for one in folders for path in one.glob("*.py")]
    return frozenset(one for text in texts if (one := identifier_in(text)) is not None)


def identifier_in(text: bytes) -> str | None:
    """Return the identifier that a script names, if it names one."""
    if (read := read_literals(text)) is not None:
        return str(read["id"])
    found = REVISION.search(text)
    return found[1].decode("utf-8", "replace") if found else None
