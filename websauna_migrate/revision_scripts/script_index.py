"""The revision scripts of a package, read without importing them, and remembered.

Which files there are, and when they were changed, is looked up each time. What a file says is read
from its text once, and kept in the user's cache folder, one index for each script directory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from websauna_migrate.database.cache import Cache
from websauna_migrate.planning.revisions import Revision, plain_revision
from websauna_migrate.revision_scripts.script_files import UNKNOWN, ScriptFiles, Stamp

__all__ = ["ATTRIBUTES", "MAPPINGS", "Literals", "ScriptIndex", "revision_of"]

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

#: Nanoseconds for which a file must have been left alone before what was read of it is kept. A file
#: system's clock has ticks, up to two seconds long: within one, a file may change once more and
#: look the same.
SETTLED_NS = 2_500_000_000

#: What must be the same for an index to be read: how texts are read, and what a docstring becomes.
READER = f"2 {sys.version_info[0]}.{sys.version_info[1]} {sys.flags.optimize} " + " ".join(
    ATTRIBUTES
)

COMMON = frozenset({"id", "down_revisions", "doc"})


class Columns:
    """What some scripts say, column by column: ten thousand rows would be as many lists.

    :ivar paths: of the files
    :ivar stamps: as in :class:`.ScriptFiles`
    :ivar ids: the identifiers
    :ivar downs: the parents: ``None`` for none, a text for one, a list for several
    :ivar docs: the docstrings
    :ivar others: by path, the literals of a script that says something besides
    """

    NAMES = ("paths", "stamps", "ids", "downs", "docs", "others")

    def __init__(self, kept: Any = None) -> None:
        """Take what :meth:`plain` gave, or start with nothing."""
        if not isinstance(kept, list) or len(kept) != len(self.NAMES):
            kept = ([], [], [], [], [], {})
        self.paths: list[str] = kept[0]
        self.stamps: list[int] = kept[1]
        self.ids: list[str] = kept[2]
        self.downs: list[str | list[str] | None] = kept[3]
        self.docs: list[str] = kept[4]
        self.others: dict[str, Literals] = kept[5]

    def plain(self) -> list[Any]:
        """Return what JSON can keep."""
        return [getattr(self, name) for name in self.NAMES]

    def add(self, path: str, stamp: Stamp, literals: Literals) -> None:
        """Add what a script says."""
        downs = [*map(str, literals.get("down_revisions", ()))]
        self.paths.append(path)
        self.stamps += stamp
        self.ids.append(str(literals["id"]))
        self.downs.append(downs if len(downs) > 1 else downs[0] if downs else None)
        self.docs.append(str(literals.get("doc", "")))
        if not literals.keys() <= COMMON:
            self.others[path] = literals

    def literals(self, place: int) -> Literals:
        """Return what the script at a place says."""
        if (found := self.others.get(self.paths[place])) is not None:
            return found
        downs = self.downs[place]
        found = {"id": self.ids[place], "doc": self.docs[place]}
        if downs is not None:
            found["down_revisions"] = (downs,) if isinstance(downs, str) else tuple(downs)
        return found

    def revisions(self, package: str) -> list[Revision | None]:
        """Return the revisions of all scripts."""
        rows = zip(self.paths, self.ids, self.downs, self.docs, strict=True)
        found: list[Revision | None] = [
            plain_revision(
                package,
                id_,
                () if down is None else (down,) if isinstance(down, str) else tuple(down),
                doc,
                path,
            )
            for path, id_, down, doc in rows
        ]
        if self.others:
            for place, path in enumerate(self.paths):
                if path in self.others:
                    found[place] = revision_of(package, path, self.others[path])
        return found


class ScriptIndex:
    """What the scripts of one script directory say."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        self._key = f"{READER}\n{os.path.realpath(directory)}"
        self._known = Columns(cache.read("scripts", self._key))

    def revisions(self, package: str, files: ScriptFiles) -> list[Revision | None]:
        """Return what the files say, and remember it; ``None`` where only an import can tell."""
        known = self._known
        if files.stamps == known.stamps and files.paths == known.paths:
            return known.revisions(package)
        places = {path: place for place, path in enumerate(known.paths)}
        kept = Columns()
        changed = False
        found: list[Revision | None] = []
        for number, path in enumerate(files.paths):
            place, stamp = places.get(path), files.stamp(number)
            literals: Literals | None
            if place is not None and known.stamps[4 * place : 4 * place + 4] == stamp:
                literals, keep = known.literals(place), True
            else:
                literals, keep = read_script(path, stamp)
                changed |= keep
            if literals is not None and keep:
                kept.add(path, stamp, literals)
            found.append(None if literals is None else revision_of(package, path, literals))
        if changed or len(kept.paths) < len(known.paths):
            self._cache.write("scripts", self._key, kept.plain())
        self._known = kept
        return found


def read_script(path: str, stamp: Stamp) -> tuple[Literals | None, bool]:
    """Return what the text of a script says, and whether that may be kept.

    :returns: ``None`` for what it says if only an import can tell
    """
    # Mostly, it is not needed.
    from websauna_migrate.revision_scripts.script_literals import read_literals

    now = time.time_ns()
    try:
        source = Path(path).read_bytes()
    except OSError:
        # An import fails for the same reason, and tells it.
        return None, False
    read = read_literals(source)
    return read, read is not None and is_settled(stamp, now)


def pairs_of(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the pairs of a dictionary in a script; a tuple as a value gives a pair for each."""
    return [
        (name, one)
        for name, value in mapping.items()
        for one in (value if isinstance(value, (tuple, list)) else (value,))
    ]


def is_settled(stamp: Stamp, now: int) -> bool:
    """Tell whether a file cannot change any more without another stamp.

    :param now: a moment before the file was read, in nanoseconds
    """
    return [*stamp] != [*UNKNOWN] and max(stamp[0], stamp[1]) < now - SETTLED_NS


def revision_of(package: str, path: str, literals: Literals) -> Revision:
    """Return a script's revision from what the script says."""
    if literals.keys() <= COMMON:
        downs, doc = literals.get("down_revisions", ()), literals.get("doc", "")
        return plain_revision(package, str(literals["id"]), tuple(downs), str(doc), path)
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
