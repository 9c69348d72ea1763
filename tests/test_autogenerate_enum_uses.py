"""An enum's values go, move or get other names while other objects use them, there and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import rows
from websauna_migrate.errors import NotProven
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import differences

MODELS = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import declarative_base
Base = declarative_base()
State = sa.Enum({values}, name="state")
class Job(Base):
    __tablename__ = "job"
    id = sa.Column(sa.Integer, primary_key=True)
    state = sa.Column(State, server_default="{first}", nullable=False)
    other = sa.Column(State)
    past = sa.Column(postgresql.ARRAY(State))
    open = sa.Column(sa.Boolean, sa.Computed("state = '{first}'", persisted=True), comment="it's")
    kind = sa.Column(State, sa.Computed("CASE WHEN id > 5 THEN state ELSE '{last}' END",
                                        persisted=True), nullable=False)
    __table_args__ = (
        sa.CheckConstraint("state <> '{last}' OR id > 0", name="job_last"),
        sa.CheckConstraint("state <> other", name="job_differ"),
        sa.Index("ix_first", "id", postgresql_where=sa.text("state = '{first}'")),
        sa.Index("ix_equal", "id", unique=True, postgresql_where=sa.text("state = other")),
        sa.Index("ix_open", "open", "id"),
        sa.UniqueConstraint("kind", "id", name="job_kind"),
        postgresql.ExcludeConstraint(
            ("id", "="), where=sa.text("state = '{last}'"), using="btree", name="job_one"
        ),
    )
class Log(Base):
    __tablename__ = "log"
    id = sa.Column(sa.Integer, primary_key=True)
    kind = sa.Column(State)
    __table_args__ = (sa.ForeignKeyConstraint(["kind", "id"], ["job.kind", "job.id"]),)
"""

STATES = ("new", "paid", "sent", "done")


def models(*values: str) -> str:
    return MODELS.format(values=", ".join(map(repr, values)), first=values[0], last=values[-1])


def numbered(text: str, number: int) -> str:
    """Return tables of models under names of their own, and their type."""
    text = text.partition("declarative_base()\n")[2].replace("class ", f"class No{number}")
    text = text.replace('name="state"', f'name="state{number}"')
    return re.sub(r'"(job|log|ix)(?=[_".])', rf'"\g<1>{number}', text)


def facts_of(url: str) -> Any:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = read_facts(connection)
    engine.dispose()
    return found


def told(before: Any, after: Any) -> list[str]:
    return [
        one.describe("before", "behind")
        for one in differences(before, after)
        if not one.note and not (one.fact.table or one.fact.name).startswith(("alembic", "websa"))
    ]


@pytest.fixture
def job(workshop: Workshop, postgresql_url: str) -> Any:
    """A package with tables and rows on PostgreSQL."""
    folder = workshop.package("shop", models(*STATES))
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    execute(
        postgresql_url,
        "INSERT INTO job (id, state, past) VALUES (1, 'new', '{new}'), (9, 'new', NULL)",
    )
    return workshop, postgresql_url, folder / "models.py"


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for one in statements:
            connection.exec_driver_sql(one.replace("%", "%%"))
    engine.dispose()


#: The values behind :data:`STATES`, each of a type with tables of its own.
CHANGES = (
    ("new", "sent", "done"),
    ("paid", "new", "sent", "done"),
    ("new", "paid", "sent", "over"),
    ("new", "paid", "sent", "done", "late"),
)


def test_the_script_works_both_ways(workshop: Workshop, postgresql_url: str) -> None:
    head = "".join(MODELS.partition("declarative_base()\n")[:2])
    first, then = (
        head + "".join(numbered(models(*values), number) for number, values in enumerate(several))
        for several in ([STATES] * len(CHANGES), CHANGES)
    )
    path = workshop.package("shop", first) / "models.py"
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    for number in range(len(CHANGES)):
        columns = f"INSERT INTO job{number} (id, state, past)"
        execute(postgresql_url, f"{columns} VALUES (1, 'new', '{{new}}'), (9, 'new', NULL)")
    before = facts_of(postgresql_url)
    path.write_text(then)
    workshop.forget()
    service = workshop.service(postgresql_url)
    (script,) = service.revision("two", autogenerate=True)
    assert script.proof is not None
    service.upgrade()
    assert service.check().problems == ()
    for number, values in enumerate(CHANGES):
        query = f"SELECT unnest(enum_range(NULL::state{number}))::text"
        assert [one for (one,) in rows(postgresql_url, query)] == [*values]
    service.downgrade("-1")
    assert told(before, facts_of(postgresql_url)) == []


