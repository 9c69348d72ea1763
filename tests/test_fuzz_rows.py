"""Whatever stands in the history tables and the ledger: a named error and no write, or a result."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from sqlalchemy.pool import NullPool

from apps import Workshop
from fuzz import cases, hostile_text, named, seeds
from runs import table
from websauna_migrate.errors import MigrationError

NUMBERS = itertools.count()

HISTORY = "alembic_history_fooapp"
LEDGER = "websauna_migrate_ledger"

COLUMNS = (
    *("id", "run", "number", "package", "revision", "direction", "history_table", "started"),
    *("ended", "outcome", "host", "process", "version", "checksum", "session", "note"),
)

TABLES = (
    *("CREATE TABLE {0} (version_num)", "CREATE TABLE {0} (version_num VARCHAR(32) NOT NULL)"),
    *("CREATE TABLE {0} (version_num VARCHAR(32) PRIMARY KEY, more TEXT)",) * 2,
    *("CREATE TABLE {0} (other TEXT)", "CREATE VIEW {0} AS SELECT 'f100' AS version_num"),
    *("CREATE TABLE {0} (version_num BLOB)", "CREATE TABLE {0} (version_num INTEGER)"),
)


class Case:
    """Statements that make a database which nobody's program would."""

    def __init__(self, rng: random.Random) -> None:
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.statements.append(("CREATE TABLE canary (id)", ()))
        if rng.random() < 0.8:
            self.statements.append((rng.choice(TABLES).format(HISTORY), ()))
            for _ in range(rng.choice((0, 1, 1, 2, 3))):
                self.add(HISTORY, {"version_num": self.row(rng)})
        if rng.random() < 0.6:
            missing = rng.choice(COLUMNS) if rng.random() < 0.2 else ""
            names = [name for name in COLUMNS if name != missing]
            self.statements.append((f"CREATE TABLE {LEDGER} ({', '.join(names)})", ()))
            for _ in range(rng.choice((0, 1, 1, 2))):
                self.add(LEDGER, self.entry(rng))
        if rng.random() < 0.2:
            self.statements.append(("CREATE TABLE alembic_history_gone (version_num)", ()))
            self.add("alembic_history_gone", {"version_num": self.row(rng)})

    def add(self, name: str, values: dict[str, Any]) -> None:
        words = f"INSERT INTO {name} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
        self.statements.append((words, tuple(values.values())))

    def row(self, rng: random.Random) -> Any:
        known = ("f100", "f200", "f300", "b100")
        odd = (None, 1, 2.5, b"f100", "", " f100", "F100", "f1", "x" * 5000, hostile_text(rng))
        return rng.choice(known if rng.random() < 0.7 else odd)

    def entry(self, rng: random.Random) -> dict[str, Any]:
        values: dict[str, Any] = {
            "id": f"{rng.getrandbits(128):032x}",
            "run": "r" * 32,
            "number": 1,
            "package": rng.choice(("fooapp", "fooapp", "gone", hostile_text(rng))),
            "revision": rng.choice(("f100", "f200", "f300", hostile_text(rng))),
            "direction": rng.choice(("upgrade", "upgrade", "downgrade")),
            "history_table": rng.choice((HISTORY, HISTORY, "canary", hostile_text(rng))),
            "started": "2026-01-01 00:00:00.000000",
            "ended": None,
            "outcome": rng.choice(("running", "running", "done", "planned", "failed")),
            "host": "h",
            "process": 1,
            "version": "0.1",
            "checksum": "",
            "session": 0,
            "note": "",
        }
        if rng.random() < 0.4:
            odd = (None, 7, b"\xff", "", hostile_text(rng), "2026-13-45", 10**30 * 1.0)
            values[rng.choice(COLUMNS)] = rng.choice(odd)
        return values

    def make(self, path: Path) -> str:
        connection = sqlite3.connect(path)
        for words, values in self.statements:
            try:
                connection.execute(words, values)
            except sqlite3.Error:
                continue
        connection.commit()
        connection.close()
        return f"sqlite:///{path}"

    def __repr__(self) -> str:
        return repr(self.statements)


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    query = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1"
    found = []
    for name, sql in connection.execute(query).fetchall():
        rows = connection.execute(f'SELECT * FROM "{name.decode()}"').fetchall()
        found.append(f"{name!r} {sql!r} {rows!r}")
    connection.close()
    return found


