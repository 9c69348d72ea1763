"""``ws-create-table``: the models of several packages as one SQL script."""

from __future__ import annotations

import enum
import re
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.schema import DDL

from test_dump_db import connect, path_with
from websauna_migrate.cli.ddl import (
    create_statements,
    select_tables,
    sql_dialect,
    tables_of,
)
from websauna_migrate.errors import MigrationError, ModelsNotCreated, UsageError

URLS = {
    "sqlite": "sqlite://",
    "postgresql": "postgresql+psycopg2://",
    "mysql": "mysql+pymysql://",
    "mariadb": "mariadb+pymysql://",
}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def statements(*metadata: sa.MetaData, on: str = "postgresql", **options: bool) -> list[str]:
    tables = [table for one in metadata for table in one.tables.values()]
    found = create_statements(tables, sql_dialect(make_url(URLS[on])), **options)
    return [re.sub(r"\s+", " ", statement) for statement in found]


def names(found: Sequence[str]) -> list[str]:
    """Return what is created, in order."""
    pattern = r"(?:CREATE (?:UNIQUE )?|ALTER )(\w+) (\S+)"
    return [" ".join(match.groups()) for match in map(re.compile(pattern).match, found) if match]


def table(metadata: sa.MetaData, name: str, *columns: sa.schema.SchemaItem, **options) -> sa.Table:
    return sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True), *columns, **options
    )


# Order


def test_the_order_goes_back_and_forth_between_metadata() -> None:
    first, second = sa.MetaData(), sa.MetaData()
    a = table(first, "z_first")
    b = table(second, "second", sa.Column("x", sa.ForeignKey(a.c.id)))
    table(first, "a_third", sa.Column("x", sa.ForeignKey(b.c.id)))
    for order in ((first, second), (second, first)):
        assert names(statements(*order)) == ["TABLE z_first", "TABLE second", "TABLE a_third"]


def circle() -> tuple[sa.MetaData, sa.MetaData]:
    first, second = sa.MetaData(), sa.MetaData()
    a = table(first, "a")
    b = table(second, "b", sa.Column("x", sa.ForeignKey(a.c.id, name="fk_b")))
    a.append_column(sa.Column("y", sa.ForeignKey(b.c.id, name="fk_a")))
    return first, second


def test_tables_that_refer_to_each_other_in_two_metadata() -> None:
    found = statements(*circle())
    assert names(found) == ["TABLE a", "TABLE b", "TABLE a", "TABLE b"]
    assert found[2] == "ALTER TABLE a ADD CONSTRAINT fk_a FOREIGN KEY(y) REFERENCES b (id)"
    assert "REFERENCES" not in found[0] + found[1]
    # SQLite cannot add a constraint, but takes one to a table that is yet to come.
    found = statements(*circle(), on="sqlite")
    assert names(found) == ["TABLE a", "TABLE b"]
    assert "REFERENCES b" in found[0]


def test_the_script_is_always_the_same() -> None:
    texts = set()
    for _ in range(5):
        metadata = sa.MetaData()
        columns = [sa.Column(f"c{number}", sa.Integer, index=True) for number in range(20)]
        table(metadata, "t", *columns)
        texts.add("\n".join(statements(metadata)))
    assert len(texts) == 1


# Types, sequences, comments, events


def test_an_enum_of_two_metadata_is_created_once() -> None:
    first, second = sa.MetaData(), sa.MetaData()
    table(first, "a", sa.Column("c", sa.Enum(Colour, name="colour")))
    table(first, "b", sa.Column("c", sa.Enum(Colour, name="colour", metadata=first)))
    table(second, "c", sa.Column("c", postgresql.ENUM("RED", "BLUE", name="colour")))
    found = statements(first, second)
    assert names(found) == ["TYPE colour", "TABLE a", "TABLE b", "TABLE c"]
    assert found[0] == "CREATE TYPE colour AS ENUM ('RED', 'BLUE')"
    assert "TYPE" not in " ".join(names(statements(first, second, on="mysql")))


