"""A batch on SQLite keeps what SQLAlchemy does not reflect, or is refused before it begins."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from apps import Workshop
from websauna_migrate.errors import MigrationError, StepFailed

#: SQLAlchemy says so of each index that is kept all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression")

#: SQLAlchemy has it from 2.0.37 on.
KNOWS_STRICT = "strict" in (dict(SQLiteDialect.construct_arguments or ())[sa.Table] or {})

BEFORE = """
CREATE TABLE w (k INTEGER PRIMARY KEY);
CREATE TABLE t (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- a comment, with marks
    name VARCHAR(9) COLLATE NOCASE NOT NULL ON CONFLICT FAIL,
    "odd, name" TEXT DEFAULT 'x, y) collate z' COLLATE RTRIM,
    n INTEGER,
    code TEXT UNIQUE ON CONFLICT REPLACE,
    price NUMERIC(8, 2) UNIQUE,
    w INT REFERENCES w (k) ON DELETE CASCADE,
    own Int CONSTRAINT own_key REFERENCES t (id) ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT ck CHECK (n > 0),
    CONSTRAINT uq UNIQUE (name, n) ON CONFLICT IGNORE
);
CREATE INDEX ix_desc ON t (n, name DESC);
CREATE INDEX ix_part ON t (n) WHERE n > 5;
CREATE INDEX ix_expr ON t (lower(name));
CREATE INDEX ix_plain ON t (n);
CREATE UNIQUE INDEX ix_nocase ON t (code COLLATE NOCASE);
INSERT INTO t (id, name, n) VALUES (50, 'a', 7);
INSERT INTO t (id, name, n) VALUES (99, 'b', 8);
DELETE FROM t WHERE id = 99;
CREATE TRIGGER own AFTER INSERT ON t BEGIN UPDATE t SET n = n WHERE id = new.id; END;
CREATE TRIGGER other AFTER INSERT ON w BEGIN UPDATE t SET n = n + 1; END;
CREATE VIEW vw AS SELECT id, name FROM t;
CREATE TABLE r (k VARCHAR(5) PRIMARY KEY ON CONFLICT IGNORE, v TEXT) WITHOUT ROWID;
CREATE TABLE s (k INTEGER PRIMARY KEY, v TEXT) STRICT;
CREATE TABLE u (
    k VARCHAR(5), "of, v" TEXT, c TEXT,
    PRIMARY KEY (k COLLATE NOCASE, "of, v" DESC) ON CONFLICT FAIL,
    CONSTRAINT uqw UNIQUE (c COLLATE RTRIM DESC, k) ON CONFLICT IGNORE, UNIQUE (c DESC)
);
INSERT INTO r VALUES ('a', 'b');
INSERT INTO s VALUES (1, 'b')
"""

ADD = (
    'with op.batch_alter_table("{table}", recreate="always") as batch:\n'
    '    batch.add_column(sa.Column("new", sa.Integer))'
)
DROP = (
    'with op.batch_alter_table("{table}", recreate="always") as batch:\n'
    '    batch.drop_column("new")'
)


def query(url: str, sql: str) -> list[Any]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def definitions(url: str) -> dict[str, str]:
    """Return what the database keeps, without the names of constraints and spaces."""
    rows = query(url, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: sql for name, sql in rows if "alembic" not in name and "websauna" not in name}


def start(workshop: Workshop, url: str, batch: str, back: str = "pass") -> Any:
    folder = workshop.package("shop", "Base = None", metadata=None)
    statements = "\n".join(
        f"op.get_bind().exec_driver_sql({one!r})"
        for one in re.split(r";\n(?=[A-Z])", BEFORE.strip())
    )
    workshop.script("shop", "a1", None, statements)
    workshop.script("shop", "a2", "a1", batch, back)
    assert folder
    service = workshop.service(url)
    service.upgrade("shop@a1")
    return service


def facts(url: str) -> dict[str, Any]:
    made = definitions(url)
    table = made["t"].upper()
    return {
        "objects": sorted(made),
        "collations": sorted(re.findall(r"COLLATE \"?(\w+)", made["t"])),
        "autoincrement": "AUTOINCREMENT" in table,
        "conflicts": sorted(re.findall(r"ON CONFLICT (\w+)", table)),
        "counter": query(url, "SELECT seq FROM sqlite_sequence WHERE name = 't'"),
        "texts": {name: made[name] for name in made if name not in ("t", "r", "s", "u")},
        "rowid": "WITHOUT ROWID" in made["r"].upper(),
        "ignore": "ON CONFLICT IGNORE" in made["r"].upper(),
        "strict": "STRICT" in made["s"].upper(),
        "rows": [
            query(url, "SELECT id, name, n FROM t"),
            query(url, "SELECT k, v FROM r"),
            query(url, "SELECT k, v FROM s"),
        ],
    }


def test_a_batch_keeps_what_is_not_reflected(workshop: Workshop, sqlite_url: str) -> None:
    names = "trs" if KNOWS_STRICT else "tr"
    batch = "\n".join(ADD.format(table=name) for name in names)
    back = "\n".join(DROP.format(table=name) for name in names)
    service = start(workshop, sqlite_url, batch, back)
    before = facts(sqlite_url)
    assert before["conflicts"] == ["FAIL", "IGNORE", "REPLACE"]
    assert before["counter"] == [(99,)]
    for go in (service.upgrade, lambda: service.downgrade("-1"), service.upgrade):
        go()
        after = facts(sqlite_url)
        # Alembic makes indexes of plain columns again in its own words.
        for one in (before, after):
            one["texts"].pop("ix_plain", None)
        assert after == before
    # And all of it works.
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute("INSERT INTO w VALUES (1)")
    assert connection.execute("SELECT n FROM t").fetchall() == [(8,)]
    connection.execute("INSERT INTO t (name, n) VALUES ('c', 9)")
    assert connection.execute("SELECT max(id) FROM t").fetchall() == [(100,)]
    connection.close()


@pytest.mark.skipif(KNOWS_STRICT, reason="this SQLAlchemy knows STRICT")
def test_a_strict_table_is_not_loosened_by_an_old_sqlalchemy(
    workshop: Workshop, sqlite_url: str
) -> None:
    service = start(workshop, sqlite_url, ADD.format(table="s"))
    before = facts(sqlite_url)
    with pytest.raises(StepFailed, match=r"STRICT.*\n?.*SQLAlchemy 2\.0\.37"):
        service.upgrade()
    assert facts(sqlite_url) == before


def test_a_batch_keeps_the_words_of_keys(workshop: Workshop, sqlite_url: str) -> None:
    batch, back = ADD.format(table="u"), DROP.format(table="u")
    service = start(workshop, sqlite_url, batch, back)

    def keys() -> list[str]:
        text = " ".join(definitions(sqlite_url)["u"].split())
        return sorted(re.findall(r"(?:PRIMARY KEY|UNIQUE) \([^)]*\)(?: ON CONFLICT \w+)?", text))

    before = keys()
    assert len(before) == 3
    for go in (service.upgrade, lambda: service.downgrade("-1")):
        go()
        assert keys() == before


def test_an_empty_table_keeps_its_counter(workshop: Workshop, sqlite_url: str) -> None:
    service = start(workshop, sqlite_url, ADD.format(table="t"))
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute("DELETE FROM t")
    connection.commit()
    connection.close()
    service.upgrade()
    assert query(sqlite_url, "SELECT name, seq FROM sqlite_sequence") == [("t", 99)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ('batch.drop_column("name")', 'index "ix_desc" has the column "name"'),
        (
            'batch.alter_column("name", new_column_name="title")',
            'index "ix_desc" has the column "name"',
        ),
        ('batch.drop_column("id")', 'trigger "own" has the column "id"'),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    workshop: Workshop, sqlite_url: str, change: str, what: str
) -> None:
    service = start(
        workshop,
        sqlite_url,
        f'with op.batch_alter_table("t", recreate="always") as batch:\n    {change}',
    )
    before = definitions(sqlite_url)
    with pytest.raises(MigrationError) as caught:
        service.upgrade()
    assert what in str(caught.value)
    assert "before the batch" in str(caught.value)
    assert definitions(sqlite_url) == before


def test_a_renamed_column_of_plain_indexes_is_followed(workshop: Workshop, sqlite_url: str) -> None:
    service = start(
        workshop,
        sqlite_url,
        'op.execute("DROP INDEX ix_nocase")\n'
        'with op.batch_alter_table("t", recreate="always") as batch:\n'
        '    batch.alter_column("code", new_column_name="sku")',
    )
    service.upgrade()
    made = definitions(sqlite_url)
    assert "sku" in made["t"] and "ON CONFLICT REPLACE" in made["t"]


def test_the_table_of_an_interrupted_batch_is_named(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    service = start(workshop, sqlite_url, ADD.format(table="t"))
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute("CREATE TABLE _alembic_tmp_t (id INTEGER)")
    connection.commit()
    with pytest.raises(MigrationError) as caught:
        service.upgrade()
    message = str(caught.value)
    assert '"_alembic_tmp_t"' in message
    # The remedy works.
    remedy = re.search(r"DROP TABLE [^;]+", message)
    assert remedy is not None
    connection.execute(remedy[0])
    connection.commit()
    connection.close()
    service.upgrade()
    assert "new" in definitions(sqlite_url)["t"]


#: Types before and behind, a value, and what is to become of it there and back; as plain Alembic
#: casts it: 2020, 2020, 2020, 2020, 0, 12, 0, 0, 0, then the same.
VALUES = [
    ("DATETIME", "sa.Date()", "2020-01-31 10:00:00.000000", "2020-01-31"),
    ("DATE", "sa.DateTime()", "2020-01-31", "2020-01-31 00:00:00.000000"),
    ("DATETIME", "sa.Time()", "2020-01-31 10:00:00.000000", "10:00:00.000000"),
    ("TEXT", "sa.TIMESTAMP()", "2020-01-31 10:00:00", "2020-01-31 10:00:00"),
    ("TEXT", "sa.Integer()", "none", "none"),
    ("TEXT", "sa.Numeric(8, 2)", "12 pieces", "12 pieces"),
    ("VARCHAR(9)", "sa.Boolean()", "perhaps", "perhaps"),
    ("VARCHAR(9)", "sa.Boolean()", "TRUE", 1),
    ("VARCHAR(9)", "sa.Float()", "no", "no"),
    ("VARCHAR(9)", "sa.Integer()", " 12 ", 12),
    ("NUMERIC(8, 2)", "sa.Integer()", 1.5, 1),
    ("INTEGER", "sa.Boolean()", 1, 1),
    ("FLOAT", "sa.String(9)", 1.5, "1.5"),
    ("DATETIME", "sa.TIMESTAMP()", "2020-01-31 10:00:00.000000", "2020-01-31 10:00:00.000000"),
]


def test_no_value_is_lost_by_a_change_of_type(workshop: Workshop, sqlite_url: str) -> None:
    names = [f"c{number}" for number in range(len(VALUES))]
    types = zip(names, (before for before, *_ in VALUES), strict=True)
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute(f"CREATE TABLE t ({', '.join(map(' '.join, types))})")
    marks = ", ".join("?" * len(VALUES))
    connection.execute(f"INSERT INTO t VALUES ({marks})", [value for _, _, value, _ in VALUES])
    connection.commit()
    connection.close()
    changes = [
        f"    batch.alter_column({name!r}, type_={after})"
        for name, (_, after, *_) in zip(names, VALUES, strict=True)
    ]
    workshop.package("shop", "Base = None", metadata=None)
    workshop.script(
        "shop", "a1", None, "\n".join(['with op.batch_alter_table("t") as batch:', *changes])
    )
    workshop.service(sqlite_url).upgrade()
    assert query(sqlite_url, "SELECT * FROM t") == [tuple(found for *_, found in VALUES)]


def test_a_date_that_gets_a_time_and_loses_it_is_the_same(
    workshop: Workshop, sqlite_url: str
) -> None:
    models = "import sqlalchemy as sa\nmetadata = sa.MetaData()\nsa.Table('t', metadata,\n"
    models += "    sa.Column('id', sa.Integer, primary_key=True), sa.Column('day', sa.{type}))\n"
    folder = workshop.package("shop", models.format(type="Date"), metadata="shop.models.metadata")
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute("INSERT INTO t VALUES (1, '2020-01-31')")
    connection.commit()
    connection.close()
    (folder / "models.py").write_text(models.format(type="DateTime"))
    workshop.forget()
    service = workshop.service(sqlite_url)
    (script,) = service.revision("two", autogenerate=True)
    # The way back says what each database calls it, not what SQLite does.
    assert "DATETIME" not in Path(script.path).read_text()
    service.upgrade()
    assert query(sqlite_url, "SELECT day FROM t") == [("2020-01-31 00:00:00.000000",)]
    service.downgrade("-1")
    assert query(sqlite_url, "SELECT day FROM t") == [("2020-01-31",)]


CHECKED = (
    "CREATE TABLE c (id INTEGER PRIMARY KEY, length INTEGER CHECK (length > 0), name VARCHAR(9), "
    "kind VARCHAR(1), CHECK (length(name) > 1), CHECK (name <> '50%' AND name <> ':x'), "
    "CHECK (kind IN ('a', 'b')), CHECK (\"length\" < id OR kind <> 'b'))"
)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ('batch.add_column(sa.Column("new", sa.Integer))', [0, 1, 2, 3, 4]),
        ('batch.alter_column("length", type_=sa.BigInteger())', [0, 1, 2, 3, 4]),
        ('batch.alter_column("kind", type_=sa.String(2))', [0, 1, 2, 3, 4]),
        # It may be the CHECK of an older enum.
        ('batch.alter_column("kind", type_=sa.Enum("a", "c"))', [0, 1, 2, 4]),
        ('batch.drop_constraint("c_kind_check", type_="check")', [0, 1, 2, 4]),
        ('batch.drop_column("kind")', [0, 1, 2]),
        ('batch.drop_column("length")', [1, 2, 3]),
        (
            'batch.alter_column("length", new_column_name="long, er")',
            ['"long, er" > 0', 1, 2, 3, "\"long, er\" < id OR kind <> 'b'"],
        ),
    ],
)
def test_a_batch_keeps_checks_without_a_name(
    workshop: Workshop, sqlite_url: str, change: str, kept: list[Any]
) -> None:
    workshop.package("shop", "Base = None", metadata=None)
    workshop.script("shop", "a1", None, f"op.get_bind().exec_driver_sql({CHECKED!r})")
    batch = f'with op.batch_alter_table("c", recreate="always") as batch:\n    {change}'
    workshop.script("shop", "a2", "a1", batch)
    texts = [
        "length > 0",
        "length(name) > 1",
        "name <> '50%' AND name <> ':x'",
        "kind IN ('a', 'b')",
        "\"length\" < id OR kind <> 'b'",
    ]
    workshop.service(sqlite_url).upgrade()
    written = definitions(sqlite_url)["c"]
    for one in kept:
        text = texts[one] if isinstance(one, int) else one
        assert f"CHECK ({text})".replace(" ", "") in written.replace(" ", "")
    assert written.count("CHECK") == len(kept)


TABLE = """
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table({!r}, metadata, *{})
"""


def changed_models(workshop: Workshop, url: str, *versions: tuple[str, str], rows: str) -> Any:
    """Return the service of the second models, on a database of the first ones with rows."""
    first, second = (TABLE.format(*one) for one in versions)
    folder = workshop.package("fooapp", first, metadata="fooapp.models.metadata")
    workshop.service(url).revision("one", autogenerate=True)
    workshop.service(url).upgrade()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(rows)
    workshop.forget()
    (folder / "models.py").write_text(second)
    return workshop.service(url)


def test_a_table_gets_a_name_in_another_case(workshop: Workshop, sqlite_url: str) -> None:
    columns = "[sa.Column('id', sa.Integer, primary_key=True)]"
    insert = "INSERT INTO Things VALUES (7)"
    service = changed_models(
        workshop, sqlite_url, ("Things", columns), ("things", columns), rows=insert
    )
    service.revision("two", autogenerate=True, rename_tables=["Things:things"])
    service.upgrade()
    assert service.check().problems == ()
    assert rows_of(sqlite_url, "SELECT name FROM sqlite_master WHERE name LIKE 'things'") == [
        ("things",)
    ]
    service.downgrade("-1")
    assert rows_of(sqlite_url, "SELECT name FROM sqlite_master WHERE name LIKE 'things'") == [
        ("Things",)
    ]
    assert rows_of(sqlite_url, "SELECT id FROM things") == [(7,)]


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("sa.Column('c', sa.Integer, primary_key=True)", (1, None)),
        ("sa.Column('c', sa.Integer)", (None, None)),
        ("sa.Column('c', sa.Integer, server_default='5')", (5, None)),
    ],
)
def test_rows_stay_of_which_no_column_does(
    workshop: Workshop, sqlite_url: str, column: str, row: tuple[int | None, None]
) -> None:
    old = "[sa.Column('a', sa.Integer, primary_key=True), sa.Column('b', sa.Text)]"
    new = f"[{column}, sa.Column('d', sa.Text)]"
    insert = "INSERT INTO t VALUES (7, NULL)"
    service = changed_models(workshop, sqlite_url, ("t", old), ("t", new), rows=insert)
    service.revision("two", autogenerate=True, allow_drops=True)
    service.upgrade()
    assert service.check().problems == ()
    assert rows_of(sqlite_url, "SELECT c, d FROM t") == [row]
    service.downgrade("-1")
    assert rows_of(sqlite_url, "SELECT a, b FROM t") == [(1, None)]


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return connection.execute(query).fetchall()


#: Three constraints without a name, and a batch whose convention gives them one.
UNNAMED = """
op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))
op.create_table("t", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("a_id", sa.Integer, sa.ForeignKey("a.id")), sa.Column("x", sa.Integer),
    sa.Column("y", sa.String(5)), sa.UniqueConstraint("x"))
