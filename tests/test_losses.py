"""What is lost, counted: ``plan``, ``downgrade``, ``uninstall`` and ``upgrade --max-loss``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runs import execute, rows, tables, transaction_on
from test_script_checks import line_of, made_site, script  # noqa: F401 - the fixture "site"
from test_ws_alembic import Site, invoke  # noqa: F401 - a fixture

TABLES = """
op.create_table("groups", sa.Column("id", sa.Integer, primary_key=True))
op.create_table("users", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("email", sa.String(50)), sa.Column("nick", sa.String(50)),
    sa.Column("group_id", sa.Integer))
op.create_table("old", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture
def filled(site: Site, database_url: str) -> tuple[Site, str]:
    """A site with three users, two of them with one email, and three rows in another table."""
    site.configure(database_url.replace("%", "%%"))
    down = 'op.drop_table("old")\nop.drop_table("users")\nop.drop_table("groups")'
    site.workshop.script("fooapp", "f100", None, TABLES, down)
    done = site("upgrade")
    assert done.status == 0, done.stderr
    execute(
        database_url,
        "INSERT INTO users VALUES (1, 'a', 'x', 5)",
        "INSERT INTO users VALUES (2, 'a', 'y', NULL)",
        "INSERT INTO users VALUES (3, NULL, NULL, NULL)",
        "INSERT INTO old VALUES (1)",
        "INSERT INTO old VALUES (2)",
    )
    return site, database_url


def told(done: Any, path: Path) -> list[str]:
    """Return what is said of the losses of a script, without its name."""
    assert done.status in (0, 6), done.stderr
    start = f"({path}, line "
    lines = (done.stdout + done.stderr).splitlines()
    return [line.split(start)[1].partition(") ")[2] for line in lines if start in line]


def test_a_plan_counts_what_is_lost(filled: tuple[Site, str]) -> None:
    site, _ = filled
    path = script(
        site,
        "f200",
        "f100",
        """
        op.rename_table("old", "older")
        op.drop_table("older")
        with op.batch_alter_table("users") as batch:
            batch.drop_column("nick")
        op.create_table("new", sa.Column("id", sa.Integer))
        op.drop_table("new")
        """,
        "",
        'loses = {"users.nick": "copied by z1"}',
    )
    done = site("plan")
    assert told(done, path) == [
        'drops table "older": 2 rows',
        'drops column "nick" of table "users": 2 values (accepted: copied by z1)',
    ]
    losses = json.loads(site("plan", "--json").stdout)["losses"]
    assert [(one["kind"], one["table"], one["count"], one["accepted"]) for one in losses] == [
        ("drop_table", "older", 2, None),
        ("drop_column", "users", 2, "copied by z1"),
    ]
    assert losses[0]["line"] == line_of(path, 'drop_table("older")')


def test_a_plan_counts_what_is_in_the_way(filled: tuple[Site, str]) -> None:
    site, url = filled
    path = script(
        site,
        "f200",
        "f100",
        """
        with op.batch_alter_table("users") as batch:
            batch.alter_column("email", nullable=False, existing_type=sa.String(50))
            batch.create_unique_constraint("uq", ["email"])
            batch.create_foreign_key("fk", "groups", ["group_id"], ["id"])
        op.create_index("ix", "users", ["nick"], unique=True)
        """,
        "",
    )
    assert told(site("plan"), path) == [
        'changes column "email" of table "users": 1 NULL',
        'adds a constraint to table "users" (email): 1 duplicate',
        'has a foreign key to table "groups": 1 orphan',
    ]
    # None of it is lost, so that the limit lets it through to fail.
    assert site("upgrade", "--max-loss", "0").status in (3, 6)
    assert rows(url, "SELECT count(*) FROM users") == [(3,)]


def test_a_plan_counts_the_rows_that_a_new_column_finds(filled: tuple[Site, str]) -> None:
    site, url = filled
    path = script(
        site,
        "f200",
        "f100",
        """
        op.add_column("old", sa.Column("d", sa.String(9), nullable=False, server_default="x"))
        op.add_column("groups", sa.Column("no_rows", sa.String(9), nullable=False))
        op.execute("ALTER TABLE old ADD COLUMN e VARCHAR(9) DEFAULT 'y' NOT NULL")
        op.add_column("old", sa.Column("phone", sa.String(9), nullable=False))
        op.execute("ALTER TABLE old ADD COLUMN fax VARCHAR(9) NOT NULL")
        """,
        "",
    )
    expected = [
        'adds column "phone" of table "old": 2 NULLs',
        'adds column "fax" of table "old": 2 NULLs',
    ]
    fails = not url.startswith("mysql")
    assert told(site("plan"), path) == (expected if fails else [])
    assert site("upgrade").status == (6 if fails else 0)


def test_max_loss(filled: tuple[Site, str]) -> None:
    site, url = filled
    top = 'loses = {"users.nick": "copied by z1"}'
    drops = 'op.drop_table("old")\nwith op.batch_alter_table("users") as batch:\n'
    drops += '    batch.drop_column("nick")'
    path = script(site, "f200", "f100", drops, "", top)
    refused = site("upgrade", "--max-loss", "1")
    line = line_of(path, 'drop_table("old")')
    assert (refused.status, refused.stderr) == (
        9,
        "More than 1 rows or values would be lost, or cannot be counted, and nothing was changed:\n"
        f'  fooapp f200 ({path}, line {line}) drops table "old": 2 rows\n'
        "Where that is meant, the script says so, by table or column: "
        'loses = {"users.nick": "copied by z1"}\n',
    )
    assert "old" in tables(url)
    # The remedy, as the message has it.
    path.write_text(path.read_text().replace('z1"}', 'z1", "old": "empty since May"}'))
    assert site("upgrade", "--max-loss", "0").status == 0
    assert "old" not in tables(url)


def test_what_a_downgrade_and_an_uninstall_lose(filled: tuple[Site, str]) -> None:
    site, url = filled
    for words in (("downgrade", "base"), ("uninstall", "fooapp", "--yes")):
        done = site(*words)
        assert done.status == 0
        lines = [line for line in done.stderr.splitlines() if " drops table " in line]
        assert [line.partition(") ")[2] for line in lines] == [
            'drops table "old": 2 rows',
            'drops table "users": 3 rows',
        ]
        assert site("upgrade").status == 0
        execute(url, "INSERT INTO old VALUES (1)", "INSERT INTO old VALUES (2)")
        for number in (1, 2, 3):
            execute(url, f"INSERT INTO users (id) VALUES ({number})")


def test_what_cannot_be_read_is_said(filled: tuple[Site, str]) -> None:
    site, url = filled
    unknown = 'name = "old"[::-1][::-1]\nop.execute(f"DROP TABLE {name}")'
    path = script(site, "f200", "f100", unknown, "")
    assert told(site("plan"), path) == [
        "may do anything: what it does cannot be read from the script"
    ]
    assert site("upgrade", "--max-loss", "100").status == 9
    assert "old" in tables(url)
    path.write_text(
        path.read_text().replace("\nrevision =", '\nloses = {"*": "meant"}\nrevision =', 1)
    )
    assert site("upgrade", "--max-loss", "0").status == 0


def test_what_cannot_be_read_of_a_script_takes_one_line(filled: tuple[Site, str]) -> None:
    site, _ = filled
    again = 'op.execute(f"UPDATE {name} SET id = id")'
    unknown = "\n".join(['name = "old"[::-1][::-1]', again, again, again])
    path = script(site, "f200", "f100", unknown, "")
    number = path.read_text().splitlines().index(f"    {again}") + 1
    for words in (("plan",), ("upgrade", "--dry-run")):
        done = site(*words)
        told = [one for one in (done.stdout + done.stderr).splitlines() if "may do" in one]
        assert [one.partition(path.name)[2] for one in told] == [
            f", lines {number}, {number + 1}, {number + 2}) may do anything: what it does cannot "
            "be read from the script"
        ]


def test_counting_waits_for_no_lock(site: Site, postgresql_url: str) -> None:
    site.configure(postgresql_url.replace("%", "%%"))
    assert site("upgrade").status == 0
    path = script(site, "f200", "f100", 'op.drop_table("users")', "")
    with transaction_on(postgresql_url, "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"):
        (line,) = told(site("plan"), path)
    assert line.startswith('drops table "users": not counted: ')
    assert "lock timeout" in line


def test_many_rows(site: Site, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    assert site("upgrade").status == 0
    execute(
        sqlite_url,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) "
        "INSERT INTO users (id) SELECT i FROM n",
    )
    path = script(site, "f200", "f100", 'op.drop_table("users")', "")
    assert told(site("plan"), path) == ['drops table "users": more than 100,000 rows']
    with monkeypatch.context() as patch:
        patch.setattr("websauna_migrate.runs.losses.EACH", 0)
        assert told(site("plan"), path) == ['drops table "users": not counted: interrupted.']
    with monkeypatch.context() as patch:
        patch.setattr("websauna_migrate.runs.losses.ALL", -1)
        (line,) = told(site("plan"), path)
        assert "not counted: all counts together took" in line
    execute(sqlite_url, "DELETE FROM users WHERE id = 1")
    assert told(site("upgrade", "--dry-run"), path) == ['drops table "users": 100,000 rows']


BY_HAND = """op.execute("ALTER TYPE st RENAME TO st__old")
            op.execute("CREATE TYPE st AS ENUM ('new', 'paid')")
            op.execute("ALTER TABLE orders ALTER COLUMN state TYPE st USING state::text::st")"""


@pytest.mark.parametrize("change", [BY_HAND, 'change_enum_values("st", ["new", "paid"])'])
def test_rows_with_a_value_that_an_enum_loses(site: Site, database_url: str, change: str) -> None:
    site.configure(database_url.replace("%", "%%"))
    made = 'op.create_table("orders", sa.Column("state", sa.Enum("new", "paid", "old", name="st")))'
    site.workshop.script("fooapp", "f100", None, made, 'op.drop_table("orders")')
    done = site("upgrade")
    assert done.status == 0, done.stderr
    for value in ("'new'", "'old'", "'old'", "NULL"):
        execute(database_url, f"INSERT INTO orders VALUES ({value})")
    # As revision --autogenerate has it: a way for PostgreSQL, and one for others.
    path = script(
        site,
        "f200",
        "f100",
        """
        from websauna_migrate.enums import change_enum_values
        if op.get_context().dialect.name == "postgresql":
            {change}
        else:
            with op.batch_alter_table("orders") as batch:
                batch.alter_column("state", type_=sa.Enum("new", "paid", name="st"))
        """.replace("{change}", change),
        "",
    )
    assert told(site("plan"), path) == [
        'changes column "state" of table "orders": 2 removed values'
    ]
    # That is in the way, and no loss.
    execute(database_url, "DELETE FROM orders WHERE state = 'old'")
    assert told(site("upgrade", "--max-loss", "0"), path) == []
    assert rows(database_url, "SELECT count(*) FROM orders") == [(2,)]


def test_the_statement_of_the_helper_is_read() -> None:
    from websauna_migrate.enums import REBUILD
    from websauna_migrate.revision_scripts.sql_reader import read_sql

    names = {"name": "st", "in_format": "st", "old": "st__old", "qualified_old": "st__old"}
    text = REBUILD.format(literal="'st'", values="'it''s', 'b'", **names)
    (access,) = read_sql(text)
    assert (access.kind, access.name, access.values) == ("alter_type", "st", ("it's", "b"))