class Wrapped(sa.types.TypeDecorator):
    impl = sa.Enum(Colour, name="wrapped")
    cache_ok = True


def test_types_within_types() -> None:
    metadata = sa.MetaData()
    domain = postgresql.DOMAIN("shade", sa.Enum(Colour, name="nested"))
    elsewhere = sa.Enum(Colour, name="elsewhere").with_variant(sa.String(9), "postgresql")
    table(
        metadata,
        "t",
        sa.Column("a", sa.ARRAY(sa.Enum(Colour, name="listed"))),
        sa.Column("b", Wrapped),
        sa.Column("c", domain),
        sa.Column("d", elsewhere),
        sa.Column("e", sa.Enum(Colour, name="text", native_enum=False)),
        sa.Column("f", postgresql.ENUM("x", name="foreign", create_type=False)),
        sa.Column("g", sa.Enum(Colour, name="other", schema="s")),
    )
    assert names(statements(metadata)) == [
        *("TYPE listed", "TYPE wrapped", "TYPE nested", "DOMAIN shade", "TYPE s.other"),
        "TABLE t",
    ]


def test_types_of_one_name_that_differ() -> None:
    first, second = sa.MetaData(), sa.MetaData()
    table(first, "a", sa.Column("c", sa.Enum("x", name="colour")))
    table(second, "b", sa.Column("c", sa.Enum("y", name="colour")))
    with pytest.raises(ModelsNotCreated) as caught:
        statements(first, second)
    assert str(caught.value) == (
        'The models define the type "colour" in two ways. Give one of them another name.\n'
        "  CREATE TYPE colour AS ENUM ('x')\n  CREATE TYPE colour AS ENUM ('y')"
    )


def test_only_the_types_of_the_chosen_tables() -> None:
    metadata = sa.MetaData()
    chosen = table(metadata, "a", sa.Column("c", sa.Enum("x", name="mine")))
    table(metadata, "b", sa.Column("c", sa.Enum("y", name="other", metadata=metadata)))
    found = create_statements([chosen], sql_dialect(make_url(URLS["postgresql"])))
    assert names(found) == ["TYPE mine", "TABLE a"]


def test_sequences() -> None:
    metadata = sa.MetaData()
    shared = sa.Sequence("shared")
    called = sa.Sequence("called", metadata=metadata)
    sa.Sequence("alone", metadata=metadata, start=7)
    for name in "ab":
        table(
            metadata,
            name,
            sa.Column("n", sa.Integer, shared),
            sa.Column("m", sa.Integer, server_default=called.next_value()),
        )
    assert names(statements(metadata)) == [
        *("SEQUENCE called", "SEQUENCE shared", "TABLE a", "TABLE b"),
    ]
    found = statements(metadata, all_sequences=True)
    assert found[0] == "CREATE SEQUENCE alone START WITH 7"
    assert len(found) == 5


def test_comments_indexes_and_ddl_of_events() -> None:
    metadata = sa.MetaData()
    t = table(
        metadata,
        "t",
        sa.Column("name", sa.Text, comment="it's"),
        sa.Index("ix_lower", sa.text("lower(name)"), unique=True),
        comment="100%",
        schema="audit",
    )
    sa.event.listen(metadata, "before_create", DDL("CREATE SCHEMA audit"))
    sa.event.listen(metadata, "after_create", DDL("GRANT SELECT ON ALL TABLES TO x;"))
    sa.event.listen(t, "after_create", DDL("CREATE TRIGGER g"))
    sa.event.listen(t, "after_create", DDL("CREATE THING").execute_if(dialect="mysql"))
    found = statements(metadata)
    assert [found[0], *found[2:]] == [
        "CREATE SCHEMA audit",
        "CREATE UNIQUE INDEX ix_lower ON audit.t (lower(name))",
        "COMMENT ON TABLE audit.t IS '100%'",
        "COMMENT ON COLUMN audit.t.name IS 'it''s'",
        "CREATE TRIGGER g",
        "GRANT SELECT ON ALL TABLES TO x",
    ]
    assert "COMMENT='100%'" in " ".join(statements(metadata, on="mysql"))


