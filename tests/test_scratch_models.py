"""What models mean, as the server says it: created in a scratch place, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Computed, Index, Integer, MetaData, String, Table
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSequence
from sqlalchemy.types import UserDefinedType

import zoo_catalogue  # noqa: F401  # They register features.
import zoo_conditions  # noqa: F401
from databases import MariaDBServer, PostgreSQLServer
from websauna_migrate.cli.ddl import create_statements
from websauna_migrate.config.settings import Settings
from websauna_migrate.errors import ModelsNotCreated, ScratchRefused
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_databases import PREFIX
from websauna_migrate.facts.scratch_models import scratch_models
from websauna_migrate.facts.standstill import settled_differences
from zoo import CHANGES, FEATURES, Feature


def models(*metadata: MetaData, entities: Any = ()) -> Models:
    tables = [table for one in metadata for table in one.tables.values()]
    return Models(tables, entities, lambda table: "acme.app")


def told(connection: Connection, url: str, *metadata: MetaData, **more: Any) -> list[str]:
    """Return how a database differs from models; it is as before afterwards."""
    settings = Settings(url=make_url(url))
    facts = read_facts(connection)
    with scratch_models(models(*metadata, **more), settings, connection) as scratch:
        found = settled_differences(facts, scratch.writable(scratch.facts))
    return [
        one.describe("there", "in the models")
        for one in found
        if not one.note and one.fact.kind not in ("schema", "extension")
    ]


@contextmanager
def entered(url: Any) -> Iterator[Connection]:
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def product(url: str) -> str:
    name = make_url(url).get_backend_name()
    return "mariadb" if name == "mysql" else name


# The zoo: what create_all() makes is what the models mean


def animals(name: str, features: dict[str, Feature]) -> Any:
    return [feature for feature in features.values() if name in feature.on]


#: Statements that differ and make the same: RESTRICT is what MariaDB does by itself.
SAME = {"mariadb": {"k_fk_restrict"}}


@pytest.mark.parametrize("which", ["unchanged", "changed"])
def test_what_create_all_made_is_what_the_models_mean(which: str, database_url: str) -> None:
    features = animals(product(database_url), FEATURES if which == "unchanged" else CHANGES)
    first = [feature.metadata(1) for feature in features]
    with made(database_url, *first) as connection:
        assert told(connection, database_url, *first) == []
        if which == "unchanged":
            return
        second = [feature.metadata(2) for feature in features]
        found = "\n".join(told(connection, database_url, *second))
        for feature, one, two in zip(features, first, second, strict=True):
            texts = [
                (
                    create_statements(list(metadata.tables.values()), connection.dialect),
                    [
                        str(CreateSequence(one).compile(dialect=connection.dialect))
                        for _, one in sorted(metadata._sequences.items(), key=str)
                    ],
                )
                for metadata in (one, two)
            ]
            seen = any(f'{name}"' in found for name in names_of(one) | names_of(two))
            same = feature.name in SAME.get(product(database_url), ())
            assert seen == (texts[0] != texts[1] and not same), feature.name


def names_of(metadata: MetaData) -> set[str]:
    """Return the names of tables, of sequences and of columns' types."""
    columns = [column for table in metadata.tables.values() for column in table.columns]
    sequences = {str(name) for name in metadata._sequences}
    types = {str(getattr(column.type, "name", None)) for column in columns}
    return {str(table.name) for table in metadata.tables.values()} | types | sequences


def create_all(connection: Connection, metadata: Any) -> None:
    for one in metadata:
        one.create_all(connection)


@contextmanager
def made(url: str, *metadata: MetaData) -> Iterator[Connection]:
    """Give a connection to a database in which models were created; they are gone afterwards."""
    here = product(url)
    with entered("sqlite://" if here == "sqlite" else url) as connection:
        if here == "mariadb":
            name = f"{make_url(url).database}_made"
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            try:
                with entered(make_url(url).set(database=name)) as other:
                    create_all(other, metadata)
                    yield other
            finally:
                connection.exec_driver_sql(f"DROP DATABASE {name}")
            return
        for schema in sorted(
            {str(t.schema) for m in metadata for t in m.tables.values() if t.schema}
        ):
            if schema != "public":
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        create_all(connection, metadata)
        yield connection
        connection.rollback()


# Expressions stand still before they differ


