"""Checks of a script's own: ``precheck(check)``, ``verify(check)``, and ``ws-alembic verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import execute, ledger, rows, table, tables
from test_ws_alembic import FACTORY, Site, invoke  # noqa: F401 - a fixture

USERS = """
op.create_table("users", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("email", sa.String(50)))
"""

UNIQUE = """
def precheck(check):
    check.none("SELECT email FROM users GROUP BY email HAVING count(*) > :n",
               "emails are not unique", n=1)
"""


@pytest.fixture(name="site")
def made_site(workshop: Workshop, tmp_path: Path, invoke: Any) -> Site:  # noqa: F811
    """An application with one revision that makes a table of users."""
    workshop.package("fooapp")
    factory = FACTORY.replace('    config.include("addon")\n', "")
    (workshop.root / "fooapp" / "__init__.py").write_text(factory)
    workshop.script("fooapp", "f100", None, USERS, 'op.drop_table("users")')
    return Site(workshop, tmp_path, None, invoke)


def script(site: Site, revision: str, down: str, upgrade: str, checks: str, top: str = "") -> Path:
    """Write a script with checks."""
    path = site.workshop.script("fooapp", revision, down, upgrade)
    text = path.read_text().replace("\nrevision =", f"\n{top}\nrevision =", 1)
    path.write_text(f"{text}\n{checks}")
    return path


def line_of(path: Path, part: str) -> int:
    """Return the line of a script that has a text."""
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if part in line)


def start(site: Site, url: str, *emails: str) -> None:
    """Apply the first revision, and fill the table."""
    site.configure(url.replace("%", "%%"))
    done = site("upgrade", "f100")
    assert done.status == 0, done.stderr
    for number, email in enumerate(emails, 1):
        execute(url, f"INSERT INTO users (id, email) VALUES ({number}, '{email}')")


def test_a_precheck_that_fails_leaves_all_as_it_was(site: Site, database_url: str) -> None:
    start(site, database_url, "a", "a")
    script(site, "f200", "f100", table("t2")["upgrade"], "")
    path = script(site, "f300", "f200", table("t3")["upgrade"], UNIQUE)
    before = ledger(database_url)
    done = site("upgrade")
    assert (done.status, done.stderr) == (
        6,
        "The precheck() of pending steps says no, and nothing was changed:\n"
        f"  fooapp@f300 ({path}, line {line_of(path, 'check.none')}): emails are not unique\n"
        "Put right what it names, then run the command again.\n",
    )
    assert not {"t2", "t3"} & tables(database_url)
    assert ledger(database_url) == before
    # The remedy.
    execute(database_url, "DELETE FROM users WHERE id = 2")
    assert site("upgrade").status == 0
    assert {"t2", "t3"} <= tables(database_url)


def test_a_precheck_waits_for_steps_that_have_a_say(site: Site, database_url: str) -> None:
    """What an earlier step makes, and what it may change of the rows."""
    start(site, database_url, "a", "a")
    script(site, "f200", "f100", 'op.execute("DELETE FROM users WHERE id = 2")', "")
    script(site, "f300", "f200", table("t3")["upgrade"], UNIQUE)
    asks = 'def precheck(check):\n    check.none("SELECT id FROM t3", "t3 has rows")'
    script(site, "f400", "f300", 'op.add_column("t3", sa.Column("x", sa.Integer))', asks)
    done = site("upgrade")
    assert done.status == 0, done.stderr
    assert "t3" in tables(database_url)


def test_a_precheck_that_waited_fails_its_step(site: Site, database_url: str) -> None:
    start(site, database_url, "a")
    double = "op.execute(\"INSERT INTO users (id, email) VALUES (7, 'a')\")"
    script(site, "f200", "f100", double, "")
    path = script(site, "f300", "f200", table("t3")["upgrade"], UNIQUE)
    done = site("upgrade")
    assert done.status == 6
    place = f"({path}, line {line_of(path, 'check.none')})"
    assert f"{place}: emails are not unique\nNothing of it was applied." in done.stderr
    assert "1 earlier step of this run stays applied." in done.stderr
    assert "t3" not in tables(database_url)
    assert ("fooapp", "f300", "upgrade", "failed") in ledger(database_url)
    execute(database_url, "DELETE FROM users WHERE id = 7")
    assert site("upgrade").status == 0


def test_verify_fails_the_step(site: Site, database_url: str) -> None:
    start(site, database_url, "a")
    checks = """
def verify(check):
    check.some("SELECT id FROM users", "nobody is left")
    check.equal("SELECT count(*) FROM users", 2, "not all are left")