#: What uses the type, and how it is named.
USES = {
    "function f()": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'"
    ),
    "function g(state)": "CREATE FUNCTION g(s state) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "materialized view m": "CREATE MATERIALIZED VIEW m AS SELECT 'new'::state AS x",
    "policy mine on table job": "CREATE POLICY mine ON job USING (state = 'new')",
    "trigger tr on table job": (
        "CREATE TRIGGER tr BEFORE UPDATE ON job FOR EACH ROW WHEN (new.state = 'paid') "
        "EXECUTE FUNCTION f()"
    ),
    "type dom": "CREATE DOMAIN dom AS state CHECK (VALUE <> 'paid')",
    "view v": "CREATE VIEW v AS SELECT id, state FROM job",
}


def test_what_cannot_be_put_back_is_named(job: Any) -> None:
    workshop, url, path = job
    execute(url, *USES.values())
    path.write_text(models("new", "sent", "done"))
    workshop.forget()
    service = workshop.service(url)
    with pytest.raises(NotProven) as failure:
        service.revision("two", autogenerate=True)
    # The function of a trigger is no use by itself.
    named = ", ".join([*USES][1:])
    assert (
        f"the values of the enum type state are in use by: {named}. Let the script drop them "
        "before it changes the values, and create them again behind that" in failure.value.problem
    )
    execute(
        url,
        "DROP FUNCTION g",
        "DROP MATERIALIZED VIEW m",
        "DROP POLICY mine ON job",
        "DROP TRIGGER tr ON job",
        "DROP DOMAIN dom",
    )
    # The remedy works.
    (script,) = service.revision("two", autogenerate=True, keep=True)
    path = Path(script.path)
    text = path.read_text().replace("proven = False", "")
    around = rf'\1op.execute("DROP VIEW v")\n\1\2\n\1op.execute("{USES["view v"]}")'
    path.write_text(re.sub(r"(?m)^( +)(change_enum_values\(.*\))", around, text))
    workshop.forget()
    service = workshop.service(url)
    service.upgrade()
    service.downgrade("-1")
    service.upgrade()


#: Tables that inherit a column of the type and have a default of their own, or none.
CHILDREN = (
    "CREATE TABLE part (id int, s state DEFAULT 'new') PARTITION BY RANGE (id)",
    "CREATE TABLE part_own PARTITION OF part FOR VALUES FROM (0) TO (5)",
    "CREATE TABLE part_none PARTITION OF part FOR VALUES FROM (5) TO (9)",
    "ALTER TABLE part_own ALTER s SET DEFAULT 'sent'",
    "ALTER TABLE part_none ALTER s DROP DEFAULT",
    "CREATE TABLE bare (id int, s state) PARTITION BY RANGE (id)",
    "CREATE TABLE bare_own PARTITION OF bare (s DEFAULT 'done') FOR VALUES FROM (0) TO (5)",
    "CREATE TABLE plain (id int, s state)",
    "CREATE TABLE kid () INHERITS (plain)",
    "ALTER TABLE kid ALTER s SET DEFAULT 'done'",
)


def defaults(url: str) -> list[Any]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT adrelid::regclass::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef "
            "JOIN pg_attribute ON (attrelid, attnum) = (adrelid, adnum) WHERE attname = 's' "
            "ORDER BY 1"
        ).all()
    engine.dispose()
    return [tuple(one) for one in found]


def test_children_keep_defaults_of_their_own(job: Any) -> None:
    workshop, url, path = job
    execute(url, *CHILDREN)
    before = defaults(url)
    assert [name for name, _ in before] == ["bare_own", "kid", "part", "part_own"]
    path.write_text(models("new", "sent", "done"))
    workshop.forget()
    service = workshop.service(url)
    service.revision("two", autogenerate=True)
    service.upgrade()
    assert defaults(url) == before
    service.downgrade("-1")
    assert defaults(url) == before


def test_a_computed_column_keeps_its_statistics_and_grants(job: Any) -> None:
    workshop, url, path = job
    execute(
        url,
        'CREATE STATISTICS "both \'s" (ndistinct) ON open, id FROM job',
        "COMMENT ON STATISTICS \"both 's\" IS 'it''s'",
        "CREATE STATISTICS plain ON state, other FROM job",
        "GRANT SELECT (open, state), UPDATE (kind) ON job TO public",
        "GRANT SELECT (open) ON job TO pg_monitor WITH GRANT OPTION",
        "REVOKE USAGE ON TYPE state FROM public",
        "GRANT USAGE ON TYPE state TO pg_monitor WITH GRANT OPTION",
    )
    before, grants = facts_of(url), granted(url)
    assert sorted(grants) == ["TYPE state", "kind", "open", "state"]
    path.write_text(models("new", "sent", "done"))
    workshop.forget()
    service = workshop.service(url)
    service.revision("two", autogenerate=True)
    service.upgrade()
    assert granted(url) == grants
    service.downgrade("-1")
    assert told(before, facts_of(url)) == []
    assert granted(url) == grants


