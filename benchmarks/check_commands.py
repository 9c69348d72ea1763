"""Measures ``check`` and ``revision --autogenerate`` where nothing changed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bench import (
    PROGRAMS,
    REPOSITORY,
    Bench,
    at_least,
    at_most,
    django_database,
    empty_database,
    say,
)
from measuring import Contender, measure
from model_workloads import make_model_workload
from peers import django_models_project, environment_of
from report import plot
from workloads import Workload

__all__ = ["check", "tables"]

REVISION = ("revision", "--autogenerate", "-m", "nothing")


def check(bench: Bench) -> None:
    """Measure comparisons of models and database without a difference."""
    compare(bench, 20, 10 if bench.quick else 50, "PostgreSQL")
    compare(bench, 20, 10 if bench.quick else 50, "SQLite")
    if not bench.quick:
        compare(bench, 20, 150, "PostgreSQL")


def filled(bench: Bench, name: str, packages: int, tables: int, product: str) -> Workload:
    """Return a workload with a database at its heads."""
    root = bench.root / name
    url = bench.postgresql if product == "PostgreSQL" else f"sqlite:///{root}.sqlite"
    empty_database(url)
    work = make_model_workload(root, url, packages=packages, tables=tables)
    upgrade = bench.ours(work, "-q", "upgrade")
    subprocess.run(upgrade.commands[0], env={**os.environ, **upgrade.environment}, check=True)
    # What was changed a moment ago is not kept in the index of scripts.
    time.sleep(3)
    return work


def bulk(bench: Bench, work: Workload) -> Contender:
    """Return the limit: the application's start, its models, and SQLAlchemy's reflection."""
    return Contender(
        "bulk reflection",
        [[bench.python, str(PROGRAMS / "bulk_reflection.py"), str(work.root / "bare.ini")]],
        bench.environment(work),
    )


def compare(bench: Bench, packages: int, tables: int, product: str) -> None:
    """Measure all contenders on one product."""
    work = filled(bench, f"check-{tables}-{product}", packages, tables, product)
    python = environment_of("django", bench.peers)
    manage = django_models_project(work, django_database(work.url), tables, python)
    django = [python, str(manage), "makemigrations", "--check", "--dry-run", "-v0"]
    samples = measure(
        [
            bench.boot(work, "bare.ini", "boot with models"),
            bulk(bench, work),
            bench.ours(work, "check", name="check"),
            bench.ours(work, "check", name="check, cold", cache="cold"),
            bench.ours(work, *REVISION, name="revision"),
            bench.ours(work, *REVISION, name="revision, cold", cache="cold"),
            bench.alembic(work, "check", loop=True),
            bench.alembic(work, "check", loop=False),
            Contender("Django makemigrations --check", [django], once=True),
        ],
        bench.rounds(2),
    )
    bench.report.section(
        f"Nothing changed, {packages} packages with {tables} tables each, {product}",
        "Tables of eight columns, two indexes and one foreign key. Alembic compares each package "
        "with ``include_name`` and ``include_object``.",
    )
    say(bench.report, samples, "bulk reflection")
    cpu = {name: sample.median() for name, sample in samples.items()}
    loop, processes = cpu["Alembic check, a loop"], cpu["Alembic check, processes"]
    django_cpu = cpu["Django makemigrations --check"]
    verdicts = []
    for command in ("check", "revision"):
        cold = cpu[f"{command}, cold"]
        verdicts += [
            at_least(f"{command}, cold, to processes", processes / cold, 7),
            at_least(f"{command}, cold, to a loop", loop / cold, 1.4),
            at_least(f"{command}, to processes", processes / cpu[command], 14),
            at_least(f"{command}, to a loop", loop / cpu[command], 3),
            at_most(f"{command}, to the reflection", cpu[command] / cpu["bulk reflection"], 2),
            at_least(f"{command}, to Django", django_cpu / cpu[command], 1),
        ]
    bench.report.verdicts(verdicts)


def tables(bench: Bench) -> None:
    """Measure how ``check`` grows with the number of tables.

    The database is one, so that sizes cannot be measured in turn, and a machine may be twice as
    fast a minute later: each is compared with the start of its own application.
    """
    sizes = (100, 200, 400) if bench.quick else (500, 1000, 2000, 3000)
    boot = "boot with models"
    lines: dict[str, list[tuple[float, float]]] = {boot: [], "check": [], "check, cold": []}
    for size in sizes:
        work = filled(bench, f"tables-{size}", 20, size // 20, "PostgreSQL")
        samples = measure(
            [
                bench.boot(work, "bare.ini", boot),
                bench.ours(work, "check", name="check"),
                bench.ours(work, "check", name="check, cold", cache="cold"),
            ],
            bench.rounds(3),
        )
        for name, line in lines.items():
            line.append((size, samples[name].median()))
    bench.report.section(
        "Growth of check",
        "CPU seconds by number of tables, of the whole process with its boot; PostgreSQL.",
    )
    bench.report.table(
        ("", *map(str, sizes)),
        [(name, *(f"{seconds:.2f}" for _, seconds in line)) for name, line in lines.items()],
    )
    # What is linear, as it is to import the models, keeps its ratio to what is linear.
    ratios = {
        name: [seconds / start for (_, seconds), (_, start) in zip(line, lines[boot], strict=True)]
        for name, line in lines.items()
    }
    bench.report.verdicts(
        [
            at_most(
                f"{name}, to the boot, {sizes[-1]} to {sizes[-3]} tables",
                ratios[name][-1] / ratios[name][-3],
                1.2,
            )
            for name in ("check", "check, cold")
        ]
    )
    if bench.quick:
        return
    path = Path(REPOSITORY / "docs" / "growth-of-check.svg")
    plot(path, "ws-alembic check", lines, "tables", "CPU s")
    bench.report.image("growth-of-check.svg", "CPU seconds of check by number of tables")
