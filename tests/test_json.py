"""``--json`` and ``--log-json``: what programs read is what ``docs/json.rst`` says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import table, tables
from websauna_migrate.cli.ws_alembic import main

PAGE = (Path(__file__).parent.parent / "docs" / "json.rst").read_text("utf-8")

HALF = 'op.create_table("half", sa.Column("id", sa.Integer))\nop.execute("COMMIT")\n'


def documented(title: str) -> set[str]:
    """Return the keys of an object, those at the left margin of its section."""
    _, _, rest = PAGE.partition(f"\n{title}\n{'-' * len(title)}\n")
    section = re.split(r"\n[^\n]+\n-{3,}\n", rest)[0]
    return {
        key
        for line in section.splitlines()
        if re.match(r"``\w", line) and "    " not in line
        for key in re.findall(r"``([\w-]+)``", line)
    }


def fields(title: str, key: str) -> set[str]:
    """Return the keys that stand in the words about a key."""
    _, _, rest = PAGE.partition(f"\n{title}\n{'-' * len(title)}\n")
    words = re.split(r"\n(?=\S)", rest.partition(f"\n{key}\n")[2])[0]
    return set(re.findall(r"``([\w-]+)``", words))


@dataclass
class Done:
    """A command that ended, in this process."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def site(
    workshop: Workshop, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"), message="First")
    workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    ini = str(workshop.application("fooapp", tmp_path / "site.ini", sqlite_url))

    def call(*words: str) -> Done:
        status = main(["-c", ini, "-x", "packages=all", *words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Done(status, out, err)

    return call


def test_runs_and_looks_have_the_keys_that_the_page_names(site: Any) -> None:
    def result(*words: str) -> Any:
        return json.loads(site(*words, "--json").stdout)

    run = result("upgrade")
    assert set(run) == documented("Run")
    assert [set(step) for step in run["steps"]] == [documented("Step")] * 2
    assert (run["error"], run["losses"], run["dry_run"]) == (None, None, False)
    assert run["id"] == result("log", "last")["id"]
    (logged,) = result("log")
    assert set(logged) == documented("Logged run")
    assert set(logged["steps"][0]) == fields("Logged run", "``steps``")

    rolled_back = result("downgrade", "f100", "--dry-run")
    assert rolled_back["dry_run"]
    assert [set(one) for one in rolled_back["losses"]] == []
    (stamped,) = result("stamp", "f100")
    assert stamped == {"package": "fooapp", "before": ["f200"], "after": ["f100"]}
    assert set(stamped) == documented("Stamp")

    plan = result("plan")
    assert set(plan) == documented("Plan") - {"lint"}
    assert {*plan["steps"][0], *plan["steps"][0]["reasons"][0]} == fields("Plan", "``steps``")
    assert set(result("status")[0]) == set(result("current")[0]) == documented("State")
    check = result("check")
    assert set(check) == documented("Check")
    assert set(check["problems"][0]) == fields("Check", "``problems``")
    assert set(result("history")[0]) == set(result("heads")[0]) == documented("Entry")
    assert result("verify") == result("repair") == []


def test_a_failure_is_json_too(site: Any, workshop: Workshop) -> None:
    workshop.script("fooapp", "f300", "f200", upgrade=HALF + 'op.execute("nonsense")')
    done = site("upgrade", "--json")
    assert done.returncode == 3
    run = json.loads(done.stdout)
    assert set(run) == documented("Run")
    # What was committed before is known.
    assert [step["revision"] for step in run["steps"]] == ["f100", "f200"]
    error = run["error"]
    assert set(error) == documented("Error")
    assert (error["type"], error["exit_code"], error["half_done"]) == ("StepFailed", 3, True)
    assert (error["revision"], error["line"]) == ("f300", 16)
    assert error["message"] in done.stderr

    (half,) = json.loads(site("repair", "--json").stdout)
    assert set(half) == documented("Half done step")
    assert set(half["entry"]) == documented("Ledger's row")
    assert set(half["entry"]["statements"][0]) == fields("Ledger's row", "``statements``")
    done = site("repair", "--undone", "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["action"]) == (0, "undone")

    done = site("stamp", "--json", "nowhere")
    assert list(json.loads(done.stdout)) == ["error"]
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode


def events(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_one_json_object_a_line(site: Any, workshop: Workshop, sqlite_url: str) -> None:
    workshop.script(
        "fooapp", "f300", "f200", upgrade='print("hello")\nraise ValueError("no such luck")'
    )
    # What a script prints has nothing to do with events.
    done = site("upgrade", "--log-json")
    assert done.returncode == 6
    lines = [line for line in done.stderr.splitlines() if line != "hello"]
    told = events("\n".join(lines))
    assert [one["event"] for one in told] == [
        "run-started",
        *["step-started", "step-applied"] * 2,
        *["step-started", "step-failed", "run-ended", "failed"],
    ]
    for one in told:
        assert set(one) - {"event", "time"} <= fields("Events", f"``{one['event']}``") | fields(
            "Events", "``step-started``"
        )
    assert {one["run"] for one in told[:-1]} == {told[0]["run"]}
    assert told[-1]["error"] == told[-2]["error"] == told[-3]["error"]
    assert "no such luck" in told[-1]["error"]["message"]
    assert told[-2]["applied"] == 2
    assert tables(sqlite_url) >= {"f1", "f2"}


def test_what_is_said_besides_is_an_event(site: Any) -> None:
    assert site("-q", "upgrade").stderr == ""
    # It counts nothing for empty tables; without a terminal it does not ask.
    done = site("uninstall", "fooapp", "--log-json", "--json")
    assert done.returncode == 2
    told = events(done.stderr)
    assert {one["event"] for one in told} == {"message", "failed"}
    assert json.loads(done.stdout)["error"] == told[-1]["error"]
    done = site("uninstall", "fooapp", "--yes", "--log-json", "--json")
    assert [step["revision"] for step in json.loads(done.stdout)["steps"]] == ["f200", "f100"]
    assert events(done.stderr)[-1]["event"] == "run-ended"


@pytest.mark.parametrize("command", ["upgrade", "stamp"])
def test_a_script_as_sql_is_no_json(site: Any, command: str) -> None:
    done = site(command, "--sql", "--json", *(["heads"] if command == "stamp" else []))
    assert done.returncode == 2
    assert done.stderr == "--json has no meaning with --sql, which runs nothing.\n"
