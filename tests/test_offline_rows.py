"""``upgrade --sql`` gives the rows that ``upgrade`` gives."""

from __future__ import annotations

import os
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from databases import MariaDBServer
from runs import engine_of, execute, rows

TEXTS = ["100%", "100%% :x", 'it\'s "q"', "a \\ b \\\\ c", "%(x)s %s", "; -- ;", "é 'x' \\' y"]
TEXTS += ["a\tb\nc\r\n", ":a ::b \\:c", "\\'; \\", "$1 $$ ? ?1 {x} @v"]

ONE = f"""
t = op.create_table(
    "t",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("s", sa.String(60)),
    sa.Column("d", sa.DateTime),
    sa.Column("n", sa.Numeric(6, 2)),
    sa.Column("b", sa.Boolean),
    sa.Column("x", sa.LargeBinary),
    sa.Column("j", sa.JSON),
    sa.Column("p", Packed),
    sa.Column("k", sa.String(30), server_default="a\\tb 5%"),
)
texts = {TEXTS!r}
op.bulk_insert(t, [
    dict(id=number, s=text, d=datetime.datetime(2020, 1, 2, 3, 4, 5), n=decimal.Decimal("1.50"))
    for number, text in enumerate(texts, 1)
])
data = [b"", b"100%", b"it's \\\\ :x", bytes(range(256))]
op.bulk_insert(t, [
    dict(id=number, x=one, j={{"k": ["%:x", None, 1.5, "it's \\\\"]}}, p="z" * 50)
    for number, one in enumerate(data, 30)
])
op.bulk_insert(t, [dict(id=40, x=None, j=None, p=None), dict(id=41, x=b"", j=[], p="")])
op.execute(t.insert().values(id=42, x=b"\\0\\xff", j="text", p="it's"))
op.bulk_insert(t, [dict(id=50, s=None, d=None, n=None, b=False)])
for number, text in enumerate(texts, 300):
    op.execute(sa.text("INSERT INTO t (id, s) VALUES (:i, :s)").bindparams(i=number, s=text))
for number, text in enumerate(texts, 100):
    op.execute(t.insert().values(id=number, s=text))
op.execute(r"INSERT INTO t (id, s) VALUES (200, 'a\\:b 50%')")
op.execute(sa.text("UPDATE t SET n = :n WHERE id = 50").bindparams(n=7))
op.execute(sa.text("UPDATE t SET s = :s WHERE id = 50").bindparams(s="x:y % \\\\ 'z'"))
"""


TOP = """
import datetime
import decimal
import zlib
import sqlalchemy as sa


class Packed(sa.TypeDecorator):
    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else zlib.compress(value.encode())


"""


