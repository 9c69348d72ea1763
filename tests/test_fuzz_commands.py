"""Whatever is typed behind ``ws-alembic``: an exit status, and never a traceback."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from apps import Workshop
from fuzz import cases, hostile_text, seeds
from runs import table
from test_run_commands import FACTORY, INI
from websauna_migrate.cli import ws_alembic
from websauna_migrate.cli.command_table import COMMANDS

NUMBERS = itertools.count()

#: Commands that start an editor, or write where they are told.
OUTSIDE = {"edit", "init", "list_templates", "new-package"}

FLAGS = (
    *(
        "--sql",
        "--tag",
        "--json",
        "--cascade",
        "--atomic",
        "--dry-run",
        "--lock-wait=0",
        "--lock-wait=x",
    ),
    *(
        "--lock-timeout-ms=1",
        "--statement-timeout-ms=-1",
        "--purge",
        "--splice",
        "-m",
        "--verbose",
        "-v",
    ),
    *(
        "-q",
        "--head",
        "--rev-id",
        "--autogenerate",
        "--requires",
        "--rename-table",
        "--rename-column",
    ),
    *(
        "--done",
        "--undone",
        "--rerun",
        "--forget",
        "--resolve-dependencies",
        "-r",
        "-i",
        "--check-heads",
    ),
    *(
        "-x",
        "-n",
        "--no-index",
        "--with-requirements",
        "--depends-on",
        "--version-path",
        "--downgrade",
    ),
    *("--branch-label", "--nonsense", "--", "-", "--version"),
)

WORDS = (
    *(
        "head",
        "heads",
        "base",
        "current",
        "+1",
        "-1",
        "+0",
        "-9",
        "f100",
        "f200",
        "f1",
        "f",
        "f100:f200",
    ),
    *(
        ":",
        "fooapp@head",
        "fooapp@f100",
        "gone@head",
        "@",
        "@head",
        "a@b@c",
        "f100+1",
        "head-1",
        "0",
    ),
    *(
        "packages=all",
        "packages=",
        "packages=fooapp",
        "packages=gone",
        "packages=,",
        "x=y",
        "alembic",
    ),
    *(
        "app:main",
        "fooapp",
        "gone",
        "t1",
        "a:b",
        "a.b:c",
        "",
        " ",
        "x" * 300,
        "99999999999999999999",
    ),
)


def line(rng: random.Random) -> list[str]:
    words = [rng.choice([name for name in COMMANDS if name not in OUTSIDE])]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 4))):
        kind = rng.random()
        words.append(
            rng.choice(FLAGS)
            if kind < 0.45
            else rng.choice(WORDS)
            if kind < 0.9
            else hostile_text(rng)
        )
    if rng.random() < 0.2:
        words.insert(0, rng.choice(FLAGS))
    if "wait" in words:
        # By itself it waits for five minutes.
        words += ["--timeout", "0"]
    return words


@pytest.fixture
def ini(workshop: Workshop, tmp_path: Path) -> Path:
    workshop.package("fooapp")
    (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
    workshop.script("fooapp", "f100", **table("t1"))
    workshop.script("fooapp", "f200", "f100", **table("t2"))
    return tmp_path / "site.ini"


@cases(140)
@given(seeds().map(line))
def test_a_command_line_is_done_or_refused_in_words(
    ini: Path,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(ini.parent)
    number = next(NUMBERS)
    ini.write_text(INI.format(url=f"sqlite:///{ini.parent}/{number % 7}.sqlite", settings=""))
    try:
        status: Any = ws_alembic.main(["-c", str(ini), *words])
    except SystemExit as exc:
        status = exc.code
    printed = capsys.readouterr()
    assert status in (None, *range(9)), words
    assert "Traceback" not in printed.err + printed.out
    assert status in (None, 0) or printed.err.strip() or printed.out.strip()
    for made in (workshop.root / "fooapp" / "alembic" / "versions").glob("*.py"):
        if made.stem not in ("f100", "f200"):
            made.unlink()
