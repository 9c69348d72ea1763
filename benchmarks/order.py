"""Measures the authors' order: planning with it, and the race detector of ``check``."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionMap
from bench import PROGRAMS, Bench, at_most, pretend_all_is_applied, say
from measuring import Contender, measure
from plan_growth import SHAPES, exponent, make_packages, plan_after_building
from plan_growth import measure as cpu_of
from workloads import Workload, make_workload

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_upgrade
from websauna_migrate.planning.revisions import Revision

__all__ = ["order"]

SIZES = (5_000, 10_000, 20_000)


def order(bench: Bench) -> None:
    """Measure planning in all shapes, and ``check`` with the detector and without."""
    planning(bench)
    detector(bench)


def planning(bench: Bench) -> None:
    """Measure the graph and the plan of an empty database, beside Alembic's maps."""
    sizes = SIZES[:2] if bench.quick else SIZES
    rows, worst, growths = [], 0.0, []
    for shape, how in SHAPES:
        seconds = []
        for size in sizes:
            packages = make_packages(size, shape, how)
            with_gc, without = cpu_of(plan_after_building, packages, plan_upgrade, {})
            seconds.append(without)
        graph = Graph(packages)
        peer = cpu_of(alembics_order, packages)[0]
        growth = exponent(seconds, sizes)
        worst, growths = max(worst, with_gc), [*growths, growth]
        rows.append(
            (
                f"{shape}, {how}" if how else shape,
                f"{with_gc * 1000:.0f}",
                f"{with_gc / peer:.2f}",
                f"{growth:.2f}",
                f"{len(graph.soft_orders)}",
                f"{len(graph.dropped_orders)}",
            )
        )
    bench.report.section(
        f"Planning with the authors' order, 50 packages with {sizes[-1]:,} revisions in all",
        "CPU of the graph and of the plan of an empty database, in one process, the best of three. "
        "Alembic: its revision map of each package and the way from base to heads, which has no "
        "order between packages. The growth is the exponent that fits best from "
        f"{sizes[0]:,} revisions on; n log n is 1.1. ``benchmarks/plan_growth.py`` has more.",
    )
    bench.report.table(
        ("history, what is known", "ms", "to Alembic", "growth", "soft orders", "contradicting"),
        rows,
    )
    bench.report.verdicts(
        [
            at_most("the slowest", worst, 1, "s"),
            at_most("the steepest growth", max(growths), 1.3, ""),
        ]
    )


def alembics_order(packages: dict[str, list[Revision]]) -> list[list[object]]:
    """Return each package's way from base to heads, by Alembic's own maps."""
    return [list(map_of(one).iterate_revisions("heads", "base")) for one in packages.values()]


def map_of(revisions: list[Revision]) -> RevisionMap:
    """Return Alembic's map of a package."""
    made = [
        AlembicRevision(one.id, one.down_revisions, dependencies=one.depends_on or None)
        for one in revisions
    ]
    generate: Callable[[], list[AlembicRevision]] = lambda: made  # noqa: E731
    return RevisionMap(generate)


def detector(bench: Bench) -> None:
    """Measure ``check`` of packages that read each other's tables."""
    per = 100 if bench.quick else 500
    work = make_workload(
        bench.root / "order", f"sqlite:///{bench.root}/order.sqlite", packages=20, revisions=per
    )
    reading = read_each_other(work)
    pretend_all_is_applied(work)
    time.sleep(3)
    without = [bench.python, str(PROGRAMS / "check_without_order.py")]
    samples = measure(
        [
            bench.boot(work),
            bench.ours(work, "check"),
            Contender(
                "check without the detector",
                [[*without, "-x", "packages=all", "-c", str(work.root / "app.ini"), "check"]],
                bench.environment(work),
            ),
        ],
        bench.rounds(7),
    )
    bench.report.section(
        f"The race detector, 20 packages with {per} revisions each",
        f"SQLite; {reading} scripts copy from a table of another package, and there is no race.",
    )
    say(bench.report, samples, "boot")
    mine = samples["ws-alembic check"].median()
    base = samples["check without the detector"].median()
    bench.report.verdicts([at_most("check, to one without the detector", mine / base, 1.3)])


def read_each_other(work: Workload) -> int:
    """Let each tenth script copy rows from another package's table; return how many do."""
    rng, count = random.Random(work.revisions), 0
    for place, package in enumerate(work.packages[1:], 1):
        for number in range(2, work.revisions, 10):
            other = work.packages[rng.randrange(place)]
            made = number - number % 3
            path = next(work.root.rglob(f"{work.revision_id(package, number)}*.py"))
            copy = (
                f"INSERT INTO {package}_t{number // 3} (id, name) "
                f"SELECT o.id, o.name FROM {other}_t{made // 3} AS o WHERE o.size > 1"
            )
            needed = work.revision_id(other, made + 1)
            add_to(path, copy, f"{other}@{needed}", {other: needed})
            count += 1
    return count


def add_to(path: Path, statement: str, requires: str, against: dict[str, str]) -> None:
    """Add a statement to a script's upgrade, and what it requires."""
    text = path.read_text()
    head = f"requires = ({requires!r},)\nwritten_against = {against!r}\n\n\ndef upgrade("
    text = text.replace("\n\ndef upgrade(", f"\n{head}", 1)
    before, _, after = text.partition("\n\n\ndef downgrade(")
    path.write_text(f"{before}\n    op.execute({statement!r})\n\n\ndef downgrade({after}")