def test_an_expression_that_was_written_back_is_the_same(postgresql_url: str) -> None:
    metadata = MetaData()
    Table(
        "t",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("kind", String(9), CheckConstraint("kind IN ('a', 'b')", name="ck_kind")),
        Column("is_a", sa.Boolean, Computed("kind IN ('a', 'c')", persisted=True)),
        Index("ix_a", "id", postgresql_where=sa.text("kind IN ('a', 'd')")),
    )
    with made(postgresql_url, metadata) as connection:
        first = definitions(connection)
        assert told(connection, postgresql_url, metadata) == []
        # What a dump does when it is restored.
        connection.exec_driver_sql("ALTER TABLE t DROP CONSTRAINT ck_kind, DROP COLUMN is_a")
        connection.exec_driver_sql("DROP INDEX ix_a")
        for statement in first:
            connection.exec_driver_sql(statement)
        assert definitions(connection) != first
        assert told(connection, postgresql_url, metadata) == []
        connection.exec_driver_sql("ALTER TABLE t DROP CONSTRAINT ck_kind")
        connection.exec_driver_sql(first[0].replace("'b'", "'e'"))
        (found,) = told(connection, postgresql_url, metadata)
        assert found.startswith('table "t", constraint "ck_kind": definition is CHECK')


def definitions(connection: Connection) -> list[str]:
    """Return statements that make again what has an expression, in the server's words."""
    rows = connection.exec_driver_sql(
        "SELECT 'ALTER TABLE t ADD CONSTRAINT ck_kind ' || pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE conname = 'ck_kind' UNION ALL "
        "SELECT 'ALTER TABLE t ADD is_a boolean GENERATED ALWAYS AS ('"
        " || pg_get_expr(adbin, adrelid) || ') STORED' FROM pg_attrdef "
        "WHERE pg_get_expr(adbin, adrelid) LIKE '%%kind%%' UNION ALL "
        "SELECT pg_get_indexdef('ix_a'::regclass)"
    )
    return [str(row[0]) for row in rows]


# What an application has a say in


