"""``ws-alembic log``: what the ledger tells of runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import execute, rows, table
from websauna_migrate.errors import StepFailed, UsageError
from websauna_migrate.results import LogFilter


@pytest.fixture
def runs(workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service whose ledger has four runs: two of one package, one that failed, a downgrade."""
    workshop.package("fooapp")
    workshop.package("other", None)
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    workshop.script("other", "o100", upgrade="op.execute(\"SELECT 'hidden' FROM nowhere\")")
    service = workshop.service(database_url)
    monkeypatch.setenv("WEBSAUNA_MIGRATE_BY", "Ada Lovelace")
    service.upgrade("f100", packages="fooapp")
    monkeypatch.setenv("WEBSAUNA_MIGRATE_BY", "Grace Hopper")
    service.upgrade(packages="fooapp")
    with pytest.raises(StepFailed):
        service.upgrade(packages="other")
    service.downgrade("f100", packages="fooapp")
    return service


def names(found: Any) -> list[str]:
    return [f"{run.direction} {run.steps[0].package} {run.outcome}" for run in found]


def test_newest_first(runs: Any) -> None:
    assert names(runs.log()) == [
        "downgrade fooapp done",
        "upgrade other failed",
        "upgrade fooapp done",
        "upgrade fooapp done",
    ]
    assert names(runs.log(LogFilter(limit=1))) == ["downgrade fooapp done"]
    newest = runs.log()[0]
    assert newest.installed_by.startswith("Grace Hopper (")
    assert newest.seconds is not None and newest.seconds >= 0
    assert newest.process == os.getpid()
    # MariaDB keeps whole seconds where nothing is said.
    assert any(run.started.microsecond for run in runs.log())


def test_filters(runs: Any) -> None:
    def found(**wanted: Any) -> list[str]:
        return names(runs.log(LogFilter(**wanted)))

    assert found(packages=("other",)) == ["upgrade other failed"]
    assert found(outcome="failed", limit=1) == ["upgrade other failed"]
    assert found(person="ada") == ["upgrade fooapp done"]
    assert found(person="100%") == []
    assert found(host="elsewhere") == []
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc)
    assert len(found(since=now - hour)) == 4
    assert found(since=now + hour) == [] and found(until=now - hour) == []
    zone = timezone(timedelta(hours=5))
    assert len(found(since=(now - hour).astimezone(zone))) == 4


def test_one_run(runs: Any) -> None:
    failed = runs.log(LogFilter(outcome="failed"))[0]
    assert runs.find_run(failed.id[:10]) == failed
    (step,) = failed.steps
    assert "nowhere" in step.error and "hidden" not in step.error
    assert (step.statement, step.kind) == (1, "SELECT")
    assert step.line is not None
    assert runs.find_run("last").direction == "downgrade"
    with pytest.raises(UsageError) as caught:
        runs.find_run("xyz")
    assert 'The ledger has no run "xyz"' in str(caught.value)
    with pytest.raises(UsageError) as caught:
        runs.find_run("")
    assert "write more of it" in str(caught.value)


def test_a_ledger_of_an_earlier_release(runs: Any, database_url: str) -> None:
    for column in ("installed_by", "error", "line", "statement", "kind", "statements"):
        execute(database_url, f"ALTER TABLE websauna_migrate_ledger DROP COLUMN {column}")
    assert len(runs.log()) == 4
    assert runs.log(LogFilter(person="ada")) == ()
    # The earlier release writes what it knows, beside the columns of a later one.
    runs.upgrade(packages="fooapp")
    execute(
        database_url,
        "INSERT INTO websauna_migrate_ledger (id, run, number, package, revision, direction, "
        "history_table, started, ended, outcome, host, process, version, checksum, session, note) "
        "SELECT 'f', 'f', number, package, revision, direction, history_table, started, ended, "
        "outcome, host, process, version, checksum, session, note FROM websauna_migrate_ledger "
        "WHERE installed_by IS NOT NULL",
    )
    assert [run.installed_by[:5] for run in runs.log()[:2]] == ["", "Grace"]


