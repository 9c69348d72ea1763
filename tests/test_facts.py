"""Facts of a database: whatever the server knows is among them, and each change is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.pool import NullPool

from conftest import run_process
from databases import PostgreSQLServer
from mutations import CHANGES, NOT_MENDED, NOTHING, SCHEMAS
from websauna_migrate.errors import MigrationError
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference, differences
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.units import read_plain
from websauna_migrate.locating.mending import mender_for
from websauna_migrate.locating.mending.names_back import renames_in
from websauna_migrate.locating.mending.statements import NotWritten
from websauna_migrate.locating.object_histories import grouped
from websauna_migrate.locating.replayed import Watch


def called(difference: Difference) -> str:
    """Return how the lists of changes call a difference."""
    what = difference.attribute or ("gone" if difference.left else "new")
    return f"{difference.object}: {what}" + (" (note)" if difference.note else "")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def statements(sql: str) -> list[str]:
    return [one for one in re.split(r";\s*\n|; (?=ALTER|CREATE|COMMENT)", sql) if one.strip()]


def run_sql(connection: Connection, sql: str) -> None:
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        driver.executescript(f"PRAGMA writable_schema = on; {sql}")
        return
    for statement in [sql] if connection.dialect.name == "postgresql" else statements(sql):
        connection.exec_driver_sql(statement.replace("%", "%%"))


def postgresql_words(server: PostgreSQLServer, url: str) -> str:
    """Return what ``pg_dump -s`` writes, without what is random in it."""
    assert server.bin_dir is not None
    there = make_url(url)
    words = [str(server.bin_dir / "pg_dump"), "-s", "-O", "-x", "--no-tablespaces"]
    words += ["-h", str(there.host), "-p", str(there.port), "-U", str(there.username)]
    words.append(str(there.database))
    done = run_process(words, env={"PGPASSWORD": there.password})
    assert done.returncode == 0, done.stderr
    return re.sub(r"^\\(un)?restrict .*$", "", str(done.stdout), flags=re.MULTILINE)


def mariadb_words(connection: Connection) -> str:
    """Return what the server's own dump program is told."""
    words = []
    for name, kind in connection.exec_driver_sql("SHOW FULL TABLES").all():
        what = "VIEW" if kind == "VIEW" else "SEQUENCE" if kind == "SEQUENCE" else "TABLE"
        words.append(str(connection.exec_driver_sql(f"SHOW CREATE {what} `{name}`").one()[1]))
    for row in connection.exec_driver_sql("SHOW TRIGGERS").all():
        words.append(str(connection.exec_driver_sql(f"SHOW CREATE TRIGGER `{row[0]}`").one()[2]))
    for row in connection.exec_driver_sql(
        "SELECT routine_type, routine_name FROM information_schema.routines "
        "WHERE routine_schema = DATABASE() UNION ALL SELECT 'EVENT', event_name "
        "FROM information_schema.events WHERE event_schema = DATABASE()"
    ).all():
        found = connection.exec_driver_sql(f"SHOW CREATE {row[0]} `{row[1]}`").one()
        words.append(str(found[3 if row[0] == "EVENT" else 2]))
    return re.sub(r" AUTO_INCREMENT=\d+", "", "\n".join(words))


def sqlite_words(connection: Connection) -> str:
    rows = connection.exec_driver_sql("SELECT sql FROM sqlite_master ORDER BY type, name").all()
    return "\n".join(str(row[0]) for row in rows)


# Every change is named, and nothing else; and what is written to mend it does so


def mend(connection: Connection, before: Facts, now: Facts, change: str) -> None:
    """Run what mends a database, which is then what it was.

    :param now: the facts behind the change
    """
    found = [one for one in differences(now, before) if not one.note]
    unowned = [one.fact for one in found if one.attribute is None and one.left]
    unowned = [fact for fact in unowned if fact.table is None]
    mender = mender_for(connection.dialect, now, before, renames_in(found, unowned, now, before))
    statements = []
    for one in found:
        try:
            statements += mender.mend(one)
        except NotWritten:
            assert change in NOT_MENDED, called(one)
    script = mender.script(statements, keys=True)
    if connection.dialect.name == "sqlite":
        # It begins and ends the transaction itself.
        connection.commit()
        driver: Any = connection.connection.driver_connection
        driver.executescript(";\n".join(script))
    else:
        for statement in script:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    left = [called(one) for one in differences(read_facts(connection), before) if not one.note]
    assert bool(left) == (change in NOT_MENDED), left


def ids(changes: object) -> Any:
    return pytest.mark.parametrize("change", changes, ids=lambda sql: sql[:60])


@pytest.fixture(scope="module")
def postgresql_template(postgresql_server: PostgreSQLServer) -> Iterator[tuple[str, str, Facts]]:
    """The rich schema: the database's name, what pg_dump says of it, and its facts."""
    url = postgresql_server.create_database()
    with connected(url) as connection:
        run_sql(connection, SCHEMAS["postgresql"])
        facts = read_facts(connection)
    yield str(make_url(url).database), postgresql_words(postgresql_server, url), facts
    postgresql_server.drop_database(url)


