"""Steps that wait for locks: briefly, again and again, naming who is in the way."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import blocking, engine_of, execute, ledger, rows, steps, table, tables, transaction_on
from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.errors import RunBlocked, ScriptError, SettingError, StepFailed
from websauna_migrate.runs.blockers import shown_query

ALTER = {"upgrade": 'op.add_column("busy", sa.Column("added", sa.Integer))'}


@pytest.fixture
def busy(workshop: Workshop) -> Workshop:
    """An app that adds a column to a table which is there already."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **ALTER)
    return workshop


def make_busy(url: str) -> None:
    execute(url, "CREATE TABLE busy (id INTEGER PRIMARY KEY)", "INSERT INTO busy VALUES (1)")


READ = {"sqlite": "UPDATE busy SET id = 1"}


def read(url: str) -> str:
    """Return a statement whose transaction is in the way of an ALTER TABLE."""
    return READ.get(url.partition(":")[0], "SELECT * FROM busy")


def test_patience_grows_slowly_and_has_a_limit() -> None:
    timeouts = Timeouts()
    assert timeouts.lock_ms_after(0) == 100
    assert timeouts.lock_ms_after(10) == 150
    assert timeouts.lock_ms_after(180) == timeouts.lock_ms_after(600) == 1000
    assert Timeouts(lock_timeout_ms=0).lock_ms_after(50) == 0
    assert all(0.05 <= timeouts.pause_after(s) <= 0.8 for s in range(0, 600, 7))


def test_a_step_is_tried_again_until_the_lock_is_free(busy: Workshop, database_url: str) -> None:
    make_busy(database_url)
    service = busy.service(database_url)
    with blocking(database_url, read(database_url), seconds=1.5):
        began = time.monotonic()
        run = service.upgrade()
    assert 1 < time.monotonic() - began < 4
    assert steps(run) == ["fooapp@f100"]
    assert ledger(database_url) == [("fooapp", "f100", "upgrade", "done")]


def test_the_budget_ends_it_and_the_blocking_session_is_named(
    busy: Workshop, database_url: str
) -> None:
    make_busy(database_url)
    service = busy.service(database_url, lock_budget="1")
    words: list[str] = []
    service.on_wait = words.append
    blocker: dict[str, Any] = {}
    with blocking(database_url, read(database_url), seconds=3):
        began = time.monotonic()
        with pytest.raises(StepFailed) as caught:
            service.upgrade()
        assert time.monotonic() - began < 2.9
        blocker["found"] = str(caught.value)
    message = blocker["found"]
    assert 'The upgrade of revision "f100" of package "fooapp" failed (' in message
    assert "a lock was not free within" in message
    assert message.endswith("Nothing of it was applied.")
    assert not caught.value.half_done
    assert ", held by " in message
    if database_url.startswith("postgresql"):
        assert "user websauna, idle in transaction, for " in message
        assert "SELECT * FROM busy" in message
        assert any("fooapp f100 waits for a lock, held by process " in w for w in words), words
    if not database_url.startswith("sqlite"):
        # Nothing at all can be written to an SQLite database that somebody else writes to.
        assert ledger(database_url) == [("fooapp", "f100", "upgrade", "failed")]
    assert steps(service.upgrade()) == ["fooapp@f100"]


def test_a_connection_that_its_owner_closed_is_in_nobodys_way(
    busy: Workshop, database_url: str
) -> None:
    make_busy(database_url)
    service = busy.service(database_url, lock_budget="10")
    closed = engine_of(database_url).connect()
    closed.execute(sa.text("SELECT 1"))
    driver: Any = closed.connection.dbapi_connection
    driver.close()
    with blocking(database_url, read(database_url), seconds=1.5):
        assert steps(service.upgrade()) == ["fooapp@f100"]
    closed.invalidate()
    closed.close()


