"""What the tests of runs share: small applications, and looks into a database from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from apps import Workshop

__all__ = [
    "blocking",
    "forked",
    "ledger",
    "rows",
    "steps",
    "table",
    "tables",
    "transaction_on",
    "wait_for",
]


def table(name: str) -> dict[str, str]:
    """Return the two bodies of a script that creates a table."""
    return {
        "upgrade": f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))',
        "downgrade": f'op.drop_table("{name}")',
    }


def chain(workshop: Workshop, package: str, count: int, **first: str) -> None:
    """Make a package of revisions that create a table each: ``t1``, ``t2`` ..."""
    workshop.package(package)
    down = None
    for number in range(1, count + 1):
        workshop.script(package, f"r{number}", down, **table(f"t{number}"))
        down = f"r{number}"


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=NullPool)


def tables(url: str) -> set[str]:
    return set(sa.inspect(engine_of(url)).get_table_names())


def rows(url: str, query: str) -> list[Any]:
    with engine_of(url).connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def execute(url: str, *statements: str) -> None:
    """Execute statements, each in a transaction of its own."""
    with engine_of(url).connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
            connection.commit()


def ledger(url: str) -> list[Any]:
    """Return package, revision, direction and outcome of the ledger's rows."""
    return rows(
        url,
        "SELECT package, revision, direction, outcome FROM websauna_migrate_ledger "
        "ORDER BY started, number",
    )


def steps(run: Any) -> list[str]:
    return [f"{step.package}@{step.revision}" for step in run.steps]


@contextmanager
def transaction_on(url: str, *statements: str) -> Iterator[sa.Connection]:
    """Hold a transaction open in which statements were executed."""
    with engine_of(url).connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
        yield connection
        connection.rollback()


@contextmanager
def blocking(url: str, *statements: str, seconds: float) -> Iterator[None]:
    """Hold a transaction open for some seconds, in a thread of its own."""
    ready = threading.Event()

    def hold() -> None:
        with transaction_on(url, *statements):
            ready.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        thread.join()


def wait_for(condition: Callable[[], Any], seconds: float = 20, pause: float = 0.02) -> Any:
    """Return what a condition gives once that is true; ask again after a pause in seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)
    return found


def fork(work: Callable[[], int | None]) -> int:
    """Run a function in a copy of this process and return that one's id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    errors = os.dup(2)
    try:
        # The parent's output is not the child's to write to.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        status = work() or 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException as exc:
        status = getattr(exc, "exit_code", 98)
        if status == 98:
            # Nobody expects it, so a test that fails should show it.
            os.write(errors, traceback.format_exc().encode())
    finally:
        os._exit(status)


def exit_status(pid: int, seconds: float = 60) -> int:
    """Return a child's exit status, minus the signal's number if one ended it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the process did not end in time")


@contextmanager
def forked(work: Callable[[], int | None]) -> Iterator[int]:
    """Run a function in a copy of this process, which is killed at the end if need be."""
    pid = fork(work)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
