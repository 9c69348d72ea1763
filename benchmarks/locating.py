"""``locate``: where a database stands whose histories are lost."""

from __future__ import annotations

from bench import Bench, cursor_of, empty_database, say
from measuring import measure
from workloads import make_workload

__all__ = ["locate"]


def locate(bench: Bench) -> None:
    """Measure locate, cold and with what was replayed in the cache."""
    revisions = 60 if bench.quick else 300
    for product in ("sqlite", "postgresql"):
        root = bench.root / f"locate-{product}"
        url = f"sqlite:///{root}.sqlite" if product == "sqlite" else bench.postgresql
        work = make_workload(root, url, packages=2, revisions=revisions // 2)
        empty_database(url)
        measure([bench.ours(work, "upgrade", name="upgrade")], 1, warm=False)
        with cursor_of(url) as cursor:
            for package in work.packages:
                cursor.execute(f"DROP TABLE alembic_history_{package}")  # type: ignore[attr-defined]
        samples = measure(
            [
                bench.boot(work),
                bench.ours(work, "locate", name="locate, cold", cache="cold"),
                bench.ours(work, "locate", name="locate"),
            ],
            1 if bench.quick else 3,
        )
        bench.report.section(
            f"Where a database stands, 2 packages with {revisions // 2} revisions each, {product}",
            "The history tables are dropped; all scripts are replayed in a scratch database, or "
            "what they make is known from the cache.",
        )
        say(bench.report, samples, "boot", "wall")
