"""What SQLAlchemy cannot write in DDL is one error that names package, table, and place."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from apps import Workshop
from websauna_migrate.cli.ddl import create_statements, sql_dialect, tables_of
from websauna_migrate.errors import MigrationError

HEAD = """
import datetime
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Odd:
    __hash__ = None
    def __repr__(self):
        return "odd"

ODD = sa.literal(Odd(), sa.types.NullType())

class NoVisit(sa.types.UserDefinedType):
    cache_ok = True

class Raises(sa.types.TypeDecorator):
    impl = sa.String
    cache_ok = True
    def load_dialect_impl(self, dialect):
        raise RuntimeError("not here")

class T(Base):
    __tablename__ = "t"
    id = sa.Column(sa.Integer, primary_key=True)
    b = sa.Column(sa.String(20))
    j = sa.Column(sa.JSON)
"""

#: What the models have besides, and what the error names.
MODELS = {
    "an index over to_tsvector": (
        'sa.Index("ix_x", sa.func.to_tsvector("english", T.b))',
        'index "ix_x"',
    ),
    "an index over a function of an object": (
        'sa.Index("ix_x", sa.func.odd(ODD, T.b))',
        'index "ix_x"',
    ),
    "a JSON value in a partial index": (
        'sa.Index("ix_x", T.id, postgresql_where=T.j == {"a": 1}, sqlite_where=T.j == {"a": 1})',
        'index "ix_x"',
    ),
    "a JSON value as a default": (
        'T.x = sa.Column(sa.JSON, server_default=sa.literal({"a": 1}, sa.JSON))',
        'column "x"',
    ),
    "an object as a default": (
        "T.x = sa.Column(sa.Integer, server_default=ODD)",
        'column "x"',
    ),
    "an object in a function": (
        "T.x = sa.Column(sa.String, server_default=sa.func.odd(ODD))",
        'column "x"',
    ),
    "a type without a name": ("T.x = sa.Column(NoVisit())", 'column "x"'),
    "no type": ("T.x = sa.Column()", 'column "x"'),
    "a type of another database": ("T.x = sa.Column(Raises())", 'column "x"'),
    "a computed object": ("T.x = sa.Column(sa.Integer, sa.Computed(ODD))", 'column "x"'),
    "a computed parameter": (
        'T.x = sa.Column(sa.Integer, sa.Computed(sa.text("id + :n")))',
        'column "x": the parameter ":n" has no value',
    ),
    "a colon in a default": (
        """T.x = sa.Column(sa.JSON, server_default=sa.text("'{\\"a\\":1}'"))""",
        'column "x": the parameter ":1" has no value',
    ),
    "a parameter in a CHECK": (
        'T.__table__.append_constraint(sa.CheckConstraint("b = :n", name="ck_x"))',
        'constraint "ck_x": the parameter ":n" has no value',
    ),
    "an object in a CHECK": (
        'T.__table__.append_constraint(sa.CheckConstraint(T.b == ODD, name="ck_x"))',
        'constraint "ck_x"',
    ),
    "a key to nowhere": (
        'T.x = sa.Column(sa.Integer, sa.ForeignKey("nowhere.id"))',
        "nowhere",
    ),
}


def models(workshop: Workshop, url: str, more: str) -> Any:
    source = HEAD + textwrap.dedent(more) + "\n"
    if (workshop.root / "shop").exists():
        (workshop.root / "shop" / "models.py").write_text(source)
    else:
        workshop.package("shop", source)
    workshop.forget()
    return workshop.service(url)


def refused(call: Any, place: str) -> str:
    """Return what a call says that refuses the models; it names package, table and place."""
    with pytest.raises(MigrationError) as caught:
        call()
    text = str(caught.value)
    assert (
        '"shop"' in text
        and (place == "nowhere" or '"t"' in text)
        and place.partition(":")[0] in text
    ), text
    return text


@pytest.mark.parametrize("what", MODELS)
def test_it_is_named(workshop: Workshop, transactional_database_url: str, what: str) -> None:
    source, place = MODELS[what]
    url = transactional_database_url
    if what == "an index over to_tsvector" and url.startswith("postgresql"):
        # SQLAlchemy 2.1 writes it.
        pytest.skip("PostgreSQL has a literal for it")
    service = models(workshop, url, source)
    refused(lambda: service.revision("one", autogenerate=True), place)
    assert not list(workshop.root.rglob("versions/*.py"))
    tables = tables_of(service.packages)
    said = refused(
        lambda: create_statements(tables, sql_dialect(make_url(url)), owner_of=service.owner_of),
        place,
    )
    assert place in said
    # And in a table that is there.
    service = models(workshop, url, "")
    service.revision("one", autogenerate=True)
    service.upgrade()
    service = models(workshop, url, source)
    refused(lambda: service.revision("two", autogenerate=True), place)
    if "parameter" in what or "colon" in what or "key" in what:
        refused(service.check, place)
    else:
        try:
            problems = [one.message for one in service.check().problems]
        except MigrationError as exc:
            problems = [str(exc)]
        assert problems and '"shop"' in problems[0]


CONFLICTS = {
    "T.x = sa.Column(sa.Integer, nullable=False, "
    "sqlite_on_conflict_not_null='REPLACE')": 'column "x"',
    "T.x = sa.Column(sa.Integer, nullable=False)\n"
    "T.__table__.primary_key.dialect_options['sqlite']['on_conflict'] = 'REPLACE'": "primary key",
}


@pytest.mark.parametrize("changed", CONFLICTS)
def test_a_conflict_that_no_operation_changes_is_written_by_hand(
    workshop: Workshop, tmp_path: Path, changed: str
) -> None:
    url = f"sqlite:///{tmp_path}/site.sqlite"
    service = models(workshop, url, "T.x = sa.Column(sa.Integer, nullable=False)")
    service.revision("one", autogenerate=True)
    service.upgrade()
    service = models(workshop, url, changed)
    said = refused(lambda: service.revision("two", autogenerate=True), CONFLICTS[changed])
    assert "ON CONFLICT" in said and "copy_from" in said
    (script,) = service.revision("two")
    path = Path(script.path)
    key = "sqlite_on_conflict_primary_key='REPLACE'" if "primary" in changed else ""
    more = "sqlite_on_conflict_not_null='REPLACE'" if "not_null" in changed else ""
    path.write_text(
        path.read_text().replace(
            "    pass\n",
            "    t = sa.Table('t', sa.MetaData(),\n"
            f"        sa.Column('id', sa.Integer, primary_key=True, {key}),\n"
            "        sa.Column('b', sa.String(20)), sa.Column('j', sa.JSON),\n"
            f"        sa.Column('x', sa.Integer, nullable=False, {more}))\n"
            "    with op.batch_alter_table('t', copy_from=t, recreate='always'):\n"
            "        pass\n",
            1,
        )
    )
    service = models(workshop, url, changed)
    service.upgrade()
    assert [problem.message for problem in service.check().problems] == []


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ('postgresql.ENUM("a", name="nope", create_type=False)', "nope"),
        ('postgresql.ARRAY(postgresql.ENUM("a", name="nope", create_type=False))', "nope"),
        ("Vector()", "vector"),
    ],
)
def test_a_type_that_is_not_there_is_named_with_its_column(
    workshop: Workshop, postgresql_url: str, type_: str, name: str
) -> None:
    vector = """
    class Vector(sa.types.UserDefinedType):
        cache_ok = True
        def get_col_spec(self, **kw):
            return "VECTOR(3)"
    """
    models_ = HEAD.replace("class T(", f"{textwrap.dedent(vector)}\nclass T(")
    workshop.package("shop", f"{models_}    kind = sa.Column({type_})\n")
    said = (
        f'Table "t", column "kind": type "{name}" does not exist. Create it in the database, or '
        "the extension that has it; with create_type=False nothing else makes an enum. In: CREATE"
    )
    with pytest.raises(MigrationError, match=re.escape(said)):
        workshop.service(postgresql_url).revision("first", autogenerate=True)
