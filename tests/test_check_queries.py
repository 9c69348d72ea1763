"""The number of messages of a comparison does not depend on what is compared.

On PostgreSQL, that is: SQLAlchemy asks SQLite about each table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
import sqlalchemy as sa
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.runtime.migration import MigrationContext

from apps import Workshop
from websauna_migrate.autogenerate.fact_comparison import FactComparison
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.config.settings import Settings
from websauna_migrate.models.ownership import Ownership

HEADER = "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"

TABLE = """
sa.Table(
    "{name}",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("state", sa.Enum("a", "b", name="{package}_state")),
    sa.Column("amount", sa.Numeric(10, 2), server_default="0"),
    sa.Column("created", sa.DateTime, server_default=sa.func.now(), comment="when"),
    {columns}
    sa.Column("parent", sa.ForeignKey("{package}_0.id"), index=True),
    sa.Index("ix_{name}", "created", "amount"),
)
"""

#: What PostgreSQL keeps in other words than the model's, so that it is asked how it reads these.
REWRITTEN = {
    "check": 'sa.CheckConstraint("amount IN (1, 2)", name="ck_amount"), ',
    "expression index": 'sa.Index("ex_{name}", sa.text("lower(word || \'x\')")), ',
    "partial index": 'sa.Index("px_{name}", "id", postgresql_where=sa.text("amount IN (1, 2)")), ',
    "server default": "sa.Column(\"half\", sa.Text, server_default=sa.text(\"'a' || 'b'\")), ",
    "computed column": 'sa.Column("twice", sa.Numeric, sa.Computed("amount * 2 + 1")), ',
    "type": 'sa.Column("real", sa.Float(53)), ',
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Counting:
    """A service that notes the messages it sends."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.statements: list[str] = []
        engine = service.make_engine()
        sent = self.statements

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, query: Any, parameters: Any = None) -> None:
                sent.append(query)
                super().execute(query, parameters)

        @sa.event.listens_for(engine, "connect")
        def connected(connection: Any, record: Any) -> None:
            connection.cursor_factory = Cursor

        service.make_engine = lambda *_: engine

    def count(self, question: Any) -> int:
        self.statements.clear()
        assert question(self.service) in ((), True)
        return len(self.statements)


def counts(
    workshop: Workshop, server: Any, *, packages: int, tables: int, columns: int, more: str = ""
) -> list[int]:
    """Return how many queries each question sends."""
    url = server.create_database()
    kind = url[0] + ("r" if more else "p")
    names = [f"{kind}{packages}x{tables}x{columns}x{number}" for number in range(packages)]
    for name in names:
        extra = "".join(f'sa.Column("c{n}", sa.String(9)), ' for n in range(columns))
        source = HEADER
        for number in range(tables):
            table = f"{name}_{number}"
            source += TABLE.format(
                name=table, package=name, columns=extra + more.replace("{name}", table)
            )
        workshop.package(name, source, metadata=f"{name}.models.metadata")
    try:
        service = workshop.service(url, *names)
        service.revision("one", autogenerate=True, prove="off")
        service.upgrade()
        counting = Counting(service)
        found = []
        found.append(counting.count(lambda one: one.check().ok))
        found.append(counting.count(lambda one: one.revision("two", autogenerate=True)))
        counting.service.make_engine().dispose()
        return found
    finally:
        server.drop_database(url)


SMALL = {"packages": 1, "tables": 3, "columns": 1}
LARGE = {"packages": 3, "tables": 6, "columns": 6}


def test_queries_depend_on_neither_tables_nor_columns_nor_packages(
    workshop: Workshop, postgresql_server: Any
) -> None:
    found = counts(workshop, postgresql_server, **SMALL)
    assert counts(workshop, postgresql_server, **LARGE) == found
    # More of them say that tables are reflected although they are equal.
    assert max(found) <= 60


def test_nor_do_they_where_the_server_has_to_be_asked(
    workshop: Workshop, postgresql_server: Any
) -> None:
    more = 'sa.Column("word", sa.Text), ' + "".join(REWRITTEN.values())
    found = counts(workshop, postgresql_server, more=more, **SMALL)
    assert counts(workshop, postgresql_server, more=more, **LARGE) == found
    assert max(found) <= 60


def test_serial_columns_are_those_that_alembic_finds(postgresql_url: str) -> None:
    engine = sa.create_engine(postgresql_url)
    with engine.connect() as connection:
        for statement in (
            "CREATE SCHEMA other",
            'CREATE TABLE plain (id SERIAL PRIMARY KEY, "Second" BIGSERIAL, third INTEGER)',
            'CREATE TABLE "Odd Name" ("Id" SERIAL PRIMARY KEY)',
            "CREATE TABLE other.plain (id SERIAL PRIMARY KEY, small SMALLSERIAL)",
            "CREATE SEQUENCE free",
            "CREATE TABLE shared (id INTEGER DEFAULT nextval('free'), "
            "other INTEGER DEFAULT nextval('plain_id_seq'))",
            "CREATE TABLE numbered (id INTEGER GENERATED ALWAYS AS IDENTITY, word TEXT)",
        ):
            connection.exec_driver_sql(statement)
        impl = MigrationContext.configure(connection).impl
        assert isinstance(impl, PostgresqlImpl)
        inspector = sa.inspect(connection)
        keys = [(s, t) for s in (None, "other") for t in inspector.get_table_names(schema=s)]
        facts = FactComparison(connection, Settings(), Ownership(()))
        reflection = Reflection(connection, keys, facts)
        found = {}
        for schema in (None, "other"):
            for table in inspector.get_table_names(schema=schema):
                for column in inspector.get_columns(table, schema=schema):
                    info: Any = dict(column)
                    (read,) = [
                        one
                        for one in reflection.read("columns", schema)[schema, table]
                        if one["name"] == column["name"]
                    ]
                    ours = read["default"] is None and info["default"] is not None
                    impl.autogen_column_reflect(inspector, sa.Table(table, sa.MetaData()), info)
                    theirs = "default" not in info
                    found[table, info["name"]] = theirs
                    if not isinstance(info["type"], sa.SMALLINT):
                        assert ours == theirs, (schema, table, column)
    engine.dispose()
    assert found["plain", "id"] and found["plain", "Second"] and found["Odd Name", "Id"]
    assert not found["shared", "id"] and not found["shared", "other"]
