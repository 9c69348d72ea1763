"""Squashes: scripts that stand for others, which are set aside.

A script with ``replaces`` stands for those that it names, whether these are still there or not.
What names one of them, as parent, dependency, requirement or target, means the squash. The last one
of ``replaces`` is the one that all others lead to: a database at it has the whole squash. One that
has a part of them goes on by the old scripts, as far as they are there; then these stand, and the
squash is set aside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from websauna_migrate.planning.history_errors import replaced_twice
from websauna_migrate.planning.revisions import Revision


class Replacements:
    """Which scripts of a package stand.

    :ivar standing: the revisions that stand, by identifier; what they name stands as well
    :ivar written: all revisions as their scripts say them, by identifier
    :ivar meant: for each revision that is set aside or gone, the squash that stands for it
    """

    def __init__(
        self, revisions: Mapping[str, Revision], without: Collection[str] = frozenset()
    ) -> None:
        """Tell what stands.

        :param without: squashes that are set aside themselves
        :raises HistoryError: if two squashes replace the same revision
        """
        self.written = revisions
        self.without = frozenset(without)
        self.squashes = {
            one.id: one for one in revisions.values() if one.replaces and one.id not in self.without
        }
        self.meant = self._meant() if self.squashes else {}
        self.standing = revisions if not (self.squashes or self.without) else self._standing()

    def _meant(self) -> dict[str, str]:
        direct: dict[str, str] = {}
        # A squash that others replace counts last: they name what it replaces as well.
        inner = {former for one in self.squashes.values() for former in one.replaces}
        for one in sorted(self.squashes.values(), key=lambda one: one.id in inner):
            for former in one.replaces:
                other = direct.setdefault(former, one.id)
                if other != one.id and direct.get(one.id) != other:
                    raise replaced_twice(former, self.squashes[other], one)
        return {former: follow(direct, former) for former in direct}

    def _standing(self) -> dict[str, Revision]:
        found = {}
        for id_, one in self.written.items():
            if id_ in self.meant or id_ in self.without:
                continue
            named = {*one.down_revisions, *one.depends_on}
            if named & (self.meant.keys() | self.without):
                one = replace(
                    one,
                    down_revisions=self.names(one.down_revisions, id_),
                    depends_on=self.names(one.depends_on, id_),
                )
            found[id_] = one
        return found

    def names(self, names: Iterable[str], own: str) -> tuple[str, ...]:
        """Return what names mean that a revision gives."""
        found = (self.meaning(name) for name in names)
        return tuple(dict.fromkeys(name for name in found if name != own))

    def meaning(self, name: str) -> str:
        """Return what stands for a revision: the last one of a squash that is set aside."""
        while name in self.without:
            name = self.written[name].replaces[-1]
        return self.meant.get(name, name)

    @property
    def aside(self) -> tuple[Revision, ...]:
        """The revisions whose scripts are there and do not stand."""
        return tuple(one for id_, one in self.written.items() if id_ not in self.standing)

    # Databases

    def squash_at(self, row: str) -> str | None:
        """Return the squash that a row of the history table shows to be applied as a whole."""
        squash = self.meant.get(row)
        whole = squash is not None and self._leads_to(self.squashes[squash], row)
        return squash if whole else None

    def _leads_to(self, squash: Revision, row: str) -> bool:
        last = squash.replaces[-1]
        # The last one may be a squash itself, and the row the last one of that.
        inner = self.written.get(last)
        return last == row or (
            inner is not None and bool(inner.replaces) and self._leads_to(inner, row)
        )

    def partly_applied(self, rows: Iterable[str]) -> frozenset[str]:
        """Return the squashes to set aside, so that the old scripts go on from some rows.

        A squash stays whose old scripts are not there.
        """
        now = self
        while True:
            found = {
                now.meant[row]
                for row in rows
                if row in now.meant and now.squash_at(row) is None and now._has_old(now.meant[row])
            }
            if not found:
                return now.without
            now = Replacements(self.written, now.without | found)

    def _has_old(self, squash: str) -> bool:
        """Return whether all is there that a squash replaces, or a squash of it."""
        inner = {
            former
            for one in self.written.values()
            if one.replaces and one.id != squash and one.id in self.squashes[squash].replaces
            for former in one.replaces
        }
        return all(one in self.written or one in inner for one in self.squashes[squash].replaces)


def follow(direct: Mapping[str, str], former: str) -> str:
    """Return the squash that stands at the end for a revision."""
    found = direct[former]
    seen = {former}
    while found in direct and found not in seen:
        seen.add(found)
        found = direct[found]
    return found
