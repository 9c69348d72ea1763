"""Which revisions of a package a database may stand at."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.units import Group, Unit, content
from websauna_migrate.locating.object_histories import ObjectHistories
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_history import PackageHistory


@dataclass(frozen=True)
class Candidate:
    """A place in a package's history.

    :ivar applied: the revisions that are applied there
    :ivar rows: those of the history table
    """

    applied: frozenset[str]
    rows: tuple[str, ...]

    @property
    def name(self) -> str:
        """It in words."""
        return ", ".join(self.rows) or "base"


class PackageCandidates:
    """The places of one package that were replayed, against a database.

    :ivar live: the database's units
    """

    def __init__(
        self,
        package: str,
        history: PackageHistory,
        objects: ObjectHistories,
        live: Mapping[Unit, Group],
    ) -> None:
        self.package = package
        self.history = history
        self.objects = objects
        self.live = live
        self.units = objects.units_of(package)

    def is_live(self, unit: Unit, groups: Collection[Group]) -> bool:
        """True if the database has a unit as one of some groups."""
        now = self.live.get(unit, ())
        return any(now == group or content(now) == content(group) for group in groups)

    @cached_property
    def extra(self) -> list[Unit]:
        """Parts of the package's tables that no step made, and no other package's either."""
        objects = self.objects
        return [
            unit
            for unit in self.live
            if unit not in objects.touches
            and unit not in objects.initial
            and objects.owners.get(unit[:2]) == self.package
        ]

    @cached_property
    def order(self) -> list[str]:
        """The package's revisions as they were replayed."""
        objects = self.objects
        return [objects.steps[number].revision for number in objects.numbers(self.package)]

    @cached_property
    def places(self) -> list[tuple[int | frozenset[str], int]]:
        """The places, each with how many units are other ones in the database.

        A place is the number of revisions that were replayed first, or on a branch a set of them.
        """
        numbers = self.objects.numbers(self.package)
        change = [0] * (len(numbers) + 2)
        for unit in self.units:
            for start, end, groups in self.objects.stretches(unit, numbers, self.package):
                if not self.is_live(unit, groups):
                    change[start] += 1
                    change[end + 1] -= 1
        counts = [*itertools.accumulate(change)][: len(numbers) + 1]
        found: list[tuple[int | frozenset[str], int]] = [
            (place, count + len(self.extra)) for place, count in enumerate(counts)
        ]
        for applied in self.on_branches():
            count = self.count(applied)
            if count is not None:
                found.append((applied, count))
        return found

    def on_branches(self) -> Iterator[frozenset[str]]:
        """Yield what is applied at each revision before which others ran that it does not need."""
        before, follows = None, True
        for place, name in enumerate(self.order, 1):
            follows = follows and (
                before is None or before in self.history.revisions[name].down_revisions
            )
            if not follows:
                applied = frozenset(self.history.applied([name]))
                follows = len(applied) == place
                if not follows:
                    yield applied
            before = name

    def at(self, place: int | frozenset[str]) -> Candidate:
        """Return a place with its rows."""
        return self.candidate(self.order[:place] if isinstance(place, int) else place)

    def candidate(self, applied: Collection[str]) -> Candidate:
        """Return the place where some revisions are applied."""
        kept = frozenset(applied)
        return Candidate(kept, tuple(sorted(self.history.reduce(kept))))

    def count(self, applied: Collection[str]) -> int | None:
        """Return how many units are other ones in the database, ``None`` if that is not known."""
        found = 0
        for unit in self.units:
            groups = self.objects.behind(self.package, applied, unit)
            if groups is None:
                return None
            found += not self.is_live(unit, groups)
        return found + len(self.extra)

    def equal(self) -> list[Candidate]:
        """Return the places whose objects are the database's, oldest first."""
        return [self.at(one) for one, count in self.places if not count]

    def nearest(self) -> list[Candidate]:
        """Return the places that differ in the fewest objects, oldest first."""
        least = min(count for _, count in self.places)
        return [self.at(one) for one, count in self.places if count == least]

    def sides(self, place: Candidate) -> tuple[Facts, Facts]:
        """Return the package's part of the database, and what it is at a place."""
        here: list[Group] = []
        there: list[Group] = []
        for unit in dict.fromkeys([*self.units, *self.extra]):
            now = self.live.get(unit, ())
            groups = self.objects.behind(self.package, place.applied, unit) or [()]
            shared = len(groups) > 1 and self.is_live(unit, groups)
            here.append(now)
            there.append(now if shared else groups[0])
        # The parts of a table are told apart from it.
        changed = {unit[:2] for unit in self.units}
        for unit, now in self.live.items():
            if unit[1] == unit[3] and unit not in self.units and unit[:2] in changed:
                here.append(now)
                there.append(now)
        schema = self.objects.default_schema
        return (
            Facts.make(schema, itertools.chain.from_iterable(here)),
            Facts.make(schema, itertools.chain.from_iterable(there)),
        )


def with_requirements(
    graph: Graph, found: Mapping[str, Sequence[Candidate]]
) -> dict[str, list[Candidate]]:
    """Return the places that requirements between packages allow, where they allow some.

    :param found: the places of each package; a package that is not among them allows all
    """
    left = {package: list(places) for package, places in found.items()}
    before = None
    while before != (counts := [*map(len, left.values())]):
        before = counts
        for package, places in left.items():
            allowed = [one for one in places if all(fits(graph, package, one, left))]
            left[package] = allowed or places
    return left


def fits(
    graph: Graph, package: str, place: Candidate, found: Mapping[str, Sequence[Candidate]]
) -> Iterator[bool]:
    """Yield for each requirement from and on a package whether a place can be true."""
    for requirement in graph.requirements:
        if requirement.floating:
            continue
        dependent = requirement.dependent
        for required in requirement.required:
            if dependent.package == package and dependent.id in place.applied:
                others = found.get(required.package)
                yield others is None or any(required.id in one.applied for one in others)
            if required.package == package and required.id not in place.applied:
                others = found.get(dependent.package)
                yield others is None or any(dependent.id not in one.applied for one in others)
