"""A run never waits for a lock that its own process holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import engine_of, execute, steps
from websauna_migrate.errors import RunBlocked

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
