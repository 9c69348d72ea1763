"""A database that ran under plain Alembic: its revisions stand in another version table."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from in_process import ProjectHere, make_project_here  # noqa: F401
from runs import engine_of, execute, ledger, rows, steps, table, tables
from websauna_migrate.errors import EnvironmentFailure, HistoryContradicted, UsageError

COUNTS = 'op.execute("INSERT INTO ran VALUES (1)")'


def made_by_plain_alembic(url: str, name: str, *revisions: str, schema: str = "") -> None:
    """Make what plain Alembic leaves behind: a version table, and what the scripts did."""
    full = f"{schema}.{name}" if schema else name
    execute(
        url,
        f"CREATE TABLE {full} (version_num VARCHAR(32) NOT NULL, "
        f"CONSTRAINT {name}_pkc PRIMARY KEY (version_num))",
    )
    for revision in revisions:
        execute(url, f"INSERT INTO {full} VALUES ('{revision}')")
    execute(url, "CREATE TABLE ran (n INTEGER)")


def service_of(workshop: Workshop, url: str, **settings: Any) -> Any:
    workshop.package("fooapp")
    workshop.script("fooapp", "aa01", None, COUNTS)
    workshop.script("fooapp", "aa02", "aa01", COUNTS)
    workshop.script("fooapp", "aa03", "aa02", COUNTS)
    return workshop.service(url, **settings)


@pytest.mark.parametrize("name", ["alembic_version", "migrations", "alembic_history_old_name"])
def test_nothing_is_applied_again(workshop: Workshop, database_url: str, name: str) -> None:
    made_by_plain_alembic(database_url, name, "aa02")
    service = service_of(workshop, database_url)
    for call in (
        service.upgrade,
        service.plan,
        lambda: (
            service.upgrade(dry_run=True, atomic=True)
            if "mysql" not in database_url
            else service.upgrade()
        ),
        lambda: service.upgrade("aa01"),
        lambda: service.downgrade("base"),
        lambda: service.stamp("heads"),
    ):
        with pytest.raises(HistoryContradicted) as caught:
            call()
        words = str(caught.value)
        assert f'"{name}"' in words and '"fooapp"' in words and '"aa02"' in words
        assert "-x packages=fooapp adopt\n" in words
        assert "-x packages=fooapp adopt --keep\n" in words
    assert rows(database_url, "SELECT * FROM ran") == []
    assert tables(database_url) <= {name, "ran", "websauna_migrate_ledger"}
    (state,) = (one for one in service.current() if one.installed)
    assert state.elsewhere == (name,) and state.rows == ()
    problems = {one.kind: one for one in service.check().problems}
    assert "packages=fooapp adopt" in problems["history-elsewhere"].message
    assert "pending" not in problems


def test_it_is_taken_over(workshop: Workshop, database_url: str) -> None:
    made_by_plain_alembic(database_url, "alembic_version", "aa02")
    service = service_of(workshop, database_url)
    done = service.adopt()
    assert done.done and any("alembic_version becomes" in one for one in done.actions)
    assert "alembic_version" not in tables(database_url)
    assert ledger(database_url) == [("fooapp", "aa02", "upgrade", "taken over")]
    (note,) = rows(database_url, "SELECT note FROM websauna_migrate_ledger")[0]
    assert "alembic_version" in note
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    assert rows(database_url, "SELECT * FROM ran") == [(1,)]
    assert service.check().ok
    with pytest.raises(UsageError, match='No table "alembic_version"'):
        service.adopt(table="alembic_version")
    assert not service.adopt().done
    # Another application may get a table of that name, and gives it back no more.
    execute(database_url, TABLE)
    service.adopt(undo=True)
    assert rows(database_url, "SELECT * FROM alembic_version") == [("aa03",)]
    assert "alembic_history_fooapp" not in tables(database_url)
    with pytest.raises(UsageError, match="nothing to undo"):
        service.adopt(undo=True)


TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def test_a_package_of_which_several_tables_know_is_not_guessed(
    workshop: Workshop, sqlite_url: str
) -> None:
    made_by_plain_alembic(sqlite_url, "alembic_version", "aa02")
    execute(sqlite_url, "CREATE TABLE old (version_num VARCHAR(32))")
    execute(sqlite_url, "INSERT INTO old VALUES ('aa01')")
    service = service_of(workshop, sqlite_url)
    with pytest.raises(UsageError, match="alembic_version, old"):
        service.adopt()
    service.adopt(table="alembic_version")
    assert service.current(packages="fooapp")[0].rows == ("aa02",)


def test_the_setting_shares_it(workshop: Workshop, database_url: str) -> None:
    made_by_plain_alembic(database_url, "alembic_version", "aa02")
    service = service_of(workshop, database_url, **{"version_table.fooapp": "alembic_version"})
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    assert rows(database_url, "SELECT * FROM alembic_version") == [("aa03",)]


def test_a_package_that_another_one_requires_gets_another_name(
    workshop: Workshop, database_url: str
) -> None:
    """What is required is recorded under the old name: nothing is to be taken down for it."""
    made_by_plain_alembic(database_url, "alembic_history_old_name", "aa02")
    service_of(workshop, database_url)
    workshop.package("other")
    workshop.script("other", "bb01", None, COUNTS, requires=["fooapp@aa02"])
    execute(database_url, TABLE.replace("alembic_version", "alembic_history_other"))
    execute(database_url, "INSERT INTO alembic_history_other VALUES ('bb01')")
    service = workshop.service(database_url)
    calls = (service.upgrade, service.plan, service.check, partial(service.downgrade, "base"))
    for call in calls:
        with pytest.raises(HistoryContradicted, match="-x packages=fooapp adopt") as caught:
            call()
        assert "lack" not in str(caught.value)
    service.adopt()
    assert steps(service.upgrade()) == ["fooapp@aa03"]


def test_a_setting_does_not_hide_the_history_that_is_there(
    workshop: Workshop, database_url: str
) -> None:
    """Another table named by mistake is empty, and everything would be run again."""
    made_by_plain_alembic(database_url, "alembic_history_fooapp", "aa02")
    settings = {"version_table.fooapp": "alembic_version"}
    service = service_of(workshop, database_url, **settings)
    with pytest.raises(HistoryContradicted, match="-x packages=fooapp adopt") as caught:
        service.upgrade()
    assert "take out: websauna_migrate.version_table.fooapp" in str(caught.value)
    assert "--keep" not in str(caught.value)
    assert service.adopt().done
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    assert rows(database_url, "SELECT * FROM alembic_version") == [("aa03",)]


def test_a_schema_that_is_set_later_does_not_hide_it_either(
    workshop: Workshop, postgresql_url: str
) -> None:
    made_by_plain_alembic(postgresql_url, "alembic_history_fooapp", "aa02")
    execute(postgresql_url, "CREATE SCHEMA ops")
    service = service_of(workshop, postgresql_url, version_table_schema="ops")
    with pytest.raises(
        HistoryContradicted, match=r'"public\.alembic_history_fooapp" has'
    ) as caught:
        service.upgrade()
    assert "take out: websauna_migrate.version_table_schema\n" in str(caught.value)
    service.adopt()
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    assert rows(postgresql_url, "SELECT * FROM ops.alembic_history_fooapp") == [("aa03",)]


def test_another_applications_table_is_let_be_by_the_setting(
    workshop: Workshop, database_url: str
) -> None:
    made_by_plain_alembic(database_url, "alembic_version", "aa01")
    settings = {"version_table.fooapp": "alembic_history_fooapp"}
    service = service_of(workshop, database_url, **settings)
    assert len(service.upgrade().steps) == 3
    assert rows(database_url, "SELECT * FROM alembic_version") == [("aa01",)]


def test_other_revisions_are_no_reason(workshop: Workshop, database_url: str) -> None:
    made_by_plain_alembic(database_url, "alembic_version", "bda7b8c39065")
    service = service_of(workshop, database_url)
    assert len(service.upgrade().steps) == 3
    assert service.check().ok
    service.downgrade("base")
    assert len(service.upgrade().steps) == 3
    assert rows(database_url, "SELECT * FROM alembic_version") == [("bda7b8c39065",)]


def test_a_table_of_two_packages_is_taken_over_by_each(
    workshop: Workshop, database_url: str
) -> None:
    made_by_plain_alembic(database_url, "alembic_version", "aa02", "bb01", "elsewhere")
    workshop.package("other")
    workshop.script("other", "bb01", None, COUNTS)
    service = service_of(workshop, database_url)
    with pytest.raises(HistoryContradicted) as caught:
        service.upgrade()
    assert caught.value.packages == ("fooapp", "other")
    service.adopt(packages="other")
    assert rows(database_url, "SELECT * FROM alembic_version ORDER BY 1") == [
        ("aa02",),
        ("elsewhere",),
    ]
    service.adopt(packages="fooapp")
    assert rows(database_url, "SELECT * FROM alembic_version") == [("elsewhere",)]
    assert steps(service.upgrade()) == ["fooapp@aa03"]


def test_a_table_in_another_schema_is_found(workshop: Workshop, postgresql_url: str) -> None:
    execute(postgresql_url, "CREATE SCHEMA app")
    made_by_plain_alembic(postgresql_url, "alembic_version", "aa02", schema="app")
    service = service_of(workshop, postgresql_url)
    with pytest.raises(HistoryContradicted, match=r'"app\.alembic_version" has'):
        service.upgrade()
    service.adopt()
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    assert not sa.inspect(engine_of(postgresql_url)).get_table_names(schema="app")


def test_a_table_with_more_columns_is_found(workshop: Workshop, database_url: str) -> None:
    """As Alembic's ``version_table_impl`` may make it; a key of other columns is no history."""
    execute(
        database_url,
        "CREATE TABLE applied (id INTEGER, version_num VARCHAR(90) PRIMARY KEY, z INTEGER)",
        "INSERT INTO applied (version_num) VALUES ('aa02')",
        "CREATE TABLE documents (name VARCHAR(9) PRIMARY KEY, version_num VARCHAR(32))",
        "INSERT INTO documents VALUES ('x', 'aa01')",
        "CREATE TABLE ran (n INTEGER)",
    )
    service = service_of(workshop, database_url)
    with pytest.raises(HistoryContradicted, match=r'"applied" has its revision "aa02"\.'):
        service.upgrade()
    service.adopt()
    assert steps(service.upgrade()) == ["fooapp@aa03"]
    service.adopt(undo=True)
    assert rows(database_url, "SELECT version_num FROM applied") == [("aa03",)]


