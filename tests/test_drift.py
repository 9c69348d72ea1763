"""``drift``: what was changed by hand, after which run; what only models have; and accepting it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from apps import THING, Workshop
from conftest import PostgreSQLServer, Run
from runs import engine_of, execute, rows, table

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Offer(Base):
    __tablename__ = "offers"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String(20))
"""

OFFERS = """
op.create_table(
    "offers",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("title", sa.String(20)),
)
"""


def test_check_tells_what_was_changed_by_hand_since_the_last_run(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", MODELS)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application("fooapp", tmp_path / "site.ini", database_url)
    assert workshop.ws(ini, "upgrade").status == 0
    assert workshop.ws(ini, "check").status == 0
    execute(database_url, "ALTER TABLE offers ADD COLUMN by_hand INTEGER")
    execute(database_url, "ALTER TABLE offers DROP COLUMN title")
    execute(database_url, "CREATE INDEX ix_odd ON offers (id)")
    # Nothing tells that this one is the package's.
    execute(database_url, "CREATE TABLE nobodys (id INTEGER)")
    found = workshop.ws(ini, "check", "--json")
    problems = json.loads(found.out)["problems"]
    told = {one["details"][0]: one for one in problems if one["kind"] == "database-changed"}
    assert {name: one["details"][1] for name, one in told.items()} == {
        'table "offers", column "by_hand"': "is new",
        'table "offers", column "title"': "is gone",
        'table "offers", index "ix_odd"': "is new",
    }
    assert {one["package"] for one in told.values()} == {"fooapp"}
    message = told['table "offers", column "title"']["message"]
    assert 'Package "fooapp": table "offers", column "title" is gone since run ' in message
    assert " UTC, by no run. " in message
    assert workshop.ws(ini, "-x", "packages=fooapp", "drift", "--accept").status == 0
    assert "database-changed" not in workshop.ws(ini, "check", "--json").out
    execute(database_url, "DROP TABLE offers")
    problems = json.loads(workshop.ws(ini, "check", "--json").out)["problems"]
    (gone,) = [one for one in problems if one["kind"] == "database-changed"]
    assert gone["details"][:2] == ['table "offers"', "is gone"]


def test_drift_is_told_with_its_kind_and_its_time(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", MODELS)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application(
        "fooapp", tmp_path / "site.ini", database_url, cache=str(tmp_path / "cache")
    )
    assert workshop.ws(ini, "upgrade").status == 0
    clean = workshop.ws(ini, "drift")
    assert (clean.status, clean.out) == (0, "No drift.\n")
    execute(database_url, "ALTER TABLE offers ADD COLUMN by_hand INTEGER")
    execute(database_url, "CREATE TABLE nobodys (id INTEGER)")
    # The models have one column more, and another script waits.
    with (folder / "models.py").open("a") as models:
        models.write("    price = sa.Column(sa.Integer)\n")
    found = workshop.ws(ini, "drift", "--json")
    told = {one["kind"]: one for one in json.loads(found.out)["found"]}
    assert found.status == 8 and sorted(told) == ["database-changed", "models-changed", "unowned"]
    by_hand = told["database-changed"]
    assert by_hand["object"] == 'table "offers", column "by_hand"'
    assert by_hand["made"] == "no revision makes it"
    assert by_hand["when"].startswith("changed after run ")
    assert by_hand["when"].endswith(" UTC, by no run")
    assert told["models-changed"]["object"] == 'table "offers", column "price"'
    assert told["unowned"]["object"] == 'table "nobodys"'
    workshop.script("fooapp", "f02", "f01", **table("second"))
    shown = workshop.ws(ini, "drift")
    assert 'not applied:\n  fooapp  package "fooapp" has not applied f02\n' in shown.out
    # A run that follows tells that it was so before it.
    assert workshop.ws(ini, "upgrade").status == 0
    later = json.loads(workshop.ws(ini, "drift", "--json").out)["found"][0]
    assert "and before run " in later["when"]
    accepted = workshop.ws(ini, "drift", "--accept")
    assert accepted.status == 0 and "Accepted" in accepted.err
    (now,) = (
        one
        for one in json.loads(workshop.ws(ini, "drift", "--json").out)["found"]
        if one["kind"] == "database-changed"
    )
    assert now["accepted"]
    # What is changed once more is not accepted.
    execute(database_url, "ALTER TABLE offers DROP COLUMN by_hand")
    execute(database_url, "ALTER TABLE offers DROP COLUMN title")
    (now,) = (
        one
        for one in json.loads(workshop.ws(ini, "drift", "--json").out)["found"]
        if one["kind"] == "database-changed"
    )
    assert now["object"] == 'table "offers", column "title"' and not now["accepted"]
    assert now["made"] == "as fooapp@f01 made it"


def run_sql(url: str, statements: Sequence[str]) -> None:
    """Run statements by the driver, on one connection."""
    with engine_of(url).connect() as connection:
        for statement in statements:
            connection.connection.cursor().execute(statement)
        connection.connection.commit()


ALL_MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass
"""

SHOP = """
op.create_table(
    "shops",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False, server_default="none"),
    sa.Column("kind", sa.Enum("a", "b", name="shop_kinds")),
    sa.Column("note", sa.Text),
    sa.UniqueConstraint("name", name="uq_shops_name"),
)
op.create_table(
    "sales",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("shop", sa.Integer, sa.ForeignKey("shops.id", name="fk_sales_shop")),
    sa.Column("amount", sa.Numeric(10, 2)),
    sa.CheckConstraint("amount > 0", name="ck_amount"),
    sa.Index("ix_sales_shop", "shop"),
)
op.execute("CREATE VIEW z_low AS SELECT id, amount FROM sales")
op.execute("CREATE VIEW a_top AS SELECT id FROM z_low")
"""

#: By the database: what was changed by hand. The first is for all.
BY_HAND = {
    "sqlite": (
        "DROP VIEW a_top",
        "DROP VIEW z_low",
        "DROP TABLE sales",
        "ALTER TABLE shops DROP COLUMN note",
    ),
    "postgresql": (
        "DROP TABLE sales CASCADE",
        "ALTER TABLE shops DROP CONSTRAINT uq_shops_name, DROP COLUMN note",
        "ALTER TABLE shops ALTER COLUMN name TYPE text, ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE shops ALTER COLUMN name SET DEFAULT 'other'",
        "COMMENT ON COLUMN shops.name IS 'odd'",
        "CREATE INDEX ix_odd ON shops (kind)",
    ),
    "mysql": (
        "DROP TABLE sales",
        "DROP VIEW a_top",
        "DROP VIEW z_low",
        "ALTER TABLE shops DROP KEY uq_shops_name, DROP COLUMN note, DROP COLUMN id",
        "ALTER TABLE shops MODIFY COLUMN name varchar(30) NULL DEFAULT 'other'",
        "ALTER TABLE shops MODIFY COLUMN kind enum('a')",
        "CREATE INDEX ix_odd ON shops (kind)",
    ),
}


def test_the_sql_of_drift_brings_a_database_back(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", ALL_MODELS)
    workshop.script("fooapp", "f01", None, SHOP)
    ini = workshop.application(
        "fooapp", tmp_path / "site.ini", database_url, cache=str(tmp_path / "cache")
    )
    upgraded = workshop.ws(ini, "upgrade")
    assert upgraded.status == 0, upgraded.err
    nothing = workshop.ws(ini, "drift", "--sql")
    assert (nothing.status, nothing.out) == (0, "-- Nothing to run.\n")
    (database,) = (one for one in BY_HAND if database_url.startswith((one, "mariadb"[: len(one)])))
    for statement in BY_HAND[database]:
        execute(database_url, statement)
    found = workshop.ws(ini, "drift", "--sql")
    print(found.out)
    assert found.status == 8 and "By hand" not in found.out
    report = json.loads(workshop.ws(ini, "drift", "--json").out)
    assert found.out == "".join(f"{one};\n" for one in report["sql"])
    run_sql(database_url, report["sql"])
    again = workshop.ws(ini, "drift")
    assert not [line for line in again.out.splitlines() if "not behind" in line], again.out
    assert 'behind "f01"' not in again.out


#: Views that stand on each other, by names in another order, and tables whose columns are others'.
ON_EACH_OTHER = """
for statement in (
    "CREATE TYPE colours AS ENUM ('red', 'blue')",
    "CREATE TABLE parts (id int PRIMARY KEY, y varchar(10), z int DEFAULT 3, c colours) "
    "PARTITION BY RANGE (id)",
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    "CREATE INDEX ix_y ON parts (y)",
    "CREATE TABLE base (v int, w int DEFAULT 1, n serial)",
    "CREATE TABLE kid (extra int) INHERITS (base)",
    "CREATE VIEW low AS SELECT id, y FROM parts WHERE c <> 'blue'",
    "CREATE VIEW a_top AS SELECT y FROM low",
    "COMMENT ON VIEW a_top IS 'top'",
    "CREATE MATERIALIZED VIEW kept AS SELECT y FROM a_top",
    "CREATE UNIQUE INDEX ix_kept ON kept (y)",
    "CREATE POLICY own ON base USING (v > 0)",
):
    op.execute(statement)
