"""Scripts that begin and end a transaction by statements, on SQLite: Alembic has none open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from projects import Project
from runs import rows, tables

#: As Galaxy's helper has it.
FIRST = """
op.execute("BEGIN")
op.create_table("a", sa.Column("id", sa.Integer(), primary_key=True))
op.execute("INSERT INTO a VALUES (1)")
op.execute("END")
op.execute("-- taken back\\nbegin immediate transaction;")
op.execute("INSERT INTO a VALUES (2)")
op.execute("rollback;")
op.execute("INSERT INTO a VALUES (3)")
"""
DOWN = 'op.execute("BEGIN")\nop.drop_table("a")\nop.execute("COMMIT")'


@pytest.fixture
def site(make_project: Callable[..., Project], sqlite_url: str) -> Project:
    project = make_project(sqlite_url)
    project.script("b1", None, FIRST, DOWN)
    return project


@pytest.mark.parametrize("atomic", [False, True])
def test_its_transaction_is_a_part_of_the_step(
    site: Project, sqlite_url: str, atomic: bool
) -> None:
    options = ["--atomic"] if atomic else []
    site.ws("upgrade", "--dry-run")
    assert tables(sqlite_url) == set()
    site.ws("upgrade", *options)
    assert rows(sqlite_url, "SELECT id FROM a") == [(1,), (3,)]
    site.ws("downgrade", "base", *options)
    assert "a" not in tables(sqlite_url)


def test_a_step_that_fails_behind_it_leaves_nothing(site: Project, sqlite_url: str) -> None:
    site.script("b2", "b1", FIRST.replace('"a"', '"c"').replace("INTO a", "INTO c") + "1 / 0")
    refused = site.ws("upgrade", ok=False)
    assert "Nothing of it was applied" in refused.stderr
    assert "c" not in tables(sqlite_url)


def test_a_second_one_is_refused_as_by_the_database(site: Project, sqlite_url: str) -> None:
    site.script("b2", "b1", 'op.execute("BEGIN")\nop.execute("BEGIN")')
    refused = site.ws("upgrade", ok=False)
    assert "cannot start a transaction within a transaction" in refused.stderr


def test_an_end_without_a_beginning_is_what_it_was(site: Project, sqlite_url: str) -> None:
    site.script("b2", "b1", 'op.execute("COM" + "MIT")')
    refused = site.ws("upgrade", "--atomic", ok=False)
    assert "would end the transaction that the whole run is" in refused.stderr
    assert "a" not in tables(sqlite_url)
