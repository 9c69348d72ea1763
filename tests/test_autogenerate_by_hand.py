"""What models say and no script that is written makes: a check and the proof name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.errors import NotProven

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
base = sa.Table("base", metadata, sa.Column("a", sa.Integer))
things = sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True),
                  sa.Column("d", sa.Integer, primary_key=True), sa.Column("a", sa.Integer),
                  sa.Index("ix_a", "a"), {})
def then(statement):
    sa.event.listen(things, "after_create", sa.DDL(statement))
{}
"""

UPDATE = "ON things FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
RANGE = 'postgresql_partition_by="RANGE (d)"'

#: What the models have at first and then, and what undoes and does it.
POSTGRESQL = {
    "becomes partitioned": ("", RANGE, "", "partitioned by"),
    "partitioned no longer": (RANGE, "", "", "partitioned by"),
    "otherwise": (RANGE, 'postgresql_partition_by="LIST (d)"', "", "partitioned by"),
    "inherits": ("", 'postgresql_inherits="base"', "", "inherits"),
    "trigger": ("", "", f"CREATE TRIGGER tr BEFORE UPDATE {UPDATE}", 'trigger "tr"'),
    "policy": ("", "", "CREATE POLICY po ON things USING (a > 1)", 'policy "po"'),
    "rule": ("", "", "CREATE RULE ru AS ON DELETE TO things DO INSTEAD NOTHING", 'rule "ru"'),
    "statistics": ("", "", "CREATE STATISTICS st ON a, d FROM things", 'statistics "st"'),
    "column": ("", "", "ALTER TABLE things ADD COLUMN more integer", 'column "more"'),
    "comment": ("", "", "COMMENT ON TABLE things IS 'what there is'", "comment"),
    "cluster": ("", "", "ALTER TABLE things CLUSTER ON ix_a", "clustered"),
}
TRIGGER = "CREATE TRIGGER tr AFTER INSERT ON things {}"
OTHERS = {
    "sqlite": TRIGGER.format("BEGIN DELETE FROM base; END"),
    "mariadb": TRIGGER.format("FOR EACH ROW DELETE FROM base"),
}