def granted(url: str) -> dict[str, str]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT attname, attacl::text FROM pg_attribute "
            "WHERE attrelid = 'job'::regclass AND attacl IS NOT NULL AND NOT attisdropped "
            "UNION ALL SELECT 'TYPE ' || typname, (SELECT string_agg(a::text, ',' ORDER BY a::text)"
            " FROM unnest(typacl) a) FROM pg_type WHERE typtype = 'e' AND typacl IS NOT NULL"
        ).all()
    engine.dispose()
    return {str(one.attname): str(one.attacl) for one in found}


FLAVOURS = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class T(Base):
    __tablename__ = "t"
    id = sa.Column(sa.Integer, primary_key=True)
    a = sa.Column(sa.Enum({values}, name="pqr", create_constraint=True), server_default={one!r})
    b = sa.Column(sa.Enum({values}, native_enum=False, name="cc", create_constraint=True))
"""


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
def test_a_value_that_a_row_has_names_its_update(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    before = FLAVOURS.format(values='"p", "it\'s", "r"', one="p")
    path = workshop.package("shop", before) / "models.py"
    service = workshop.service(url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    execute(url, "INSERT INTO t (id, a, b) VALUES (1, 'it''s', 'it''s')")
    path.write_text(FLAVOURS.format(values='"p", "r"', one="p"))
    workshop.forget()
    service = workshop.service(url)
    with pytest.raises(NotProven) as failure:
        service.revision("two", autogenerate=True)
    updates = [f"UPDATE t SET {one} = ... WHERE {one} = 'it''s'" for one in "ab"]
    for column, update in zip("ab", updates, strict=True):
        assert (
            f'The value "it\'s" of column "{column}" of table "t" goes, which fails if a row has '
            f"it. Change such rows before, in the database or above it in the script: {update}\n"
        ) in failure.value.remedy
    # In the script; and the other way, in the database.
    (script,) = service.revision("two", autogenerate=True, keep=True)
    text = Path(script.path).read_text().replace("proven = False", "")
    for update in updates:
        assert text.count(f'    #   op.execute("{update}")') == 1
        text = text.replace(f'#   op.execute("{update}")', f'op.execute("{update}")')
    Path(script.path).write_text(text.replace("= ...", "= 'p'"))
    workshop.forget()
    service = workshop.service(url)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("-1")
    Path(script.path).unlink()
    execute(url, "UPDATE t SET a = 'it''s'", *(one.replace("...", "'p'") for one in updates))
    workshop.forget()
    assert workshop.service(url).revision("two", autogenerate=True)[0].proof is not None


def test_an_array_names_its_update(workshop: Workshop, postgresql_url: str) -> None:
    text = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class T(Base):
    __tablename__ = "t"
    id = sa.Column(sa.Integer, primary_key=True)
    a = sa.Column(postgresql.ARRAY(sa.Enum("p", "q", "r", name="pqr")))
"""
    path = workshop.package("shop", text) / "models.py"
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    execute(postgresql_url, "INSERT INTO t VALUES (1, '{p,q}')")
    path.write_text(text.replace('"q", ', ""))
    workshop.forget()
    with pytest.raises(NotProven) as failure:
        workshop.service(postgresql_url).revision("two", autogenerate=True)
    update = re.search(r"UPDATE .*", failure.value.remedy)
    assert update is not None
    assert update[0] == "UPDATE t SET a = array_replace(a, 'q', ...) WHERE 'q' = ANY (a)"
    execute(postgresql_url, update[0].replace("...", "'p'"))
    workshop.forget()
    (script,) = workshop.service(postgresql_url).revision("two", autogenerate=True)
    assert script.proof is not None


def test_a_column_that_changes_with_its_values_keeps_its_default(
    workshop: Workshop, mariadb_url: str
) -> None:
    """MariaDB is told the whole column again with each change of it."""
    text = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("z", sa.Enum({}, name="e"), server_default={!r}, {}))
"""
    before = text.format('"a", "b"', "a", "comment='c'")
    path = workshop.package("shop", before, metadata="shop.models.metadata") / "models.py"
    service = workshop.service(mariadb_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    facts = facts_of(mariadb_url)
    path.write_text(text.format('"b", "a", "c"', "c", "nullable=False, comment='d'"))
    workshop.forget()
    service = workshop.service(mariadb_url)
    service.revision("two", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("-1")
    assert told(facts, facts_of(mariadb_url)) == []