@pytest.mark.parametrize("name", ["per%(cent", "a.b"])
def test_an_odd_name_is_taken_over_given_back_and_kept(
    workshop: Workshop, database_url: str, tmp_path: Path, name: str
) -> None:
    mark = "`" if database_url.startswith("mysql") else '"'
    found = f"SELECT version_num FROM {mark}{name}{mark}"
    execute(
        database_url,
        f"CREATE TABLE {mark}{name}{mark} (version_num VARCHAR(32) PRIMARY KEY)",
        f"INSERT INTO {mark}{name}{mark} VALUES ('aa02')",
        "CREATE TABLE ran (n INTEGER)",
    )
    service_of(workshop, database_url)
    ini = workshop.application("fooapp", tmp_path / "site.ini", database_url)
    for words, rows_then in (
        ("adopt --yes", None),
        ("upgrade", None),
        ("adopt --undo --yes", "aa03"),
        ("adopt --keep --yes", "aa03"),
        ("downgrade aa01 --yes", "aa01"),
    ):
        typed = workshop.ws(ini, *words.split())
        assert typed.status == 0, (words, typed)
        if rows_then:
            assert rows(database_url, found) == [(rows_then,)], words


def test_a_schema_for_histories_that_is_new_finds_the_old_one(
    workshop: Workshop, postgresql_url: str
) -> None:
    execute(postgresql_url, "CREATE SCHEMA app", "CREATE TABLE ran (n INTEGER)")
    service_of(workshop, postgresql_url).upgrade()
    service = workshop.service(postgresql_url, version_table_schema="app")
    with pytest.raises(HistoryContradicted, match="packages=fooapp adopt"):
        service.upgrade()


