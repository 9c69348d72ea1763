"""Measure how planning grows with the number of revisions: ``python benchmarks/plan_growth.py``.

Fifty packages with branches, merges, dependencies and requirements on each other; CPU time of one
process, the best of several rounds, without the reading of scripts. Exits 1 where planning over
20,000 revisions takes a second, or grows faster than n log n.
"""

from __future__ import annotations

import gc
import math
import random
import sys
import time
from collections.abc import Callable

from websauna_migrate.graph import Graph
from websauna_migrate.plan import plan_downgrade, plan_upgrade
from websauna_migrate.revisions import Revision

PACKAGES = 50
SIZES = (2_500, 5_000, 10_000, 20_000, 40_000)
ROUNDS = 5


def make_packages(total: int, shape: str) -> dict[str, list[Revision]]:
    """Return the revisions of all packages.

    :param shape: ``chain`` for one line in each package, ``merged`` for branches that are merged
        again all the time
    """
    rng = random.Random(total)
    made: dict[str, list[Revision]] = {f"pkg{number:02}": [] for number in range(PACKAGES)}
    names = list(made)
    tips: dict[str, list[str]] = {name: [] for name in names}
    for number in range(total):
        name = names[number % PACKAGES]
        own, tip = made[name], tips[name]
        revision_id = f"{rng.getrandbits(48):012x}"
        requires = ()
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
        own.append(Revision(name, revision_id, down, depends_on=depends_on, requires=requires))
        tips[name] = [one for one in tip if one not in down] + [revision_id]
    return made


def measure(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest round."""
    best = math.inf
    for _ in range(ROUNDS):
        gc.collect()
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def exponent(seconds: list[float]) -> float:
    """Return the exponent of the power of n that fits best (least squares on logarithms)."""
    xs = [math.log(size) for size in SIZES]
    ys = [math.log(value) for value in seconds]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )


def main() -> int:
    """Print the figures; return the exit code."""
    failed = False
    for shape in ("chain", "merged"):
        columns: dict[str, list[float]] = {}
        print(f"\n{shape}: {PACKAGES} packages, CPU milliseconds, best of {ROUNDS}")
        print(f"{'revisions':>10}{'graph':>10}{'all':>10}{'nothing':>10}{'downgrade':>10}")
        for size in SIZES:
            packages = make_packages(size, shape)
            graph = Graph(packages)
            applied = plan_upgrade(graph, {}).rows_after
            down = dict.fromkeys(graph.packages, "base")
            figures = {
                "graph": measure(lambda p=packages: Graph(p)),
                "all": measure(lambda p=packages: plan_upgrade(Graph(p), {})),
                "nothing": measure(lambda p=packages, a=applied: plan_upgrade(Graph(p), a)),
                "downgrade": measure(
                    lambda p=packages, a=applied, d=down: plan_downgrade(Graph(p), a, d)
                ),
            }
            for column, value in figures.items():
                columns.setdefault(column, []).append(value)
            print(f"{size:>10}" + "".join(f"{value * 1000:>10.1f}" for value in figures.values()))
            failed |= size == 20_000 and max(figures.values()) >= 1
        fitted = {column: exponent(values) for column, values in columns.items()}
        print(f"{'exponent':>10}" + "".join(f"{value:>10.2f}" for value in fitted.values()))
        # n log n looks like an exponent of 1.11 between these sizes; leave room for noise.
        failed |= max(fitted.values()) > 1.3
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
