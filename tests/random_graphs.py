"""Random histories for property tests, and Alembic's own view of one as the oracle.

A graph is drawn from a seed, not revision by revision: 200 revisions from hypothesis' own choices
would take most of the time of a test. What shrinks is the size.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from alembic.runtime.migration import HeadMaintainer, RevisionStep
from alembic.script import ScriptDirectory
from alembic.script import revision as alembic_revision
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, String, Table

from websauna_migrate.planning.revisions import Revision

PACKAGES = (
    "acme",
    "acme.blog",
    "acme.shop",
    "acme.user",
    "b",
    "b.c",
    "b_c",
    "core",
    "n1",
    "n10",
    "site",
    "x.y.z",
)


def make_id(rng: random.Random, taken: set[str]) -> str:
    """Return a new identifier; many of them begin alike."""
    while True:
        length = rng.choice((2, 3, 4, 5, 8, 12))
        made = "".join(rng.choice("ab1") for _ in range(length))
        if made not in taken:
            taken.add(made)
            return made


def random_history(rng: random.Random, count: int, package: str = "pkg") -> list[Revision]:
    """Return revisions with branches, merges, labels and dependencies, parents first."""
    made: list[Revision] = []
    taken: set[str] = set()
    labels: list[str] = []
    tips: list[str] = []
    shape = rng.random()
    for number in range(count):
        revision_id = make_id(rng, taken)
        ids = [revision.id for revision in made]
        kind = rng.random()
        down: tuple[str, ...]
        if not made or kind < 0.06:
            down = ()
        elif kind < 0.6 or shape < 0.2:
            down = (tips[-1],)
        elif kind < 0.8:
            down = (rng.choice(ids),)
        elif shape < 0.7 and len(tips) > 1:
            down = tuple(rng.sample(tips, min(len(tips), rng.choice((2, 2, 3)))))
        else:
            # Parents that are each other's ancestors too.
            down = tuple(rng.sample(ids, min(len(ids), rng.choice((1, 2, 3)))))
        depends_on: tuple[str, ...] = ()
        if made and rng.random() < 0.2:
            depends_on = tuple(
                rng.sample(ids + labels, rng.choice((1, 1, 2))) if number > 2 else ids[:1]
            )
        own_labels: tuple[str, ...] = ()
        if rng.random() < 0.12:
            label = rng.choice(("ab", "ab1", "abba", "branch", "la")) + str(number)
            if label not in taken:
                taken.add(label)
                labels.append(label)
                own_labels = (label,)
        made.append(
            Revision(
                package,
                revision_id,
                down,
                depends_on=depends_on,
                branch_labels=own_labels,
                path=f"/{package}/{revision_id}.py",
            )
        )
        tips = [tip for tip in tips if tip not in down] + [revision_id]
    return made


@st.composite
def histories(draw: st.DrawFn, max_size: int = 25) -> tuple[list[Revision], random.Random]:
    """Draw one package's history and a source of more choices."""
    size = draw(st.integers(1, max_size))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return random_history(rng, size), rng


# Alembic as the oracle


class Oracle:
    """One history as Alembic sees it."""

    def __init__(self, revisions: Iterable[Revision]) -> None:
        def generate() -> Iterable[alembic_revision.Revision]:
            for one in revisions:
                made = alembic_revision.Revision(
                    one.id, one.down_revisions or None, one.depends_on or None, one.branch_labels
                )
                made.module = SimpleNamespace(upgrade=None, downgrade=None)  # type: ignore[attr-defined]
                yield made

        self.map = alembic_revision.RevisionMap(generate)
        self.map._revision_map  # noqa: B018
        self.scripts = ScriptDirectory.__new__(ScriptDirectory)
        self.scripts.revision_map = self.map

    def resolve(self, target: str) -> set[str]:
        return {found.revision for found in self.map.get_revisions(target)}  # type: ignore[union-attr]

    def upgrade_set(self, target: str, rows: Iterable[str]) -> set[str]:
        found, _ = self.map._collect_upgrade_revisions(target, tuple(rows), False, True, True)
        return {one.revision for one in found}

    def downgrade_set(self, target: str, rows: Iterable[str]) -> set[str]:
        found, _ = self.map._collect_downgrade_revisions(tuple(rows), target, False, False, True)
        return {one.revision for one in found}

    def maintain(self, rows: Iterable[str], steps: Iterable[Any]) -> frozenset[str]:
        """Return the rows that Alembic leaves in the history table."""
        context: Any = SimpleNamespace(
            as_sql=True,
            impl=SimpleNamespace(_exec=lambda statement: None),
            _version=Table("alembic_version", MetaData(), Column("version_num", String(32))),
        )
        maintainer = HeadMaintainer(context, rows)
        for step in steps:
            maintainer.update_to_step(step)
        return frozenset(maintainer.heads)

    def rows_after(self, rows: Iterable[str], revision_id: str, *, upgrade: bool) -> frozenset[str]:
        script: Any = self.map.get_revision(revision_id)
        return self.maintain(rows, [RevisionStep(self.map, script, upgrade)])

    def stamp(self, targets: tuple[str, ...], rows: Iterable[str]) -> frozenset[str]:
        return self.maintain(rows, self.scripts._stamp_revs(targets, tuple(rows)))


# Many packages


