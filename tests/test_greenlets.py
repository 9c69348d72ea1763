"""An application that gevent and psycogreen have patched: greenlets stand for threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from projects import Project
from runs import execute, ledger, rows, tables, transaction_on, wait_for

pytest.importorskip("gevent")
pytest.importorskip("psycogreen")

TOP = """
import psycogreen.gevent
from gevent import monkey

monkey.patch_all()
psycogreen.gevent.patch_psycopg()
"""

PROGRAM = Path(sys.executable).parent / "ws-alembic"


@pytest.fixture
def project(make_project: Any, postgresql_url: str) -> Project:
    found: Project = make_project(postgresql_url)
    found.models("sa.Table('t', Base.metadata, sa.Column('n', sa.Integer, primary_key=True))", TOP)
    return found


def start(project: Project, *words: str) -> subprocess.Popen[str]:
    """Start the command as a process of its own, with signals as a shell leaves them."""
    return subprocess.Popen(
        [PROGRAM, *words],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(project.root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ws(project: Project, *words: str) -> str:
    """Run the command to its end, which must be a good one, and return what it said."""
    with start(project, *words) as process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0 and "Traceback" not in err, out + err
    return out + err


def test_commands_come_to_their_end(project: Project) -> None:
    ws(project, "revision", "--autogenerate", "-m", "one")
    assert "1 step executed" in ws(project, "upgrade", "--dry-run")
    assert "t" not in tables(project.url)
    assert "1 step applied" in ws(project, "upgrade")
    assert "No new upgrade operations" in ws(project, "check")
    assert "1 step taken back" in ws(project, "downgrade", "-1")
    assert "1 step applied" in ws(project, "upgrade", "--atomic")


def test_a_lock_is_waited_for(project: Project) -> None:
    execute(project.url, "CREATE TABLE t (n INTEGER)")
    project.script("one", None, 'op.execute("ALTER TABLE t ADD COLUMN m INTEGER")')
    with transaction_on(project.url, "SELECT * FROM t"):
        process = start(project, "upgrade")
        assert process.stderr is not None
        assert any("waits for a lock" in line for line in process.stderr)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "1 step applied" in out, out + err


def test_a_second_signal_cancels_the_statement(project: Project) -> None:
    project.script("one", None, 'op.execute("SELECT pg_sleep(60)")')
    sleeping = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active'"
    )
    own = f"{sleeping} AND pid <> pg_backend_pid()"
    with start(project, "upgrade") as process:
        wait_for(lambda: bool(rows(project.url, own)))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "a second time stops it at once" in told
        process.send_signal(signal.SIGINT)
        _, more = process.communicate(timeout=30)
    assert process.returncode == 130, told + more
    assert "Rolling back." in more and "Traceback" not in more
    assert [entry[3] for entry in ledger(project.url)] == ["stopped"]