"""
    path = script(site, "f200", "f100", 'op.execute("UPDATE users SET email = NULL")', checks)
    done = site("upgrade")
    assert done.status == 6
    assert (
        f"({path}, line {line_of(path, 'check.equal')}): not all are left (1, expected 2)\n"
        "Nothing of it was applied."
    ) in done.stderr
    assert rows(database_url, "SELECT email FROM users") == [("a",)]
    execute(database_url, "INSERT INTO users (id, email) VALUES (5, 'b')")
    assert site("upgrade").status == 0
    assert rows(database_url, "SELECT count(email) FROM users") == [(0,)]


def test_a_dry_run_and_an_atomic_run_check_too(site: Site, transactional_database_url: str) -> None:
    start(site, transactional_database_url, "a", "a")
    script(site, "f200", "f100", 'op.execute("DELETE FROM users WHERE id = 2")', "")
    script(site, "f300", "f200", table("t3")["upgrade"], UNIQUE)
    verify = 'def verify(check):\n    check.some("SELECT id FROM t3", "t3 is empty")'
    script(site, "f400", "f300", "pass", verify)
    for flag in ("--dry-run", "--atomic"):
        done = site("upgrade", flag)
        assert done.status == 6
        assert "): t3 is empty\nNothing of it was applied." in done.stderr
    assert "t3" not in tables(transactional_database_url)


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO users (id) VALUES (9)",
        "WITH x AS (DELETE FROM users RETURNING id) SELECT * FROM x",
        "DROP TABLE users",
    ],
)
def test_a_check_only_reads(site: Site, database_url: str, query: str) -> None:
    start(site, database_url, "a")
    script(site, "f200", "f100", "pass", f'def verify(check):\n    check.none("{query}", "?")')
    assert site("upgrade").status == 6
    assert rows(database_url, "SELECT id FROM users") == [(1,)]


def test_a_step_that_is_no_transaction_is_half_done(site: Site, postgresql_url: str) -> None:
    start(site, postgresql_url)
    checks = 'def verify(check):\n    check.some("SELECT id FROM users", "nobody is there")'
    path = script(site, "f200", "f100", table("t2")["upgrade"], checks, "transactional = False")
    done = site("upgrade")
    assert done.status == 3
    assert f"({path}, line {line_of(path, 'check.some')}): nobody is there" in done.stderr
    # What ran is there, and the rerun verifies again.
    execute(postgresql_url, "DROP TABLE t2", "INSERT INTO users (id) VALUES (1)")
    assert site("repair", "--rerun").status == 0
    assert site("status").status == 0


def test_applied_revisions_are_verified_again(site: Site, database_url: str) -> None:
    start(site, database_url, "a")
    checks = 'def verify(check):\n    check.none("SELECT id FROM users WHERE id > 5", "too many")'
    path = script(site, "f200", "f100", "pass", checks)
    assert site("verify").stdout == "0 of 0 verified.\n"
    assert site("upgrade").status == 0
    assert site("verify").stdout == "1 of 1 verified.\n"
    execute(database_url, "INSERT INTO users (id) VALUES (6)")
    failing = site("verify")
    assert failing.status == 8
    assert failing.stdout == (
        f"fooapp f200 ({path}, line {line_of(path, 'check.none')}): too many\n0 of 1 verified.\n"
    )
    as_json = json.loads(site("verify", "--json").stdout)
    assert [(one["revision"], one["outcome"], one["problem"]) for one in as_json] == [
        ("f200", "fails", "too many")
    ]
    # A later revision takes away what it asks for.
    script(site, "f300", "f200", 'op.drop_table("users")', "")
    assert site("upgrade").status == 0
    outdated = site("verify")
    assert outdated.status == 0
    assert outdated.stdout.startswith(f"note: fooapp f200 ({path}, line ")
    assert "): fooapp@f300 changes what it asks for: " in outdated.stdout


def test_sql_says_that_checks_are_not_run(site: Site, sqlite_url: str) -> None:
    start(site, sqlite_url)
    script(site, "f200", "f100", table("t2")["upgrade"], UNIQUE + "def verify(check): pass\n")
    told = "-- Not run, since no SQL can do it: precheck() and verify() of this script.\n"
    assert told in site("upgrade", "--sql").stdout
    assert site("plan", "--sql").stdout.count(told) == 1


def test_functions_of_the_same_name_for_another_purpose(site: Site, sqlite_url: str) -> None:
    start(site, sqlite_url)
    other = "def verify(rows):\n    raise ValueError\n\nprecheck = None\n"
    script(site, "f200", "f100", "pass", other)
    assert site("upgrade").status == 0
    assert site("verify").stdout == "0 of 0 verified.\n"


def test_a_mistake_in_a_precheck_is_named(site: Site, sqlite_url: str) -> None:
    start(site, sqlite_url)
    path = script(site, "f200", "f100", "pass", "def precheck(check):\n    check.nothing()\n")
    done = site("upgrade")
    assert done.status == 6
    line = line_of(path, "nothing")
    assert f"fooapp@f200 ({path}, line {line}): AttributeError: " in done.stderr
