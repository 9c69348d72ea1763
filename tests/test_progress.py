"""What a run shows while it runs: on a terminal, in a pipe, and whom a statement waits for."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import execute, steps, table, transaction_on, wait_for
from test_streams import default_signals, read_until
from websauna_migrate.cli import progress
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.interfaces import IMigrationRunStarted, IMigrationService

PROGRAM = Path(sys.executable).parent / "ws-alembic"

LONG = "A message of a length that no terminal of eighty columns has room for on its only line"


def sleeping(flag: Path, statement: str) -> str:
    """Return a script's body that works for as long as a file is there."""
    return (
        f"import pathlib, time\nflag = pathlib.Path({str(flag)!r})\nflag.touch()\n{statement}\n"
        "while flag.exists():\n    time.sleep(0.02)"
    )


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, sqlite_url: str) -> tuple[Path, Path]:
    """The INI file of an application whose second step runs while a file is there; that file."""
    flag = tmp_path / "flag"
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"), message="First")
    body = sleeping(flag, 'print("script says hello")')
    workshop.script("fooapp", "f200", "f100", body, message=LONG)
    workshop.script("fooapp", "f300", "f200", **table("f3"), message="Third")
    return workshop.application("fooapp", tmp_path / "site.ini", sqlite_url), flag


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_a_step_is_shown_from_its_start_on(
    site: tuple[Path, Path], workshop: Workshop, columns: int
) -> None:
    ini, flag = site
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(workshop.root), "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [PROGRAM, "-c", ini, "upgrade"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
        env=environment,
        preexec_fn=default_signals,
    )
    os.close(slave)
    try:
        text = read_until(master, "[2/3] fooapp  f200")
        text += read_until(master, "running for 1 s")
        # It has not ended: its line is no report of what is over.
        assert flag.exists()
        flag.unlink()
        text += read_until(master, "")
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(master)
    shown = [line for line in re.split(r"\r\n|\r", text) if "[2/3]" in line]
    cut = [line for line in shown if "\u2026" in line]
    assert bool(cut) is (columns == 80)
    assert all(len(re.sub(r"\x1b\[[\d;?]*\w", "", line)) <= columns for line in shown)
    # The lines that are done stand above, and nothing stays below them.
    last = re.sub(r"\x1b\[[\d;?]*\w", "", text.rpartition("\x1b[2K")[2]).split("\r")
    assert re.fullmatch(r"\n?3 steps applied in \d+\.\d\d s\.", last[-2].strip("\n")), last
    assert "script says hello\r\n" in text


