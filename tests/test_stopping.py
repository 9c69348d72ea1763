"""Runs that are asked to stop: at a boundary, or now; by a signal, a function, or an exception."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import exit_status, forked, ledger, steps, table, tables, wait_for
from websauna_migrate.cli.render.history import render_log
from websauna_migrate.cli.signals import stop_signals
from websauna_migrate.database.stopping import Stop
from websauna_migrate.errors import InterruptedSteps, RunStopped, StepFailed


@pytest.fixture
def three(workshop: Workshop) -> Workshop:
    """An app of three revisions, the second of which tells by a file that it runs."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    workshop.script("fooapp", "f300", "f200", **table("f3"))
    return workshop


def flag(workshop: Workshop) -> Path:
    return workshop.root / "flag"


def second(workshop: Workshop, then: str) -> None:
    """Let the second revision make its table, tell that it runs, and do something else."""
    workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        op.create_table("f2", sa.Column("id", sa.Integer))
        __import__("pathlib").Path({str(flag(workshop))!r}).touch()
        {then}
        """,
    )


def test_a_function_stops_the_run_at_the_next_boundary(three: Workshop, database_url: str) -> None:
    answers = iter([False, True])
    service = three.service(database_url)
    with pytest.raises(RunStopped) as caught:
        service.upgrade(stop=lambda: next(answers))
    assert str(caught.value) == (
        'Stopped as asked, with 1 of 3 steps applied. The upgrade of revision "f200" of package '
        '"fooapp" was not begun. Run the command again to go on.'
    )
    assert ledger(database_url) == [
        ("fooapp", "f100", "upgrade", "done"),
        ("fooapp", "f200", "upgrade", "stopped"),
    ]
    (run,) = service.log()
    assert run.count == "1 of 3 steps"
    lines = [*render_log([run])]
    assert "  upgrade  stopped  1 of 3 steps  " in lines[0]
    assert lines[1] == "  fooapp  f200  upgrade  not begun"
    assert steps(service.upgrade()) == ["fooapp@f200", "fooapp@f300"]


def test_a_stop_before_the_first_step(three: Workshop, database_url: str) -> None:
    service = three.service(database_url)
    with pytest.raises(RunStopped):
        service.upgrade(stop=lambda: True)
    assert ledger(database_url) == [("fooapp", "f100", "upgrade", "stopped")]


def test_an_atomic_run_stops_with_nothing(three: Workshop, transactional_database_url: str) -> None:
    answers = iter([False, True])
    with pytest.raises(RunStopped) as caught:
        three.service(transactional_database_url).upgrade(atomic=True, stop=lambda: next(answers))
    assert caught.value.done == 0
    assert ledger(transactional_database_url) == [("fooapp", "f200", "upgrade", "stopped")]
    assert "f1" not in tables(transactional_database_url)


@pytest.mark.parametrize(
    ("leave", "raised", "outcome"),
    [
        ("KeyboardInterrupt", KeyboardInterrupt, "stopped"),
        # What a script's own sys.exit() raises is no way to end a run.
        ("SystemExit", StepFailed, "failed"),
        ("GeneratorExit", StepFailed, "failed"),
    ],
)
def test_what_leaves_a_script_leaves_nothing_half_done(
    three: Workshop, transactional_database_url: str, leave: str, raised: Any, outcome: str
) -> None:
    second(three, f"raise {leave}")
    service = three.service(transactional_database_url)
    # Where the tests run in the background of a shell it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(raised):
            service.upgrade()
    finally:
        signal.signal(signal.SIGINT, before)
    assert "f2" not in tables(transactional_database_url)
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("f100", "upgrade", "done"),
        ("f200", "upgrade", outcome),
    ]
    three.script("fooapp", "f200", "f100", **table("f2"))
    assert len(three.service(transactional_database_url, lock_wait="0").upgrade().steps) == 2


def upgrader(workshop: Workshop, url: str) -> Any:
    """Return what a child process does: an upgrade, as the console script does it."""
    service = workshop.service(url)

    def work() -> int:
        # Where the tests run in the background of a shell it is ignored, and would stay so.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with stop_signals() as stop:
            service.upgrade(stop=stop)
        return 0

    return work


SLEEPS = {
    "python": "import time; time.sleep(1)",
    "postgresql": 'op.execute("SELECT pg_sleep(1)")',
    "mysql+pymysql": 'op.execute("SELECT sleep(1)")',
    "sqlite": 'op.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
    'WHERE i < 3000000) SELECT count(*) FROM n")',
}


def sleep(url: str, seconds: int) -> str:
    kind = url.partition(":")[0].replace("+psycopg2", "")
    factor = "3000000", str(3000000 * seconds)
    return SLEEPS[kind].replace("(1)", f"({seconds})").replace(*factor)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_at_the_boundary(
    three: Workshop, database_url: str, number: int, status: int
) -> None:
    second(three, sleep(database_url, 1))
    with forked(upgrader(three, database_url)) as pid:
        wait_for(flag(three).exists)
        os.kill(pid, number)
        assert exit_status(pid) == status
    assert [entry[1:] for entry in ledger(database_url)] == [
        ("f100", "upgrade", "done"),
        ("f200", "upgrade", "done"),
        ("f300", "upgrade", "stopped"),
    ]


@pytest.mark.parametrize("where", ["database", "python"])
def test_a_second_signal_rolls_the_step_back(
    three: Workshop, database_url: str, where: str
) -> None:
    long = sleep(database_url, 60) if where == "database" else "import time; time.sleep(60)"
    second(three, long)
    with forked(upgrader(three, database_url)) as pid:
        wait_for(flag(three).exists)
        time.sleep(0.3)
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        status = exit_status(pid)
        assert time.monotonic() - began < 10
    service = three.service(database_url)
    if database_url.startswith("mysql"):
        # Its CREATE TABLE cannot be rolled back.
        assert status == 3
        with pytest.raises(InterruptedSteps):
            service.upgrade()
        return
    assert status == 143
    assert "f2" not in tables(database_url)
    assert [entry[1:] for entry in ledger(database_url)] == [
        ("f100", "upgrade", "done"),
        ("f200", "upgrade", "stopped"),
    ]


def test_a_stop_while_another_run_is_waited_for(three: Workshop, database_url: str) -> None:
    second(three, "import time; time.sleep(60)")
    stop = Stop()
    with forked(upgrader(three, database_url)):
        wait_for(flag(three).exists)
        threading.Timer(0.5, stop.request).start()
        began = time.monotonic()
        with pytest.raises(Exception) as caught:
            three.service(database_url).upgrade(stop=stop)
        assert time.monotonic() - began < 5
    assert str(caught.value) == (
        "Stopped as asked, while another migration run was in progress. Nothing was changed."
    )


def test_handlers_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(stop)
        assert stop.signal == signal.SIGTERM
        assert not stop.at_once
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert (
        capsys.readouterr().err
        == "Stopping when the step is done; a second time stops it at once.\n"
    )


def test_signals_of_other_threads_are_left_alone() -> None:
    found: list[Any] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stop_signals() as stop:
            found.append((stop(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, True)]
