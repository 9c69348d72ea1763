"""The effects of revision scripts, and their enum types, remembered by the text they are read from.

Reading effects means parsing a script and walking its tree, which takes much longer than reading
the file: a text that was read once is not parsed again.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from websauna_migrate.database.cache import Cache, program_version
from websauna_migrate.revision_scripts.effects import Effect
from websauna_migrate.revision_scripts.enum_values import TypeHistory

__all__ = ["EffectIndex"]

FIELDS = tuple(field.name for field in fields(Effect))

#: Raised when effects are read in another way.
READER = 2


class EffectIndex:
    """The effects of one package's scripts."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        python = ".".join(map(str, sys.version_info[:2]))
        self._key = f"{READER} {program_version()} {python}\n{directory}"
        found = cache.read("effects", self._key)
        self._known: dict[str, list[Any]] = found if isinstance(found, dict) else {}
        self._kept: dict[str, list[Any]] = {}
        self._changed = False

    def read(self, path: str) -> tuple[tuple[Effect, ...], TypeHistory]:
        """Return the effects of a script's upgrade, and what it says of enum types.

        :raises ScriptSyntaxError: if the script is no valid Python
        """
        source = Path(path).read_bytes()
        digest = hashlib.blake2b(source, digest_size=16).hexdigest()
        known = self._known.get(digest)
        if known is None:
            from websauna_migrate.revision_scripts.script_reader import read_upgrade

            effects, types = read_upgrade(source.decode("utf-8"), path)
            self._changed = True
            self._kept[digest] = [
                [astuple(effect) for effect in effects],
                types.values,
                types.altered,
            ]
            return effects, types
        self._kept[digest] = known
        found = []
        for row in known[0]:
            effect: Any = dict(zip(FIELDS, row, strict=True))
            effect["target_columns"] = tuple(effect["target_columns"])
            found.append(Effect(**effect))
        values = tuple((name, tuple(given)) for name, given in known[1])
        return tuple(found), TypeHistory(values, tuple(known[2]))

    def save(self) -> None:
        """Keep what was read, unless it was known before."""
        if self._changed or len(self._kept) < len(self._known):
            self._cache.write("effects", self._key, self._kept)
            self._known, self._changed = self._kept, False
