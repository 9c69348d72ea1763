"""What SQLite's columns say of their own constraints can be dropped, and comes back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import differences

DDL = """
CREATE TABLE w (k INTEGER PRIMARY KEY, code TEXT UNIQUE);
CREATE TABLE t (
    id INTEGER CONSTRAINT t_key PRIMARY KEY,
    a [varchar](20) CONSTRAINT t_a UNIQUE,
    "B b" "my type" CONSTRAINT "t b" REFERENCES w (k) ON DELETE CASCADE,
    c INT CONSTRAINT t_c CHECK (c > 0 -- not (nothing
        and c < 99),
    d INT CONSTRAINT [t_d] NOT NULL CONSTRAINT t_e DEFAULT 3,
    e `text` COLLATE NOCASE UNIQUE
        REFERENCES W(Code) ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED,
    f NUMERIC(8, 2) DEFAULT 'check (x)' CHECK (f <> ')'),
    g INT CONSTRAINT t_g AS (max(c,
        d)) STORED,
    h INT CONSTRAINT t_h CHECK (h > 0) UNIQUE REFERENCES w,
    CONSTRAINT `t_i` UNIQUE (A, C)
);
INSERT INTO w VALUES (1, 'x');
INSERT INTO t (id, a, "B b", c, e) VALUES (1, 'a', 1, 5, 'x')
"""

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class W(Base):
    __tablename__ = "w"
    k = sa.Column(sa.Integer, primary_key=True, autoincrement=True)
    code = sa.Column(sa.Text, unique=True)
class T(Base):
    __tablename__ = "t"
    id = sa.Column(sa.Integer, primary_key=True)
    a = sa.Column(sa.String(20))
    b = sa.Column("B b", sa.String(7))
    c = sa.Column(sa.Integer)
    d = sa.Column(sa.Integer)
    e = sa.Column(sa.Text)
    f = sa.Column(sa.Numeric(8, 2))
    g = sa.Column(sa.Integer, sa.Computed("c + d", persisted=True))
    h = sa.Column(sa.Integer)
"""


def made(url: str) -> sa.Engine:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.executescript(DDL)
    connection.commit()
    connection.close()
    return sa.create_engine(url)


def left(engine: sa.Engine, before: Any) -> list[str]:
    """Return what differs from before, in the tables of the test."""
    with engine.connect() as connection:
        return [
            one.describe("before", "behind")
            for one in differences(before, read_facts(connection))
            if not one.note and (one.fact.table or one.fact.name) in ("t", "w")
        ]


def test_they_go_and_come_back(workshop: Workshop, sqlite_url: str) -> None:
    engine = made(sqlite_url)
    with engine.connect() as connection:
        before = read_facts(connection)
    workshop.package("shop", MODELS)
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
    with engine.connect() as connection:
        text = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 't'").scalar()
        rows = connection.exec_driver_sql('SELECT id, a, "B b", c, d, e, g FROM t').all()
    for word in ("UNIQUE", "CHECK", "REFERENCES", "NOCASE", "DEFAULT", "NOT NULL"):
        assert word not in str(text).upper()
    assert rows == [(1, "a", "1", 5, 3, "x", 8)]
    service.downgrade("base")
    assert left(engine, before) == []
    engine.dispose()


def test_a_batch_by_hand_drops_them_by_their_names(workshop: Workshop, sqlite_url: str) -> None:
    engine = made(sqlite_url)
    workshop.package("shop", "Base = None", metadata=None)
    workshop.script(
        "shop",
        "a1",
        None,
        """
with op.batch_alter_table("t", table_args=[sa.CheckConstraint("f <> ')'")]) as batch:
    batch.drop_column("g")
    batch.drop_constraint("t_a", type_="unique")
    batch.drop_constraint("t b", type_="foreignkey")
    batch.drop_constraint("t_c", type_="check")
    batch.drop_constraint("t_i", type_="unique")
""",
    )
    workshop.service(sqlite_url).upgrade()
    with engine.connect() as connection:
        facts = read_facts(connection)
    engine.dispose()
    constraints = {
        one.name if not one.server_named else "": one.get("definition")
        for one in facts.objects
        if one.kind == "constraint" and one.table == "t"
    }
    names = set(constraints)
    assert names == {"t_key", "t_h", ""}
    unnamed = sorted(
        str(one.get("definition"))
        for one in facts.objects
        if one.kind == "constraint" and one.table == "t" and one.server_named
    )
    assert unnamed == [
        "CHECK (f <> ')')",
        "FOREIGN KEY (e) REFERENCES w (code) ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED",
        "FOREIGN KEY (h) REFERENCES w (k)",
        "UNIQUE (e)",
        "UNIQUE (h)",
    ]


def test_colons_in_strings_stay(workshop: Workshop, sqlite_url: str) -> None:
    """SQLAlchemy reads a parameter in what it reflects, and would write it as NULL."""
    text = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("n", sa.String({}), server_default="at :a"),
         sa.Column("g", sa.Text, sa.Computed(r"n || '\\:k'")), {})
"""
    check = r"""sa.CheckConstraint(r"n <> '\:x'")"""
    before = text.format(9, check)
    path = workshop.package("shop", before, metadata="shop.models.metadata") / "models.py"
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    facts = facts_of(sqlite_url)
    for items in (check, ""):
        path.write_text(text.format(20, items))
        workshop.forget()
        service = workshop.service(sqlite_url)
        (script,) = service.revision("two", autogenerate=True)
        assert script.proof is not None
        service.upgrade()
        assert service.check().problems == ()
        service.downgrade("-1")
        assert [*differences(facts, facts_of(sqlite_url))] == []
        Path(script.path).unlink()


def facts_of(url: str) -> Any:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = read_facts(connection)
    engine.dispose()
    return found