"""

WITHOUT_VIEWS = ("DROP MATERIALIZED VIEW kept", "DROP VIEW a_top", "DROP VIEW low")


@pytest.mark.parametrize(
    "by_hand",
    [
        ("ALTER TYPE colours ADD VALUE 'green' BEFORE 'blue'",),
        (
            *WITHOUT_VIEWS,
            "ALTER TABLE parts ALTER y TYPE text, ADD q int, DROP z",
            "CREATE VIEW low AS SELECT id, y FROM parts WHERE c <> 'blue'",
            "CREATE VIEW a_top AS SELECT y FROM low",
            "CREATE MATERIALIZED VIEW kept AS SELECT y FROM a_top",
            "CREATE INDEX by_hand ON kept (y)",
        ),
        (
            *("ALTER TABLE base RENAME TO former", "ALTER TABLE parts RENAME y TO yy"),
            "CREATE OR REPLACE VIEW low AS SELECT id, yy AS y FROM parts",
        ),
        (
            *WITHOUT_VIEWS,
            "DROP TABLE parts_1",
            "ALTER TABLE parts RENAME z TO zz",
            "DROP POLICY own ON base",
            "ALTER TABLE base ALTER w TYPE bigint, ALTER v TYPE bigint",
            "ALTER TABLE base RENAME w TO ww",
            "CREATE POLICY own ON base USING (v > 0)",
        ),
    ],
)
def test_what_stands_on_columns_goes_and_comes_back(
    workshop: Workshop, postgresql_url: str, tmp_path: Path, by_hand: tuple[str, ...]
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f01", None, ON_EACH_OTHER)
    ini = workshop.application("fooapp", tmp_path / "site.ini", postgresql_url)
    assert workshop.ws(ini, "upgrade").status == 0
    execute(postgresql_url, *by_hand)
    found = json.loads(workshop.ws(ini, "drift", "--json").out)
    assert not any(one["not_written"] for one in found["found"])
    shown = workshop.ws(ini, "drift", "--sql").out
    without_grants = "give them again: " in shown.partition("\n")[0]
    assert without_grants == any(one.startswith("DROP VIEW public.") for one in found["sql"])
    run_sql(postgresql_url, found["sql"])
    assert workshop.ws(ini, "drift").out == "No drift.\n"


MOVED = """
for statement in (
    "CREATE SCHEMA away",
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "CREATE TYPE size AS ENUM ('s', 'l')",
    "CREATE TABLE things (id serial PRIMARY KEY, m mood DEFAULT 'b', CHECK (m <> 'a'))",
    "CREATE TABLE parts (id int REFERENCES things, m mood, s size DEFAULT 'l')",
    "CREATE SEQUENCE tickets",
):
    op.execute(statement)
