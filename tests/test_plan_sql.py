"""Plans as SQL: ``plan --sql`` from what is applied, and what ``upgrade --sql`` begins at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import engine_of, rows, table, tables
from test_ws_alembic import FACTORY, Site, invoke  # noqa: F401 - a fixture


@pytest.fixture(name="site")
def made_site(workshop: Workshop, tmp_path: Path, invoke: Any) -> Site:  # noqa: F811
    """An application with an add-on, of which its second revision requires one."""
    workshop.package("addon")
    workshop.script("addon", "a100", **table("a1"))
    workshop.script("addon", "a200", "a100", **table("a2"))
    workshop.package("fooapp")
    (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"), requires=["addon@a200"])
    return Site(workshop, tmp_path, None, invoke)


def feed(url: str, script: str) -> None:
    """Execute a SQL script statement by statement."""
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    with engine_of(url).connect() as connection:
        for statement in "\n".join(lines).split(";"):
            if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                connection.exec_driver_sql(statement)
        connection.commit()


def test_a_plan_as_sql_goes_on_from_what_is_applied(site: Site, database_url: str) -> None:
    site.configure(database_url.replace("%", "%%"))
    # The add-on's history table is there, and empty.
    assert site("-x", "packages=addon", "upgrade").status == 0
    assert site("-x", "packages=addon", "downgrade", "base").status == 0
    assert site("upgrade", "f100").status == 0
    done = site("plan", "--sql")
    assert done.status == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith("-- The upgrade of ")
    assert first.endswith(" from what is applied: 3 steps.")
    path = site.workshop.root / "addon" / "alembic" / "versions" / "a100.py"
    assert f"-- [1/3] upgrade addon a100, history from base to a100\n-- {path}\n" in done.stdout
    assert "-- [3/3] upgrade fooapp f200, history from f100 to f200\n" in done.stdout
    line = (
        path.read_text()
        .splitlines()
        .index('    op.create_table("a1", sa.Column("id", sa.Integer, primary_key=True))')
    )
    assert f"-- line {line + 1}\nCREATE TABLE a1 (" in done.stdout
    assert "CREATE TABLE alembic_history" not in done.stdout
    assert "f1 (" not in done.stdout
    feed(database_url, done.stdout)
    assert {"a1", "a2", "f1", "f2"} <= tables(database_url)
    assert rows(database_url, "SELECT version_num FROM alembic_history_addon") == [("a200",)]
    assert site("plan").stdout == "Nothing to do.\n"
    assert "from what is applied: 0 steps." in site("plan", "--sql").stdout


def test_a_plan_of_a_new_database_makes_the_history_tables(site: Site, database_url: str) -> None:
    site.configure(database_url.replace("%", "%%"))
    script = site("plan", "--sql").stdout
    feed(database_url, script)
    assert site("plan").stdout == "Nothing to do.\n"


def test_a_downgrade_as_sql(site: Site, database_url: str) -> None:
    site.configure(database_url.replace("%", "%%"))
    assert site("upgrade").status == 0
    done = site("plan", "--downgrade", "--sql", "base")
    assert done.status == 0, done.stderr
    feed(database_url, done.stdout)
    assert {"a1", "a2"} <= tables(database_url)
    assert not {"f1", "f2"} & tables(database_url)


def test_what_a_sql_script_begins_at_is_said(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    assert site("-x", "packages=all", "upgrade").status == 0
    done = site("upgrade", "--sql")
    told = (
        "From an empty database, whatever is applied to yours: 4 steps. "
        "What is pending there: ws-alembic plan --sql"
    )
    assert done.stderr.splitlines()[0] == told
    assert done.stdout.startswith(f"-- {told}\n\n")
    assert site("-q", "upgrade", "--sql").stderr == ""


def test_a_range_names_the_other_packages_that_it_brings_in(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    done = site("upgrade", "--sql", "f100:f200")
    assert done.status == 0, done.stderr
    told = [
        "From f100: 3 steps.",
        "Package addon from base, since the start of the range requires no more of it. If it is "
        "further, these are too many steps: ws-alembic plan --sql begins at what is applied.",
    ]
    assert done.stderr.splitlines() == told
    assert done.stdout.startswith("".join(f"-- {line}\n" for line in told) + "\n")
    assert "CREATE TABLE alembic_history_addon" in done.stdout
    both = site("-x", "packages=all", "upgrade", "--sql", "f100:")
    assert "Package addon" not in both.stderr
    alone = site("downgrade", "--sql", "f200:f100")
    assert alone.stderr == "From f200: 1 step.\n"


def test_a_script_that_reads_is_named_with_its_line(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    path = site.workshop.script(
        "fooapp", "f300", "f200", 'for row in op.get_bind().execute(sa.text("SELECT 1")): pass'
    )
    done = site("plan", "--sql")
    assert (done.status, done.stdout) == (1, "")
    assert f'revision "f300" of package "fooapp" ({path}, line ' in done.stderr
    assert "A script that reads from the database runs only with a connection." in done.stderr


@pytest.mark.parametrize("flag", ["--json", "--fail-on-lint"])
def test_what_has_no_meaning_with_sql(site: Site, sqlite_url: str, flag: str) -> None:
    site.configure(sqlite_url)
    done = site("plan", "--sql", flag)
    assert (done.status, done.stderr) == (2, f"{flag} has no meaning with --sql.\n")


def test_a_plan_on_a_connection_given_is_written_from_its_state(workshop: Workshop) -> None:
    workshop.package("solo")
    workshop.script("solo", "s100", **table("s1"))
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    service = workshop.service("sqlite://")
    assert "CREATE TABLE alembic_history_solo" in service.sql(
        plan=service.plan(engine=engine), engine=engine
    )
    service.ensure_version(engine=engine)
    script = service.sql(plan=service.plan(engine=engine), engine=engine)
    assert "CREATE TABLE s1" in script
    assert "CREATE TABLE alembic_history_solo" not in script
    engine.dispose()


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
@pytest.mark.parametrize("words", ["plan --sql", "upgrade --sql"])
def test_a_sequence_of_mariadb_is_in_the_sql(
    workshop: Workshop, tmp_path: Path, mariadb_url: str, scheme: str, words: str
) -> None:
    """MariaDB has them, MySQL has not; a URL may begin with either."""
    workshop.package("shop")
    making = 'op.execute(sa.schema.CreateSequence(sa.Sequence("numbers", start=5)))'
    script = f"if op.get_context().dialect.supports_sequences:\n    {making}"
    workshop.script("shop", "a1", None, script)
    url = sa.engine.make_url(mariadb_url).set(drivername=f"{scheme}+pymysql")
    plain = url.render_as_string(hide_password=False)
    ini = workshop.application("shop", tmp_path / "app.ini", plain)
    typed = workshop.ws(ini, *words.split())
    assert typed.status == 0, typed
    known = words == "plan --sql" or scheme == "mariadb"
    assert ("CREATE SEQUENCE numbers START WITH 5;" in typed.out) == known
    assert workshop.ws(ini, "upgrade").status == 0
    created = sa.inspect(engine_of(mariadb_url)).get_sequence_names()
    assert "numbers" in created
