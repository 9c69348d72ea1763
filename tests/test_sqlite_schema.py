"""SQLite's schema read at once is what SQLAlchemy reflects table by table."""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_fingerprints_random import CHANGES, Spec, changed, first_spec, models_of
from websauna_migrate.autogenerate.reflection import KINDS, Reflection
from websauna_migrate.autogenerate.sqlite_schema import KnownSchema, StoredSchema

#: Tables as they come, each statement by itself.
ODD = (
    "CREATE TABLE plain (id INTEGER NOT NULL PRIMARY KEY, x VARCHAR(20) DEFAULT 'a', UNIQUE (x))",
    'CREATE TABLE "Odd ""Name"" % ?" ("a b" int, "c""d" text NOT NULL DEFAULT (\'y\' || 1))',
    "CREATE TABLE [brackets] ([a b] integer primary key autoincrement, `c` real unique)",
    "CREATE TABLE 'quoted' ('x' numeric(10, 2) CHECK (x > 0), y CONSTRAINT n CHECK (y IN (1, 2)))",
    "CREATE TABLE ünïcode (ä TEXT, CONSTRAINT ü UNIQUE (ä))",
    "CREATE TABLE without (a INT, b INT, c, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "CREATE TABLE untyped (a, b, c PRIMARY KEY DESC)",
    "CREATE TABLE implicit (a REFERENCES plain, b REFERENCES without, c REFERENCES nowhere)",
    'CREATE TABLE other_case (a REFERENCES PLAIN, FOREIGN KEY (a) REFERENCES "Plain" (ID))',
    "CREATE TABLE keys (a int, b int, CONSTRAINT k FOREIGN KEY (a, b) REFERENCES without (b, a) "
    "ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED, UNIQUE (a, b), "
    "CONSTRAINT second UNIQUE (b))",
    "CREATE TABLE generated (a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c AS (a + b))",
    "CREATE TABLE copied AS SELECT a AS x, b + 1 AS y FROM keys",
    "CREATE TABLE \"references\" (x text default 'references plain (', y references plain)",
    "CREATE INDEX i1 ON plain (x DESC)",
    "CREATE UNIQUE INDEX i2 ON plain (x) WHERE x > 'a'",
    "CREATE INDEX i3 ON plain (lower(x), id) WHERE id > 1",
    'CREATE INDEX "I ""4""" ON "Odd ""Name"" % ?" ("a b", "c""d" COLLATE NOCASE)',
    "CREATE INDEX i5 ON without (c)",
    "CREATE VIRTUAL TABLE words USING fts5 (title, body)",
    "CREATE VIEW looked AS SELECT * FROM plain",
    "CREATE TRIGGER fired AFTER INSERT ON plain BEGIN SELECT 1; END",
    "ALTER TABLE plain ADD COLUMN added INTEGER REFERENCES keys (a)",
    "ALTER TABLE keys RENAME TO renamed",
)


class Asked:
    """The statements that went to the database."""

    def __init__(self, connection: sa.Connection) -> None:
        self.statements: list[str] = []
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda *args: self.statements.append(f"{args[2]} {args[3]}"),
        )


def reflected(inspector: Any, kind: str, names: list[str]) -> Any:
    """Return what an inspector says, in a form that can be compared, and its warnings."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = getattr(inspector, f"get_multi_{kind}")(filter_names=names)
        except NotImplementedError:
            return None
    return plain(dict(found)), sorted(str(one.message) for one in warned)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, sa.types.TypeEngine):
        return repr(value)
    return str(value) if isinstance(value, sa.TextClause) else value


def both(connection: sa.Connection) -> list[str]:
    """Compare both ways; return what was asked besides."""
    inspector = sa.inspect(connection)
    names = inspector.get_table_names()
    stored = StoredSchema(connection)
    known = KnownSchema(connection, stored, names)
    quick: Any = sa.inspect(known)
    asked = Asked(connection)
    answers = {kind: reflected(quick, kind, names) for kind in KINDS}
    # Which tables there are is asked once for each kind.
    besides = [one for one in asked.statements if not one.startswith("SELECT name FROM")]
    assert answers == {kind: reflected(inspector, kind, names) for kind in KINDS}
    return besides


def test_odd_tables_are_what_sqlalchemy_reflects(connection: sa.Connection) -> None:
    for statement in ODD:
        connection.exec_driver_sql(statement)
        besides = both(connection)
        # Of a table that is not there under that name nothing is known.
        assert all(re.search("nowhere|PLAIN|Plain", one) for one in besides), besides


def test_temporary_tables_are_seen_as_sqlalchemy_sees_them(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    connection.exec_driver_sql("CREATE TEMPORARY TABLE t (y INTEGER UNIQUE)")
    connection.exec_driver_sql("CREATE TEMPORARY TABLE u (x INTEGER)")
    assert both(connection)
    assert StoredSchema(connection).texts_of("t") is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(CHANGES)),
            st.sampled_from(("one", "two", "three")),
            st.integers(0, 15),
        ),
        max_size=6,
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_random_tables_are_what_sqlalchemy_reflects(drawn: Any) -> None:
    spec: Spec = copy.deepcopy(first_spec())
    for kind, name, number in drawn:
        spec = changed(spec, kind, name, number)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        try:
            models_of(spec).create_all(connection)
        except sa.exc.DBAPIError:
            return
        assert both(connection) == []
    engine.dispose()


def test_an_old_sqlite_is_asked_as_before(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")

    def fail(*args: Any) -> None:
        raise sa.exc.OperationalError("", (), Exception("no such table: pragma_table_xinfo"))

    monkeypatch.setattr(KnownSchema, "learn", fail)
    read = Reflection(connection, [(None, "t")]).read("columns", None)
    assert [one["name"] for one in read[None, "t"]] == ["x"]


TEXTS = {
    "CREATE TABLE t (x INTEGER)": True,
    'create table t (x REFERENCES u (x), REFERENCES "a b"(y))': True,
    "CREATE TABLE t (x REFERENCES u)": False,
    "CREATE TABLE t (x REFERENCES u (a), y REFERENCES u)": False,
    "CREATE TABLE t (x REFERENCES/* u ( */ u)": False,
    'CREATE TABLE t (x /* references " ( */ REFERENCES u, y DEFAULT " (")': False,
    'CREATE TABLE t ("references" REFERENCES u)': False,
    "CREATE VIRTUAL TABLE t USING fts5 (x)": False,
}


@pytest.mark.parametrize("text", sorted(TEXTS))
def test_which_texts_say_all(connection: sa.Connection, text: str) -> None:
    stored = StoredSchema(connection)
    stored.tables["t"] = text
    assert (stored.texts_of("t") is not None) == TEXTS[text]