@pytest.mark.parametrize("on", list(URLS))
def test_a_percent_sign_is_not_doubled(on: str) -> None:
    metadata = sa.MetaData()
    table(
        metadata,
        "t",
        sa.Column("rate%", sa.String(9), server_default="9%"),
        sa.CheckConstraint("1 % 2 = 1"),
    )
    (found,) = statements(metadata, on=on)
    assert "%%" not in found
    assert found.count("%") == 3


def test_models_that_cannot_be_written() -> None:
    metadata = sa.MetaData()
    table(metadata, "t", sa.Column("x", sa.ForeignKey("nothing.id")))
    with pytest.raises(
        MigrationError, match=r'"t\.x".*no registered package has a table "nothing"'
    ):
        statements(metadata)
    metadata = sa.MetaData()
    table(metadata, "t", sa.Column("x", postgresql.HSTORE))
    with pytest.raises(MigrationError, match=r'SQL of mysql\. Table "t", column "x": '):
        statements(metadata, on="mysql")
    with pytest.raises(MigrationError, match=r"SQL of nosuch: "):
        sql_dialect(make_url("nosuch://u:s3cr3t@h/d"))


# Names


@dataclass
class Package:
    name: str
    metadata: tuple[sa.MetaData, ...]


@pytest.fixture
def packages() -> tuple[Package, Package]:
    """Two packages that share a MetaData; the tables' info says whose each is."""
    shared, own = sa.MetaData(), sa.MetaData()
    for metadata, name, schema, package in (
        (shared, "post", None, "app.blog"),
        (shared, "log", None, "app"),
        (own, "log", "audit", "app.blog"),
        (own, "entry", "audit", "app.blog"),
    ):
        table(metadata, name, schema=schema, info={"package": package})
    return Package("app", (shared,)), Package("app.blog", (shared, own))


def selected(names: list[str], packages: Sequence[Package]) -> list[str]:
    found = select_tables(names, packages, lambda table: str(table.info["package"]))
    return sorted(table.fullname for table in found)


def test_names_of_packages_and_tables(packages) -> None:
    assert [t.fullname for t in tables_of(packages)] == ["post", "log", "audit.log", "audit.entry"]
    assert selected(["app"], packages) == ["log"]
    assert selected(["app.blog"], packages) == ["audit.entry", "audit.log", "post"]
    assert selected(["app.blog", "app", "post"], packages) == [
        *("audit.entry", "audit.log", "log", "post"),
    ]
    assert selected(["log"], packages) == ["log"]
    assert selected(["audit.log"], packages) == ["audit.log"]
    assert selected(["entry"], packages) == ["audit.entry"]


def test_an_unknown_name(packages) -> None:
    with pytest.raises(UsageError) as caught:
        selected(["app.blogs"], packages)
    assert str(caught.value) == (
        'There is no package and no table "app.blogs" in the models. Did you mean "app.blog"?\n'
        'Registered packages are: "app", "app.blog".'
    )
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match='Did you mean "post"'):
        selected(["posts"], packages)


# The console script