def test_readers_are_stalled_for_a_moment_only(busy: Workshop, postgresql_url: str) -> None:
    make_busy(postgresql_url)
    service = busy.service(postgresql_url)
    stalls: list[float] = []

    def look() -> None:
        with engine_of(postgresql_url).connect() as connection:
            for _ in range(20):
                began = time.monotonic()
                connection.execute(sa.text("SELECT * FROM busy"))
                connection.rollback()
                stalls.append(time.monotonic() - began)
                time.sleep(0.05)

    threads = [threading.Thread(target=look) for _ in range(3)]
    with blocking(postgresql_url, "SELECT * FROM busy", seconds=2):
        for thread in threads:
            thread.start()
        service.upgrade()
    for thread in threads:
        thread.join()
    assert max(stalls) < 0.5


def test_an_own_open_transaction_in_the_way_is_told_at_once(
    busy: Workshop, database_url: str
) -> None:
    make_busy(database_url)
    service = busy.service(database_url)
    with transaction_on(database_url, read(database_url)):
        began = time.monotonic()
        with pytest.raises(RunBlocked) as caught:
            service.upgrade()
        assert time.monotonic() - began < (6 if database_url.startswith("mysql") else 3)
    assert str(caught.value).startswith(
        'The upgrade of revision "f100" of package "fooapp" waits for a lock that the calling '
        "thread's own connection holds ("
    )
    if not database_url.startswith("sqlite"):
        # Nothing at all can be written to an SQLite database that somebody else writes to.
        assert ledger(database_url) == [("fooapp", "f100", "upgrade", "failed")]
    assert steps(service.upgrade()) == ["fooapp@f100"]