def check_named(workshop: Workshop, url: str, first: str, then: str, sql: str, words: str) -> None:
    models = workshop.package("shop", MODELS.format(first, ""), metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
    (models / "models.py").write_text(MODELS.format(then, f"then({sql!r})" if sql else ""))
    workshop.forget()
    service = workshop.service(url)
    (problem,) = service.check().problems
    assert problem.kind == "drift" and problem.fatal and words in problem.message
    scripts = models / "alembic" / "versions"
    before = {*scripts.iterdir()}
    with pytest.raises(NotProven) as caught:
        service.revision("two", autogenerate=True)
    assert words in str(caught.value) and {*scripts.iterdir()} == before
    (script,) = service.revision("two", autogenerate=True, keep=True)
    path = Path(script.path)
    assert "pass  # Write this by hand: table" in path.read_text()
    if "partitioned" in words:
        more = f", {then}" if then else ""
        columns = ", ".join(
            f"sa.Column({name!r}, sa.Integer, primary_key={key})"
            for name, key in [("id", True), ("d", True), ("a", False)]
        )
        sql = (
            f"op.drop_table('things')\n    op.create_table('things', {columns}{more})\n"
            "    op.create_index('ix_a', 'things', ['a'])"
        )
    elif "inherits" in words:
        sql = "op.execute('ALTER TABLE things INHERIT base')"
    else:
        sql = f"op.execute({sql!r})"
    path.write_text(path.read_text().replace("    pass  #", f"    {sql}  #", 1))
    service.upgrade()
    assert service.check().problems == ()


@pytest.mark.parametrize("change", POSTGRESQL)
def test_on_postgresql(workshop: Workshop, postgresql_url: str, change: str) -> None:
    check_named(workshop, postgresql_url, *POSTGRESQL[change])


def test_a_listeners_versioning(workshop: Workshop, mariadb_url: str) -> None:
    sql = "ALTER TABLE things ADD SYSTEM VERSIONING"
    check_named(workshop, mariadb_url, "", "", sql, "system versioning")


#: What a listener does, and what the script that is written then has.
WRITTEN = {
    "ALTER TABLE things ALTER a SET DEFAULT 3": "server_default=sa.text('3')",
    "COMMENT ON COLUMN things.d IS 'number'": "comment='number'",
    "CREATE INDEX ix_more ON things (abs(a)) INCLUDE (d)": "op.create_index('ix_more', 'things', [",
    "ALTER TABLE things ALTER t SET COMPRESSION pglz": "ALTER COLUMN t SET COMPRESSION pglz",
    "ALTER TABLE things ALTER t SET STORAGE external": "ALTER COLUMN t SET STORAGE external",
    "ALTER INDEX things_pkey SET (fillfactor = 50)": "ALTER INDEX things_pkey SET (fillfactor",
    "COMMENT ON INDEX things_pkey IS 'the key'": "COMMENT ON INDEX things_pkey IS",
    "ALTER TABLE things SET TABLESPACE aside": "ALTER TABLE things SET TABLESPACE aside",
    "ALTER INDEX ix_a SET TABLESPACE aside": "ALTER INDEX ix_a SET TABLESPACE aside",
    "ALTER INDEX things_pkey SET TABLESPACE aside": "ALTER INDEX things_pkey SET TABLESPACE",
}


@pytest.fixture
def tablespace(postgresql_url: str) -> Iterator[None]:
    """A tablespace of the server, ``aside``; the test has nothing in it at its end."""
    engine = sa.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = on")
        connection.exec_driver_sql("CREATE TABLESPACE aside LOCATION ''")
        yield
        connection.exec_driver_sql("DROP TABLE things")
        connection.exec_driver_sql("DROP TABLESPACE aside")
    engine.dispose()


@pytest.mark.usefixtures("tablespace")
def test_what_listeners_do_is_written(workshop: Workshop, postgresql_url: str) -> None:
    more = 'sa.Column("t", sa.Text)'
    models = workshop.package("shop", MODELS.format(more, ""), metadata="shop.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True)
    workshop.service(postgresql_url).upgrade()
    done = "\n".join(f"then({sql!r})" for sql in WRITTEN)
    (models / "models.py").write_text(MODELS.format(more, done))
    workshop.forget()
    service = workshop.service(postgresql_url, databases="postgresql")
    assert len(service.check().problems) == len(WRITTEN)
    (script,) = service.revision("two", autogenerate=True)
    text = Path(script.path).read_text()
    assert [words for words in WRITTEN.values() if words not in text] == []
    service.upgrade()
    assert service.check().problems == ()
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE things SET TABLESPACE pg_default")
        connection.exec_driver_sql("COMMENT ON INDEX things_pkey IS 'the other key'")
    assert all("things" in one.message for one in service.check().problems)
    with engine.begin() as connection:
        for statement in service.drift().sql:
            connection.exec_driver_sql(statement)
    engine.dispose()
    assert service.check().problems == ()
    service.downgrade("shop@-1")


def test_what_no_operation_changes_is_told_by_a_check(workshop: Workshop, sqlite_url: str) -> None:
    own = 'sa.Table("own", metadata, sa.Column("k", sa.Integer, primary_key=True), {})'
    first = own.format('sa.Column("n", sa.Integer, nullable=False)')
    then = own.format(
        'sa.Column("n", sa.Integer, nullable=False, sqlite_on_conflict_not_null="FAIL")'
    )
    models = workshop.package("shop", MODELS.format("", first), metadata="shop.models.metadata")
    workshop.service(sqlite_url).revision("one", autogenerate=True)
    workshop.service(sqlite_url).upgrade()
    (models / "models.py").write_text(MODELS.format("", then))
    workshop.forget()
    (problem,) = workshop.service(sqlite_url).check().problems
    assert 'the column "n" of table "own" has another ON CONFLICT' in problem.message
    assert problem.kind == "drift" and "No revision" not in problem.message


@pytest.mark.parametrize("product", OTHERS)
def test_a_listeners_trigger(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = str(request.getfixturevalue(f"{product}_url"))
    check_named(workshop, url, "", "", OTHERS[product], 'trigger "tr"')


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TYPE state AS ENUM ('a')",
        "CREATE DOMAIN state AS integer",
        "CREATE SEQUENCE state",
        "CREATE TABLE state (a integer)",
    ],
)
def test_what_a_listener_makes_besides(workshop: Workshop, postgresql_url: str, sql: str) -> None:
    models = workshop.package("shop", MODELS.format("", ""), metadata="shop.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True)
    workshop.service(postgresql_url).upgrade()
    (models / "models.py").write_text(MODELS.format("", f"then({sql!r})"))
    workshop.forget()
    (problem,) = workshop.service(postgresql_url).check().problems
    assert problem.kind == "drift" and '"state" is in the models' in problem.message


def test_a_listeners_view(workshop: Workshop, database_url: str) -> None:
    models = workshop.package("shop", MODELS.format("", ""), metadata="shop.models.metadata")
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    view = "CREATE VIEW seen AS SELECT a FROM things"
    (models / "models.py").write_text(MODELS.format("", f"then({view!r})"))
    workshop.forget()
    service = workshop.service(database_url)
    (problem,) = service.check().problems
    assert problem.kind == "drift" and problem.fatal and 'view "seen"' in problem.message
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(view)
    engine.dispose()
    assert [one for one in service.check().problems if one.kind == "drift"] == []