def test_a_run_at_the_newest_revision_looks_for_nothing(
    workshop: Workshop, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.package("empty")
    execute(sqlite_url, "CREATE TABLE ran (n INTEGER)")
    service = service_of(workshop, sqlite_url)
    service.upgrade()

    def fail(*_: Any) -> None:
        raise AssertionError("a query for other histories")

    monkeypatch.setattr("websauna_migrate.runs.other_histories.find_version_tables", fail)
    assert not service.upgrade().steps


def test_check_names_one_way_out_alone(workshop: Workshop, sqlite_url: str) -> None:
    """``stamp heads`` would be refused: it is the advice for tables without any history."""
    models = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("a", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""
    workshop.package("fooapp", models, metadata="fooapp.models.metadata")
    workshop.script("fooapp", "aa01", None, **table("a"))
    made_by_plain_alembic(sqlite_url, "alembic_version", "aa01")
    execute(sqlite_url, "CREATE TABLE a (id INTEGER NOT NULL PRIMARY KEY)")
    service = workshop.service(sqlite_url)
    kinds = [one.kind for one in service.check().problems]
    assert [kind for kind in kinds if kind != "unowned"] == ["history-elsewhere"]


def test_the_way_out_by_the_command_line(
    make_project_here: Callable[..., ProjectHere],  # noqa: F811
    database_url: str,
) -> None:
    project = make_project_here(database_url)
    project.env(PLAIN)
    project.script("aa01", None, **table("a"))
    project.script("aa02", "aa01", **table("b"))
    project.alembic("upgrade", "aa01")
    refused = project.ws("upgrade", ok=False)
    assert "packages=fooapp adopt" in refused.stderr
    assert "packages=fooapp adopt" in project.ws("status", "--fail-on", "never").stdout
    assert "packages=fooapp adopt" in project.ws("current").stdout
    (state,) = json.loads(project.ws("status", "--json", "--fail-on", "never").stdout)
    assert state["elsewhere"] == ["alembic_version"]
    assert "packages=fooapp adopt" in "".join(project.ws("check", ok=False).stdout)
    project.ws("stamp", ok=False)
    project.ws("-x", "packages=fooapp", "adopt", "--yes")
    project.ws("upgrade")
    assert {"a", "b"} <= tables(database_url)


PLAIN = """
from alembic import context
from sqlalchemy import engine_from_config

config = context.config
engine = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_version_table_in_the_models_is_no_tables_of_a_package(
    workshop: Workshop, database_url: str
) -> None:
    """CKAN reflects ``alembic_version`` into its ``MetaData``, which its plugins share."""
    made_by_plain_alembic(database_url, "alembic_version", "aa01")
    models = (
        "import sqlalchemy as sa\nBase = sa.MetaData()\n"
        'sa.Table("alembic_version", Base, sa.Column("version_num", sa.String(32)))\n'
    )
    workshop.package("fooapp", models)
    workshop.package("addon", None, metadata="fooapp.models.Base")
    workshop.script("fooapp", "aa01", None, COUNTS)
    service = workshop.service(database_url, **{"version_table.fooapp": "alembic_version"})
    assert service.check(packages="fooapp").ok
    assert service.revision("Nothing", packages="fooapp", autogenerate=True) == ()


def test_an_environment_with_another_table_is_refused_before_any_step(
    workshop: Workshop, database_url: str
) -> None:
    """Each plugin of CKAN names a table of its own; the core's scripts come first."""
    service = service_of(workshop, database_url)
    workshop.package("plugin")
    workshop.script("plugin", "pp01", None, "pass", requires=["fooapp@aa03"])
    env = workshop.root / "plugin" / "alembic" / "env.py"
    env.write_text(PLUGIN)
    service = workshop.service(database_url)
    execute(database_url, "CREATE TABLE ran (n INTEGER)")
    with pytest.raises(EnvironmentFailure, match="says version_table='plugin_alembic_version'"):
        service.upgrade()
    assert rows(database_url, "SELECT * FROM ran") == []
    service = workshop.service(database_url, **{"version_table.plugin": "plugin_alembic_version"})
    assert len(service.upgrade().steps) == 4


PLUGIN = """
import os
from alembic import context
from sqlalchemy import create_engine

name = os.path.basename(os.path.dirname(os.path.dirname(__file__)))
with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection, version_table="{}_alembic_version".format(name))
    with context.begin_transaction():
        context.run_migrations()
"""
