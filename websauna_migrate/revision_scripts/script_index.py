"""The revision scripts of a package, read without importing them, and remembered.

Which files there are, and when they were changed, is looked up each time. What a file says, and
what its ``upgrade()`` does, is read from its text once, and kept in the user's cache folder by the
text's SHA-256, one index for each script directory.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from websauna_migrate.database.cache import Cache, program_version
from websauna_migrate.planning.revisions import ATTRIBUTES, Literals, Revision, plain_revision
from websauna_migrate.revision_scripts.script_files import (
    SETTLED_NS,
    UNKNOWN,
    ScriptFiles,
    Stamp,
    checksum_of,
    read_script,
)

if TYPE_CHECKING:
    from websauna_migrate.planning.accesses import Access

#: What must be the same for an index to be read: how texts are read, and what a docstring becomes.
READER = f"12 {sys.version_info[0]}.{sys.version_info[1]} {sys.flags.optimize} " + " ".join(
    ATTRIBUTES
)

#: Of a file that was changed too shortly ago; no file has it.
NO_STAMP: Stamp = (0, 0, 0, 0)

#: The length of a SHA-256 in hexadecimal.
DIGEST = 64

#: What a script does, as JSON has it.
Rows: TypeAlias = list[Any]

COMMON = frozenset({"id", "down_revisions", "doc"})


class Columns:
    """What some scripts say, column by column: ten thousand rows would be as many lists.

    :ivar paths: of the files
    :ivar stamps: as in :class:`.ScriptFiles`; zeros where a file was too new to be told by it
    :ivar digests: the SHA-256 of each text, one after the other
    :ivar ids: the identifiers
    :ivar downs: the parents: ``None`` for none, a text for one, a list for several
    :ivar docs: the docstrings
    :ivar others: by path, the literals of a script that says something besides
    :ivar packed: what the scripts do, by the SHA-256 of the text, as :func:`pack` makes it
    """

    NAMES = ("paths", "stamps", "digests", "ids", "downs", "docs", "others", "packed")

    def __init__(self, kept: object = None) -> None:
        """Take what :meth:`plain` gave, or start with nothing."""
        if not isinstance(kept, list) or len(kept) != len(self.NAMES):
            kept = ([], [], "", [], [], [], {}, "")
        self.paths: list[str] = kept[0]
        self.stamps: list[int] = kept[1]
        self.digests: str = kept[2]
        self.ids: list[str] = kept[3]
        self.downs: list[str | list[str] | None] = kept[4]
        self.docs: list[str] = kept[5]
        self.others: dict[str, Literals] = kept[6]
        self.packed: str = kept[7]

    def plain(self) -> list[object]:
        """Return what JSON can keep."""
        return [getattr(self, name) for name in self.NAMES]

    def add(self, path: str, stamp: Stamp, digest: str, literals: Literals) -> None:
        """Add what a script says."""
        downs = [*map(str, literals.get("down_revisions", ()))]
        self.paths.append(path)
        self.stamps += stamp
        self.digests += digest
        self.ids.append(str(literals["id"]))
        self.downs.append(downs if len(downs) > 1 else downs[0] if downs else None)
        self.docs.append(str(literals.get("doc", "")))
        if not literals.keys() <= COMMON:
            self.others[path] = literals

    def digest(self, place: int) -> str:
        """Return the SHA-256 of the text at a place."""
        return self.digests[DIGEST * place : DIGEST * place + DIGEST]

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
    """What the scripts of one script directory say, and do.

    What a script does is found by its text's SHA-256. What it says of itself is found so as well,
    and by the file's name, time of change, size and inode, so that ten thousand files need not be
    opened to see that there is nothing to do.
    """

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        self._key = f"{READER} {program_version()}\n{os.path.realpath(directory)}"
        self._known = Columns(cache.read("scripts", self._key))
        #: The SHA-256 of each file that its stamp tells, by path.
        self._told: dict[str, str] = {}
        self._done: dict[str, Rows] | None = None
        self._kept: frozenset[str] = frozenset()
        self._used: dict[str, Rows] = {}

    def revisions(self, package: str, files: ScriptFiles) -> list[Revision | None]:
        """Return what the files say, and remember it; ``None`` where only an import can tell."""
        known = self._known
        if files.stamps == known.stamps and files.paths == known.paths:
            self._told = {path: known.digest(place) for place, path in enumerate(known.paths)}
            return known.revisions(package)
        places = {path: place for place, path in enumerate(known.paths)}
        digests = {known.digest(place): place for place in places.values()}
        kept = Columns()
        kept.packed = known.packed
        changed = False
        found: list[Revision | None] = []
        for number, path in enumerate(files.paths):
            place, stamp = places.get(path), files.stamp(number)
            literals: Literals | None
            if place is not None and known.stamps[4 * place : 4 * place + 4] == stamp:
                literals, digest = known.literals(place), known.digest(place)
                self._told[path] = digest
            else:
                now = time.time_ns()
                source = read_script(path)
                # An import fails for the same reason, and tells it.
                literals, digest = None, ""
                if source is not None:
                    digest = checksum_of(source)
                    place = digests.get(digest)
                    literals = None if place is None else known.literals(place)
                    if place is None:
                        # Mostly, it is not needed.
                        from websauna_migrate.revision_scripts import script_literals

                        literals = script_literals.read_literals(source)
                    stamp = stamp if is_settled(stamp, now) else NO_STAMP
                    # One that cannot be told by its stamp yet is known by its text.
                    changed |= literals is not None and (place is None or stamp is not NO_STAMP)
            if literals is not None:
                kept.add(path, stamp, digest, literals)
            found.append(None if literals is None else revision_of(package, path, literals))
        self._known = kept
        if changed or len(kept.paths) < len(known.paths):
            self._write()
        return found

    def upgrade(self, path: str) -> tuple[Access, ...]:
        """Return what a script's ``upgrade()`` does.

        :raises ScriptError: if the script is no valid Python
        """
        if self._done is None:
            self._done = unpack(self._known.packed)
            self._kept = frozenset(self._done)
        digest = self._told.get(path, "")
        if digest not in self._done:
            source = Path(path).read_bytes()
            digest = checksum_of(source)
            if digest not in self._done:
                from websauna_migrate.revision_scripts.script_reader import read_effects

                self._done[digest] = [*map(astuple, read_effects(source, path))]
        self._used[digest] = self._done[digest]
        return accesses_in(self._used[digest])

    def save(self) -> None:
        """Keep what scripts do, unless all of it was known before."""
        if self._used.keys() != self._kept:
            self._known.packed = pack(self._used)
            self._write()

    def _write(self) -> None:
        self._cache.write("scripts", self._key, self._known.plain())


def accesses_in(rows: Iterable[Iterable[Any]]) -> tuple[Access, ...]:
    """Return what a script does, as JSON kept it."""
    # Few commands need these.
    from websauna_migrate.planning.accesses import Access

    kept: Iterable[list[Any]] = (
        [tuple(value) if isinstance(value, list) else value for value in row] for row in rows
    )
    return tuple(Access(*row) for row in kept)


def pack(done: Mapping[str, object]) -> str:
    """Return what scripts do as one short text: most commands have no use for it."""
    body = json.dumps(done, separators=(",", ":"), sort_keys=True)
    return b64encode(zlib.compress(body.encode(), 1)).decode() if done else ""


def unpack(packed: str) -> dict[str, Rows]:
    """Return what :func:`pack` was given; nothing if it cannot be read."""
    try:
        found = json.loads(zlib.decompress(b64decode(packed))) if packed else {}
    except (ValueError, zlib.error):
        return {}
    return found if isinstance(found, dict) else {}


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