PROJECT = {
    "shop/__init__.py": """
from shop.models import Base

print("noise")


def main(global_config, **settings):
    from pyramid.config import Configurator
    import people

    print("more noise")
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.add_migration_package("shop", metadata=Base)
    config.add_migration_package("people", metadata=people.metadata)
    return config.make_wsgi_app()
""",
    "shop/models.py": """
from sqlalchemy import Column, Enum, ForeignKey, Integer, String
from sqlalchemy.orm import declarative_base
import people

Base = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    person = Column(ForeignKey(people.person.c.id), index=True)
    state = Column(Enum("open", "100%", name="state"))
""",
    "people/__init__.py": """
from sqlalchemy import Column, Enum, Integer, MetaData, String, Table

metadata = MetaData()
person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), unique=True, comment="full name"),
    Column("state", Enum("open", "100%", name="state")),
)
""",
    "bare.py": """
def main(global_config, **settings):
    from pyramid.config import Configurator

    return Configurator(settings=settings).make_wsgi_app()
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def script(project: Path, run):
    """Run ``ws-create-table`` in the project, with an INI that has a URL."""

    def call(url: str, *names: str, app: str = "shop") -> subprocess.CompletedProcess[str]:
        (project / "site.ini").write_text(
            f"[app:main]\nuse = call:{app}:main\nsqlalchemy.url = {url}\n"
        )
        return run(
            ["ws-create-table", project / "site.ini", *names], env={"PYTHONPATH": str(project)}
        )

    return call


def test_the_script_creates_the_tables_on_sqlite(script, tmp_path) -> None:
    # The database is not contacted: nobody can connect to a directory that does not exist.
    result = script("sqlite:////nowhere/at/all.sqlite")
    assert result.returncode == 0, result.stderr
    assert "noise" not in result.stdout
    assert "noise" in result.stderr
    connection = sqlite3.connect(tmp_path / "new.sqlite")
    connection.executescript(result.stdout)
    found = connection.execute("SELECT name FROM sqlite_master WHERE sql NOT NULL ORDER BY rowid")
    assert [name for (name,) in found] == ["person", "orders", "ix_orders_person"]
    connection.close()


def test_the_script_creates_the_tables_on_postgresql(
    script, postgresql_server, postgresql_url, run
) -> None:
    result = script("postgresql://u:s3cr3t@nowhere.invalid/d")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("CREATE TYPE") == 1
    url = make_url(postgresql_url)
    psql = run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"],
        env={
            "PATH": path_with(postgresql_server.bin_dir),
            "PGHOST": url.host,
            "PGPORT": str(url.port),
            "PGUSER": url.username,
            "PGPASSWORD": str(url.password),
            "PGDATABASE": url.database,
        },
        input=result.stdout,
    )
    assert (psql.returncode, psql.stdout, psql.stderr) == (0, "", "")
    with connect(postgresql_url) as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"person", "orders"}
        assert sa.inspect(connection).get_enums()[0]["labels"] == ["open", "100%"]


def test_the_script_creates_the_tables_on_mariadb(script, mariadb_url) -> None:
    result = script("mysql+pymysql://u:s3cr3t@nowhere.invalid/d")
    assert result.returncode == 0, result.stderr
    with connect(mariadb_url) as connection:
        for statement in result.stdout.replace("%", "%%").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement, ())
        assert set(sa.inspect(connection).get_table_names()) == {"person", "orders"}


def test_names_on_the_command_line(script) -> None:
    result = script("sqlite://", "people")
    assert re.findall("CREATE TABLE (\\w+)", result.stdout) == ["person"]
    result = script("sqlite://", "orders")
    assert re.findall("CREATE TABLE (\\w+)", result.stdout) == ["orders"]
    result = script("sqlite://", "order")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(
        'There is no package and no table "order" in the models. Did you mean "orders"?\n'
        'Registered packages are: "people", "shop".\n'
    )


def test_an_application_without_the_service(script, project) -> None:
    result = script("sqlite://", app="bare")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f'The application "call:bare:main" of "{project / "site.ini"}" does not include '
        'websauna_migrate. Add "config.include("websauna_migrate")" to the code that configures '
        "it.\n"
    )


def test_usage(run) -> None:
    result = run(["ws-create-table"])
    assert (result.returncode, result.stdout) == (2, "")
    result = run(["ws-create-table", "--help"])
    assert result.returncode == 0
    assert "ws-create-table [-h] INI [NAME ...]" in result.stdout