CALLS: dict[str, Callable[[Any], Any]] = {
    "current": lambda service: service.current(),
    "status": lambda service: [service.history(), service.show("f100")],
    "plan": lambda service: service.plan(),
    "plan down": lambda service: service.plan("base", direction="downgrade"),
    "check": lambda service: service.check(),
    "repair": lambda service: service.repair(),
    "repair done": lambda service: service.repair("done"),
    "repair undone": lambda service: service.repair("undone"),
    "repair rerun": lambda service: service.repair("rerun"),
    "stamp": lambda service: service.stamp("f200"),
    "stamp purge": lambda service: service.stamp("f200", purge=True),
    "upgrade": lambda service: service.upgrade(),
    "downgrade": lambda service: service.downgrade("base"),
    "uninstall": lambda service: service.uninstall("fooapp"),
    "forget": lambda service: service.uninstall("gone", forget=True),
    "ensure": lambda service: service.ensure_version(),
}

#: These only look.
READING = ("current", "status", "plan", "plan down", "check", "repair")


@pytest.fixture
def foo(workshop: Workshop) -> Workshop:
    workshop.package(
        "fooapp", "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n"
    )
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    workshop.script("fooapp", "f300", "f200", **table("f3"))
    workshop.script("fooapp", "b100", **table("b1"))
    return workshop


@cases(220)
@given(seeds())
def test_rows_are_understood_or_named(foo: Workshop, tmp_path: Path, rng: random.Random) -> None:
    case = Case(rng)
    path = tmp_path / f"{next(NUMBERS)}.sqlite"
    url = case.make(path)
    name = rng.choice(list(CALLS))
    service = foo.service(url)
    before = dump(path)
    found = named(lambda: CALLS[name](service))
    after = dump(path)
    if name in READING or isinstance(found, MigrationError):
        # A run that fails is in the ledger, and the steps before it stay.
        kept = [line for line in after if not is_ours(line)]
        if name in READING or not is_run(name):
            assert after == before, name
        else:
            assert {line for line in before if not is_ours(line)} - set(kept) == set()
    if name.startswith("repair"):
        canary = [line for line in after if line.startswith("b'canary'")]
        assert canary == [line for line in before if line.startswith("b'canary'")]
    path.unlink()


def is_run(name: str) -> bool:
    return name in ("upgrade", "downgrade", "repair rerun", "uninstall")


def is_ours(line: str) -> bool:
    return line.startswith((f"b'{LEDGER}'", f"b'{HISTORY}'"))


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=NullPool)


@pytest.mark.parametrize(
    "made",
    [
        f"CREATE TABLE {HISTORY} (other INTEGER)",
        f"CREATE TABLE {HISTORY} (version_num INTEGER);INSERT INTO {HISTORY} VALUES (7)",
        f"CREATE TABLE {HISTORY} (version_num VARCHAR(32));INSERT INTO {HISTORY} VALUES (NULL)",
        f"CREATE TABLE {HISTORY} (version_num VARCHAR(32));INSERT INTO {HISTORY} VALUES ('f999')",
        f"CREATE VIEW {HISTORY} AS SELECT 1 AS version_num",
        f"CREATE TABLE {LEDGER} (other INTEGER)",
    ],
)
def test_a_table_that_is_none_of_ours_is_named_on_every_database(
    foo: Workshop, database_url: str, made: str
) -> None:
    with engine_of(database_url).begin() as connection:
        for statement in made.split(";"):
            connection.execute(sa.text(statement))
    service = foo.service(database_url)
    found = named(service.upgrade)
    assert isinstance(found, MigrationError)
    assert HISTORY in str(found) or LEDGER in str(found) or "fooapp" in str(found)
    names = set(sa.inspect(engine_of(database_url)).get_table_names())
    if getattr(found, "half_done", False):
        assert database_url.startswith("mysql")
    else:
        assert not {"f1", "f2", "f3", "b1"} & names
    for call in (service.current, service.plan, service.check, service.repair):
        named(call)


def test_repair_writes_to_the_package_s_own_table_alone(foo: Workshop, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    service = foo.service(url)
    service.upgrade("f100")
    with engine_of(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE canary (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO canary VALUES ('sings')"))
        connection.execute(
            sa.text(f"UPDATE {LEDGER} SET outcome = 'running', history_table = 'canary'")
        )
    service.repair("undone")
    with engine_of(url).connect() as connection:
        assert connection.scalars(sa.text("SELECT version_num FROM canary")).all() == ["sings"]
        assert connection.scalars(sa.text(f"SELECT version_num FROM {HISTORY}")).all() == []