@ids([*CHANGES["postgresql"], *NOTHING["postgresql"]])
def test_a_change_on_postgresql_is_named_and_seen_where_pg_dump_sees_it(
    change: str,
    postgresql_server: PostgreSQLServer,
    postgresql_template: tuple[str, str, Facts],
) -> None:
    template, words, before = postgresql_template
    name = f"{template}_changed"
    with postgresql_server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    url = postgresql_server.url_of(name)
    try:
        with connected(url) as connection:
            run_sql(connection, change)
            after = read_facts(connection)
            changed = postgresql_words(postgresql_server, url)
            mend(connection, before, after, change)
    finally:
        postgresql_server.drop_database(url)
    found = tuple(called(one) for one in differences(before, after))
    assert found == CHANGES["postgresql"].get(change, ())
    assert bool(found) == (changed != words)


#: One object changes, or what it is called, and what another one says is another text.
FAR = """
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'
ALTER TYPE mood ADD VALUE 'great'
ALTER TABLE users RENAME COLUMN id TO number
ALTER TABLE users ADD COLUMN at date
CREATE VIEW both_of AS SELECT * FROM events NATURAL JOIN users
ALTER TABLE events ADD COLUMN name text
CREATE TABLE marks (id integer DEFAULT twice(2) CHECK (twice(id) > 1), number integer)
CREATE INDEX ix_twice ON marks (twice(id))
ALTER FUNCTION twice RENAME TO doubled
ALTER TABLE marks ALTER COLUMN number SET DEFAULT nextval('tickets')
ALTER SEQUENCE tickets OWNED BY marks.number
ALTER SEQUENCE tickets OWNED BY NONE
ALTER SEQUENCE tickets RENAME TO numbers
ALTER DOMAIN positive RENAME TO above_zero
ALTER TABLE animals RENAME TO beasts
ALTER TABLE beasts ADD COLUMN legs integer
ALTER TABLE events RENAME TO happenings
CREATE INDEX ix_what ON happenings (what)
ALTER INDEX ix_what RENAME TO ix_how
CREATE SCHEMA more
ALTER TABLE users SET SCHEMA more
ALTER SCHEMA more RENAME TO others
ALTER TYPE pair RENAME ATTRIBUTE a TO first CASCADE
COMMENT ON SCHEMA others IS 'of others'
ALTER EXTENSION plpgsql ADD TABLE beasts
ALTER EXTENSION plpgsql DROP TABLE beasts
DROP SCHEMA public CASCADE
"""


def test_a_look_again_on_postgresql_sees_what_a_first_one_would(postgresql_url: str) -> None:
    engine = sa.create_engine(postgresql_url, poolclass=NullPool)
    with connected(postgresql_url) as hand, engine.connect() as looking:
        run_sql(hand, SCHEMAS["postgresql"])
        watch = Watch(looking, [])

        def look(change: str) -> None:
            watch.changes()
            assert watch.state == grouped(read_plain(looking), []), change

        for change in [*CHANGES["postgresql"], *NOTHING["postgresql"]][::2]:
            if "CONCURRENTLY" in change:
                continue
            run_sql(looking, change)
            look(change)
            looking.rollback()
        for change in FAR.strip().splitlines():
            run_sql(hand, change)
            look(change)


@ids([*CHANGES["sqlite"], *NOTHING["sqlite"]])
def test_a_change_on_sqlite_is_named(change: str, connection: Connection) -> None:
    run_sql(connection, SCHEMAS["sqlite"])
    before, words = read_facts(connection), sqlite_words(connection)
    run_sql(connection, change)
    after = read_facts(connection)
    found = tuple(called(one) for one in differences(before, after))
    assert found == CHANGES["sqlite"].get(change, ())
    # What is written otherwise may mean the same, but not the other way round.
    assert not found or sqlite_words(connection) != words
    mend(connection, before, after, change)


@ids([*CHANGES["mariadb"], *NOTHING["mariadb"]])
def test_a_change_on_mariadb_is_named_and_seen_where_show_create_sees_it(
    change: str, mariadb_url: str
) -> None:
    with connected(mariadb_url) as connection:
        run_sql(connection, SCHEMAS["mariadb"])
        before, words = read_facts(connection), mariadb_words(connection)
        run_sql(connection, change)
        after, changed = read_facts(connection), mariadb_words(connection)
        mend(connection, before, after, change)
    found = tuple(called(one) for one in differences(before, after))
    assert found == CHANGES["mariadb"].get(change, ())
    assert bool(found) == (changed != words)


# Facts as data


def rich(url: str) -> Facts:
    with connected(url) as connection:
        run_sql(connection, SCHEMAS[product_of(connection)])
        return read_facts(connection)


def product_of(connection: Connection) -> str:
    return "mariadb" if connection.dialect.name == "mysql" else connection.dialect.name