@dataclass
class RandomGraph:
    """Many packages; ``order`` is one order in which all revisions could run."""

    packages: dict[str, list[Revision]]
    package_requires: dict[str, tuple[str, ...]]
    order: list[Revision]
    rng: random.Random

    def closure(self, nodes: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return nodes and all that they need, the plain way."""
        needs = self.needs()
        found: set[tuple[str, str]] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(other for other, _ in needs[node])
        return found

    def needs(self) -> dict[tuple[str, str], list[tuple[tuple[str, str], bool]]]:
        """Return what each revision needs directly, and whether that floats; the plain way."""
        found: dict[tuple[str, str], list[tuple[tuple[str, str], bool]]] = {}
        for revision in self.order:
            key = (revision.package, revision.id)
            found[key] = [
                ((revision.package, self.plain(revision.package, name)), False)
                for name in (*revision.down_revisions, *revision.depends_on)
            ]
        for revision in self.order:
            key = (revision.package, revision.id)
            for text in revision.requires:
                found[key].extend(self.meaning(text))
            for text in revision.run_before:
                for other, floating in self.meaning(text):
                    found[other].append((key, floating))
            if not revision.down_revisions:
                own = {text.split("@")[0] for text in revision.requires}
                for text in self.package_requires.get(revision.package, ()):
                    if text.split("@")[0] not in own:
                        found[key].extend(self.meaning(text if "@" in text else f"{text}@head"))
        return found

    def plain(self, package: str, name: str) -> str:
        for revision in self.packages[package]:
            if name == revision.id or name in revision.branch_labels:
                return revision.id
        raise AssertionError(name)

    def meaning(self, text: str) -> list[tuple[tuple[str, str], bool]]:
        package, _, target = text.partition("@")
        if package not in self.packages:
            return []
        revisions = self.packages[package]
        if target == "head":
            named = {self.plain(package, n) for r in revisions for n in r.down_revisions}
            named |= {self.plain(package, n) for r in revisions for n in r.depends_on}
            return [((package, r.id), True) for r in revisions if r.id not in named]
        return [((package, self.plain(package, target)), False)]


def random_graph(rng: random.Random, packages: int, total: int) -> RandomGraph:
    """Return packages whose requirements cannot form a cycle: each points back in one order."""
    names = rng.sample(PACKAGES, packages)
    slots = [rng.choice(names) for _ in range(total)]
    made = {name: random_history(rng, slots.count(name), name) for name in names}
    if rng.random() < 0.3:
        slots.sort(key=names.index)
    taken = dict.fromkeys(names, 0)
    order: list[Revision] = []
    for name in slots:
        order.append(made[name][taken[name]])
        taken[name] += 1
    package_requires: dict[str, tuple[str, ...]] = {}
    density = rng.choice((0.0, 0.1, 0.3))
    last = {revision.package: place for place, revision in enumerate(order)}
    first = {revision.package: place for place, revision in reversed(list(enumerate(order)))}
    for place, revision in enumerate(order):
        requires: list[str] = []
        run_before: list[str] = ["not.there@head"] if rng.random() < 0.02 else []
        if rng.random() < density:
            earlier = [r for r in order[:place] if r.package != revision.package]
            done = [name for name in names if name in last and last[name] < place]
            if done and rng.random() < 0.4 and (other := rng.choice(done)) != revision.package:
                requires.append(f"{other}@head")
            for one in rng.sample(earlier, min(len(earlier), rng.choice((1, 1, 3)))):
                name = one.branch_labels[0] if one.branch_labels and rng.random() < 0.5 else one.id
                requires.append(f"{one.package}@{name}")
        if rng.random() < density / 3:
            later = [r for r in order[place:] if r.package != revision.package]
            for one in rng.sample(later, min(len(later), 1)):
                run_before.append(f"{one.package}@{one.id}")
        order[place] = replace(revision, requires=tuple(requires), run_before=tuple(run_before))
    for name in first:
        done = [other for other in first if last[other] < first[name]]
        if done and rng.random() < 0.5:
            package_requires[name] = (rng.choice(done),)
    packages_made: dict[str, list[Revision]] = {name: [] for name in names}
    for revision in order:
        packages_made[revision.package].append(revision)
    return RandomGraph(packages_made, package_requires, order, rng)


@st.composite
def graphs(draw: st.DrawFn, max_packages: int = 12, max_revisions: int = 200) -> RandomGraph:
    """Draw packages with requirements on each other."""
    packages = draw(st.integers(1, max_packages))
    total = draw(st.integers(0, max_revisions))
    return random_graph(random.Random(draw(st.integers(0, 2**32))), packages, total)


def shuffled(graph: RandomGraph, rng: random.Random) -> tuple[dict[str, list[Revision]], Any]:
    """Return the packages in another order, and their revisions too."""
    packages = shuffled_packages(graph.packages, rng)
    requires: Mapping[str, Any] = {
        name: graph.package_requires[name] for name in packages if name in graph.package_requires
    }
    return packages, requires


def shuffled_packages(
    packages: Mapping[str, list[Revision]], rng: random.Random
) -> dict[str, list[Revision]]:
    """Return packages in another order, and their revisions too."""
    names = rng.sample(list(packages), len(packages))
    return {name: rng.sample(packages[name], len(packages[name])) for name in names}
