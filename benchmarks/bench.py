"""What all parts of the benchmarks need: contenders, databases, verdicts."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from measuring import Contender, Sample
from peers import django_project, environment_of, flask_project
from report import Report
from sqlalchemy import make_url
from workloads import Workload

__all__ = [
    "DURABLE",
    "PROGRAMS",
    "REPOSITORY",
    "Bench",
    "Verdict",
    "at_least",
    "at_most",
    "cursor_of",
    "django_database",
    "empty_database",
    "pretend_all_is_applied",
    "say",
]

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"

#: PostgreSQL as it comes: unlike the tests' server it does not forget what it was told.
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "128MB",
}

Verdict = tuple[str, str, bool]


@dataclass
class Bench:
    """What all parts need."""

    root: Path
    peers: Path
    quick: bool
    postgresql: str
    report: Report

    @property
    def python(self) -> str:
        """The Python of our own environment, which has no more in it than a peer's."""
        return environment_of("ours", self.peers)

    def rounds(self, full: int) -> int:
        return 2 if self.quick else full

    def ours(self, work: Workload, *words: str, name: str = "", cache: str = "warm") -> Contender:
        """Return ``ws-alembic`` with a command."""
        folder = self.root / "caches" / work.root.name
        prepare = None
        if cache == "cold":
            folder = self.root / "caches" / "cold"
            prepare = _Remove(folder)
        return Contender(
            name or f"ws-alembic {words[0]}",
            [[self.python, str(PROGRAMS / "ws.py"), "-c", str(work.root / "app.ini"),
              "-x", "packages=all", *words]],
            self.environment(work, folder),
            prepare,
        )  # fmt: skip

    def environment(self, work: Workload, cache: Path | None = None) -> dict[str, str]:
        return {"PYTHONPATH": str(work.root), "XDG_CACHE_HOME": str(cache or self.root / "caches")}

    def boot(self, work: Workload, ini: str = "app.ini", name: str = "boot") -> Contender:
        return Contender(
            name,
            [[self.python, str(PROGRAMS / "boot.py"), str(work.root / ini)]],
            self.environment(work),
        )

    def scripts_alone(self, work: Workload) -> Contender:
        """Return the start of the application, and its scripts run for no database."""
        program = str(PROGRAMS / "scripts_alone.py")
        dialect = make_url(work.url).get_backend_name()
        command = [self.python, program, str(work.root / "app.ini"), dialect]
        return Contender("scripts alone", [command], self.environment(work))

    def alembic(self, work: Workload, verb: str, *, loop: bool) -> Contender:
        """Return Alembic alone, as one process or as one for each package."""
        python = environment_of("alembic", self.peers)
        inis = [str(work.root / "plain" / f"{name}.ini") for name in work.packages]
        if loop:
            commands = [[python, str(PROGRAMS / "alembic_loop.py"), verb, *inis]]
        else:
            words = [verb, "heads"] if verb == "upgrade" else [verb]
            program = str(PROGRAMS / "alembic_process.py")
            commands = [[python, program, "-c", ini, *words] for ini in inis]
        name = f"Alembic {verb}, {'a loop' if loop else 'processes'}"
        return Contender(name, commands, once=not loop and len(inis) > 1)

    def django(self, work: Workload, *words: str, project: Path | None = None) -> Contender:
        python = environment_of("django", self.peers)
        manage = project or django_project(work, django_database(work.url))
        return Contender(f"Django {' '.join(words)}", [[python, str(manage), *words]], once=True)

    def flask(self, work: Workload, *words: str) -> Contender:
        python = environment_of("flask", self.peers)
        app = flask_project(work, python)
        command = [python, "-m", "flask", "--app", str(app), "db", *words]
        return Contender(f"Flask-Migrate {words[0]}", [command])


class _Remove:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> None:
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


def django_database(url: str) -> dict[str, object]:
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.partition("///")[2]}
    from sqlalchemy.engine import make_url

    parts = make_url(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.database,
        "USER": parts.username,
        "PASSWORD": str(parts.password),
        "HOST": parts.host,
        "PORT": parts.port,
    }


@contextlib.contextmanager
def cursor_of(url: str) -> Iterator[object]:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.partition("///")[2])
    else:
        connection = psycopg2.connect(re.sub("^postgresql[+]psycopg2?:", "postgresql:", url))
    with contextlib.closing(connection):
        yield connection.cursor()
        connection.commit()


def empty_database(url: str) -> None:
    """Leave nothing in a database."""
    if url.startswith("sqlite"):
        Path(url.partition("///")[2]).unlink(missing_ok=True)
        return
    with cursor_of(url) as cursor:
        psycopg2_cursor: Any = cursor
        psycopg2_cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in psycopg2_cursor.fetchall()]
        # Each dropped table is locked until the commit, and there is room for some thousands.
        for start in range(0, len(tables), 100):
            names = ", ".join(f'"{name}"' for name in tables[start : start + 100])
            psycopg2_cursor.execute(f"DROP TABLE {names} CASCADE")
            psycopg2_cursor.connection.commit()
        psycopg2_cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def pretend_all_is_applied(work: Workload) -> None:
    """Fill the history tables, for us and Django alike."""
    empty_database(work.url)
    with cursor_of(work.url) as cursor:
        execute = cursor.execute  # type: ignore[attr-defined]
        for name, head in work.heads().items():
            table = f"alembic_history_{name}"
            execute(f"CREATE TABLE {table} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            execute(f"INSERT INTO {table} VALUES ('{head}')")


def say(report: Report, samples: dict[str, Sample], base: str, order: str = "cpu") -> None:
    report.samples(samples, base, order=order)
    for name, sample in samples.items():
        print(
            f"  {name:<40} wall {sample.median('wall'):8.2f}  cpu {sample.median():8.2f}"
            f"  {sample.median('memory'):5.0f} MiB"
        )


def at_most(text: str, found: float, limit: float, unit: str = "x") -> Verdict:
    return f"{text}: at most {limit:g} {unit}", f"{found:.2f} {unit}", found <= limit


def at_least(text: str, found: float, limit: float) -> Verdict:
    return f"{text}: at least {limit:g} x", f"{found:.1f} x", found >= limit