def test_rows_are_the_same(workshop: Workshop, database_url: str, tmp_path: Any) -> None:
    workshop.package("app")
    path = workshop.script("app", "one", None, ONE, 'op.drop_table("t")')
    path.write_text(TOP + path.read_text())
    service = workshop.service(database_url)
    service.upgrade()
    found = rows(database_url, "SELECT * FROM t ORDER BY id")
    assert [row[1] for row in found[: len(TEXTS)]] == TEXTS
    service.downgrade("base")
    assert not rows(database_url, "SELECT * FROM alembic_history_app")
    execute(database_url, "DROP TABLE alembic_history_app")
    feed(database_url, service.sql())
    assert rows(database_url, "SELECT * FROM t ORDER BY id") == found
    assert rows(database_url, "SELECT version_num FROM alembic_history_app") == [("one",)]


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_a_server_that_reads_backslashes_otherwise_is_asked(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    if product == "postgresql":
        name = sa.make_url(url).database
        execute(url, f'ALTER DATABASE "{name}" SET standard_conforming_strings = off')
    else:
        mode = {"init_command": "SET sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'"}
        url = sa.make_url(url).update_query_dict(mode).render_as_string(hide_password=False)
    workshop.package("app")
    path = workshop.script("app", "one", None, ONE, 'op.drop_table("t")')
    path.write_text(TOP + path.read_text())
    service = workshop.service(url)
    script = service.sql(plan=service.plan())
    service.upgrade()
    found = rows(url, "SELECT * FROM t ORDER BY id")
    assert [row[1] for row in found[: len(TEXTS)]] == TEXTS
    default = rows(url, "SELECT k FROM t")
    service.downgrade("base")
    execute(url, "DROP TABLE alembic_history_app")
    feed(url, script)
    assert rows(url, "SELECT * FROM t ORDER BY id") == found
    assert rows(url, "SELECT k FROM t") == default


def test_an_encoding_of_the_output_is_no_business_of_a_script(
    workshop: Workshop, sqlite_url: str
) -> None:
    """What ``upgrade --sql`` writes is text, whatever ``env.py`` says to Alembic."""
    workshop.package("app")
    workshop.script("app", "one", None, "op.execute(\"SELECT 'é'\")")
    (workshop.root / "app" / "alembic" / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(url='sqlite://', output_encoding='latin-1', literal_binds=True)\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )
    assert "SELECT 'é'" in workshop.service(sqlite_url).sql()


MORE = """
t = op.create_table(
    "t",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("lasts", sa.Interval),
    sa.Column("thing", sa.PickleType),
    sa.Column("s", sa.Text),
    sa.Column("f", sa.Float),
)
for number, values in enumerate([
    {"lasts": datetime.timedelta(days=-1, seconds=5, microseconds=7)},
    {"thing": {"a": [1, b"x", "it's"]}}, {"lasts": None, "thing": None}, {"s": NUL},
    *({"f": float(one)} for one in FLOATS),
], 1):
    op.bulk_insert(t, [{"id": number, **values}])
    op.execute(t.insert().values(id=100 + number, **values))
"""


def test_values_that_types_make_of_others(workshop: Workshop, database_url: str) -> None:
    workshop.package("app")
    # MariaDB has no infinity, PostgreSQL no NUL in a text.
    floats = [] if database_url.startswith("mysql") else ["inf", "-inf"]
    nul = "a" if database_url.startswith("postgresql") else "a\0b\\' \x1a"
    path = workshop.script("app", "one", None, MORE, 'op.drop_table("t")')
    path.write_text(f"{TOP}NUL = {nul!r}\nFLOATS = {floats}\n{path.read_text()}")
    service = workshop.service(database_url)
    script = service.sql()
    service.upgrade()
    found = rows(database_url, "SELECT * FROM t ORDER BY id")
    assert len(found) == 8 + 2 * len(floats) and found[3][3] == nul
    service.downgrade("base")
    execute(database_url, "DROP TABLE alembic_history_app")
    feed(database_url, script)
    assert rows(database_url, "SELECT * FROM t ORDER BY id") == found


ARRAYS = """
from sqlalchemy.dialects import postgresql as pg
t = op.create_table(
    "t",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("texts", pg.ARRAY(sa.Text)),
    sa.Column("days", pg.ARRAY(sa.Date)),
    sa.Column("pairs", pg.ARRAY(sa.Integer, dimensions=2)),
    sa.Column("bytes", pg.ARRAY(sa.LargeBinary)),
    sa.Column("json", pg.ARRAY(pg.JSONB)),
    sa.Column("kinds", pg.ARRAY(sa.Enum("x", "y", name="kind"))),
    sa.Column("span", pg.INT4RANGE),
    sa.Column("lasts", pg.INTERVAL),
    sa.Column("bits", pg.BIT(3)),
)
for number, (name, value) in enumerate([
    ("texts", ["x", None, "it's \\\\ :b 5%"]), ("texts", []), ("texts", [None]),
    ("days", [datetime.date(2020, 1, 2), None]), ("pairs", [[1, None], [3, 4]]), ("pairs", []),
    ("bytes", [b"\\0\\xff", None]), ("json", [{"a": [1]}, None, [1]]), ("kinds", ["x", None]),
    ("bits", "101"), ("span", pg.Range(1, 5)),
    ("lasts", datetime.timedelta(days=2, seconds=3, microseconds=4)),
]):
    op.bulk_insert(t, [{"id": number, name: value}])
    op.execute(t.insert().values(id=100 + number, **{name: value}))
text = "INSERT INTO t (id, texts) VALUES (200, :v)"
op.execute(sa.text(text).bindparams(sa.bindparam("v", ["a:b", None], pg.ARRAY(sa.Text))))
"""


def test_arrays_ranges_and_intervals(workshop: Workshop, postgresql_url: str) -> None:
    workshop.package("app")
    drop = 'op.drop_table("t")\nop.execute("DROP TYPE kind")'
    path = workshop.script("app", "one", None, ARRAYS, drop)
    path.write_text(TOP + path.read_text())
    service = workshop.service(postgresql_url)
    service.upgrade()
    query = "SELECT row_to_json(t)::text FROM t ORDER BY id"
    found = rows(postgresql_url, query)
    assert len(found) == 25
    service.downgrade("base")
    execute(postgresql_url, "DROP TABLE alembic_history_app")
    feed(postgresql_url, service.sql())
    assert rows(postgresql_url, query) == found


def test_a_uuid_of_mariadb(workshop: Workshop, mariadb_url: str) -> None:
    """``mysql`` in a URL does not tell; a server that is asked does."""
    workshop.package("app")
    workshop.script("app", "one", None, 'op.create_table("t", sa.Column("id", sa.Uuid))')
    service = workshop.service(mariadb_url)
    assert "id UUID" in service.sql(plan=service.plan())
    if mariadb_url.startswith("mysql"):
        assert "write mariadb in place of mysql" in service.sql()
    service = workshop.service(mariadb_url.replace("mysql", "mariadb", 1))
    assert "id UUID" in service.sql() and "write mariadb" not in service.sql()


def test_bodies_of_mariadb_reach_its_client_whole(
    workshop: Workshop, mariadb_url: str, mariadb_server: MariaDBServer, run: Any
) -> None:
    """It cuts a script at each semicolon, unless it is told another end."""
    workshop.package("app")
    workshop.script(
        "app",
        "one",
        None,
        """
        op.create_table("t", sa.Column("n", sa.Integer), sa.Column("a", sa.String(9)))
        op.execute("CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW "
                   "BEGIN SET NEW.n = 2; SET NEW.a = 'x; y'; END")
        op.execute("CREATE OR REPLACE PROCEDURE p() BEGIN DO 1; -- it's; end\\nDO 2; END;")
        op.execute("INSERT INTO t (a) VALUES ('a;')")
        """,
    )
    url = sa.make_url(mariadb_url)
    words = ["mariadb", f"-h{url.host}", f"-P{url.port}", f"-u{url.username}", str(url.database)]
    done = run(
        words,
        input=workshop.service(mariadb_url).sql(),
        env={"MYSQL_PWD": url.password, "PATH": f"{mariadb_server.bin_dir}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    assert rows(mariadb_url, "SELECT n, a FROM t") == [(2, "x; y")]
    assert rows(mariadb_url, "SELECT version_num FROM alembic_history_app") == [("one",)]


def feed(url: str, script: str) -> None:
    """Send a SQL script as it is, as a database's own client does."""
    driver: Any
    engine = engine_of(url)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        if engine.dialect.name == "sqlite":
            driver.executescript(script)
        elif engine.dialect.name == "postgresql":
            driver.autocommit = True
            driver.cursor().execute(script)
        else:
            import pymysql
            from pymysql.constants import CLIENT

            parts = sa.make_url(url).translate_connect_args(username="user")
            options = {key: value for key, value in parts.items() if key != "query"}
            other = pymysql.connect(
                **{**options, **sa.make_url(url).query, "charset": "utf8mb4"},
                client_flag=CLIENT.MULTI_STATEMENTS,
            )
            with other.cursor() as cursor:
                cursor.execute(script)
                while cursor.nextset():
                    pass
            other.commit()
            other.close()
