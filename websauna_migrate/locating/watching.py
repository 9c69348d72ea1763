"""A scratch database that is read behind each step of a replay."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from itertools import chain

from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import Fact, Pieces
from websauna_migrate.facts.units import Group, Unit, read_plain_pieces, unit_of
from websauna_migrate.locating.object_histories import changes_between, is_left_out


class Watch:
    """Tells what changed since the last look, and makes facts of that alone.

    :ivar default_schema: the one whose objects are named without it
    :ivar state: what the database has
    """

    def __init__(self, connection: Connection, histories: Collection[str]) -> None:
        """Look for the first time.

        :param histories: the names of the history tables, which are left out
        """
        self.connection = connection
        self.histories = histories
        self.state: dict[Unit, Group] = {}
        self.pieces: Pieces = {}
        self.facts: dict[Unit, list[Fact]] = {}
        self.changes()

    def follow(self, changes: Mapping[Unit, Group]) -> None:
        """Take over what is known to have changed, without a look."""
        for unit, group in changes.items():
            if group:
                self.state[unit] = group
            else:
                self.state.pop(unit, None)
        # What was seen is older.
        self.pieces, self.facts = {}, {}

    def changes(self) -> dict[Unit, Group]:
        """Look, and return the units that changed; an empty group for one that went."""
        self.default_schema, pieces = read_plain_pieces(self.connection, self.pieces)
        touched = set() if self.pieces else set(self.state)
        came = [key for key in pieces if key not in self.pieces]
        gone: Collection[Hashable] = ()
        if len(pieces) - len(came) != len(self.pieces):
            gone = self.pieces.keys() - pieces.keys()
        for unit, fact in self.units(self.pieces, gone):
            self.facts[unit].remove(fact)
            touched.add(unit)
        for unit, fact in self.units(pieces, came):
            self.facts.setdefault(unit, []).append(fact)
            touched.add(unit)
        self.pieces = pieces
        before = {unit: self.state[unit] for unit in touched if unit in self.state}
        after = {
            unit: tuple(sorted(self.facts[unit], key=key_of))
            for unit in touched
            if self.facts.get(unit)
        }
        for unit in touched:
            self.state.pop(unit, None)
        self.state.update(after)
        return changes_between(before, after)

    def units(self, pieces: Pieces, keys: Collection[Hashable]) -> Iterator[tuple[Unit, Fact]]:
        """Yield the facts of some pieces."""
        for fact in chain.from_iterable(pieces[key] for key in keys):
            if not is_left_out(fact, self.histories):
                yield unit_of(fact), fact


def key_of(fact: Fact) -> tuple[str, str, str, str]:
    """Return what facts are sorted by."""
    return fact.key
