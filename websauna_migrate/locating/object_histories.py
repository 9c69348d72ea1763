"""What each object of a database was behind each revision, as a replay saw it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.model_comparison import is_own_table
from websauna_migrate.facts.units import Group, Unit, by_unit, content

#: What is told of an object that a hand made.
NO_REVISION = "no revision makes it"

#: Version tables of plain Alembic.
FOREIGN_HISTORIES = re.compile(r"alembic_version.*", re.DOTALL)

#: What is of the database as a whole, or of the server.
LEFT_OUT = frozenset({"extension"})


def grouped(facts: Facts, histories: Collection[str]) -> dict[Unit, Group]:
    """Return facts by unit, without those of the service's own tables.

    :param histories: the names of the history tables
    """
    return by_unit(one for one in facts.objects if not is_left_out(one, histories))


def is_left_out(fact: Fact, histories: Collection[str]) -> bool:
    """True for what is the service's own, or the server's."""
    whole = fact.table or fact.name
    own = is_own_table(whole, histories) or FOREIGN_HISTORIES.fullmatch(whole)
    return fact.kind in LEFT_OUT or bool(own)


def changes_between(before: Mapping[Unit, Group], after: Mapping[Unit, Group]) -> dict[Unit, Group]:
    """Return the units that changed, as they are then; an empty group for one that went."""
    found: dict[Unit, Group] = dict.fromkeys(before.keys() - after.keys(), ())
    for unit, group in after.items():
        former = before.get(unit)
        if former != group and (former is None or content(former) != content(group)):
            found[unit] = group
    return found


@dataclass(frozen=True)
class ReplayedStep:
    """A revision that was replayed, and the units that it changed."""

    package: str
    revision: str
    changes: Mapping[Unit, Group]


@dataclass
class ObjectHistories:
    """The objects of all packages along a replay.

    :ivar initial: what the database had before the first step
    :ivar steps: in the order in which they ran
    """

    default_schema: str
    initial: Mapping[Unit, Group]
    steps: Sequence[ReplayedStep] = field(default_factory=list)

    @cached_property
    def touches(self) -> Mapping[Unit, Sequence[tuple[int, Group]]]:
        """For each unit that a step changed: the numbers of these steps, and what it was then."""
        found: dict[Unit, list[tuple[int, Group]]] = {}
        for number, step in enumerate(self.steps):
            for unit, group in step.changes.items():
                found.setdefault(unit, []).append((number, group))
        return found

    @cached_property
    def owners(self) -> Mapping[tuple[str, str], str]:
        """The package whose step changed a table, view or type as a whole, or a part of it, last.

        A step that made or dropped it goes before one that changed a part.
        """
        found: dict[tuple[str, str], str] = {}
        for step in self.steps:
            for unit in step.changes:
                if unit[1] == unit[3] or unit[:2] not in found:
                    found[unit[:2]] = step.package
        return found

    def numbers(self, package: str) -> list[int]:
        """Return the numbers of a package's steps."""
        return [number for number, step in enumerate(self.steps) if step.package == package]

    def units_of(self, package: str) -> list[Unit]:
        """Return the units that a package's steps changed."""
        own = [step.changes for step in self.steps if step.package == package]
        return list(dict.fromkeys(chain.from_iterable(own)))

    def stretches(
        self, unit: Unit, numbers: Sequence[int], package: str
    ) -> Iterator[tuple[int, int, list[Group]]]:
        """Yield what a unit may be while a package stands where.

        :param numbers: those of the package's steps
        :returns: of how many steps on, up to how many, and the unit's groups meanwhile, as steps of
            other packages left it; the package's own first
        """
        start = 0
        groups: list[Group] = [self.initial.get(unit, ())]
        for number, group in self.touches.get(unit, ()):
            if self.steps[number].package == package:
                end = bisect_right(numbers, number) - 1
                yield start, end, groups
                start, groups = end + 1, [group]
            else:
                groups.append(group)
        yield start, len(numbers), groups

    def behind(self, package: str, applied: Collection[str], unit: Unit) -> list[Group] | None:
        """Return what a unit may be where some of a package's steps are applied, its own first.

        :param applied: their revisions
        :returns: ``None`` where that was not replayed: an earlier step that changed the unit is not
            among them
        """
        groups: list[Group] = [self.initial.get(unit, ())]
        beyond = False
        for number, group in self.touches.get(unit, ()):
            step = self.steps[number]
            if step.package != package:
                groups = groups if beyond else [*groups, group]
            elif step.revision not in applied:
                beyond = True
            elif beyond:
                return None
            else:
                groups = [group]
        return groups

    def made_by(self, units: Iterable[Unit], package: str, applied: Collection[str]) -> str:
        """Return which revision made an object what the replay has, in words.

        :param applied: the revisions of the package that are taken as applied
        """
        later = ""
        for unit in units:
            last = ""
            for number, _ in self.touches.get(unit, ()):
                step = self.steps[number]
                name = f"{step.package}@{step.revision}"
                if step.package != package or step.revision in applied:
                    last = name
                elif not later:
                    later = name
            if last:
                return f"as {last} made it"
        return f"{later} makes it" if later else NO_REVISION
