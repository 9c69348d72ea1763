"""A run never waits for a lock that its own process holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import engine_of, execute, steps
from websauna_migrate.errors import EnvironmentFailure, RunBlocked

READS_FIRST = """
from alembic import context
from sqlalchemy import engine_from_config, pool, text

config = context.config
engine = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with engine.connect() as connection:
    connection.execute(text("SELECT * FROM busy")).all()
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

HOLDS = READS_FIRST.replace(
    "engine.connect() as connection:", "engine.connect() as connection, engine.connect() as other:"
).replace("connection.execute", "other.execute")


def service_of(workshop: Workshop, url: str, env: str) -> Any:
    workshop.package("app")
    workshop.script("app", "one", None, 'op.add_column("busy", sa.Column("added", sa.Integer))')
    Path(workshop.root / "app" / "alembic" / "env.py").write_text(env)
    execute(url, "CREATE TABLE busy (id INTEGER PRIMARY KEY)")
    return workshop.service(url, lock_budget="20")


def test_an_env_py_that_reads_before_it_configures(workshop: Workshop, database_url: str) -> None:
    service = service_of(workshop, database_url, READS_FIRST)
    assert steps(service.upgrade()) == ["app@one"]
    columns = sa.inspect(engine_of(database_url)).get_columns("busy")
    assert [column["name"] for column in columns] == ["id", "added"]


def test_a_connection_of_env_py_that_holds_the_table(
    workshop: Workshop, postgresql_url: str
) -> None:
    service = service_of(workshop, postgresql_url, HOLDS)
    with pytest.raises(RunBlocked, match=r"env\.py"):
        service.upgrade()


def test_an_env_py_that_writes_on_sqlite(
    workshop: Workshop, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the run has the one transaction that writes, it is told at once and not waited for."""
    added = "INSERT INTO busy (id) VALUES (NULL)"
    env = READS_FIRST.replace('"SELECT * FROM busy")).all()', f'"{added}"))')
    env = env.replace("poolclass=", "connect_args={'timeout': 0.1}, poolclass=")
    service = service_of(workshop, sqlite_url, env)
    for options in ({"dry_run": True}, {"atomic": True}):
        with pytest.raises(
            EnvironmentFailure,
            match=r"line 10: .*\n.*this command's transaction",
        ):
            service.upgrade(**options)
    assert steps(service.upgrade()) == ["app@one"]
    assert service.check().ok
    assert 'says "INSERT INTO busy ..."' in caplog.text


def test_what_works_once_in_an_env_py_is_told(workshop: Workshop, sqlite_url: str) -> None:
    once = READS_FIRST.replace('"SELECT * FROM busy")).all()', '"CREATE TABLE once (id INTEGER)"))')
    service = service_of(workshop, sqlite_url, once)
    with pytest.raises(EnvironmentFailure, match=r"line 10: .*\n.* were not run\. Each command"):
        service.upgrade()


def test_an_env_py_that_widens_the_version_table(workshop: Workshop, postgresql_url: str) -> None:
    """As a public recipe for long revision identifiers does, on a connection of its own."""
    widens = "ALTER TABLE IF EXISTS alembic_history_app ALTER COLUMN version_num TYPE VARCHAR(64)"
    env = READS_FIRST.replace('"SELECT * FROM busy")).all()', f'"{widens}"))')
    service = service_of(workshop, postgresql_url, env)
    for revision, down in (("two", "one"), ("three", "two")):
        workshop.script("app", revision, down, "pass")
    assert steps(service.upgrade("one")) == ["app@one"]
    assert steps(service.upgrade(dry_run=True)) == ["app@two", "app@three"]
    # It runs again behind a step of another package, which waits for it.
    workshop.package("addon")
    workshop.script("addon", "begins", requires=["app@two"])
    workshop.script("app", "three", "two", "pass", requires=["addon@begins"])
    service = workshop.service(postgresql_url)
    with pytest.raises(EnvironmentFailure, match="a lock that it needs was not free"):
        service.upgrade(dry_run=True)
    assert steps(service.upgrade()) == ["app@two", "addon@begins", "app@three"]