class Marked(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "VARCHAR(7)"


class Short(sa.String):
    pass


@compiles(Short)
def short(type_: Short, compiler: Any, **kw: Any) -> str:
    return "VARCHAR(3)"


def test_types_events_and_conventions_of_the_application_count(database_url: str) -> None:
    metadata = MetaData(naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"})
    table = Table(
        "t",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("marked", Marked),
        Column("short", Short),
        CheckConstraint("marked > '5'", name="five"),
    )
    ddl = sa.DDL("CREATE VIEW grown AS SELECT id FROM t")
    sa.event.listen(table, "after_create", ddl)

    @sa.event.listens_for(metadata, "after_create")
    def more(target: Any, connection: Connection, **kw: Any) -> None:
        # A real connection: it answers.
        assert connection.scalar(sa.text("SELECT 1")) == 1
        connection.execute(sa.text("CREATE INDEX ix_more ON t (marked)"))

    with scratch_of(database_url, models(metadata)) as facts:
        found = {(one.kind, one.name): one for one in facts.objects}
    assert "7" in str(found["column", "marked"].get("type"))
    assert "3" in str(found["column", "short"].get("type"))
    assert ("view", "grown") in found
    assert ("index", "ix_more") in found
    assert ("constraint", "ck_t_five") in found


@contextmanager
def scratch_of(url: str, tried: Models, **settings: Any) -> Iterator[Any]:
    with (
        entered(url) as connection,
        scratch_models(tried, Settings(url=make_url(url), **settings), connection) as scratch,
    ):
        yield scratch.facts


@pytest.mark.usefixtures("comparators_apart")
def test_entities_of_alembic_utils_are_read_back_as_their_own(postgresql_url: str) -> None:
    from alembic_utils.pg_function import PGFunction
    from alembic_utils.pg_trigger import PGTrigger
    from alembic_utils.pg_view import PGView

    metadata = MetaData()
    Table("t", metadata, Column("id", Integer, primary_key=True))
    body = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN -- public.t\nRETURN NEW; END $$"
    on = "BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.touched()"
    entities = [
        PGTrigger("public", "touch", on, on_entity="public.t"),
        PGView("public", "v", 'SELECT id FROM "public".t WHERE id > 1'),
        PGFunction("public", "touched()", body),
    ]
    with entered(postgresql_url) as connection:
        metadata.create_all(connection)
        for entity in (entities[2], entities[1], entities[0]):
            connection.execute(entity.to_sql_statement_create())
        assert told(connection, postgresql_url, metadata, entities=entities) == []
        entities[1] = PGView("public", "v", "SELECT id FROM public.t WHERE id > 2")
        (found,) = told(connection, postgresql_url, metadata, entities=entities)
        assert found.startswith('view "v": definition')


def test_schemas_that_models_name_are_mapped(postgresql_url: str) -> None:
    metadata = MetaData()
    other = Table("t", metadata, Column("id", Integer, primary_key=True), schema="Other one")
    Table(
        "t",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("t", sa.ForeignKey(other.c.id)),
        Column("k", sa.Enum("a", "b", name="kind", schema="Other one"), server_default="a"),
        Column("m", sa.ARRAY(sa.Enum("a", "b", name="kinds", schema="third"))),
        schema="public",
    )
    with entered(postgresql_url) as connection:
        connection.exec_driver_sql('CREATE SCHEMA "Other one"')
        connection.exec_driver_sql("CREATE SCHEMA third")
        metadata.create_all(connection)
        assert told(connection, postgresql_url, metadata) == []


# Nothing is locked, and nothing is left


def test_no_real_table_is_locked_and_nothing_is_left(postgresql_url: str) -> None:
    metadata = MetaData()
    one = Table("one", metadata, Column("id", Integer, primary_key=True))
    Table("two", metadata, Column("id", sa.ForeignKey(one.c.id), primary_key=True))
    with entered(postgresql_url) as holder, entered(postgresql_url) as connection:
        metadata.create_all(holder)
        holder.commit()
        holder.exec_driver_sql("LOCK TABLE one, two IN ACCESS EXCLUSIVE MODE")
        tried = models(metadata)
        with scratch_models(tried, Settings(url=make_url(postgresql_url)), connection) as scratch:
            assert {fact.name for fact in scratch.facts.objects} >= {"one", "two"}
        assert not connection.in_transaction()
        names = connection.exec_driver_sql("SELECT nspname FROM pg_namespace").scalars().all()
        assert not [name for name in names if name.startswith(PREFIX)]


def test_nothing_is_left_on_mariadb(mariadb_url: str, mariadb_server: MariaDBServer) -> None:
    metadata = MetaData()
    Table("one", metadata, Column("id", Integer, primary_key=True))
    with scratch_of(mariadb_url, models(metadata)) as facts:
        assert {fact.schema for fact in facts.objects} == {make_url(mariadb_url).database}
        assert scratch_databases(mariadb_server)
    assert scratch_databases(mariadb_server) == []


def scratch_databases(server: MariaDBServer | PostgreSQLServer) -> list[str]:
    query = (
        "SELECT datname FROM pg_database"
        if isinstance(server, PostgreSQLServer)
        else "SHOW DATABASES"
    )
    with server.connect() as connection:
        names = connection.exec_driver_sql(query).scalars().all()
    return [name for name in names if name.startswith(PREFIX)]


# What cannot be


def test_a_role_that_may_not_is_told_the_grant_that_helps(postgresql_url: str) -> None:
    name = make_url(postgresql_url).database
    role = f"{name}_poor"
    poor = make_url(postgresql_url).set(username=role, password="poor")
    metadata = MetaData()
    Table("one", metadata, Column("id", Integer, primary_key=True))
    with entered(postgresql_url) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
        connection.commit()
        try:
            with pytest.raises(ScratchRefused) as caught, scratch_of(poor, models(metadata)):
                pass
            assert "poor@" not in str(caught.value)
            grant = f"GRANT CREATE ON DATABASE {name} TO {role}"
            assert f"run: {grant}\n" in str(caught.value)
            assert "websauna_migrate.scratch_url" in str(caught.value)
            elsewhere = {"scratch_url": make_url(postgresql_url)}
            with scratch_of(poor, models(metadata), **elsewhere) as facts:
                assert facts.objects
            connection.exec_driver_sql(grant)
            connection.commit()
            with scratch_of(poor, models(metadata)) as facts:
                assert facts.objects
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
            connection.commit()


def test_the_same_statements_are_not_created_again(postgresql_url: str) -> None:
    """A role that may create nothing knows what they mean, until something else is said."""
    role = f"{make_url(postgresql_url).database}_reads"
    poor = make_url(postgresql_url).set(username=role, password="poor")

    def meant(url: Any, default: Any, order: int = 1) -> Any:
        metadata = MetaData()
        columns = [Column(name, Integer, index=True) for name in ("a", "b", "c")][::order]
        one = Table("kept", metadata, Column("id", Integer, primary_key=True))
        for column in sorted(columns, key=lambda one: str(one.name)):
            one.append_column(column)
        one.append_column(Column("t", String(9), CheckConstraint("t IN ('x')"), default))
        with scratch_of(url, models(metadata)) as facts:
            return facts

    default = sa.DefaultClause
    with entered(postgresql_url) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
        connection.commit()
        try:
            first = meant(postgresql_url, default("x"))
            assert meant(poor, default("x"), -1) == first
            with pytest.raises(ScratchRefused):
                meant(poor, default("y"))
            body = "LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
            connection.exec_driver_sql(f"CREATE FUNCTION more() RETURNS int {body}")
            connection.commit()
            with pytest.raises(ScratchRefused):
                meant(poor, default("x"))
            connection.exec_driver_sql("DROP FUNCTION more()")
            connection.commit()
            assert meant(poor, default("x")) == first
            assert "y" in str(meant(postgresql_url, default("y")))
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
            connection.commit()


def test_a_user_of_mariadb_who_may_not_is_told_the_grant_that_helps(
    mariadb_url: str,
) -> None:
    name = str(make_url(mariadb_url).database)
    poor = make_url(mariadb_url).set(username=f"{name[-9:]}_poor", password="poor")
    metadata = MetaData()
    Table("one", metadata, Column("id", Integer, primary_key=True))
    with entered(mariadb_url) as connection:
        connection.exec_driver_sql(f"CREATE USER '{poor.username}'@'%%' IDENTIFIED BY 'poor'")
        connection.exec_driver_sql(f"GRANT ALL ON {name}.* TO '{poor.username}'@'%%'")
        try:
            with pytest.raises(ScratchRefused) as caught, scratch_of(poor, models(metadata)):
                pass
            grant = str(caught.value).partition("run: ")[2].partition("\n")[0]
            assert grant.startswith("GRANT ALL ON `websauna\\_migrate\\_scratch\\_%`.* TO ")
            connection.exec_driver_sql(grant.replace("%", "%%"))
            with scratch_of(poor, models(metadata)) as facts:
                assert facts.objects
        finally:
            connection.exec_driver_sql(f"DROP USER '{poor.username}'@'%%'")


class Odd:
    pass


def odd_index(table: Table) -> None:
    Index("ix_odd", sa.func.odd(sa.literal(Odd(), sa.types.NullType()), table.c.id))


def odd_check(table: Table) -> None:
    odd = sa.literal(Odd(), sa.types.NullType())
    table.append_constraint(CheckConstraint(table.c.id == odd, name="ck_odd"))


def odd_default(table: Table) -> None:
    odd = sa.literal(Odd(), sa.types.NullType())
    table.append_column(Column("odd", Integer, server_default=odd))


def odd_computed(table: Table) -> None:
    odd = sa.literal(Odd(), sa.types.NullType())
    table.append_column(Column("odd", Integer, Computed(odd)))


@pytest.mark.parametrize(
    ("break_it", "place"),
    [
        (odd_index, 'index "ix_odd"'),
        (odd_check, 'constraint "ck_odd"'),
        (odd_default, 'column "odd"'),
        (odd_computed, 'column "odd"'),
    ],
)
def test_what_cannot_be_written_is_named(break_it: Any, place: str, database_url: str) -> None:
    metadata = MetaData()
    table = Table("t", metadata, Column("id", Integer, primary_key=True))
    break_it(table)
    with pytest.raises(ModelsNotCreated) as caught, scratch_of(database_url, models(metadata)):
        pass
    assert f'package "acme.app" cannot be created in the database. Table "t", {place}: ' in str(
        caught.value
    )


def test_what_the_server_refuses_is_named(database_url: str) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("id", Integer, primary_key=True), CheckConstraint("nowhere > 1"))
    with pytest.raises(ModelsNotCreated) as caught, scratch_of(database_url, models(metadata)):
        pass
    assert 'Table "t": ' in str(caught.value)
    assert "nowhere" in str(caught.value)
    assert PREFIX not in str(caught.value)
