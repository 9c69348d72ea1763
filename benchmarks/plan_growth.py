"""Measure how planning grows with the number of revisions: ``python benchmarks/plan_growth.py``.

Fifty packages with branches, merges, dependencies and requirements on each other, and the authors'
order: recorded in the scripts, told from their dates, and recorded by authors who had not the
newest of other packages, so that what they say contradicts each other. CPU time of one process, the
best of several rounds, without the reading of scripts. Exits 1 where planning over 20,000 revisions
takes a second, or grows faster than n log n.

``groups`` is the number of times that a plan goes from one package to another.

The times are with Python's cyclic garbage collector at work, as in an application. The growth is
fitted to times without it: how often it looks through all live objects is not planning's doing.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_downgrade, plan_upgrade
from websauna_migrate.planning.revisions import Revision

PACKAGES = 50

#: Of how many other packages a script records what its author had.
DEPENDENCIES = 3

SIZES = (2_500, 5_000, 10_000, 20_000, 40_000)
ROUNDS = 3


#: History of a package, and the authors' order.
SHAPES = (
    ("chain", ""),
    ("merged", ""),
    ("chain", "recorded"),
    ("merged", "recorded"),
    ("merged", "dated"),
    ("merged", "lagging"),
    ("chain", "circles"),
    ("merged", "hub"),
    ("merged", "all recorded"),
)

#: For how many revisions of all packages the author of one has the newest of the others, at most.
LAG = 200

#: The package that all others are written against, in that shape.
HUB = "pkg25"

BEGIN = datetime(2020, 1, 1)


def make_packages(total: int, shape: str, order: str = "") -> dict[str, list[Revision]]:
    """Return the revisions of all packages.

    :param shape: ``chain`` for one line in each package, ``merged`` for branches that are merged
        again all the time
    :param order: which scripts say what they were written against. ``recorded``: each that
        requires something, and every tenth besides, of several packages; ``lagging``: the author
        of one in ten of these had an older state; ``circles``: none of these had what the others
        wrote in the same round; ``hub``: these are recorded against one package, and that against
        all others; ``all recorded``: every script; ``dated``: none, all have a date
    """
    rng = random.Random(total)
    made: dict[str, list[Revision]] = {f"pkg{number:02}": [] for number in range(PACKAGES)}
    names = list(made)
    tips: dict[str, list[str]] = {name: [] for name in names}
    known = {name: rng.sample([n for n in names if n != name], DEPENDENCIES) for name in names}
    past: list[tuple[str, list[str]]] = []
    for number in range(total):
        name = names[number % PACKAGES]
        own, tip = made[name], tips[name]
        revision_id = f"{rng.getrandbits(48):012x}"
        requires: tuple[str, ...] = ()
        if number >= PACKAGES and rng.random() < 0.1:
            other = rng.choice([n for n in names if n != name and made[n]])
            requires = (f"{other}@{rng.choice(made[other]).id}",)
        down: tuple[str, ...] = tuple(tip[-1:])
        depends_on: tuple[str, ...] = ()
        if shape == "merged" and len(own) > 2:
            kind = rng.random()
            if kind < 0.25:
                down = (rng.choice(own[-5:]).id,)
            elif kind < 0.5 and len(tip) > 1:
                down = tuple(tip[-2:])
            elif kind < 0.6:
                depends_on = (own[0].id,)
        own.append(
            Revision(
                name,
                revision_id,
                down,
                depends_on=depends_on,
                requires=requires,
                written_against=against(name, requires, known, tips, past, order, rng),
                doc=f"Create Date: {BEGIN + timedelta(hours=number)}" if order else "",
            )
        )
        tips[name] = [one for one in tip if one not in down] + [revision_id]
        past.append((name, tips[name]))
    return made


def against(
    name: str,
    requires: Sequence[str],
    known: dict[str, list[str]],
    tips: dict[str, list[str]],
    past: Sequence[tuple[str, list[str]]],
    order: str,
    rng: random.Random,
) -> tuple[tuple[str, str], ...]:
    """Return what a script says that it was written against."""
    if order not in ("recorded", "lagging", "circles", "hub", "all recorded"):
        return ()
    if not requires and order != "all recorded" and rng.random() > 0.1:
        return ()
    if order == "hub":
        others = [HUB] if name != HUB else [one for one in tips if one != HUB]
        return tuple((other, head) for other in others for head in sorted(tips[other]))
    if order == "circles":
        # In each round of all packages: what was there before it.
        had = dict(past[-PACKAGES - len(past) % PACKAGES : len(past) - len(past) % PACKAGES])
        others = [one for one in known[name] if one in had]
        return tuple((other, head) for other in others for head in sorted(had[other]))
    required = (text.partition("@")[0] for text in requires)
    others = list(dict.fromkeys((*required, *known[name])))[:DEPENDENCIES]
    had = {other: tips[other] for other in others}
    if order == "lagging" and rng.random() < 0.1:
        # Only the states that are not too old are looked at: it is the same for all sizes.
        had |= dict(past[-LAG * 5 : -1 - rng.randrange(LAG)])
        had = {other: had[other] for other in others}
    return tuple((other, head) for other in sorted(had) for head in sorted(had[other]))


def plan_after_building(
    packages: dict[str, list[Revision]], plan: Callable[..., object], *arguments: Any
) -> None:
    """Build the graph and make a plan."""
    plan(Graph(packages), *arguments)


def measure(work: Callable[..., object], *arguments: Any) -> tuple[float, float]:
    """Return the CPU seconds of the fastest round, with the garbage collector and without."""
    best = [math.inf, math.inf]
    for turn in range(2 * ROUNDS):
        gc.collect()
        if turn % 2:
            gc.disable()
        start = time.process_time()
        work(*arguments)
        best[turn % 2] = min(best[turn % 2], time.process_time() - start)
        gc.enable()
    return best[0], best[1]


def exponent(seconds: list[float], sizes: Sequence[int] = SIZES) -> float:
    """Return the exponent of the power of n that fits best (least squares on logarithms)."""
    xs = [math.log(size) for size in sizes]
    ys = [math.log(value) for value in seconds]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )


def groups(graph: Graph) -> int:
    """Return how many times the order of all revisions comes to another package."""
    return sum(1 for _ in itertools.groupby(graph.timeline(), attrgetter("package")))


def main() -> int:
    """Print the figures; return the exit code."""
    failed = False
    for shape, order in SHAPES:
        columns: dict[str, list[float]] = {}
        name = f"{shape}, {order}" if order else shape
        print(f"\n{name}: {PACKAGES} packages, CPU milliseconds, best of {ROUNDS}")
        print(
            f"{'revisions':>10}{'graph':>10}{'all':>10}{'nothing':>10}{'downgrade':>10}"
            f"{'soft':>10}{'dropped':>10}{'groups':>10}"
        )
        for size in SIZES:
            packages = make_packages(size, shape, order)
            graph = Graph(packages)
            applied = plan_upgrade(graph, {}).rows_after
            down = dict.fromkeys(graph.packages, "base")
            figures = {
                "graph": measure(Graph, packages),
                "all": measure(plan_after_building, packages, plan_upgrade, {}),
                "nothing": measure(plan_after_building, packages, plan_upgrade, applied),
                "downgrade": measure(plan_after_building, packages, plan_downgrade, applied, down),
            }
            for column, value in figures.items():
                columns.setdefault(column, []).append(value[1])
            counts = len(graph.soft_orders), len(graph.dropped_orders), groups(graph)
            print(
                f"{size:>10}"
                + "".join(f"{one * 1000:>10.1f}" for one, _ in figures.values())
                + "".join(f"{one:>10}" for one in counts)
            )
            failed |= size == 20_000 and max(figures.values())[0] >= 1
        fitted = {column: exponent(values) for column, values in columns.items()}
        print(f"{'exponent':>10}" + "".join(f"{value:>10.2f}" for value in fitted.values()))
        # n log n looks like an exponent of 1.11 between these sizes; leave room for noise.
        failed |= max(fitted.values()) > 1.3
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
