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

#: A table of its own for each case, and a table that it may inherit from.
TABLES = """
base{n} = sa.Table("base{n}", metadata, sa.Column("a", sa.Integer))
things{n} = sa.Table("things{n}", metadata, sa.Column("id", sa.Integer, primary_key=True),
                  sa.Column("d", sa.Integer, primary_key=True), sa.Column("a", sa.Integer),
                  sa.Index("ix_a{n}", "a"), {first})
if {sql!r}:
    sa.event.listen(things{n}, "after_create", sa.DDL({sql!r}))
"""

UPDATE = "ON things{n} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
RANGE = 'postgresql_partition_by="RANGE (d)"'
TRIGGER = "CREATE TRIGGER tr AFTER INSERT ON things{n} "

#: What the models have at first and then, what undoes and does it, and how it is named.
NAMED = {
    "postgresql": {
        "becomes partitioned": ("", RANGE, "", "partitioned by"),
        "partitioned no longer": (RANGE, "", "", "partitioned by"),
        "otherwise": (RANGE, 'postgresql_partition_by="LIST (d)"', "", "partitioned by"),
        "inherits": ("", 'postgresql_inherits="base{n}"', "", "inherits"),
        "trigger": ("", "", f"CREATE TRIGGER tr BEFORE UPDATE {UPDATE}", 'trigger "tr"'),
        "policy": ("", "", "CREATE POLICY po ON things{n} USING (a > 1)", 'policy "po"'),
        "rule": (
            "",
            "",
            "CREATE RULE ru AS ON DELETE TO things{n} DO INSTEAD NOTHING",
            'rule "ru"',
        ),
        "statistics": ("", "", "CREATE STATISTICS st ON a, d FROM things{n}", 'statistics "st"'),
        "column": ("", "", "ALTER TABLE things{n} ADD COLUMN more integer", 'column "more"'),
        "comment": ("", "", "COMMENT ON TABLE things{n} IS 'what there is'", "comment"),
        "cluster": ("", "", "ALTER TABLE things{n} CLUSTER ON ix_a{n}", "clustered"),
    },
    "mariadb": {
        "trigger": ("", "", f"{TRIGGER}FOR EACH ROW DELETE FROM base{{n}}", 'trigger "tr"'),
        "versioning": ("", "", "ALTER TABLE things{n} ADD SYSTEM VERSIONING", "system versioning"),
    },
    "sqlite": {
        "trigger": ("", "", f"{TRIGGER}BEGIN DELETE FROM base{{n}}; END", 'trigger "tr"'),
    },
}


@pytest.mark.parametrize("product", NAMED)
def test_what_autogenerate_does_not_write_is_named(
    workshop: Workshop,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    product: str,
) -> None:
    # A message has all cases.
    monkeypatch.setattr("websauna_migrate.facts.differences.TOLD", 99)
    url = str(request.getfixturevalue(f"{product}_url"))
    cases = {
        how: [word.replace("{n}", str(n)) for word in words]
        for n, (how, words) in enumerate(NAMED[product].items())
    }

    def models(*, behind: bool) -> str:
        tables = [
            TABLES.format(n=n, first=then if behind else first, sql=sql if behind else "")
            for n, (first, then, sql, _) in enumerate(cases.values())
        ]
        return "".join(["import sqlalchemy as sa\nmetadata = sa.MetaData()\n", *tables])

    shop = workshop.package("shop", models(behind=False), metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    assert service.check().problems == ()
    (shop / "models.py").write_text(models(behind=True))
    workshop.forget()
    service = workshop.service(url)
    found = list(service.check().problems)
    assert {(one.kind, one.fatal) for one in found} == {("drift", True)}
    for n, (how, (*_, words)) in enumerate(cases.items()):
        told = [one.message for one in found if f'"things{n}"' in one.message]
        assert len(told) == 1 and words in told[0], (how, told)
    assert len(found) == len(cases)
    scripts = shop / "alembic" / "versions"
    before = {*scripts.iterdir()}
    with pytest.raises(NotProven) as caught:
        service.revision("two", autogenerate=True)
    lines = str(caught.value).splitlines()
    for n, (how, (*_, words)) in enumerate(cases.items()):
        assert [one for one in lines if f'"things{n}"' in one and words in one], (how, lines)
    assert {*scripts.iterdir()} == before
    (script,) = service.revision("two", autogenerate=True, keep=True)
    path = Path(script.path)
    text = path.read_text()
    for n, (how, (_, then, sql, words)) in enumerate(cases.items()):
        todo = f'    pass  # Write this by hand: table "things{n}"'
        assert todo in text, (how, text)
        text = text.replace(todo, f"    {by_hand(n, then, sql, words)}  #", 1)
    path.write_text(text)
    service.upgrade()
    assert service.check().problems == ()


def by_hand(n: int, then: str, sql: str, words: str) -> str:
    """Return the operations that a person writes into the script."""
    if "partitioned" in words:
        more = f", {then}" if then else ""
        columns = ", ".join(
            f"sa.Column({name!r}, sa.Integer, primary_key={key})"
            for name, key in [("id", True), ("d", True), ("a", False)]
        )
        return (
            f"op.drop_table('things{n}')\n    op.create_table('things{n}', {columns}{more})\n"
            f"    op.create_index('ix_a{n}', 'things{n}', ['a'])"
        )
    if "inherits" in words:
        sql = f"ALTER TABLE things{n} INHERIT base{n}"
    return f"op.execute({sql!r})"


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
    workshop.service(postgresql_url).revision("one", autogenerate=True, prove="off")
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
    workshop.service(sqlite_url).revision("one", autogenerate=True, prove="off")
    workshop.service(sqlite_url).upgrade()
    (models / "models.py").write_text(MODELS.format("", then))
    workshop.forget()
    (problem,) = workshop.service(sqlite_url).check().problems
    assert 'the column "n" of table "own" has another ON CONFLICT' in problem.message
    assert problem.kind == "drift" and "No revision" not in problem.message


#: What a listener makes that is no part of a table.
BESIDES = (
    "CREATE TYPE state0 AS ENUM ('a')",
    "CREATE DOMAIN state1 AS integer",
    "CREATE SEQUENCE state2",
    "CREATE TABLE state3 (a integer)",
)


def test_what_a_listener_makes_besides(workshop: Workshop, postgresql_url: str) -> None:
    models = workshop.package("shop", MODELS.format("", ""), metadata="shop.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True, prove="off")
    workshop.service(postgresql_url).upgrade()
    done = "\n".join(f"then({sql!r})" for sql in BESIDES)
    (models / "models.py").write_text(MODELS.format("", done))
    workshop.forget()
    problems = workshop.service(postgresql_url).check().problems
    for n, sql in enumerate(BESIDES):
        kinds = [one.kind for one in problems if f'"state{n}" is in the models' in one.message]
        assert kinds == ["drift"], sql
    assert len(problems) == len(BESIDES)


def test_a_listeners_view(workshop: Workshop, database_url: str) -> None:
    models = workshop.package("shop", MODELS.format("", ""), metadata="shop.models.metadata")
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True, prove="off")
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
