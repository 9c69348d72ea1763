"""Streams that cannot be written, terminals that hang up, and what a terminal must not obey."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import execute, ledger, rows, table, tables, wait_for

INI = """
[app:main]
use = call:fooapp:main
sqlalchemy.url = {url}
"""

FACTORY = """
from pyramid.config import Configurator

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.add_migration_package()
    return config.make_wsgi_app()
"""

PROGRAM = Path(sys.executable).parent / "ws-alembic"


class Site:
    """An application with three revisions, on SQLite."""

    def __init__(self, workshop: Workshop, root: Path, run: Any) -> None:
        self.workshop = workshop
        self.root = root
        self.ini = root / "site.ini"
        self.url = f"sqlite:///{root / 'db.sqlite'}"
        self.ini.write_text(INI.format(url=self.url))
        self._run = run

    def shell(self, line: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        """Run a line of bash, in which ``$ws`` is the command with its INI."""
        done: subprocess.CompletedProcess[str] = self._run(
            ["bash", "-c", f'ws="ws-alembic -c {self.ini}"; {line}'],
            cwd=self.root,
            env={"PYTHONPATH": str(self.workshop.root), **variables},
        )
        return done

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command, with signals as a terminal's shell leaves them."""
        return subprocess.Popen(
            [PROGRAM, "-c", self.ini, *words],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.workshop.root)},
            text=True,
            preexec_fn=default_signals,
            **options,
        )

    def applied(self) -> list[Any]:
        return rows(self.url, "SELECT version_num FROM alembic_history_fooapp")