"""


def test_what_a_hand_put_into_another_schema_comes_back_in_one_transaction(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f01", None, MOVED)
    ini = workshop.application("fooapp", tmp_path / "site.ini", postgresql_url)
    assert workshop.ws(ini, "upgrade").status == 0
    execute(
        postgresql_url,
        *("INSERT INTO things DEFAULT VALUES", "INSERT INTO parts VALUES (1, 'b')"),
        *(f"ALTER {one} SET SCHEMA away" for one in ("TYPE mood", "TABLE things")),
        "ALTER SEQUENCE tickets SET SCHEMA away",
        *("ALTER TABLE parts DROP s", "DROP TYPE size", "CREATE TYPE size AS ENUM ('s')"),
    )
    sql = json.loads(workshop.ws(ini, "drift", "--json").out)["sql"]
    assert sql[0] == "ALTER TYPE public.size ADD VALUE 'l' AFTER 's'"
    assert (sql[1], sql[-1]) == ("BEGIN", "COMMIT")
    with engine_of(postgresql_url).connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in [*sql[:-1], "SELECT no FROM nothing", *sql[-1:]]:
            # As psql goes on behind a statement that failed.
            with contextlib.suppress(sa.exc.DBAPIError):
                connection.exec_driver_sql(statement)
    assert json.loads(workshop.ws(ini, "drift", "--json").out)["sql"] == sql[1:]
    run_sql(postgresql_url, sql[1:])
    assert workshop.ws(ini, "drift").out == "No drift.\n"
    joined = "SELECT t.id, t.m, p.m FROM things t JOIN parts p ON p.id = t.id"
    assert rows(postgresql_url, joined) == [(1, "b", "b")]


NUMBERED = """
for name in ("things", "others", "thirds"):
    op.create_table(
        name,
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("word", sa.String(20)),
    )