op.create_index("ix_x", "t", ["x"])
op.create_index("ix_sum", "t", [sa.text("x + id")])
"""
CONVENTION = """
names = {"fk": "fk_%(table_name)s_%(column_0_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s"}
with op.batch_alter_table("t", naming_convention=names) as batch:
    batch.alter_column("x", existing_type=sa.Integer, nullable=False)
"""
DROPPED = """
with op.batch_alter_table("t") as batch:
    batch.drop_constraint("fk_t_a_id", type_="foreignkey")
    batch.drop_constraint("uq_t_x", type_="unique")
"""
#: A table that the script gives, without an index.
GIVEN = """
table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("a_id", sa.Integer), sa.Column("x", sa.Integer), sa.Column("y", sa.String(5)))
with op.batch_alter_table("t", copy_from=table) as batch:
    batch.alter_column("y", existing_type=sa.String(5), type_=sa.String(20))
op.create_index("ix_x", "t", ["x", "y"])
"""


def test_a_batch_does_what_the_script_says_as_with_alembic(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("shop", "Base = None", metadata=None)
    workshop.script("shop", "a1", None, UNNAMED)
    workshop.script("shop", "a2", "a1", CONVENTION)
    workshop.script("shop", "a3", "a2", DROPPED)
    workshop.script("shop", "a4", "a3", GIVEN)
    service = workshop.service(sqlite_url)
    service.upgrade("shop@a2")
    names = re.findall(r"CONSTRAINT (\w+)", definitions(sqlite_url)["t"])
    assert sorted(names) == ["fk_t_a_id", "pk_t", "uq_t_x"]
    service.upgrade()
    made = definitions(sqlite_url)
    assert "CONSTRAINT fk" not in made["t"] and "UNIQUE" not in made["t"]
    # Alembic sees no index of expressions, and cannot be told of it there.
    assert made["ix_x"] == "CREATE INDEX ix_x ON t (x, y)" and "ix_sum" in made
