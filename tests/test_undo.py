"""Taking back what one run applied, and the guard of a production database."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import rows, steps, table, tables
from websauna_migrate.errors import DowngradeRefused, UsageError


@pytest.fixture
def shop(workshop: Workshop) -> Workshop:
    """Two packages: the second requires the first's newest revision."""
    workshop.package("aaa", None)
    workshop.package("bbb", None)
    workshop.script("aaa", "a100", **table("a1"))
    workshop.script("bbb", "b100", **table("b1"))
    return workshop


def grow(shop: Workshop) -> None:
    """Add a release: a revision of each package."""
    shop.script("aaa", "a200", "a100", **table("a2"))
    shop.script("bbb", "b200", "b100", requires=("aaa@a200",), **table("b2"))


def test_the_last_run_is_taken_back(shop: Workshop, database_url: str) -> None:
    shop.service(database_url).upgrade()
    grow(shop)
    service = shop.service(database_url)
    service.upgrade()
    planned = service.plan_undo().steps
    assert [str(step.revision) for step in planned] == ["bbb@b200", "aaa@a200"]
    assert steps(service.undo()) == ["bbb@b200", "aaa@a200"]
    assert {"a1", "b1"} <= tables(database_url) and not {"a2", "b2"} & tables(database_url)
    assert service.undo().steps == ()
    first = service.log()[-1]
    assert sorted(steps(service.undo(first.id[:12]))) == ["aaa@a100", "bbb@b100"]


def test_what_stands_on_a_run_is_protected(shop: Workshop, database_url: str) -> None:
    shop.service(database_url).upgrade()
    grow(shop)
    service = shop.service(database_url)
    service.upgrade("a200", packages="aaa")
    service.upgrade(packages="bbb")
    second = service.log()[1]
    with pytest.raises(DowngradeRefused) as caught:
        service.undo(second.id)
    assert "bbb@b200" in str(caught.value)
    assert "a2" in tables(database_url)
    assert steps(service.undo(second.id, cascade=True)) == ["bbb@b200", "aaa@a200"]


def test_a_run_that_cannot_be_taken_back(shop: Workshop, database_url: str) -> None:
    service = shop.service(database_url)
    with pytest.raises(UsageError) as caught:
        service.undo()
    assert "applied a revision" in str(caught.value)
    service.upgrade()
    service.downgrade("base")
    with pytest.raises(UsageError) as caught:
        service.undo(service.log()[0].id)
    assert "applied no revision" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        shop.service(database_url, "aaa").undo()
    assert "no script defines any more: bbb@b100" in str(caught.value)


@pytest.fixture
def command(workshop: Workshop, tmp_path: Path, run: Callable[..., Any]) -> Callable[..., Any]:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    sites = {
        protected: workshop.application(
            "fooapp", tmp_path / f"{protected}.ini", url, protected=protected
        )
        for protected in ("false", "true")
    }

    def call(*words: str, protected: str = "false") -> subprocess.CompletedProcess[str]:
        ini = sites[protected]
        environment = {"PYTHONPATH": str(workshop.root)}
        done: subprocess.CompletedProcess[str] = run(
            ["ws-alembic", "-c", str(ini), *words], env=environment
        )
        return done

    return call


def test_without_a_terminal_it_needs_yes(command: Callable[..., Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    command("upgrade")
    for words in (("downgrade", "--run", "last"), ("uninstall", "fooapp")):
        refused = command(*words)
        assert refused.returncode == 2
        assert "fooapp" in refused.stderr and refused.stderr.endswith("add --yes.\n")
        assert "f1" in tables(url)
    assert command("downgrade").returncode == 2
    assert command("downgrade", "base", "--run", "last").returncode == 2
    done = command("downgrade", "--run", "last", "--yes")
    assert done.returncode == 0 and done.stdout.startswith("1 step taken back in ")
    assert command("downgrade", "--run", "last", "--yes").stdout.startswith("Nothing to do")
    assert command("uninstall", "fooapp", "--yes").returncode == 0


def test_a_protected_database(command: Callable[..., Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    assert command("upgrade", protected="true").returncode == 0
    for words in (
        ("downgrade", "base"),
        ("downgrade", "--run", "last", "--yes"),
        ("uninstall", "fooapp", "--yes"),
        ("stamp", "--purge", "base"),
        ("repair", "--done"),
    ):
        refused = command(*words, protected="true")
        assert refused.returncode == 2, words
        assert refused.stderr.endswith("add --yes-on-production.\n")
    assert rows(url, "SELECT version_num FROM alembic_history_fooapp") == [("f100",)]
    assert command("repair", protected="true").returncode == 0
    assert command("downgrade", "base", "--yes-on-production", protected="true").returncode == 0
    assert "f1" not in tables(url)
