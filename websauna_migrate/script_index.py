"""The revision scripts of a package, read without importing them, and remembered.

Which files there are, and when they were changed, is looked up each time. What a file says is read
from its text once, and kept in the user's cache folder, one index for each script directory.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from websauna_migrate.cache import Cache
from websauna_migrate.revisions import Revision

__all__ = ["ATTRIBUTES", "MAPPINGS", "Literals", "ScriptFile", "ScriptIndex", "list_script_files"]

#: The names in a script by the attributes of :class:`.Revision` that they are the values of.
ATTRIBUTES: Mapping[str, str] = {
    field.name: {"id": "revision", "down_revisions": "down_revision"}.get(field.name, field.name)
    for field in fields(Revision)
    if field.name not in ("package", "doc", "path")
}

#: Those whose values are dictionaries in a script, and pairs in a revision.
MAPPINGS = frozenset(f.name for f in fields(Revision) if "tuple[tuple" in str(f.type))

#: The attributes of :class:`.Revision` that are not empty, but for ``package`` and ``path``.
Literals = dict[str, "str | tuple[Any, ...]"]

#: Alembic's own rule for a file that is a revision script.
SCRIPT_NAME = re.compile(r"(?!\.\#|__init__).*\.py$")

#: Nanoseconds for which a file must have been left alone before what was read of it is kept. A file
#: system's clock has ticks, up to two seconds long: within one, a file may change once more and
#: look the same.
SETTLED_NS = 2_500_000_000

#: What must be the same for an index to be read: how texts are read, and what a docstring becomes.
READER = f"1 {sys.version_info[0]}.{sys.version_info[1]} {sys.flags.optimize} " + " ".join(
    ATTRIBUTES
)

COMMON = frozenset({"id", "down_revisions", "doc"})

#: Of a file that is not in an index: time of change, of status change, size, and inode.
Stamp = Sequence[int]


class ScriptFile(NamedTuple):
    """A file that may be a revision script.

    :ivar path: absolute, without symbolic links
    :ivar stamp: differs if the file is another one, or was changed; ``None`` if nobody can say
    """

    path: str
    stamp: Stamp | None


def list_script_files(locations: Iterable[Path], *, recursive: bool = False) -> list[ScriptFile]:
    """Return the revision scripts in some folders in Alembic's order, each real file once.

    :param locations: folders; one that is missing has no scripts
    :param recursive: look into the folders below as well
    """
    found: dict[str, ScriptFile] = {}
    for location in locations:
        for folder in folders_of(os.path.realpath(location), recursive=recursive):
            for file in files_of(folder):
                found.setdefault(file.path, file)
    return list(found.values())


def folders_of(top: str, *, recursive: bool) -> Iterator[str]:
    """Yield a folder, and those below it."""
    if not recursive:
        if os.path.isdir(top):  # noqa: PTH112 - a Path would take longer than the question
            yield top
        return
    for root, folders, _ in os.walk(top):
        folders.sort()
        if not root.endswith("__pycache__"):
            yield root


def files_of(folder: str) -> Iterator[ScriptFile]:
    """Yield the scripts that stand in a folder, by name."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_symlink():
            # Alembic sees the file that is meant, and its name.
            path = os.path.realpath(entry.path)
            if not is_script_name(Path(path).name):
                continue
            if not os.path.isdir(path):  # noqa: PTH112
                yield ScriptFile(path, stamp_of(path))
        elif is_script_name(entry.name) and not entry.is_dir():
            yield ScriptFile(entry.path, stamp_of(entry))


def is_script_name(name: str) -> bool:
    """Tell whether Alembic takes a file for a revision script."""
    # The usual case is told without the regular expression, ten thousand times.
    usual = name.endswith(".py") and name[0] not in "._" and "\n" not in name
    return usual or SCRIPT_NAME.match(name) is not None


def stamp_of(file: os.DirEntry[str] | str) -> Stamp | None:
    """Return what changes when a file does.

    The time of change alone does not: a copy, an archive or an image may set it as it likes. The
    time of status change and the inode are the file system's own.
    """
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()  # noqa: PTH116
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


class ScriptIndex:
    """What the scripts of one script directory say, by folder and file name."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        self._key = f"{READER}\n{os.path.realpath(directory)}"
        found = cache.read("scripts", self._key)
        self._known: dict[str, list[Any]] = found if isinstance(found, dict) else {}
        self._kept: dict[str, list[Any]] = {}
        self._changed = False

    def read(self, file: ScriptFile) -> Literals | None:
        """Return what a script says, or ``None`` if only an import can tell."""
        known = self._known.get(file.path)
        if known is not None and known[0] == file.stamp:
            self._kept[file.path] = known
            literals: Literals = known[1]
            return literals
        # Mostly, it is not needed.
        from websauna_migrate.script_literals import read_literals

        now = time.time_ns()
        try:
            source = Path(file.path).read_bytes()
        except OSError:
            # An import fails for the same reason, and tells it.
            return None
        read = read_literals(source)
        if read is not None and file.stamp is not None and is_settled(file.stamp, now):
            self._kept[file.path] = [file.stamp, read]
            self._changed = True
        return read

    def forget(self, paths: Iterable[str]) -> None:
        """Do not keep what was read of some files."""
        for path in paths:
            self._changed |= self._kept.pop(path, None) is not None

    def save(self) -> None:
        """Keep what was read, unless it was known before."""
        if self._changed or len(self._kept) < len(self._known):
            self._cache.write("scripts", self._key, self._kept)
            self._known, self._changed = self._kept, False


def is_settled(stamp: Stamp, now: int) -> bool:
    """Tell whether a file cannot change any more without another stamp.

    :param now: a moment before the file was read, in nanoseconds
    """
    return max(stamp[0], stamp[1]) < now - SETTLED_NS


def revision_of(package: str, path: str, literals: Literals) -> Revision:
    """Return a script's revision from what the script says."""
    if literals.keys() <= COMMON:
        # The usual case, ten thousand times.
        return Revision(
            package,
            literals["id"],  # type: ignore[arg-type]
            tuple(literals.get("down_revisions", ())),
            doc=literals.get("doc", ""),  # type: ignore[arg-type]
            path=path,
        )
    return Revision(
        package=package,
        path=path,
        **{
            attribute: value
            if isinstance(value, str)
            else tuple([part if isinstance(part, str) else tuple(part) for part in value])
            for attribute, value in literals.items()
        },  # type: ignore[arg-type]  # the attributes of a revision, each of its own type
    )