def test_no_ledger(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    assert workshop.service(database_url).log() == ()


def test_the_times_are_the_databases(workshop: Workshop, database_url: str) -> None:
    """A host whose clock is wrong by a day writes the same times as the others."""
    if database_url.startswith("sqlite"):
        pytest.skip("a file has no clock of its own")
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    ledger = "websauna_migrate.runs.ledger"
    before = datetime.now(timezone.utc)

    def wrong() -> datetime:
        return datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{ledger}.utc_now", wrong)
        workshop.service(database_url).upgrade()
    (run,) = workshop.service(database_url).log()
    assert abs(run.started - before) < timedelta(hours=1)


def test_the_command(workshop: Workshop, tmp_path: Path, run: Callable[..., Any]) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", upgrade='op.execute("SELECT 1 FROM nowhere")')
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    ini = workshop.application("fooapp", tmp_path / "site.ini", url)
    environment = {"PYTHONPATH": str(workshop.root), "WEBSAUNA_MIGRATE_BY": "Ada"}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = run(
            ["ws-alembic", "-c", str(ini), *words], env=environment
        )
        return done

    assert command("log").stdout == "The ledger has no such run.\n"
    assert command("upgrade").returncode == 6
    listed = command("log").stdout.splitlines()
    assert " UTC  upgrade  failed  2 steps  " in listed[0] and " by Ada (" in listed[0]
    assert listed[1].startswith("  fooapp  f200  upgrade  failed  ")
    assert listed[2] == "    no such table: nowhere. (line 14, statement 1: SELECT)"
    assert listed[3].startswith("  fooapp  f100  upgrade  done  ")
    shown = command("log", "last").stdout
    assert "     no such table: nowhere. (line 14, statement 1: SELECT)\n" in shown
    (data,) = json.loads(command("log", "--outcome", "failed", "--json").stdout)
    assert [step["outcome"] for step in data["steps"]] == ["done", "failed"]
    assert data["started"].endswith("+00:00")
    assert command("log", "--since", "yesterday").returncode == 2
    assert json.loads(command("log", "--by", "grace", "--json").stdout) == []
    assert len(rows(url, "SELECT DISTINCT run FROM websauna_migrate_ledger")) == 1


KILLED = """
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed(
    workshop: Workshop, tmp_path: Path, run: Callable[..., Any], database_url: str
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    second = workshop.script("fooapp", "f200", "f100", KILLED)
    ini = str(workshop.application("fooapp", tmp_path / "site.ini", database_url))
    environment = {"PYTHONPATH": str(workshop.root)}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = run(
            ["ws-alembic", "-c", ini, *words], env=environment
        )
        return done

    def told() -> list[str]:
        lines = command("log").stdout.splitlines()
        words = [re.split("  +", line) for line in lines]
        return [" ".join(line[1 if line[0] == "" else 2 :][:3]) for line in words]

    # In its second step, then in its first.
    assert command("upgrade").returncode == -9
    assert told() == ["upgrade unfinished 1 of 2 steps", "fooapp f100 upgrade"]
    assert command("upgrade").returncode == -9
    killed = ["upgrade unfinished 0 of 1 step", "fooapp f200 upgrade"]
    assert told()[:2] == killed
    assert " unfinished" in command("log", "last").stdout.splitlines()[-1]
    # The next run keeps it.
    second.write_text(second.read_text().replace(KILLED.strip().splitlines()[-1], "pass"))
    assert command("upgrade").returncode == 0
    assert told()[:4] == ["upgrade done 1 step", "fooapp f200 upgrade", *killed]
    (data, _) = json.loads(command("log", "--outcome", "unfinished", "--json").stdout)
    assert [step["outcome"] for step in data["steps"]] == ["unfinished"]
    assert command("status").returncode == 0