def default_signals() -> None:
    """Take signals as usual: who runs the tests in the background has them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, run: Callable[..., Any]) -> Site:
    workshop.package("fooapp")
    (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
    workshop.script("fooapp", "f100", **table("f1"), message="First")
    workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    workshop.script("fooapp", "f300", "f200", **table("f3"), message="Third")
    return Site(workshop, tmp_path, run)


DONE = [("fooapp", f"f{number}00", "upgrade", "done") for number in (1, 2, 3)]

STREAMS = [
    "2>&-",
    ">&-",
    ">&- 2>&-",
    "<&- >&- 2>&-",
    "2>/dev/full",
    ">/dev/full",
    ">/dev/full 2>&1",
    "2>&1 | true",
    "| true",
]


@pytest.mark.parametrize("streams", STREAMS)
def test_no_stream_decides_what_a_run_does(site: Site, streams: str) -> None:
    site.workshop.script("fooapp", "f200", "f100", 'print("x" * 99999)\n' + table("f2")["upgrade"])
    done = site.shell(f"$ws upgrade {streams}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ledger(site.url) == DONE
    assert {"f1", "f2", "f3"} <= tables(site.url)
    # A file that the database opens would have got the number of a closed stream.
    assert (site.root / "db.sqlite").read_bytes().startswith(b"SQLite format 3\0")


@pytest.mark.parametrize("streams", ["2>&-", ">/dev/full 2>&1", "2>&1 | true"])
def test_no_stream_decides_how_a_run_fails(site: Site, streams: str) -> None:
    site.workshop.script("fooapp", "f300", "f200", 'op.execute("nonsense")')
    done = site.shell(f"$ws upgrade {streams}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 6
    assert ledger(site.url) == [*DONE[:2], ("fooapp", "f300", "upgrade", "failed")]


def test_a_result_that_was_not_written_is_told_by_the_other_stream(site: Site) -> None:
    done = site.shell("$ws -q upgrade f100; $ws upgrade >/dev/full 2>err; echo $?; cat err")
    status, *told = done.stdout.splitlines()
    assert status == "0"
    assert told[-2] == "Standard output cannot be written: No space left on device."
    assert re.fullmatch(r"2 steps applied in \d\.\d\d s\.", told[-1])


@pytest.mark.parametrize("words", ["status", "-q upgrade --sql"])
@pytest.mark.parametrize(
    ("stream", "problem"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_what_was_asked_for_and_not_written_is_a_failure(
    site: Site, words: str, stream: str, problem: str
) -> None:
    done = site.shell(f"$ws {words} {stream}")
    assert done.returncode == 1
    assert done.stderr == f"Standard output cannot be written: {problem}.\n"


def test_a_check_keeps_its_answer_where_it_cannot_be_written(site: Site) -> None:
    assert site.shell("$ws check >/dev/full").returncode == 7


def test_a_reader_that_has_read_enough_is_told_nothing(site: Site) -> None:
    # Far more than a pipe holds: what fits is written before the reader has gone.
    for number in range(1500):
        site.workshop.script("fooapp", f"g{number:03}", f"g{number - 1:03}" if number else "f300")
    done = site.shell("$ws history -v | head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "Rev: g1499 (head)\n"


def test_a_dump_that_was_not_written_is_a_failure(site: Site) -> None:
    assert site.shell("$ws upgrade").returncode == 0
    done = site.shell(f"ws-dump-db {site.ini} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith("No space left on device.\n")
    assert "Traceback" not in done.stderr


# Characters


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_that_a_stream_does_not_have_is_escaped(site: Site, encoding: str) -> None:
    site.workshop.script("fooapp", "f300", "f200", **table("f3"), message="Prix en \u20ac")
    variables = {"PYTHONIOENCODING": encoding}
    for words in ("plan", "upgrade", "current -v"):
        done = site.shell(f"$ws {words}", **variables)
        assert "Traceback" not in done.stderr
        assert "Prix en \\u20ac" in done.stdout + done.stderr
    assert site.applied() == [("f300",)]


def test_sql_is_not_changed_to_fit_a_stream(site: Site) -> None:
    site.workshop.script("fooapp", "f300", "f200", "op.execute(\"SELECT '\u20ac'\")")
    done = site.shell("$ws -q upgrade --sql", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'Standard output cannot be written: its encoding "ascii" does not have "\\u20ac". Set '
        "PYTHONIOENCODING=utf-8.\n"
    )
    again = site.shell("$ws upgrade --sql", PYTHONIOENCODING="utf-8")
    assert "SELECT '\u20ac'" in again.stdout


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\rfake\x7f\u202e"


def controls(text: str) -> set[str]:
    """Return the characters of a text that a terminal would obey."""
    return {c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e"}


def test_control_characters_of_a_message_are_shown_and_not_obeyed(site: Site) -> None:
    script = site.workshop.script("fooapp", "f300", "f200", **table("f3"))
    script.write_text(f'"""An {EVIL} end"""\n'.replace("\r", "\\r") + script.read_text("utf-8"))
    for words in ("plan", "show f300", "upgrade", "status"):
        done = site.shell(f"$ws {words}")
        text = done.stdout + done.stderr
        assert not controls(text), words
        assert "\\x1b[2J\\x9b1m" in text


def test_control_characters_of_a_row_are_shown_and_not_obeyed(site: Site) -> None:
    assert site.shell("$ws -q upgrade f100").returncode == 0
    execute(site.url, "UPDATE alembic_history_fooapp SET version_num = 'x\x1b[2J\nfooapp  f300'")
    for words in ("current -c", "status", "check", "upgrade"):
        done = site.shell(f"$ws {words}")
        text = done.stdout + done.stderr
        assert not controls(text), words
        if words != "check" and words != "upgrade":
            assert "x\\x1b[2J\\nfooapp  f300" in done.stdout
            assert "\nfooapp  f300" not in done.stdout


def test_control_characters_of_a_failure_are_shown_and_not_obeyed(site: Site) -> None:
    site.workshop.script("fooapp", "f300", "f200", f"raise ValueError({EVIL!r})")
    done = site.shell("$ws upgrade")
    assert done.returncode == 6
    assert not controls(done.stderr)
    assert "\\x1b[2J" in done.stderr


# Signals


def looping(site: Site) -> Path:
    """Let the second revision loop in Python, and tell by a file that it does."""
    flag = site.root / "loops"
    site.workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        import pathlib, time
        op.create_table("f2", sa.Column("id", sa.Integer))
        pathlib.Path({str(flag)!r}).touch()
        while pathlib.Path({str(flag)!r}).exists():
            op.execute("SELECT 1")
            time.sleep(0.01)
        """,
    )
    return flag


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_a_run_behind_the_step_and_a_second_one_in_it(
    site: Site, number: signal.Signals, status: int, times: int
) -> None:
    flag = looping(site)
    with site.start("upgrade", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(flag.exists)
        process.send_signal(number)
        assert process.stderr is not None
        told = ""
        while "a second time stops it at once" not in told:
            line = process.stderr.readline()
            assert line
            told += line
        if times == 2:
            process.send_signal(number)
        else:
            flag.unlink()
        _, more = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in told + more
    outcomes = [entry[1::2] for entry in ledger(site.url)]
    if times == 1:
        assert outcomes == [("f100", "done"), ("f200", "done"), ("f300", "stopped")]
    else:
        assert outcomes == [("f100", "done"), ("f200", "stopped")]
        assert "f2" not in tables(site.url)


def test_the_exit_status_tells_the_signal_while_nobody_reads_what_is_said(site: Site) -> None:
    flag = looping(site)
    reading, writing = os.pipe()
    with site.start("upgrade", stdout=subprocess.PIPE, stderr=writing) as process:
        wait_for(flag.exists)
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b".")
        os.set_blocking(writing, True)
        os.close(writing)
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
        with os.fdopen(reading) as stderr:
            told = stderr.read()
        process.communicate(timeout=60)
    assert process.returncode == 129, told
    assert "Traceback" not in told
    assert [entry[1::2] for entry in ledger(site.url)] == [("f100", "done"), ("f200", "stopped")]


