"""The revision scripts of a package, read without importing them, and remembered.

Which files there are, and when they were changed, is looked up each time. What a file says, and
what its ``upgrade()`` does, is read from its text once, and kept in the user's cache folder by the
text's SHA-256, for each script directory.
"""

from __future__ import annotations

import os
import sys
import time
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from websauna_migrate.database.cache import Cache, program_version
from websauna_migrate.planning.revisions import ATTRIBUTES, Literals, Revision
from websauna_migrate.revision_scripts.script_files import (
    ScriptFiles,
    Stamp,
    checksum_of,
    is_settled,
    read_script,
)

if TYPE_CHECKING:
    from websauna_migrate.planning.accesses import Access

#: What must be the same for an index to be read: how texts are read, and what a docstring becomes.
READER = f"13 {sys.version_info[0]}.{sys.version_info[1]} {sys.flags.optimize} " + " ".join(
    ATTRIBUTES
)

#: What a script does, as JSON has it.
Rows: TypeAlias = list[Any]


class Known(NamedTuple):
    """What is known of a file.

    :ivar stamp: ``None`` for one that was changed too shortly ago: its text alone tells it
    :ivar digest: the SHA-256 of its text
    :ivar literals: what that says
    """

    stamp: Stamp
    digest: str
    literals: Literals


class ScriptIndex:
    """What the scripts of one script directory say, and do.

    What a script does is found by its text's SHA-256. What it says of itself is found so as well,
    and by the file's name and stamp, so that ten thousand files need not be opened to see that
    there is nothing to do.
    """

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Remember where the index of a script directory is; it is read when it is needed."""
        self._cache = cache
        self._key = f"{READER} {program_version()}\n{os.path.realpath(directory)}"
        #: By path, once the files were looked at.
        self._files: dict[str, Known] = {}

    def revisions(self, package: str, files: ScriptFiles) -> list[Revision | None]:
        """Return what the files say, and remember it; ``None`` where only an import can tell."""
        kept = {
            path: Known(*one)
            for path, one in (self._cache.read("scripts", self._key) or {}).items()
        }
        by_text = {one.digest: one.literals for one in kept.values()}
        self._files = {}
        found: list[Revision | None] = []
        for path, stamp in files.items():
            one = kept.get(path)
            if one is None or stamp is None or one.stamp != stamp:
                one = read_file(path, stamp, by_text)
            if one is not None:
                self._files[path] = one
            found.append(None if one is None else revision_of(package, path, one.literals))
        if self._files != kept:
            self._cache.write("scripts", self._key, self._files)
        return found

    @cached_property
    def _effects(self) -> ChainMap[str, Rows]:
        """What scripts do, by the SHA-256 of their texts: what was asked for, and what was kept."""
        return ChainMap({}, self._cache.read("effects", self._key) or {})

    def upgrade(self, path: str) -> tuple[Access, ...]:
        """Return what a script's ``upgrade()`` does.

        :raises ScriptError: if the script is no valid Python
        """
        # Few commands need these.
        from websauna_migrate.planning.accesses import Access

        known = self._files.get(path)
        digest = "" if known is None or known.stamp is None else known.digest
        rows = self._effects.get(digest)
        if rows is None:
            source = Path(path).read_bytes()
            digest = checksum_of(source)
            rows = self._effects.get(digest)
        if rows is None:
            from websauna_migrate.revision_scripts.script_reader import read_effects

            rows = [*map(astuple, read_effects(source, path))]
        self._effects[digest] = rows
        kept: Iterable[Any] = (
            [tuple(value) if isinstance(value, list) else value for value in row] for row in rows
        )
        return tuple(Access(*row) for row in kept)

    def save(self) -> None:
        """Keep what scripts do, unless all of it was known before."""
        used, kept = self._effects.maps
        if used.keys() != kept.keys():
            self._cache.write("effects", self._key, used)


def read_file(path: str, stamp: Stamp, by_text: Mapping[str, Literals]) -> Known | None:
    """Return what a script's text says; ``None`` where only an import can tell.

    :param stamp: of its file
    :param by_text: what is known of texts, by their SHA-256
    """
    now = time.time_ns()
    source = read_script(path)
    if source is None:
        # An import fails for the same reason, and tells it.
        return None
    digest = checksum_of(source)
    literals = by_text.get(digest)
    if literals is None:
        # Mostly, it is not needed.
        from websauna_migrate.revision_scripts import script_literals

        literals = script_literals.read_literals(source)
    if literals is None:
        return None
    return Known(stamp if is_settled(stamp, now) else None, digest, literals)


def revision_of(package: str, path: str, literals: Literals) -> Revision:
    """Return a script's revision from what the script says."""
    values: dict[str, Any] = {
        name: value
        if isinstance(value, str)
        else tuple([one if isinstance(one, str) else tuple(one) for one in value])
        for name, value in literals.items()
    }
    return Revision(package=package, path=path, **values)
