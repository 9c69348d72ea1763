"""What scripts are replayed for: ``locate``, and ``squash``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench import Bench, cursor_of, empty_database, say
from measuring import measure
from workloads import make_workload

__all__ = ["locate", "squash"]


def locate(bench: Bench) -> None:
    """Measure locate, cold and with what was replayed in the cache."""
    for revisions in (60,) if bench.quick else (300, 2_000):
        for product in ("sqlite", "postgresql"):
            locate_one(bench, product, revisions)


def locate_one(bench: Bench, product: str, revisions: int) -> None:
    """Measure locate in one history."""
    root = bench.root / f"locate-{product}-{revisions}"
    url = f"sqlite:///{root}.sqlite" if product == "sqlite" else bench.postgresql
    work = make_workload(root, url, packages=2, revisions=revisions // 2)
    empty_database(url)
    measure([bench.ours(work, "upgrade", name="upgrade")], 1, warm=False)
    with cursor_of(url) as cursor:
        for package in work.packages:
            cursor.execute(f"DROP TABLE alembic_history_{package}")  # type: ignore[attr-defined]
    cold = bench.ours(work, "locate", name="locate, cold", cache="cold")
    # Long ones run once.
    rounds = 1 if bench.quick or revisions > 300 else 3
    samples = measure([bench.boot(work), cold], rounds, warm=revisions <= 300)
    samples |= measure([bench.ours(work, "locate", name="locate")], bench.rounds(3))
    bench.report.section(
        f"Where a database stands, 2 packages with {revisions // 2:,} revisions each, {product}",
        "The history tables are dropped; all scripts are replayed in a scratch database, or "
        "what they make is known from the cache.",
    )
    say(bench.report, samples, "boot", "wall")


@dataclass(frozen=True)
class _WithoutSquash:
    """Removes the squash that a round has written."""

    versions: Path

    def __call__(self) -> None:
        for script in self.versions.glob("*_squash.py"):
            script.unlink()


@dataclass(frozen=True)
class _Emptied:
    """Empties the database."""

    url: str

    def __call__(self) -> None:
        empty_database(self.url)


def squash(bench: Bench) -> None:
    """Measure the squash of a history, and an upgrade from nothing by it."""
    revisions = 60 if bench.quick else 300
    rounds = 1 if bench.quick else 3
    for product in ("sqlite", "postgresql"):
        root = bench.root / f"squash-{product}"
        url = f"sqlite:///{root}.sqlite" if product == "sqlite" else bench.postgresql
        work = make_workload(root, url, packages=1, revisions=revisions)
        versions = root / work.packages[0] / "alembic" / "versions"
        empty_database(url)
        empty = _Emptied(url)
        words = ("squash", "-m", "squash")
        upgrade = bench.ours(work, "upgrade", name=f"upgrade, {revisions} scripts")
        written = bench.ours(work, *words, name="squash")
        samples = measure(
            [bench.boot(work), replace(upgrade, prepare=empty)], rounds, warm=False
        ) | measure([replace(written, prepare=_WithoutSquash(versions))], rounds)
        by_squash = bench.ours(work, "upgrade", name="upgrade, the squash")
        samples |= measure([replace(by_squash, prepare=empty)], rounds)
        bench.report.section(
            f"Squash of {revisions} revisions, {product}",
            "The scripts are replayed twice, written as one and proven; then an empty database "
            "gets the old scripts, or the new one.",
        )
        say(bench.report, samples, "boot", "wall")