def test_an_own_transaction_that_is_not_in_the_way_is_none(
    busy: Workshop, database_url: str
) -> None:
    make_busy(database_url)
    execute(database_url, "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    service = busy.service(database_url)
    with (
        transaction_on(database_url, "SELECT * FROM other"),
        blocking(database_url, read(database_url), seconds=1),
    ):
        assert steps(service.upgrade()) == ["fooapp@f100"]


def test_limits_of_a_package_and_of_a_script(workshop: Workshop, postgresql_url: str) -> None:
    show = "op.execute(\"INSERT INTO seen SELECT current_setting('{}')\")"
    workshop.package("addon")
    workshop.package("fooapp")
    execute(postgresql_url, "CREATE TABLE seen (value TEXT)")
    workshop.script("addon", "a100", upgrade=show.format("lock_timeout"))
    workshop.script("fooapp", "f100", upgrade=show.format("lock_timeout"))
    path = workshop.script("fooapp", "f200", "f100", upgrade=show.format("statement_timeout"))
    path.write_text(path.read_text() + "\nstatement_timeout_ms = 7000\n")
    service = workshop.service(
        postgresql_url, **{"lock_timeout_ms.fooapp": "321", "statement_timeout_ms": "60000"}
    )
    service.upgrade()
    assert rows(postgresql_url, "SELECT value FROM seen") == [("100ms",), ("321ms",), ("7s",)]
    service.downgrade("base")
    service.upgrade(lock_timeout_ms=555, statement_timeout_ms=9000)
    assert rows(postgresql_url, "SELECT value FROM seen OFFSET 3") == [
        ("555ms",),
        ("555ms",),
        ("9s",),
    ]


def test_a_limit_that_is_no_number_names_the_script(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    path = workshop.script("fooapp", "f100")
    path.write_text(path.read_text() + "\nlock_budget = 'long'\n")
    with pytest.raises(ScriptError) as caught:
        workshop.service(sqlite_url).upgrade()
    assert str(caught.value) == (
        f"Revision script \"{path}\" has lock_budget = 'long': it must be a number, 0 or more. "
        "Correct the script. Nothing of it was applied."
    )


def test_a_setting_that_is_no_number_names_its_key(busy: Workshop, sqlite_url: str) -> None:
    with pytest.raises(SettingError) as caught:
        busy.service(sqlite_url, **{"lock_timeout_ms.fooapp": "soon"})
    assert 'Setting "websauna_migrate.lock_timeout_ms.fooapp": ' in str(caught.value)


def test_a_statement_that_takes_too_long_is_ended(workshop: Workshop, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no limit for a statement")
    sleep = "pg_sleep(5)" if database_url.startswith("postgresql") else "sleep(5)"
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade=f'op.execute("SELECT {sleep}")')
    began = time.monotonic()
    with pytest.raises(StepFailed):
        workshop.service(database_url).upgrade(statement_timeout_ms=300)
    assert time.monotonic() - began < 3


def test_ddl_of_mariadb_is_tried_again_statement_by_statement(
    workshop: Workshop, mariadb_url: str
) -> None:
    make_busy(mariadb_url)
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade="""
        op.create_table("before", sa.Column("id", sa.Integer))
        op.add_column("busy", sa.Column("added", sa.Integer))
        op.execute("UPDATE busy SET added = 1")
        op.create_table("after", sa.Column("id", sa.Integer))
        """,
    )
    service = workshop.service(mariadb_url)
    with blocking(mariadb_url, "SELECT * FROM busy", seconds=1.5):
        assert steps(service.upgrade()) == ["fooapp@f100"]
    assert {"before", "after"} <= tables(mariadb_url)
    assert rows(mariadb_url, "SELECT added FROM busy") == [(1,)]


def test_a_first_statement_that_fails_leaves_nothing_half_done_on_mariadb(
    workshop: Workshop, mariadb_url: str
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("there"))
    execute(mariadb_url, "CREATE TABLE there (id INTEGER)")
    service = workshop.service(mariadb_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade()
    assert not caught.value.half_done
    assert ledger(mariadb_url) == [("fooapp", "f100", "upgrade", "failed")]
    execute(mariadb_url, "DROP TABLE there")
    assert steps(service.upgrade()) == ["fooapp@f100"]


def test_what_follows_an_autocommit_block_waits_briefly_too(
    workshop: Workshop, postgresql_url: str
) -> None:
    make_busy(postgresql_url)
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade="""
        op.create_table("one", sa.Column("id", sa.Integer))
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY one_id ON one (id)")
        op.execute("INSERT INTO one VALUES (1)")
        op.add_column("busy", sa.Column("added", sa.Integer))
        """,
    )
    service = workshop.service(postgresql_url)
    with blocking(postgresql_url, "LOCK TABLE busy IN ACCESS SHARE MODE", seconds=1.5):
        assert steps(service.upgrade()) == ["fooapp@f100"]
    assert rows(postgresql_url, "SELECT id FROM one") == [(1,)]


def test_an_invalid_index_is_dropped_before_it_is_made_again(
    workshop: Workshop, postgresql_url: str
) -> None:
    execute(
        postgresql_url,
        "CREATE TABLE things (name TEXT)",
        "INSERT INTO things VALUES ('a'), ('a')",
    )
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade="""
        with op.get_context().autocommit_block():
            op.create_index(
                "Things by name", "things", ["name"], unique=True,
                postgresql_concurrently=True, if_not_exists=True,
            )
        """,
    )
    service = workshop.service(postgresql_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade()
    assert caught.value.half_done
    (half_done,) = service.repair()
    assert 'INVALID indexes: public."Things by name"' in half_done.known
    execute(postgresql_url, "DELETE FROM things WHERE ctid = '(0,1)'")
    words: list[str] = []
    service.on_wait = words.append
    service.repair("rerun")
    assert words == [
        'The INVALID index public."Things by name", which an earlier CREATE INDEX CONCURRENTLY '
        "left behind, was dropped."
    ]
    assert rows(
        postgresql_url,
        "SELECT indisvalid FROM pg_index i JOIN pg_class c "
        "ON c.oid = i.indexrelid WHERE relname = 'Things by name'",
    ) == [(True,)]
    assert service.upgrade().steps == ()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("ALTER USER x PASSWORD 'geheim'", "ALTER USER x PASSWORD '...'"),
        ("SELECT 'it''s', 'cut o", "SELECT '...', '...'"),
        ("DO $x$ secret $x$", "DO '...'"),
        ("SELECT  1\n  FROM t", "SELECT 1 FROM t"),
        ("SELECT " + "a" * 200, "SELECT " + "a" * 110 + "..."),
    ],
)
def test_a_blocking_query_is_shown_without_what_it_quotes(query: str, shown: str) -> None:
    assert shown_query(query) == shown
