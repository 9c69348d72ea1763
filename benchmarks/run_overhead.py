"""Measure what a run costs besides its statements: ``python benchmarks/run_overhead.py``.

Twenty packages of a hundred revisions (create table, add column, create index) are applied from
empty, on PostgreSQL and SQLite, in one process each time and in turn:

raw     the driver alone: the same statements, a version row, a transaction for each revision
bare    the service without lock, marker, ledger and timeouts
full    the service as it is

PostgreSQL has its own defaults: a commit is on the disk before it is told. Wall seconds, the best
of several rounds. ``--profile`` shows where ``full`` spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import pstats
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import psycopg2
from bench import DURABLE
from sqlalchemy.engine import make_url

from apps import Workshop
from databases import start_postgresql
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.runs.ledger import Ledger
from websauna_migrate.runs.statement_guard import StatementGuard


def operations(count: int) -> list[tuple[str, str]]:
    """Return the operation of each revision of a package and its SQL, with a prefix to fill in."""
    made = []
    for number in range(count):
        table = f"{{0}}_t{number // 3}"
        if number % 3 == 0:
            made.append(
                (
                    f'op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True), '
                    'sa.Column("name", sa.String(50)))',
                    f"CREATE TABLE {table} (id SERIAL NOT NULL, name VARCHAR(50), "
                    "PRIMARY KEY (id))",
                )
            )
        elif number % 3 == 1:
            made.append(
                (
                    f'op.add_column("{table}", sa.Column("extra", sa.Integer))',
                    f"ALTER TABLE {table} ADD COLUMN extra INTEGER",
                )
            )
        else:
            made.append(
                (
                    f'op.create_index("{table}_i", "{table}", ["name"])',
                    f"CREATE INDEX {table}_i ON {table} (name)",
                )
            )
    return made


def make_packages(workshop: Workshop, packages: int, revisions: int) -> None:
    for package in range(packages):
        name = f"pkg{package:02}"
        workshop.package(name)
        down = None
        for number, (operation, _) in enumerate(operations(revisions)):
            workshop.script(
                name, f"{name}r{number:04}", down, upgrade=operation.replace("{0}", name)
            )
            down = f"{name}r{number:04}"


def raw(url: str, packages: int, revisions: int) -> None:
    """Apply the same statements with the driver."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(str(make_url(url).database), isolation_level=None)
        begin = "BEGIN IMMEDIATE"
    else:
        parts = make_url(url)
        connection = psycopg2.connect(
            host=parts.host,
            port=parts.port,
            user=parts.username,
            password=parts.password,
            dbname=parts.database,
        )
        begin = ""
    cursor = connection.cursor()
    for package in range(packages):
        name = f"pkg{package:02}"
        for number, (_, sql) in enumerate(operations(revisions)):
            if begin:
                cursor.execute(begin)
            if number == 0:
                cursor.execute(f"CREATE TABLE history_{name} (version_num VARCHAR(32) PRIMARY KEY)")
            cursor.execute(sql.format(name))
            revision = f"{name}r{number:04}"
            if number == 0:
                cursor.execute(f"INSERT INTO history_{name} VALUES ('{revision}')")
            else:
                cursor.execute(f"UPDATE history_{name} SET version_num = '{revision}'")
            connection.commit()
    connection.close()


@contextmanager
def bare() -> Iterator[None]:
    """Take lock, marker, ledger and timeouts away."""

    class Unlocked(RunLock):
        spans_steps = True

    with (
        mock.patch("websauna_migrate.runs.run_access.make_lock", lambda *a, **k: Unlocked()),
        mock.patch.object(Ledger, "values", lambda self, **k: {"id": ""}),
        mock.patch.object(Ledger, "plan", lambda self, *a, **k: "x"),
        mock.patch.object(Ledger, "mark", lambda self, *a, **k: None, create=True),
        mock.patch.object(Ledger, "start", lambda self, *a, **k: None),
        mock.patch.object(Ledger, "end", lambda self, *a, **k: None),
        mock.patch.object(StatementGuard, "local_settings", lambda self, waited: ""),
        mock.patch.object(StatementGuard, "watch", lambda self, engine: None),
    ):
        yield


def measure(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=20)
    parser.add_argument("--revisions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=("postgresql", "sqlite"))
    options = parser.parse_args()
    size = options.packages, options.revisions
    server = start_postgresql(DURABLE)
    failed = False
    try:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            sys.path.insert(0, directory)
            workshop = Workshop(root)
            make_packages(workshop, *size)
            numbers = iter(range(10_000))
            databases: dict[str, Callable[[], str]] = {
                "postgresql": server.create_database,
                "sqlite": lambda: f"sqlite:///{root / f'{next(numbers)}.sqlite'}",
            }
            for name, create in databases.items():
                if options.only not in (None, name):
                    continue
                figures: dict[str, list[float]] = {"raw": [], "bare": [], "full": []}
                for _ in range(options.rounds):
                    figures["raw"].append(measure(partial(raw, create(), *size)))
                    service = workshop.service(create())
                    with bare():
                        figures["bare"].append(measure(service.upgrade))
                    service = workshop.service(create())
                    figures["full"].append(measure(service.upgrade))
                if options.profile:
                    service = workshop.service(create())
                    profile = cProfile.Profile()
                    profile.runcall(service.upgrade)
                    pstats.Stats(profile).sort_stats("tottime").print_stats(45)
                best = {key: min(values) for key, values in figures.items()}
                steps = size[0] * size[1]
                print(
                    f"{name}: "
                    + ", ".join(f"{key} {value:.2f} s" for key, value in best.items())
                    + f"; full/raw {best['full'] / best['raw']:.2f}, "
                    f"lock, marker and ledger {best['full'] / best['bare'] - 1:+.1%}, "
                    f"{(best['full'] - best['bare']) / steps * 1e3:.3f} ms a step",
                    flush=True,
                )
                failed |= best["full"] / best["bare"] > 1.1
    finally:
        server.stop()
    return int(failed)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
