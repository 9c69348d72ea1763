"""Whether the order of two revisions matters: one takes away what the text of the other names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts.effects import Effect

__all__ = ["Conflict", "Conflicts"]

TAKEN_AWAY = {
    "drop_table": "drops",
    "rename_table": "renames",
    "drop_column": "drops",
    "rename_column": "renames",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """One revision takes away what another one names.

    :ivar taker: the revision that does
    :ivar effect: what it takes away, and in which line
    :ivar other: the revision whose script names that
    """

    taker: Revision
    effect: Effect
    other: Revision

    def __str__(self) -> str:
        """Return it as a clause."""
        what = f'table "{self.effect.name}"'
        if self.effect.column is not None:
            what = f'column "{self.effect.column}" of {what}'
        return (
            f'"{self.taker}" {TAKEN_AWAY[self.effect.kind]} {what} in line {self.effect.line}, '
            f'which the script of "{self.other}" names'
        )


class Conflicts:
    """Tells whether the order of two revisions matters; reads each script once."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._taken: dict[str, tuple[Effect, ...]] = {}
        self._words: dict[str, frozenset[str]] = {}

    def __call__(self, one: Revision, other: Revision) -> Conflict | None:
        """Return why the order of two revisions matters, as far as their texts show it."""
        for taker, named in ((one, other), (other, one)):
            for effect in self._taken_away(taker.path):
                words = self._named(named.path)
                if effect.name in words and (effect.column is None or effect.column in words):
                    return Conflict(taker, effect, named)
        return None

    def _taken_away(self, path: str) -> tuple[Effect, ...]:
        from websauna_migrate.revision_scripts.script_reader import read_effects

        if path not in self._taken:
            effects = read_effects(self._text(path), path)
            self._taken[path] = tuple(e for e in effects if e.kind in TAKEN_AWAY)
        return self._taken[path]

    def _named(self, path: str) -> frozenset[str]:
        if path not in self._words:
            self._words[path] = frozenset(re.findall(r"\w+", self._text(path)))
        return self._words[path]

    def _text(self, path: str) -> str:
        if path not in self._texts:
            self._texts[path] = Path(path).read_text(encoding="utf-8")
        return self._texts[path]
