"""One run at a time per database: who waits, for whom, and that nothing is applied twice."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from apps import THING, Workshop
from databases import PostgreSQLServer
from runs import (
    execute,
    exit_status,
    fork,
    forked,
    ledger,
    rows,
    steps,
    table,
    tables,
    transaction_on,
    wait_for,
)
from websauna_migrate.errors import DatabaseFailure, InterruptedSteps, RunBlocked, ScratchRefused
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.locks.file_locks import FileLock


@pytest.fixture
def slow(workshop: Workshop) -> Workshop:
    """An app whose second revision takes as long as a file is there."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    flag = workshop.root / "flag"
    workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        import pathlib, time
        op.create_table("f2", sa.Column("id", sa.Integer))
        flag = pathlib.Path({str(flag)!r})
        flag.touch()
        while flag.exists():
            time.sleep(0.02)
        """,
    )
    return workshop


def test_a_waiting_run_says_who_holds_the_lock(slow: Workshop, database_url: str) -> None:
    flag = slow.root / "flag"
    service = slow.service(database_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        words: list[str] = []
        waiter = slow.service(database_url, lock_wait="30")

        def hear(said: str) -> None:
            words.append(said)
            threading.Timer(0.3, flag.unlink).start()

        waiter.on_wait = hear
        run = waiter.upgrade()
        assert exit_status(pid) == 0
    assert run.steps == ()
    (told,) = words
    assert told.startswith("Another migration run is in progress (")
    assert re.search(r"; waiting for it, at most (29|30) s\.$", told)
    assert f"process {pid} on {os.uname().nodename}, " in told
    assert re.search(r"since \d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", told)
    assert "upgrade" in told
    if not database_url.startswith("sqlite"):
        assert re.search(r'(at|past) revision "f[12]00" of package "fooapp"', told)


def test_no_patience_fails_at_once(slow: Workshop, database_url: str) -> None:
    flag = slow.root / "flag"
    service = slow.service(database_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        with pytest.raises(RunBlocked) as caught:
            slow.service(database_url, lock_wait="0").upgrade()
        with pytest.raises(RunBlocked):
            slow.service(database_url).upgrade(lock_wait=0)
    assert f"process {pid} on " in str(caught.value)
    assert str(caught.value).endswith(
        "gave up after 0.0 s. Nothing was changed. Try again when it is over, or raise the "
        'setting "websauna_migrate.lock_wait" (seconds).'
    )


def test_other_databases_of_a_server_are_not_locked(
    slow: Workshop, mariadb_server: Any, mariadb_url: str
) -> None:
    other = mariadb_server.create_database()
    service = slow.service(mariadb_url)
    with forked(lambda: service.upgrade() and 0):
        wait_for((slow.root / "flag").exists)
        assert len(slow.service(other, lock_wait="0").upgrade("f100").steps) == 1
    mariadb_server.drop_database(other)


def test_the_lock_file_of_sqlite_goes_with_the_run(slow: Workshop, sqlite_url: str) -> None:
    path = slow.root.parent / "database.sqlite"
    slow.service(sqlite_url).upgrade("f100")
    assert sorted(p.name for p in path.parent.iterdir()) == ["database.sqlite", "src"]
    service = slow.service(sqlite_url)
    lock = path.with_name("database.sqlite-migrating")
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for((slow.root / "flag").exists)
        assert lock.exists()
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    assert lock.exists()
    (slow.root / "flag").unlink()
    slow.script("fooapp", "f200", "f100", **table("f2"))
    assert len(slow.service(sqlite_url, lock_wait="0").upgrade().steps) == 1
    assert not lock.exists()


def test_two_holders_of_a_lock_file_are_impossible(tmp_path: Any) -> None:
    first, second = FileLock(tmp_path / "x-migrating"), FileLock(tmp_path / "x-migrating")
    first.doing = second.doing = "upgrade"
    for _ in range(3):
        assert first.take()
        assert not second.take()
        assert second.holder().startswith(f"process {os.getpid()} on ")
        assert second.holder().endswith(" UTC, upgrade")
        first.release()
        first, second = second, first


def test_a_run_inside_of_a_run_is_told(workshop: Workshop, sqlite_url: str) -> None:
    from websauna_migrate.interfaces import IMigrationService, IMigrationStepApplied

    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    config = workshop.configure(sqlite_url)
    service = config.registry.getUtility(IMigrationService)
    config.registry.registerHandler(lambda event: service.upgrade(), (IMigrationStepApplied,))
    with pytest.raises(RunBlocked, match="in this very thread"):
        service.upgrade()


def test_a_run_of_another_thread_is_waited_for(slow: Workshop, sqlite_url: str) -> None:
    flag = slow.root / "flag"
    service = slow.service(sqlite_url)
    thread = threading.Thread(target=service.upgrade)
    thread.start()
    wait_for(flag.exists)
    with pytest.raises(RunBlocked, match="Another thread of this process"):
        service.upgrade(lock_wait=0.2)
    flag.unlink()
    thread.join()
    assert service.upgrade().steps == ()


def test_a_read_only_server_is_refused_before_anything_else(
    slow: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    with postgresql_server.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    service = slow.service(postgresql_url)
    for call in (
        service.upgrade,
        lambda: service.downgrade("base"),
        lambda: service.stamp("heads"),
        lambda: service.uninstall("fooapp"),
        service.ensure_version,
        lambda: service.repair("done"),
    ):
        with pytest.raises(DatabaseFailure) as caught:
            call()
    assert str(caught.value) == (
        "This database is read-only for this user: migrations cannot run on it, and nothing was "
        "changed. Let the setting sqlalchemy.url (or websauna_migrate.url) name the primary."
    )


def test_what_looks_alone_needs_no_right_to_write(
    workshop: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    workshop.package("fooapp", THING)
    service = workshop.service(postgresql_url)
    (script,) = service.revision("Things", autogenerate=True)
    service.upgrade()
    name = postgresql_url.rpartition("/")[2]
    with postgresql_server.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    service = workshop.service(postgresql_url)
    assert [one.pending for one in service.status()] == [0]
    assert service.readiness().is_ready
    # Models are tried in a scratch place; those of before are known.
    added = THING + '    name = sa.Column("name", sa.Integer)\n'
    (workshop.root / "fooapp" / "models.py").write_text(added)
    workshop.forget()
    service = workshop.service(postgresql_url)
    with pytest.raises(ScratchRefused, match=r"read-only transaction\.\nSet websauna_migrate"):
        service.check()
    scratch = postgresql_server.create_database()
    service = workshop.service(postgresql_url, scratch_url=scratch)
    assert [one.kind for one in service.check().problems] == ["drift"]
    workshop.script("fooapp", "f200", script.revision)
    service = workshop.service(postgresql_url)
    assert [one.pending for one in service.status()] == [1]
    assert [one.kind for one in service.check().problems] == ["pending"]


def test_an_autocommit_engine_does_not_take_steps_apart(
    slow: Workshop, postgresql_url: str
) -> None:
    slow.script(
        "fooapp",
        "f200",
        "f100",
        upgrade='op.create_table("half", sa.Column("id", sa.Integer))\nraise RuntimeError',
    )
    config = slow.configure(postgresql_url)
    config.registry.settings["sqlalchemy.isolation_level"] = "AUTOCOMMIT"
    service = config.registry.getUtility(IMigrationService)
    with pytest.raises(Exception, match="Nothing of it was applied"):
        service.upgrade()
    assert "half" not in tables(postgresql_url)


def test_the_run_is_known_by_name_at_the_server(slow: Workshop, postgresql_url: str) -> None:
    service = slow.service(postgresql_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for((slow.root / "flag").exists)
        names = rows(
            postgresql_url,
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'websauna%'",
        )
    assert names == [(f"websauna_migrate {pid} {os.uname().nodename}"[:63],)]


def test_an_orphan_statement_ends_soon(workshop: Workshop, postgresql_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade='op.execute("SELECT pg_sleep(60)")')
    service = workshop.service(postgresql_url)
    running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(lambda: rows(postgresql_url, running))
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
        began = time.monotonic()
        wait_for(lambda: not rows(postgresql_url, running))
        assert time.monotonic() - began < 3


def test_a_lost_connection_is_told_as_such(
    slow: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    slow.script(
        "fooapp",
        "f200",
        "f100",
        upgrade='op.execute("SELECT pg_terminate_backend(pg_backend_pid())")',
    )
    slow.script("fooapp", "f300", "f200", **table("f3"))
    with pytest.raises(Exception) as caught:
        slow.service(postgresql_url).upgrade()
    assert str(caught.value).endswith(
        "The connection was lost, so this run cannot tell whether the step was applied. Run the "
        "command again: it looks first. 1 earlier step of this run stays applied."
    )
    slow.script("fooapp", "f200", "f100", **table("f2"))
    assert steps(slow.service(postgresql_url).upgrade()) == ["fooapp@f200", "fooapp@f300"]


# Many at once

SCRIPTS = {
    "ddl": 'op.create_table("t{n}", sa.Column("id", sa.Integer))',
    "if not exists": 'op.execute("CREATE TABLE IF NOT EXISTS t{n} (id INTEGER)")',
    "data": 'op.execute("INSERT INTO journal VALUES ({n})")',
    "autocommit": """
        with op.get_context().autocommit_block():
            op.execute("INSERT INTO journal VALUES ({n})")
        """,
    "concurrently": """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY i{n} ON journal (id)")
        """,
}


@pytest.mark.parametrize("kind", list(SCRIPTS))
def test_racing_upgraders_apply_everything_once(
    workshop: Workshop, database_url: str, kind: str
) -> None:
    if kind == "concurrently" and not database_url.startswith("postgresql"):
        pytest.skip("only PostgreSQL works CONCURRENTLY")
    execute(database_url, "CREATE TABLE journal (id INTEGER)")
    workshop.package("addon")
    workshop.package("fooapp")
    down = None
    for number in range(1, 9):
        package = "addon" if number <= 4 else "fooapp"
        workshop.script(
            package,
            f"r{number}",
            None if number == 5 else down,
            upgrade=SCRIPTS[kind].format(n=number),
            requires=["addon@r4"] if number == 5 else [],
        )
        down = f"r{number}"
    service = workshop.service(database_url, lock_wait="60")
    for target in ("addon@r2", "heads"):
        pids = [fork(lambda t=target: service.upgrade(t) and 0) for _ in range(8)]
        assert [exit_status(pid) for pid in pids] == [0] * 8
    assert Counter(ledger(database_url)) == Counter(
        {("addon" if n <= 4 else "fooapp", f"r{n}", "upgrade", "done"): 1 for n in range(1, 9)}
    )
    assert rows(database_url, "SELECT version_num FROM alembic_history_addon") == [("r4",)]
    assert rows(database_url, "SELECT version_num FROM alembic_history_fooapp") == [("r8",)]
    if kind in ("data", "autocommit"):
        found = rows(database_url, "SELECT id FROM journal ORDER BY id")
        assert found == [(n,) for n in range(1, 9)]


def test_killed_at_random_moments(workshop: Workshop, transactional_database_url: str) -> None:
    url = transactional_database_url
    execute(url, "CREATE TABLE journal (id INTEGER)")
    workshop.package("fooapp")
    down = None
    for number in range(1, 31):
        workshop.script(
            "fooapp",
            f"r{number}",
            down,
            upgrade=f"""
            op.create_table("t{number}", sa.Column("id", sa.Integer))
            op.execute("INSERT INTO journal VALUES ({number})")
            """,
        )
        down = f"r{number}"
    service = workshop.service(url, lock_wait="60")
    for moment in range(10):
        pid = fork(lambda: service.upgrade() and 0)
        time.sleep(0.02 + moment * 0.01)
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    service.upgrade()
    assert rows(url, "SELECT id FROM journal ORDER BY id") == [(n,) for n in range(1, 31)]
    outcomes = [entry[3] for entry in ledger(url)]
    # The first steps of runs that were killed in them.
    assert [one for one in outcomes if one != "unfinished"] == ["done"] * 30


def test_a_reader_does_not_see_a_run_as_interrupted(workshop: Workshop, database_url: str) -> None:
    """A marker that is visible while its run goes on is not a half done step."""
    flag = workshop.root / "flag"
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade=f"""
        import pathlib, time
        with op.get_context().autocommit_block():
            flag = pathlib.Path({str(flag)!r})
            flag.touch()
            while flag.exists():
                time.sleep(0.02)
        """,
    )
    service = workshop.service(database_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        threading.Timer(0.7, flag.unlink).start()
        try:
            assert workshop.service(database_url, lock_wait="20").upgrade().steps == ()
        except InterruptedSteps:
            pytest.fail("the run that is in progress was taken for a dead one")
        assert exit_status(pid) == 0


def test_the_applications_own_session_does_not_matter_to_reading(
    slow: Workshop, database_url: str
) -> None:
    slow.script("fooapp", "f200", "f100", **table("f2"))
    slow.service(database_url).upgrade()
    with transaction_on(database_url, "SELECT * FROM f1"):
        assert slow.service(database_url).upgrade().steps == ()


# What the child has of a parent whose other thread forks is told by Python from 3.12 on.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_a_thread_runs_does_not_wait_for_it(
    slow: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    flag = slow.root / "flag"
    other = slow.service(f"sqlite:///{tmp_path / 'other.sqlite'}")
    thread = threading.Thread(target=slow.service(sqlite_url).upgrade)
    thread.start()
    wait_for(flag.exists)
    try:
        # In this process it has to wait.
        with pytest.raises(RunBlocked, match="Another thread of this process"):
            other.upgrade("f100", lock_wait=0)
        with forked(lambda: len(other.upgrade("f100", lock_wait=0).steps) - 1) as pid:
            assert exit_status(pid) == 0
    finally:
        flag.unlink()
        thread.join()