"""

#: By the table: how its column numbers itself otherwise.
NUMBERED_OTHERWISE = {
    "things": ("ALTER TABLE things ALTER id DROP IDENTITY",),
    "others": (
        "ALTER TABLE others ALTER id DROP IDENTITY",
        "CREATE SEQUENCE others_id_seq OWNED BY others.id",
        "ALTER TABLE others ALTER id SET DEFAULT nextval('others_id_seq')",
    ),
    "thirds": (
        "ALTER TABLE thirds ALTER id DROP IDENTITY",
        "CREATE SEQUENCE by_hand OWNED BY thirds.id",
        "ALTER TABLE thirds ALTER id SET DEFAULT nextval('by_hand')",
    ),
}


def test_an_identity_that_comes_back_goes_on_behind_the_rows(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp", ALL_MODELS)
    workshop.script("fooapp", "f01", None, NUMBERED)
    service = workshop.service(postgresql_url)
    service.upgrade()
    for name, by_hand in NUMBERED_OTHERWISE.items():
        execute(postgresql_url, f"INSERT INTO {name} (word) VALUES ('a'), ('b')")
        for statement in by_hand:
            execute(postgresql_url, statement)
    for statement in service.drift().sql:
        execute(postgresql_url, statement)
    # Nothing uses it any more.
    execute(postgresql_url, "DROP SEQUENCE by_hand")
    assert service.drift().found == ()
    for name in NUMBERED_OTHERWISE:
        execute(postgresql_url, f"INSERT INTO {name} (word) VALUES ('c')")
        assert rows(postgresql_url, f"SELECT id FROM {name} WHERE word = 'c'") == [(3,)]


#: How a column numbers itself, by statements; its name is a keyword, the table's has what drivers
#: read.
NUMBERINGS = (
    ('CREATE TABLE {t} ("order" integer NOT NULL, word text)',),
    ('CREATE TABLE {t} ("order" bigserial, word text)',),
    (
        'CREATE TABLE {t} ("order" integer, word text)',
        'CREATE SEQUENCE "own {t}" INCREMENT 5 OWNED BY {t}."order"',
        'ALTER TABLE {t} ALTER "order" SET DEFAULT nextval(\'"own {t}"\')',
    ),
    (
        'CREATE TABLE {t} ("order" serial, word text)',
        'ALTER TABLE {t} ALTER "order" SET DEFAULT 7',
    ),
    ('CREATE TABLE {t} ("order" integer GENERATED ALWAYS AS IDENTITY (INCREMENT 2), word text)',),
    ('CREATE TABLE {t} ("order" bigint GENERATED BY DEFAULT AS IDENTITY, word text)',),
)


def test_a_column_numbers_itself_as_it_did(workshop: Workshop, postgresql_url: str) -> None:
    def written(name: str, numbering: int) -> list[str]:
        texts = [one.replace('"own {t}"', f'"own {name}"') for one in NUMBERINGS[numbering]]
        return [one.format(t=f'"{name}"') for one in texts]

    pairs = {f"{a}%(b){b}": (a, b) for a, b in itertools.permutations(range(6), 2)}
    made = [one for name, (there, _) in pairs.items() for one in written(name, there)]
    workshop.package("fooapp", ALL_MODELS)
    workshop.script("fooapp", "f01", None, "\n".join(f"op.execute({one!r})" for one in made))
    service = workshop.service(postgresql_url)
    service.upgrade()
    assert service.drift().found == ()
    for name, (_, by_hand) in pairs.items():
        number = '"order", ' if by_hand == 0 else ""
        row = f"INSERT INTO \"{name}\" ({number}word) VALUES ({'3, ' if number else ''}'a')"
        execute(postgresql_url, f'DROP TABLE "{name}"', *written(name, by_hand), row)
    run_sql(postgresql_url, service.drift().sql)
    left = [one for one in service.drift().found if one.kind != "unowned"]
    assert left == []
    for name, (there, _) in pairs.items():
        if there not in (0, 3):
            execute(postgresql_url, f"INSERT INTO \"{name}\" (word) VALUES ('b')")
            query = f'SELECT max("order") FROM "{name}" WHERE word ='
            before, now = (rows(postgresql_url, f"{query} '{one}'")[0][0] for one in "ab")
            assert now > before, name


def test_a_second_sequence_of_a_column_changes_nothing_of_its_default(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp", MODELS.replace("offers", "serials"))
    serials = 'op.create_table("serials", sa.Column("id", sa.Integer, primary_key=True),\n'
    workshop.script("fooapp", "f01", None, f'{serials}    sa.Column("title", sa.String(20)))')
    service = workshop.service(postgresql_url)
    service.upgrade()
    execute(postgresql_url, "INSERT INTO serials (title) VALUES ('a')")
    execute(postgresql_url, "CREATE SEQUENCE extra OWNED BY serials.id")
    assert not [one for one in service.drift().found if "column" in str(one.object)]
    for statement in service.drift().sql:
        execute(postgresql_url, statement)
    execute(postgresql_url, "INSERT INTO serials (title) VALUES ('b')")
    assert rows(postgresql_url, "SELECT id FROM serials WHERE title = 'b'") == [(2,)]


#: Tables of one name; each is mended to each other one. The names have what drivers read.
TABLES_BY_HAND = {
    "mariadb": (
        "CREATE TABLE {t} (id int NOT NULL, w varchar(20))",
        "CREATE TABLE {t} (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, w varchar(20))",
        "CREATE TABLE {t} (id bigint unsigned NOT NULL AUTO_INCREMENT, "
        "w varchar(20) NOT NULL DEFAULT 'a%b', KEY ix (id), UNIQUE KEY u (w))",
        "CREATE TABLE {t} (w varchar(20) COLLATE utf8mb4_bin, id int, PRIMARY KEY (id, w), "
        "CHECK (id > 1))",
        "CREATE TABLE {t} (id int DEFAULT (1+1), w varchar(20), x int AS (id+1) VIRTUAL, "
        "KEY ix (w(5) DESC)) COMMENT 'it''s'",
    ),
    "sqlite": (
        "CREATE TABLE {t} (id INTEGER NOT NULL, w TEXT)",
        "CREATE TABLE {t} (id INTEGER PRIMARY KEY AUTOINCREMENT, w TEXT COLLATE NOCASE)",
        "CREATE TABLE {t} (w TEXT, id INT, PRIMARY KEY (id, w), CHECK (id > 0)) WITHOUT ROWID",
        "CREATE TABLE {t} (id INT DEFAULT (1+1), w TEXT NOT NULL DEFAULT 'a%b', x INT AS (id+1))",
    ),
}


@pytest.mark.parametrize("product", TABLES_BY_HAND)
def test_each_table_is_mended_to_each_other(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url, made = request.getfixturevalue(f"{product}_url"), TABLES_BY_HAND[product]
    quoted = "`{}`" if product == "mariadb" else '"{}"'
    pairs = {
        quoted.format(f"{a} %s {b}"): (made[a], made[b])
        for a, b in itertools.permutations(range(len(made)), 2)
    }
    scripts = [f"op.execute({there.format(t=name)!r})" for name, (there, _) in pairs.items()]
    workshop.package("fooapp", ALL_MODELS)
    workshop.script("fooapp", "f01", None, "\n".join(scripts))
    service = workshop.service(url)
    service.upgrade()
    for name, (_, by_hand) in pairs.items():
        row = f"INSERT INTO {name} (id, w) VALUES (5, 'a')"
        run_sql(url, [f"DROP TABLE {name}", by_hand.format(t=name), row])
    run_sql(url, service.drift().sql)
    assert service.drift().found == ()
    for name in pairs:
        assert rows(url, f"SELECT id, w FROM {name}") == [(5, "a")]


TITLED = """
op.create_table(
    "offers{n}",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False),
    sa.CheckConstraint("{check}", name="ck_offers{n}"),
)
"""

#: Conditions that the server writes in words of its own.
CHECKS = (
    "title IN ('a', 'b')",
    "title IN ('(a AND b)', upper('it''s'))",
    "title BETWEEN 'a' AND 'c' AND title <> '((a AND b) AND c)'",
    "id > 0 AND (id NOT BETWEEN 5 AND 6 OR title IN ('a', title) OR id = 9) AND id < 100",
)


def test_what_the_server_writes_otherwise_is_no_drift(
    workshop: Workshop, postgresql_url: str
) -> None:
    head, _, model = MODELS.partition("class Offer(Base)")
    models, first, then = head, "", ""
    for n, check in enumerate(CHECKS):
        checked = f', nullable=False)\n    __table_args__ = (sa.CheckConstraint("{check}", '
        named = f'sa.String(20){checked}name="ck_offers{n}"),)'
        one = model.replace("sa.String(20))", named).replace('"offers"', f'"offers{n}"')
        models += f"class Offer{n}(Base){one}\n"
        first += TITLED.format(n=n, check=check.replace("title", "name"))
        # The constraint that makes it NOT NULL keeps the name that the server made of the old one.
        then += f'op.alter_column("offers{n}", "name", new_column_name="title")\n'
    workshop.package("fooapp", models)
    workshop.script("fooapp", "f01", None, first)
    workshop.script("fooapp", "f02", "f01", then)
    service = workshop.service(postgresql_url)
    service.upgrade()
    assert service.drift().found == ()
    # As a restored dump has it.
    for n, check in enumerate(CHECKS):
        query = (
            f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_offers{n}'"
        )
        ((written,),) = rows(postgresql_url, query)
        again = f"DROP CONSTRAINT ck_offers{n}, ADD CONSTRAINT ck_offers{n} {written}"
        execute(postgresql_url, f"ALTER TABLE offers{n} {again}")
        assert rows(postgresql_url, query) != [(written,)], check
    assert service.drift().found == ()
    assert service.check().problems == ()
    assert [one.verdict for one in service.locate().packages] == ["proven"]


REFERRED = """
op.create_table(
    "parts",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("shop", sa.Integer, sa.ForeignKey("shops.id", ondelete="CASCADE"), nullable=False),
)
"""


def test_a_lost_history_drops_no_table(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp", MODELS)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application("fooapp", workshop.root / "site.ini", sqlite_url)
    assert workshop.ws(ini, "upgrade").status == 0
    execute(sqlite_url, "DROP TABLE alembic_history_fooapp")
    found = workshop.ws(ini, "drift", "--sql")
    assert found.status == 8 and "DROP" not in found.out
    assert "fooapp@f01 makes it; if that ran, let stamp --verified record it" in found.out
    assert workshop.ws(ini, "stamp", "--verified").status == 0
    assert workshop.ws(ini, "drift", "--sql").out == "-- Nothing to run.\n"


def test_rows_stay_where_a_table_is_made_anew(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp", ALL_MODELS)
    trigger = "CREATE TRIGGER t INSTEAD OF INSERT ON a_top BEGIN SELECT 1; END"
    workshop.script("fooapp", "f01", None, f"{SHOP}op.execute({trigger!r})")
    workshop.script("fooapp", "f02", "f01", REFERRED)
    ini = workshop.application("fooapp", workshop.root / "site.ini", sqlite_url)
    assert workshop.ws(ini, "upgrade").status == 0
    execute(
        sqlite_url,
        "INSERT INTO shops (id, name, kind, note) VALUES (1, 'x', 'a', 'n')",
        "INSERT INTO parts (id, shop) VALUES (7, 1)",
        "ALTER TABLE shops RENAME COLUMN note TO remark",
        "ALTER TABLE sales RENAME TO former",
        "CREATE VIEW odd AS SELECT id FROM shops",
        "DROP VIEW a_top",
    )
    with engine_of(sqlite_url).connect() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = on")
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = replace(sql, 'VARCHAR(20)', 'VARCHAR(5)') "
            "WHERE name = 'shops'"
        )
        connection.commit()
    found = workshop.ws(ini, "drift", "--sql")
    assert found.status == 8 and "By hand" not in found.out
    with engine_of(sqlite_url).connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = on")
        connection.connection.driver_connection.executescript(found.out)
    assert workshop.ws(ini, "drift", "--sql").out == "-- Nothing to run.\n"
    assert rows(sqlite_url, "SELECT name, note FROM shops") == [("x", "n")]
    assert rows(sqlite_url, "SELECT id, shop FROM parts") == [(7, 1)]
    assert rows(sqlite_url, "SELECT id FROM odd") == [(1,)]


def test_no_row_goes_with_statements_of_which_one_fails(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("fooapp", ALL_MODELS)
    workshop.script("fooapp", "f01", None, SHOP)
    workshop.script("fooapp", "f02", "f01", REFERRED)
    workshop.script("fooapp", "f03", "f02", f"op.execute({COUNTED!r})")
    service = workshop.service(sqlite_url)
    service.upgrade()
    path = str(make_url(sqlite_url).database)
    with sqlite3.connect(path) as connection:
        connection.executescript(OTHER_TABLES)
    before = dumped(path)
    shell = ["sqlite3", "-cmd", "PRAGMA foreign_keys = on", path]
    # The shell goes on behind a statement that fails, as it does here where a name is missing.
    sql = service.drift().sql
    text = "".join(f"{one};\n" for one in sql)
    assert (
        "NOT NULL constraint failed"
        in subprocess.run(shell, input=text, capture_output=True, text=True, check=False).stderr
    )
    assert dumped(path) == before
    execute(sqlite_url, "UPDATE shops SET name = 'y' WHERE name IS NULL")
    for number in range(len(sql)):
        # It ends in the middle.
        part = "".join(f"{one};\n" for one in sql[:number])
        subprocess.run(shell, input=part, capture_output=True, text=True, check=True)
        assert rows(sqlite_url, "SELECT id, name FROM shops") == [(1, "x"), (2, "y")]
    subprocess.run(shell, input=text, capture_output=True, text=True, check=True)
    assert service.drift().found == ()
    assert rows(sqlite_url, "SELECT id, shop FROM parts") == [(7, 1)]
    execute(sqlite_url, "INSERT INTO counted (name) VALUES ('b')")
    assert rows(sqlite_url, "SELECT id FROM counted WHERE name = 'b'") == [(6,)]


COUNTED = "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)"

#: The tables of the scripts, made otherwise, with rows.
OTHER_TABLES = """
DROP TABLE shops;
CREATE TABLE shops (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(30), kind VARCHAR(1), note TEXT);
INSERT INTO shops (id, name) VALUES (1, 'x'), (2, NULL);
INSERT INTO parts (id, shop) VALUES (7, 1);
DROP TABLE counted;
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
INSERT INTO counted (id, name) VALUES (4, 'a'), (5, 'gone');
DELETE FROM counted WHERE id = 5;
"""


def dumped(path: str) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [*connection.iterdump()]


def test_drift_names_what_it_writes_no_sql_for(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp", ALL_MODELS)
    virtual = "CREATE VIRTUAL TABLE words USING fts5 (word)"
    workshop.script("fooapp", "f01", None, f'op.execute("{virtual}")')
    ini = workshop.application("fooapp", workshop.root / "site.ini", sqlite_url)
    assert workshop.ws(ini, "upgrade").status == 0
    execute(sqlite_url, "DROP TABLE words")
    found = workshop.ws(ini, "drift", "--sql").out
    assert '-- By hand: table "words" is behind "f01"' in found and "a virtual table" in found


def test_the_database_records_who_changed_it_and_with_what(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application("fooapp", tmp_path / "site.ini", postgresql_url)
    assert workshop.ws(ini, "drift", "--record-who").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    # Runs and their scratch places are not recorded.
    assert rows(postgresql_url, "SELECT count(*) FROM websauna_migrate_changes") == [(0,)]
    execute(postgresql_url, "ALTER TABLE offers ADD COLUMN by_hand INTEGER")
    execute(postgresql_url, "CREATE TABLE nobodys (id INTEGER)")
    found = json.loads(workshop.ws(ini, "drift", "--json").out)["found"]
    who = {one["object"]: one["who"] for one in found}
    (user,) = rows(postgresql_url, "SELECT session_user")[0]
    assert list(who) == ['table "offers", column "by_hand"', 'table "nobodys"']
    assert who['table "offers", column "by_hand"'].startswith(f"role {user} ")
    assert "ALTER TABLE offers ADD COLUMN by_hand INTEGER" in next(iter(who.values()))
    (told,) = [
        one["message"]
        for one in json.loads(workshop.ws(ini, "check", "--json").out)["problems"]
        if one["kind"] == "database-changed"
    ]
    assert f"by no run, but role {user} " in told
    assert "UTC: ALTER TABLE offers ADD COLUMN by_hand INTEGER. See the SQL" in told
    execute(postgresql_url, "DROP TABLE offers")
    assert "UTC: DROP TABLE offers" in workshop.ws(ini, "drift").out
    # What cannot be recorded is done all the same.
    execute(postgresql_url, "DROP TABLE websauna_migrate_changes")
    execute(postgresql_url, "CREATE TABLE another (id INTEGER)")
    assert workshop.ws(ini, "drift", "--forget-who").status == 0
    left = "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'websauna_migrate_changes%'"
    assert rows(postgresql_url, left) == [(0,)]


@pytest.mark.parametrize("inside", [False, True])
def test_runs_on_a_connection_of_the_applications_are_recorded_as_runs(
    workshop: Workshop, postgresql_url: str, *, inside: bool
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "f01", None, OFFERS)
    service = workshop.service(postgresql_url)
    service.record_who()
    with engine_of(postgresql_url).connect() as connection:
        if inside:
            connection.exec_driver_sql("SELECT 1")
        service.upgrade(connection=connection)
        connection.commit()
        assert rows(postgresql_url, "SELECT count(*) FROM websauna_migrate_changes") == [(0,)]
        connection.exec_driver_sql("DROP TABLE offers")
        connection.commit()
    recorded = rows(postgresql_url, "SELECT command FROM websauna_migrate_changes")
    assert recorded and {one[0] for one in recorded} == {"DROP TABLE"}


def test_a_dump_takes_along_who_changed_what(
    workshop: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str, run: Run
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "f01", None, OFFERS)
    service = workshop.service(postgresql_url)
    service.record_who()
    service.upgrade()
    execute(postgresql_url, "ALTER TABLE offers ADD COLUMN by_hand INTEGER")
    second = postgresql_server.create_database()
    try:
        uris = [
            make_url(one).set(drivername="postgresql").render_as_string(hide_password=False)
            for one in (postgresql_url, second)
        ]
        dump = run([postgresql_server.bin_dir / "pg_dump", uris[0]], text=False)
        psql = [postgresql_server.bin_dir / "psql", "-q", "-v", "ON_ERROR_STOP=1", uris[1]]
        restored = run(psql, input=dump.stdout, text=False)
        assert (restored.returncode, restored.stderr) == (0, b"")
        other = workshop.service(second)
        execute(second, "ALTER TABLE offers DROP COLUMN title")
        found = {one.object: one.who for one in other.drift().found}
        assert "ADD COLUMN by_hand" in found['table "offers", column "by_hand"']
        assert "DROP COLUMN title" in found['table "offers", column "title"']
    finally:
        postgresql_server.drop_database(second)


def test_a_role_that_is_no_superuser_installs_nothing_and_is_recorded(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "f01", None, OFFERS)
    role = f"poor_{make_url(postgresql_url).database}"
    execute(
        postgresql_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'poor'",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {role}",
    )
    url = make_url(postgresql_url).set(username=role, password="poor")
    poor_url = url.render_as_string(hide_password=False)
    poor = workshop.application("fooapp", tmp_path / "poor.ini", poor_url)
    rich = workshop.application("fooapp", tmp_path / "rich.ini", postgresql_url)
    refused = workshop.ws(poor, "drift", "--record-who")
    assert refused.status == 1
    assert "lets superusers alone make one: run the command with the URL of" in refused.err
    # The remedy.
    assert workshop.ws(rich, "drift", "--record-who").status == 0
    assert workshop.ws(poor, "upgrade").status == 0
    execute(
        poor_url, f"ALTER TABLE offers ADD COLUMN by_hand INTEGER; GRANT SELECT ON offers TO {role}"
    )
    assert f"role {role} " in workshop.ws(rich, "drift").out
    execute(poor_url, "DROP TABLE offers")
    execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_other_databases_record_nothing(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    refused = workshop.ws(ini, "drift", "--record-who")
    assert refused.status == 1 and "sqlite has no event triggers" in refused.err


@pytest.mark.parametrize("number", ["INTEGER", "integer"])
def test_a_table_of_two_packages_is_mended_once(
    workshop: Workshop, sqlite_url: str, number: str
) -> None:
    workshop.package("fooapp", MODELS + "    price = sa.Column(sa.Integer)\n")
    workshop.package("barapp", "Base = None", metadata=None)
    # A statement of one's own leaves NOT NULL out: a row's number is never NULL.
    create = f"CREATE TABLE offers (id {number} PRIMARY KEY, title VARCHAR(20))"
    workshop.script("fooapp", "f01", None, f"op.execute({create!r})")
    added = 'op.add_column("offers", sa.Column("price", sa.Integer))'
    workshop.script("barapp", "b01", None, added, requires=("fooapp@f01",))
    ini = workshop.application("fooapp", workshop.root / "site.ini", sqlite_url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    found = workshop.ws(ini, "-x", "packages=fooapp", "check")
    assert found.status == 0, found.err
    execute(
        sqlite_url,
        "INSERT INTO offers (id, title, price) VALUES (1, 'a', 3)",
        "ALTER TABLE offers DROP COLUMN title",
        "ALTER TABLE offers DROP COLUMN price",
    )
    drift = (ini, "-x", "packages=all", "drift")
    found = workshop.ws(*drift, "--sql")
    assert found.out.count("CREATE TABLE") == 1, found.out
    run_sql(sqlite_url, json.loads(workshop.ws(*drift, "--json").out)["sql"])
    assert workshop.ws(*drift, "--sql").out == "-- Nothing to run.\n"
    assert rows(sqlite_url, "SELECT id, title, price FROM offers") == [(1, None, None)]


def test_what_cannot_be_compared_is_no_agreement(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    models = MODELS + '    shop = sa.Column(sa.ForeignKey("nowhere.id"))\n'
    folder = workshop.package("fooapp", MODELS)
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    # There is no file of the database, and no script either.
    for lacking in ("no script directory", "no script in its directory"):
        checked = workshop.ws(ini, "check")
        assert checked.status == 8 and lacking in checked.out
        (folder / "alembic" / "versions").mkdir(parents=True, exist_ok=True)
    workshop.script("fooapp", "f01", None, OFFERS)
    assert workshop.ws(ini, "upgrade").status == 0
    (folder / "models.py").write_text(models)
    found = workshop.ws(ini, "drift")
    assert found.status == 8 and "No drift" not in found.out
    assert 'names "nowhere.id", but no registered package has a table "nowhere"' in found.out


def test_a_new_table_is_not_told_to_be_brought_back(workshop: Workshop, sqlite_url: str) -> None:
    """``drift --sql`` has nothing that drops it."""
    workshop.package("fooapp", THING)
    service = workshop.service(sqlite_url)
    service.revision("Things", autogenerate=True)
    service.upgrade()
    other = THING + (
        '\n\nclass Other(Base):\n    __tablename__ = "other"\n'
        "    id = sa.Column(sa.Integer, primary_key=True)\n"
    )
    (workshop.root / "fooapp" / "models.py").write_text(other)
    workshop.forget()
    execute(
        sqlite_url,
        "CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY)",
        "ALTER TABLE thing ADD COLUMN more INTEGER",
    )
    found = workshop.service(sqlite_url).check().problems
    said = {("other" in one.message): one.message for one in found if "is new" in one.message}
    assert "packages=fooapp drift --sql. Or keep it" in said[False]
    assert "drift --sql" not in said[True] and "packages=fooapp drift. Or keep it" in said[True]