def test_in_a_pipe_silence_is_broken(
    site: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ini, flag = site
    monkeypatch.setattr(progress, "SILENCE_SECONDS", 0.3)
    threading.Thread(target=lambda: (wait_for(flag.exists), time.sleep(0.8), flag.unlink())).start()
    assert main(["-c", str(ini), "-x", "packages=all", "upgrade"]) == 0
    lines = capfd.readouterr().err.splitlines()
    said = [line for line in lines if "running for" in line]
    assert 1 <= len(said) <= 3
    assert set(said) <= {f"[2/3] fooapp  f200  {LONG}, running for {n} s" for n in (0, 1)}
    # One line for each step when it ends.
    assert len([line for line in lines if re.search(r" \(\d+\.\d\d s\)$", line)]) == 3


def test_how_long_it_took_the_last_time(
    site: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ini, flag = site
    words = ["-c", str(ini), "-x", "packages=all"]
    threading.Thread(target=lambda: (wait_for(flag.exists), flag.unlink())).start()
    assert main([*words, "upgrade"]) == main([*words, "downgrade", "f100"]) == 0
    monkeypatch.setattr(progress, "SILENCE_SECONDS", 0.3)
    threading.Thread(target=lambda: (wait_for(flag.exists), time.sleep(0.8), flag.unlink())).start()
    assert main([*words, "upgrade"]) == 0
    assert "running for 0 s, 0 s the last time" in capfd.readouterr().err


@pytest.fixture
def looks(workshop: Workshop) -> Callable[..., Any]:
    """Return a function that upgrades in a thread and returns what is seen of the run meanwhile."""

    def look(url: str, seen: Callable[[Any], Any], **settings: str) -> Any:
        config = workshop.configure(url, **settings)
        found: list[Any] = []
        config.add_subscriber(lambda event: found.append(event.look), IMigrationRunStarted)
        config.commit()
        service = config.registry.getUtility(IMigrationService)
        runs: list[Any] = []
        thread = threading.Thread(target=lambda: runs.append(service.upgrade()))
        thread.start()
        try:
            wait_for(lambda: found)
            # InnoDB renews what it tells of transactions when nobody has read it for 0.1 s.
            activity = wait_for(lambda: (now := found[0]()) and seen(now) and now, pause=0.2)
            running = workshop.service(url).readiness().running
        finally:
            yield_to.rollback()
            thread.join(30)
        assert steps(runs[0]) == ["fooapp@f100"]
        return activity, running

    yield_to: sa.Connection

    def blocked(connection: sa.Connection, *arguments: Any, **settings: str) -> Any:
        nonlocal yield_to
        yield_to = connection
        return look(*arguments, **settings)

    return blocked


def test_postgresql_tells_how_far_an_index_is_and_whom_it_waits_for(
    workshop: Workshop, postgresql_url: str, looks: Any
) -> None:
    workshop.package("fooapp")
    concurrently = 'op.execute("CREATE INDEX CONCURRENTLY ix_busy ON busy (id)")'
    body = f"with op.get_context().autocommit_block():\n    {concurrently}"
    workshop.script("fooapp", "f100", None, body)
    execute(postgresql_url, "CREATE TABLE busy (id int)")
    with transaction_on(postgresql_url, "INSERT INTO busy VALUES (1)") as other:
        process = other.scalar(sa.text("SELECT pg_backend_pid()"))
        activity, running = looks(other, postgresql_url, lambda now: now.waits_for and now.done)
    assert activity.statement == "CREATE INDEX CONCURRENTLY ix_busy (line 15)"
    assert activity.done.startswith("waiting for writers before build")
    assert activity.waits_for.startswith(f"process {process}, user websauna")
    # Every other look sees the same.
    assert running.statement == "CREATE INDEX CONCURRENTLY ix_busy"
    assert f"waits for process {process}" in str(running)


@pytest.mark.parametrize("plugin", [False, True])
def test_mariadb_names_the_holder_of_a_lock(
    workshop: Workshop, mariadb_url: str, looks: Any, plugin: bool
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", None, 'op.execute("ALTER TABLE busy ADD COLUMN n int")')
    execute(mariadb_url, "CREATE TABLE busy (id int)", "INSERT INTO busy VALUES (1)")
    if plugin:
        execute(mariadb_url, "INSTALL SONAME 'metadata_lock_info'")
    try:
        with transaction_on(mariadb_url, "SELECT * FROM busy") as other:
            process = other.scalar(sa.text("SELECT connection_id()"))
            activity, _ = looks(other, mariadb_url, lambda now: now.waits_for, lock_timeout_ms="0")
    finally:
        if plugin:
            execute(mariadb_url, "UNINSTALL SONAME 'metadata_lock_info'")
    certain = "" if plugin else "perhaps "
    assert activity.statement == "ALTER TABLE busy (line 14)"
    assert activity.waits_for.startswith(f"{certain}process {process}, user ")


def test_mariadb_names_the_holder_of_a_row_for_certain(
    workshop: Workshop, mariadb_url: str, looks: Any
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", None, 'op.execute("UPDATE busy SET id = 3")')
    execute(mariadb_url, "CREATE TABLE busy (id int)", "INSERT INTO busy VALUES (1)")
    with transaction_on(mariadb_url, "UPDATE busy SET id = 2") as other:
        process = other.scalar(sa.text("SELECT connection_id()"))
        activity, _ = looks(other, mariadb_url, lambda now: now.waits_for, lock_timeout_ms="0")
    assert activity.waits_for.startswith(f"process {process}, user ")