def test_nohup_is_obeyed(site: Site) -> None:
    flag = looping(site)
    done = site.shell(
        f"nohup $ws upgrade >out 2>&1 & pid=$!; while [ ! -e {flag} ]; do sleep 0.05; done; "
        f"kill -HUP $pid; sleep 0.3; rm {flag}; wait $pid"
    )
    assert done.returncode == 0, (site.root / "out").read_text()
    assert ledger(site.url) == DONE


@pytest.fixture
def slow_import(site: Site) -> Iterator[tuple[Site, Path]]:
    """A site whose command takes long to import SQLAlchemy, and tells by a file that it does."""
    flag = site.root / "imports"
    (site.workshop.root / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sqlalchemy':\n"
        f"            pathlib.Path({str(flag)!r}).touch()\n"
        "            time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    yield site, flag


@pytest.mark.parametrize("words", [("upgrade",), ("status",)])
def test_ctrl_c_while_the_command_is_still_imported(
    slow_import: tuple[Site, Path], words: tuple[str, ...]
) -> None:
    site, flag = slow_import
    with site.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(flag.exists)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "", "Interrupted.\n")


def test_ctrl_c_on_a_terminal(site: Site) -> None:
    flag = looping(site)
    master, slave = pty.openpty()
    process = site.start(
        "upgrade", stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        # A session without a controlling terminal gets its signals from us.
        wait_for(flag.exists)
        os.killpg(process.pid, signal.SIGINT)
        text = read_until(master, "a second time stops it at once")
        flag.unlink()
        assert process.wait(60) == 130
        text += read_until(master, "")
    finally:
        process.kill()
        os.close(master)
    assert "Traceback" not in text
    assert [entry[1::2] for entry in ledger(site.url)][1:] == [
        ("f200", "done"),
        ("f300", "stopped"),
    ]


def test_a_terminal_that_is_closed_ends_the_run_behind_the_step(site: Site) -> None:
    flag = looping(site)
    pid, master = pty.fork()
    if pid == 0:
        default_signals()
        os.environ["PYTHONPATH"] = str(site.workshop.root)
        os.execv(PROGRAM, [str(PROGRAM), "-c", str(site.ini), "upgrade"])
    wait_for(flag.exists)
    # The kernel sends SIGHUP, and nothing can be written from now on.
    os.close(master)
    time.sleep(0.2)
    flag.unlink()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert [entry[1::2] for entry in ledger(site.url)][1:] == [
        ("f200", "done"),
        ("f300", "stopped"),
    ]


def test_a_question_that_gets_no_answer_writes_nothing(make_project: Any, sqlite_url: str) -> None:
    project = make_project(sqlite_url)
    user = 'class User(Base):\n    __tablename__ = "users"\n    id: Mapped[int] = mapped_column('
    project.models(f"{user}primary_key=True)\n    name: Mapped[str]\n")
    project.ws("revision", "--autogenerate", "-m", "one")
    project.ws("upgrade")
    project.models(f"{user}primary_key=True)\n    title: Mapped[str]\n")
    scripts = set(project.versions.glob("*.py"))
    master, slave = pty.openpty()
    try:
        # Ctrl-D on an empty line.
        os.write(master, b"\x04")
        done = subprocess.run(
            [PROGRAM, "revision", "--autogenerate", "-m", "two"],
            cwd=project.root, env={**os.environ, "PYTHONPATH": str(project.root)},
            stdin=slave, stdout=subprocess.PIPE, stderr=slave, timeout=60,
        )  # fmt: skip
        text = read_until(master, "has no answer.")
    finally:
        os.close(slave)
        os.close(master)
    assert (done.returncode, done.stdout) == (1, b"")
    assert 'renamed to "title"? [y/n] Nothing was written: the question has no answer.' in text
    assert set(project.versions.glob("*.py")) == scripts


def read_until(descriptor: int, words: str) -> str:
    """Return what a terminal shows until some words, or to its end."""
    text = ""
    while not words or words not in text:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, text
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            break
        text += data.decode()
    return text
