"""A scratch database that is read behind each step of a replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import Fact, Pieces
from websauna_migrate.facts.units import Group, Unit, look_again, unit_of
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
        self.look = look_again(connection)
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
        self.look.forget()
        self.facts = {}

    def changes(self) -> dict[Unit, Group]:
        """Look, and return the units that changed; an empty group for one that went."""
        touched = set() if self.facts else set(self.state)
        self.default_schema, came, gone = self.look.look()
        for unit, fact in self.units(gone):
            self.facts[unit].remove(fact)
            touched.add(unit)
        for unit, fact in self.units(came):
            self.facts.setdefault(unit, []).append(fact)
            touched.add(unit)
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

    def units(self, pieces: Pieces) -> Iterator[tuple[Unit, Fact]]:
        """Yield facts with their units."""
        for fact in chain.from_iterable(pieces.values()):
            if not is_left_out(fact, self.histories):
                yield unit_of(fact), fact


def key_of(fact: Fact) -> tuple[str, str, str, str]:
    """Return what facts are sorted by."""
    return fact.key
