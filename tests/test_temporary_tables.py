"""TemporaryTables that are made together are what they are when each is made by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from websauna_migrate.autogenerate.compare import postgresql_temporary_tables
from websauna_migrate.autogenerate.compare.indexes import comparable
from websauna_migrate.autogenerate.compare.postgresql_temporary_tables import make_together
from websauna_migrate.autogenerate.compare.temporary_table import TemporaryTable
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(postgresql_url)
    with engine.connect() as connection:
        for statement in (
            "CREATE SCHEMA other",
            "CREATE TYPE mood AS ENUM ('sad', 'it''s ok')",
            "CREATE TYPE other.\"Odd Mood\" AS ENUM ('sad')",
            "CREATE DOMAIN percent AS integer DEFAULT 5 CHECK (VALUE BETWEEN 0 AND 100)",
            'CREATE COLLATION other."Mine" FROM "C"',
            "CREATE SEQUENCE numbers",
        ):
            connection.exec_driver_sql(statement)
        yield connection
    engine.dispose()


def tables() -> list[sa.Table]:
    """Return tables with something of each kind that PostgreSQL writes in its own words."""
    metadata = sa.MetaData()
    types: list[Any] = [
        sa.Integer(),
        sa.SmallInteger(),
        sa.BigInteger(),
        sa.String(7),
        sa.Text(),
        sa.Text(collation="C"),
        sa.Float(),
        sa.Float(53),
        sa.Numeric(),
        sa.Numeric(10, 2),
        sa.Boolean(),
        sa.Date(),
        sa.DateTime(),
        sa.DateTime(timezone=True),
        postgresql.TIMESTAMP(precision=3),
        postgresql.TIME(timezone=True, precision=2),
        sa.Interval(),
        postgresql.INTERVAL(fields="DAY TO SECOND", precision=3),
        sa.LargeBinary(),
        sa.JSON(),
        postgresql.JSONB(),
        postgresql.HSTORE(),
        postgresql.BIT(3),
        postgresql.BIT(varying=True),
        postgresql.INET(),
        postgresql.INT4RANGE(),
        postgresql.TSVECTOR(),
        sa.Uuid(),
        sa.ARRAY(sa.Integer),
        sa.ARRAY(sa.String(3), dimensions=2),
        sa.Enum("sad", "it's ok", name="mood"),
        sa.ARRAY(sa.Enum("sad", "it's ok", name="mood")),
        sa.Enum("sad", name="Odd Mood", schema="other"),
        sa.Enum("a", "b", name="plain_text", native_enum=False, create_constraint=True),
        postgresql.DOMAIN("percent", sa.Integer),
    ]
    found = [
        sa.Table(f"type_{number}", metadata, sa.Column("x", type_), sa.Column("y%", sa.Text))
        for number, type_ in enumerate(types)
    ]
    found.append(
        sa.Table(
            "rewritten",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("Word", sa.Text, server_default=sa.text("'a' || 'b%'")),
            sa.Column("size", sa.Numeric(10, 2), server_default="0"),
            sa.Column("made", sa.DateTime, server_default=sa.func.now()),
            sa.Column("next", sa.BigInteger, server_default=sa.text("nextval('numbers')")),
            sa.Column("tags", postgresql.JSONB, server_default=sa.text("'{}'")),
            sa.Column("twice", sa.Numeric, sa.Computed("size * 2 + 1")),
            sa.CheckConstraint("size IN (1, 2)", name="ck_in"),
            sa.CheckConstraint("\"Word\" LIKE 'a:b%' OR size % 2 = 0"),
            sa.CheckConstraint("(size > 1) AND\n (size < 9)", name="ck_both"),
            sa.Index("ix_plain", "size", "Word", unique=True),
            sa.Index("ix_lower", sa.text("lower(\"Word\" || 'x')"), "size"),
            sa.Index("ix_some", "size", postgresql_where=sa.text("size IN (1, 2)")),
            sa.Index("ix_hash", "size", postgresql_using="hash"),
            sa.Index("ix_gin", "tags", postgresql_using="gin"),
            sa.Index("ix_with", "size", postgresql_include=["Word"]),
            sa.Index("ix_down", sa.text("size DESC"), sa.text('"Word" NULLS FIRST')),
            sa.Index("ix_last", sa.text("size DESC NULLS LAST")),
        )
    )
    return found


def comparable_table(temporary_table: TemporaryTable | None, dialect: Any) -> Any:
    """Return all of a temporary_table that a comparison looks at."""
    if temporary_table is None:
        return None
    return (
        {
            name: (
                type(one["type"]),
                str(one["type"].compile(dialect)),
                one["default"],
                (one.get("computed") or {}).get("sqltext"),
            )
            for name, one in temporary_table.columns.items()
        },
        {number: text.strip("()") for number, text in temporary_table.checks.items()},
        {name: comparable(one, "postgresql") for name, one in temporary_table.indexes.items()},
    )


def test_together_they_are_what_each_is_by_itself(connection: sa.Connection) -> None:
    made = make_together(connection, tables())
    temporary_tables = TemporaryTables(connection)
    assert len(made) == len(tables())
    together, apart = (
        {
            table.name: comparable_table(temporary_table, connection.dialect)
            for table, temporary_table in one.items()
        }
        for one in (made, {table: temporary_tables._make_one(table) for table in made})
    )
    # There is no extension with that type.
    missing = [name for name, temporary_table in apart.items() if temporary_table is None]
    assert len(missing) == 1
    assert together == apart
    checks, indexes = together["rewritten"][1:]
    assert len(checks) == 3 and len(indexes) == 8


def test_one_that_cannot_be_made_is_the_only_one(connection: sa.Connection) -> None:
    metadata = sa.MetaData()
    bad = sa.Table("bad", metadata, sa.Column("x", postgresql.HSTORE))
    refused = sa.Table(
        "refused",
        metadata,
        sa.Column("x", sa.Integer),
        sa.Index("ix_refused", sa.text("no_such_function(x)")),
    )
    good = sa.Table("good", metadata, sa.Column("x", sa.Integer, server_default="7"))
    made = make_together(connection, [bad, good, refused])
    assert made[bad] is made[refused] is None
    assert made[good] is not None and made[good].columns["x"]["default"] == "7"


def test_nothing_of_it_stays(connection: sa.Connection) -> None:
    make_together(connection, tables())
    found = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE starts_with(relname, 'websauna') "
        "UNION ALL SELECT proname FROM pg_proc WHERE starts_with(proname, 'websauna')"
    )
    assert found.all() == []


def test_many_hold_no_locks_at_a_time(connection: sa.Connection) -> None:
    metadata = sa.MetaData()
    many = [
        sa.Table(f"t{number}", metadata, sa.Column("x", sa.Text, index=True))
        for number in range(50)
    ]
    held = []
    sa.event.listen(
        connection, "after_cursor_execute", lambda *args: held.append(locks(args[0], args[1]))
    )
    make_together(connection, many)
    assert max(held) < 50


def locks(connection: sa.Connection, cursor: Any) -> int:
    """Return how many locks the session holds, asked on the driver's own cursor."""
    with connection.connection.cursor() as other:
        other.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")
        (count,) = other.fetchone()
    return int(count)


def test_where_no_function_can_be_made_each_is_made_by_itself(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = tables()[-1:]
    whole = comparable_table(TemporaryTables(connection).of(table), connection.dialect)
    monkeypatch.setattr(postgresql_temporary_tables, "FUNCTION", "CREATE FUNCTION of_no_language")
    assert make_together(connection, [table]) == {}
    assert comparable_table(TemporaryTables(connection).of(table), connection.dialect) == whole


def test_those_that_are_foreseen_are_made_with_the_first(connection: sa.Connection) -> None:
    first, second, third = tables()[:3]
    asked = 0

    def foreseen() -> list[sa.Table]:
        nonlocal asked
        asked += 1
        return [second]

    temporary_tables = TemporaryTables(connection, foreseen)
    assert all(temporary_tables.of(table) for table in (first, second, third))
    assert asked == 1