def test_facts_go_through_json_and_are_the_same_each_time(database_url: str) -> None:
    facts = rich(database_url)
    assert Facts.from_data(json.loads(json.dumps(facts.as_data()))) == facts
    with connected(database_url) as connection:
        assert read_facts(connection) == facts
    assert not [*differences(facts, facts)]


def test_names_that_postgresql_makes_are_known_whatever_their_length(postgresql_url: str) -> None:
    long = "a_table_whose_name_is_so_long_that_all_of_its_constraints_are_c"
    with connected(postgresql_url) as connection:
        run_sql(
            connection,
            f"""CREATE TABLE {long} (
                id serial PRIMARY KEY,
                a_column_with_quite_a_name integer UNIQUE CHECK (a_column_with_quite_a_name > 1),
                "größe_der_spalte_in_zentimetern_ohne_rand" integer UNIQUE REFERENCES {long},
                x integer, CHECK (x > id), CHECK (x < id),
                UNIQUE (x, id), EXCLUDE USING btree (x WITH =)
            );
            CREATE INDEX ON {long} (lower("größe_der_spalte_in_zentimetern_ohne_rand"::text), x);
            CREATE INDEX ON {long} (x) INCLUDE (id);
            CREATE INDEX ON {long} (x) INCLUDE (id)""",
        )
        facts = read_facts(connection)
    named = [one for one in facts.objects if one.kind in ("constraint", "index", "sequence")]
    assert len(named) == 13
    assert [one.name for one in named if not one.server_named] == []


def count_queries(engine: sa.Engine, seen: list[str]) -> None:
    sa.event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))


def test_the_number_of_queries_does_not_grow_with_the_tables(postgresql_url: str) -> None:
    counts = []
    for size in (1, 300):
        engine = sa.create_engine(postgresql_url, poolclass=NullPool)
        with engine.begin() as connection:
            for number in range(size):
                connection.exec_driver_sql(
                    f"CREATE TABLE t{size}_{number} (id serial PRIMARY KEY, x integer UNIQUE)"
                )
        seen: list[str] = []
        count_queries(engine, seen)
        with engine.connect() as connection:
            read_facts(connection)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 15


def test_one_snapshot_is_read_and_the_search_path_stays(postgresql_url: str) -> None:
    engine = sa.create_engine(postgresql_url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE SCHEMA other")
        connection.exec_driver_sql("SET search_path = other, public")
        connection.exec_driver_sql("CREATE TABLE other.t (id integer PRIMARY KEY)")
        facts = read_facts(connection)
        assert facts.default_schema == "other"
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "other, public"
        connection.rollback()


def test_another_database_is_refused_by_name() -> None:
    class Strange:
        name = "oracle"

    class Pretended:
        dialect = Strange()

        def in_transaction(self) -> bool:
            return True

    strange: Any = Pretended()
    with pytest.raises(MigrationError, match='not of "oracle"'):
        read_facts(strange)


def test_differences_are_told_in_words() -> None:
    def column(name: str, **attributes: Any) -> Fact:
        return Fact.make("column", "public", name, {"position": 1, **attributes}, table="users")

    table = Fact.make("table", "public", "users", {})
    index = Fact.make("index", "public", "ix", {"definition": "INDEX ON users (x)"}, table="users")
    there = Fact.make("table", "billing", "old", {})
    left = Facts.make("public", [table, there, column("nick", type="text"), column("x")])
    nick = column("nick", type="varchar", **{"not null": True, "default": "1"})
    right = Facts.make("public", [table, index, nick, column("x")])
    told = [one.describe("in the database", "in the models") for one in differences(left, right)]
    assert told == [
        'table "users", column "nick": default is not set in the database, 1 in the models',
        'table "users", column "nick": not null is no in the database, yes in the models',
        'table "users", column "nick": type is text in the database, varchar in the models',
        'table "billing.old" is in the database, not in the models',
        'table "users", index "ix" is in the models, not in the database (INDEX ON users (x))',
    ]


def test_numbers_that_the_server_gave_do_not_pair_what_differs() -> None:
    def facts(*definitions: str) -> Facts:
        return Facts.make(
            "main",
            [
                Fact.make("table", "main", "t", {}),
                *(
                    Fact.make(
                        "constraint",
                        "main",
                        f"CONSTRAINT_{number}",
                        {"definition": definition},
                        table="t",
                        server_named=True,
                    )
                    for number, definition in enumerate(definitions, 1)
                ),
            ],
        )

    def told(left: Facts, right: Facts) -> list[tuple[str, object, object]]:
        found = differences(left, right)
        return [(str(one.attribute), one.left, one.right) for one in found if not one.note]

    assert told(facts("a", "b"), facts("b", "a")) == []
    assert told(facts("a", "b"), facts("b", "a", "c")) == [("None", False, True)]
    assert told(facts("a", "b"), facts("b")) == [("None", True, False)]
    assert told(facts("a", "b"), facts("a", "c")) == [("definition", "b", "c")]
