"""SQLite while others read: a COMMIT that has to wait, in each of a run's transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import ledger, rows, steps, table
from websauna_migrate.database.engines import WRITES, make_transactional
from websauna_migrate.runs.run_context import clean


@contextmanager
def reading(url: str, seconds: float) -> Iterator[None]:
    """Read for some seconds, in a thread of its own: nobody can commit meanwhile."""
    ready = threading.Event()

    def read() -> None:
        connection = sqlite3.connect(url.partition("///")[2], isolation_level=None)
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM sqlite_master").fetchall()
        ready.set()
        time.sleep(seconds)
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    assert ready.wait(10)
    yield
    thread.join()


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "r1", None, **table("t1"))
    workshop.script("fooapp", "r2", "r1", **table("t2"))
    workshop.script("fooapp", "r3", "r2", **table("t3"))
    return workshop


def test_a_reader_when_a_run_begins(two: Workshop, sqlite_url: str) -> None:
    two.service(sqlite_url).upgrade("r1")
    with reading(sqlite_url, 0.6):
        run = two.service(sqlite_url).upgrade()
    assert steps(run) == ["fooapp@r2", "fooapp@r3"]
    assert {entry[3] for entry in ledger(sqlite_url)} == {"done"}


@pytest.mark.parametrize("pipeline", ["on", "off"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_reader_before_a_step(two: Workshop, sqlite_url: str, at: int, pipeline: str) -> None:
    readers = []
    asked = iter(range(1000))

    def stop() -> bool:
        if next(asked) == at:
            readers.append(reading(sqlite_url, 0.6))
            readers[0].__enter__()
        return False

    run = two.service(sqlite_url, pipeline=pipeline).upgrade(stop=stop)
    readers[0].__exit__(None, None, None)
    assert steps(run) == ["fooapp@r1", "fooapp@r2", "fooapp@r3"]
    assert [entry[1:] for entry in ledger(sqlite_url)] == [
        (name, "upgrade", "done") for name in ("r1", "r2", "r3")
    ]


AUTOCOMMIT = """
with op.get_context().autocommit_block():
    from fooapp import read
    read()
    op.execute("INSERT INTO t1 VALUES (1)")
    op.execute("INSERT INTO t1 VALUES (2)")
"""

COMMITTED = """
op.execute("COMMIT")
from fooapp import read
read()
op.execute("INSERT INTO t1 VALUES (1)")
op.execute("INSERT INTO t1 VALUES (2)")
"""


@pytest.mark.parametrize("body", [AUTOCOMMIT, COMMITTED], ids=["autocommit", "committed"])
def test_a_step_that_cannot_start_anew_waits_by_itself(
    two: Workshop, sqlite_url: str, body: str
) -> None:
    two.script("fooapp", "r2", "r1", body)
    (two.root / "fooapp" / "__init__.py").write_text(
        "read = None\ndef includeme(config):\n    config.add_migration_package()\n"
    )
    service = two.service(sqlite_url)
    import fooapp  # type: ignore[import-not-found]

    readers = []

    def read() -> None:
        readers.append(reading(sqlite_url, 1.0))
        readers[0].__enter__()

    fooapp.read = read
    # More than ten times what a statement waits while the step as a whole can be tried again.
    assert steps(service.upgrade()) == ["fooapp@r1", "fooapp@r2", "fooapp@r3"]
    readers[0].__exit__(None, None, None)
    assert rows(sqlite_url, "SELECT * FROM t1 ORDER BY id") == [(1,), (2,)]


@pytest.fixture
def connection(sqlite_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sqlite_url, poolclass=sa.pool.NullPool)
    make_transactional(engine)
    with engine.connect() as found:
        yield found.execution_options(**{WRITES: True})


def failing(connection: sa.Connection, work: Callable[[], None]) -> None:
    connection.exec_driver_sql("CREATE TABLE a (i INTEGER)")
    connection.commit()
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.execute("PRAGMA busy_timeout = 10")  # type: ignore[attr-defined]
    with reading(str(connection.engine.url), 0.3):
        connection.exec_driver_sql("INSERT INTO a VALUES (1)")
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            connection.commit()
        work()


def test_a_connection_is_clean_after_a_commit_that_failed(connection: sa.Connection) -> None:
    failing(connection, lambda: clean(connection))
    connection.exec_driver_sql("INSERT INTO a VALUES (2)")
    connection.commit()
    assert connection.exec_driver_sql("SELECT i FROM a").all() == [(2,)]


def test_sqlalchemy_does_not_clean_it(connection: sa.Connection) -> None:
    """What ``clean`` does by itself; if this fails, it need not any more."""
    failing(connection, connection.rollback)
    driver = connection.connection.dbapi_connection
    assert driver is not None
    assert driver.in_transaction  # type: ignore[attr-defined]
    driver.rollback()
