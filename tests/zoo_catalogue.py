"""Changes of everything that the catalogues keep, one thing each, there and back, with rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import mysql, postgresql

from zoo import CHANGES, EVERYWHERE, Feature
from zoo_facts import Items, differ, key_column, typed, with_columns

__all__: list[str] = []

Tables = Callable[[MetaData, int], object]

POSTGRESQL = ("postgresql",)
MARIADB = ("mariadb",)
SQLITE = ("sqlite",)


def tables(name: str, fill: Tables, *on: str, rows: str = "") -> None:
    """Register a change of several tables."""
    CHANGES[name] = Feature(name, fill, on or EVERYWHERE, rows=rows)


def options(name: str, *on: str, columns: Items | None = None, **pairs: Any) -> None:
    """Register a change of a table's options, each given as the old and the new value."""
    columns = columns or with_columns()
    old, new = ({key: pair[n] for key, pair in pairs.items() if pair[n]} for n in (0, 1))
    differ(
        name,
        lambda: [*columns(), old],
        lambda: [*columns(), new],
        *on,
        rows=f"INSERT INTO {name} (id, a, b, c) VALUES (1, 2, 'x', 3)",
    )


# Types, PostgreSQL: old, new, a row's value, and what else the column has in both versions

NUMBERS = sa.Integer
PG_TYPES: dict[str, tuple[Any, Any, str]] = {
    "timezone": (sa.DateTime, lambda: sa.DateTime(timezone=True), "'2020-01-01'"),
    "date_time": (sa.Date, sa.DateTime, "'2020-01-01'"),
    "time_zone": (sa.Time, lambda: sa.Time(timezone=True), "'10:00'"),
    "numeric_integer": (lambda: sa.Numeric(10, 0), sa.Integer, "3"),
    "float_numeric": (sa.Float, lambda: sa.Numeric(12, 4), "1.5"),
    "real_double": (sa.REAL, sa.Double, "1.5"),
    "text_json": (sa.Text, sa.JSON, "'[1]'"),
    "text_jsonb": (sa.Text, postgresql.JSONB, "'{}'"),
    "inet_text": (postgresql.INET, sa.Text, "'10.0.0.1/32'"),
    "cidr_inet": (postgresql.CIDR, postgresql.INET, "'10.0.0.0/8'"),
    "uuid_text": (sa.Uuid, lambda: sa.String(36), "'00000000-0000-0000-0000-000000000007'"),
    "bit_length": (lambda: postgresql.BIT(4), lambda: postgresql.BIT(8), "B'1010'"),
    "tsvector": (sa.Text, postgresql.TSVECTOR, "'a'"),
    "range": (postgresql.INT4RANGE, postgresql.INT8RANGE, "'[1,3)'"),
    "range_several": (postgresql.INT4RANGE, postgresql.INT8MULTIRANGE, "'[1,3)'"),
    "range_empty": (postgresql.TSTZMULTIRANGE, postgresql.TSRANGE, "'{}'"),
    "boolean_small": (sa.Boolean, sa.SmallInteger, "true"),
    "numeric_boolean": (lambda: sa.Numeric(4, 2), sa.Boolean, "1"),
    "bit_boolean": (lambda: postgresql.BIT(1), sa.Boolean, "B'1'"),
    "array_type": (lambda: sa.ARRAY(sa.Integer), lambda: sa.ARRAY(sa.BigInteger), "'{1,2}'"),
    "array_length": (
        lambda: sa.ARRAY(sa.String(5)),
        lambda: sa.ARRAY(sa.String(9)),
        "'{a,b}'",
    ),
    "array_string": (lambda: sa.String(9), lambda: sa.ARRAY(sa.String(9)), "'{a}'"),
    "array_text": (lambda: sa.ARRAY(sa.Text), sa.Text, "'{a}'"),
    "array_enum": (
        lambda: sa.ARRAY(sa.String(9)),
        lambda: sa.ARRAY(sa.Enum("a", "b", name="k_ae")),
        "'{a,b}'",
    ),
    "array_collation": (
        lambda: sa.ARRAY(sa.Text),
        lambda: sa.ARRAY(sa.Text(collation="C")),
        "'{a}'",
    ),
    "char_text": (lambda: sa.CHAR(3), sa.Text, "'abc'"),
    "oid": (sa.BigInteger, postgresql.OID, "7"),
    "money": (lambda: sa.Numeric(10, 2), postgresql.MONEY, "1.5"),
    "small": (sa.BigInteger, sa.SmallInteger, "7"),
    "string_date": (lambda: sa.String(20), sa.Date, "'2020-01-31'"),
    "string_interval": (lambda: sa.String(20), sa.Interval, "'1 day'"),
    "string_bytes": (sa.Text, sa.LargeBinary, "'abc'"),
    "boolean_text": (sa.Boolean, sa.Text, "true"),
    "boolean_enum": (
        lambda: sa.String(5),
        lambda: sa.Enum("true", "false", name="k_be"),
        "'true'",
    ),
    "enum_integer": (lambda: sa.Enum("1", "2", name="k_ei"), sa.Integer, "'1'"),
    "enum_not_native": (
        lambda: sa.Enum("a", "b", name="k_en"),
        lambda: sa.Enum("a", "b", name="k_en2", native_enum=False),
        "'a'",
    ),
    "domain_array": (
        lambda: sa.ARRAY(sa.Integer),
        lambda: sa.ARRAY(postgresql.DOMAIN("k_da", sa.Integer, check=sa.text("VALUE > 0"))),
        "'{1}'",
    ),
}
for name, (before, after, value) in PG_TYPES.items():
    typed(f"k_type_{name}", before, after, value=value)
    typed(
        f"k_type_{name}_index",
        before,
        after,
        value=value,
        nullable=False,
        index=name not in ("text_json", "tsvector"),
    )

PG_DEFAULTS: dict[str, tuple[Any, Any, str, Any, Any]] = {
    "text_integer": (lambda: sa.String(9), sa.Integer, "'12'", "7", "8"),
    "integer_numeric": (sa.Integer, lambda: sa.Numeric(8, 2), "1", "7", "7.50"),
    "boolean_integer": (sa.Boolean, sa.Integer, "true", sa.true(), "1"),
    "date_timestamp": (sa.Date, sa.DateTime, "'2020-01-01'", sa.func.current_date(), sa.func.now()),
    "json_jsonb": (sa.JSON, postgresql.JSONB, "'[1]'", "[]", '{"a": 1}'),
    "array": (
        lambda: sa.ARRAY(sa.Integer),
        lambda: sa.ARRAY(sa.Text),
        "'{1}'",
        "{1,2}",
        sa.text("ARRAY['a', 'b']"),
    ),
    "enum_text": (lambda: sa.Enum("a", "b", name="k_det"), sa.Text, "'a'", "a", "it's"),
    "interval": (sa.Interval, sa.Interval, "'1 day'", "1 day", sa.text("'2 days'::interval")),
    "uuid": (
        lambda: sa.String(36),
        sa.Uuid,
        "'00000000-0000-0000-0000-000000000007'",
        None,
        sa.func.gen_random_uuid(),
    ),
}
for name, (before, after, value, old_default, new_default) in PG_DEFAULTS.items():
    differ(
        f"k_default_{name}",
        lambda t=before, d=old_default: [Column("x", t(), server_default=d)],
        lambda t=after, d=new_default: [Column("x", t(), server_default=d)],
        "postgresql",
        rows=f"INSERT INTO k_default_{name} (id, x) VALUES (1, {value})",
    )

EXPRESSIONS: tuple[tuple[Any, Any, Any], ...] = (
    (sa.DateTime, sa.text("now() - interval '1 day'"), sa.text("timezone('utc', now())")),
    (sa.Integer, sa.text("1 + 2"), sa.text("length('abc')")),
    (sa.Integer, "-5", sa.text("-6")),
    (sa.Text, sa.text("'a' || 'b'"), sa.text("coalesce(NULL, 'a')")),
    (sa.Text, "", "x\n'y'\\z"),
    (sa.Text, sa.text("current_user"), sa.text("(CASE WHEN 1 = 1 THEN 'a' ELSE 'b' END)")),
    (postgresql.JSONB, sa.text("jsonb_build_object('a', 1)"), sa.text("'{\"a\": [1]}'::jsonb")),
    (sa.Date, sa.text("CURRENT_DATE"), sa.text("'2020-01-01'::date")),
    (sa.Float, sa.text("1e3"), sa.text("0.5")),
)
for number, (type_, old_default, new_default) in enumerate(EXPRESSIONS):
    differ(
        f"k_expression_{number}",
        lambda t=type_, d=old_default: [Column("x", t, server_default=d)],
        lambda t=type_, d=new_default: [Column("x", t, server_default=d)],
        "postgresql",
        rows=f"INSERT INTO k_expression_{number} (id) VALUES (1)",
    )


# Sequences, identities and serial columns

SEQUENCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "increment": ({}, {"increment": 5}),
    "start": ({"start": 3}, {"start": 30}),
    "minimum": ({"minvalue": 1, "start": 9}, {"minvalue": 5, "start": 9}),
    "maximum": ({}, {"maxvalue": 5000}),
    "cycle": ({}, {"cycle": True}),
    "cache": ({}, {"cache": 20}),
    "type": ({"data_type": sa.Integer}, {"data_type": sa.BigInteger}),
    "descending": ({"increment": 1}, {"increment": -1, "maxvalue": 100, "minvalue": -100}),
}
for name, (before, after) in SEQUENCES.items():

    def numbers_of(
        metadata: MetaData, version: int, n: str = name, b: Any = before, a: Any = after
    ) -> None:
        numbers = sa.Sequence(f"k_numbers_{n}", metadata=metadata, **(b if version == 1 else a))
        Table(
            f"k_sequence_{n}",
            metadata,
            key_column(),
            Column("x", sa.Integer, server_default=numbers.next_value()),
        )

    tables(
        f"k_sequence_{name}",
        numbers_of,
        "postgresql",
        rows=f"INSERT INTO k_sequence_{name} (id) VALUES (1)",
    )
    if name not in ("type", "descending"):
        differ(
            f"k_identity_{name}",
            lambda o=before: [Column("x", sa.Integer, sa.Identity(**o))],
            lambda o=after: [Column("x", sa.Integer, sa.Identity(**o))],
            "postgresql",
            rows=f"INSERT INTO k_identity_{name} (id) VALUES (1)",
        )
IDENTITIES: dict[str, tuple[Any, Any]] = {
    "always": (
        lambda: Column("x", sa.Integer, sa.Identity(always=True)),
        lambda: Column("x", sa.Integer, sa.Identity()),
    ),
    "wider": (
        lambda: Column("x", sa.Integer, sa.Identity(start=5)),
        lambda: Column("x", sa.BigInteger, sa.Identity(start=5)),
    ),
    "gone": (
        lambda: Column("x", sa.Integer, sa.Identity()),
        lambda: Column("x", sa.Integer, nullable=False),
    ),
    "to_default": (
        lambda: Column("x", sa.Integer, sa.Identity()),
        lambda: Column("x", sa.Integer, server_default="7", nullable=False),
    ),
    "from_default": (
        lambda: Column("x", sa.Integer, server_default="7", nullable=False),
        lambda: Column("x", sa.Integer, sa.Identity(always=True)),
    ),
    "added_column": (
        lambda: Column("y", sa.Integer),
        lambda: Column("x", sa.Integer, sa.Identity()),
    ),
}
for name, (before, after) in IDENTITIES.items():
    differ(
        f"k_identity_{name}",
        lambda b=before: [b()],
        lambda a=after: [a()],
        "postgresql",
        rows=f"INSERT INTO k_identity_{name} (id) VALUES (1)",
    )
differ(
    "k_serial_small",
    lambda: [Column("id", sa.SmallInteger, primary_key=True)],
    lambda: [Column("id", sa.BigInteger, primary_key=True)],
    "postgresql",
    rows="INSERT INTO k_serial_small (id) VALUES (7)",
)
differ(
    "k_identity_key_wider",
    lambda: [Column("id", sa.Integer, sa.Identity(), primary_key=True)],
    lambda: [Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)],
    "postgresql",
    rows="INSERT INTO k_identity_key_wider (id) VALUES (7)",
)


def shared_sequence(metadata: MetaData, version: int) -> None:
    """A sequence that comes with one more column, which uses it as well."""
    numbers = sa.Sequence("k_shared", metadata=metadata)
    for name in ("k_shared_a", "k_shared_b")[:version]:
        Table(
            name,
            metadata,
            key_column(),
            Column("x", sa.Integer, server_default=numbers.next_value()),
        )


def other_numbers(metadata: MetaData, version: int) -> None:
    """A key that numbers itself takes its numbers from a sequence of another name, then."""
    numbers = sa.Sequence("k_other_numbers", metadata=metadata)
    own = {"server_default": numbers.next_value()} if version == 2 else {}
    Table("k_numbers_of_others", metadata, Column("id", sa.Integer, primary_key=True, **own))


tables(
    "k_numbers_of_others",
    other_numbers,
    "postgresql",
    rows="INSERT INTO k_numbers_of_others DEFAULT VALUES",
)
tables(
    "k_shared_sequence",
    shared_sequence,
    "postgresql",
    rows="INSERT INTO k_shared_a (id) VALUES (1)",
)


# Computed columns


def computed(expression: str, *more: Any, type_: Any = sa.Integer, **kw: Any) -> Column[Any]:
    return Column("x", type_, sa.Computed(expression, persisted=True), *more, **kw)


COMPUTED: dict[str, tuple[Items, Items]] = {
    "type": (
        lambda: [Column("n", sa.Integer), computed("n * 2")],
        lambda: [Column("n", sa.Integer), computed("n * 2", type_=sa.BigInteger)],
    ),
    "source_type": (
        lambda: [Column("n", sa.Integer), computed("n * 2", type_=sa.BigInteger)],
        lambda: [Column("n", sa.BigInteger), computed("n * 2", type_=sa.BigInteger)],
    ),
    "source_null": (
        lambda: [Column("n", sa.Integer), computed("n * 2")],
        lambda: [Column("n", sa.Integer, nullable=False), computed("n * 2")],
    ),
    "both_go": (
        lambda: [Column("n", sa.Integer), Column("m", sa.Integer), computed("m * 2")],
        lambda: [Column("n", sa.Integer)],
    ),
    "other_source": (
        lambda: [Column("n", sa.Integer), Column("m", sa.Integer), computed("m * 2")],
        lambda: [Column("n", sa.Integer), computed("n * 2")],
    ),
    "unique": (
        lambda: [Column("n", sa.Integer), computed("n * 2")],
        lambda: [Column("n", sa.Integer), computed("n * 3", unique=True)],
    ),
    "check": (
        lambda: [
            Column("n", sa.Integer),
            computed("n * 2"),
            sa.CheckConstraint("x > 0", name="k_cc"),
        ],
        lambda: [
            Column("n", sa.Integer),
            computed("n * 3"),
            sa.CheckConstraint("x > 0", name="k_cc"),
        ],
    ),
    "default": (
        lambda: [Column("n", sa.Integer), computed("n * 2")],
        lambda: [Column("n", sa.Integer, server_default="4"), computed("n * 2")],
    ),
}
for name, (before, after) in COMPUTED.items():
    differ(
        f"k_computed_{name}",
        before,
        after,
        *EVERYWHERE,
        rows=f"INSERT INTO k_computed_{name} (id, n) VALUES (1, 2)",
    )
differ(
    "k_computed_comment",
    lambda: [Column("n", sa.Integer), computed("n * 2", comment="one")],
    lambda: [Column("n", sa.Integer), computed("n * 2", comment="two")],
    "postgresql",
    "mariadb",
    rows="INSERT INTO k_computed_comment (id, n) VALUES (1, 2)",
)


# Constraints


def key_to(*arguments: Any, **kw: Any) -> Items:
    """Return columns with a foreign key to the table itself."""
    return lambda: [
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.ForeignKeyConstraint(["a"], ["{table}.id"], *arguments, **kw),
    ]


FOREIGN_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "match": ({}, {"match": "FULL"}, POSTGRESQL),
    "deferrable": ({}, {"deferrable": True}, POSTGRESQL),
    "initially": (
        {"deferrable": True},
        {"deferrable": True, "initially": "DEFERRED"},
        ("postgresql", "sqlite"),
    ),
    "cascade": ({"ondelete": "CASCADE"}, {"ondelete": "SET NULL"}, EVERYWHERE),
    "on_update": ({}, {"onupdate": "CASCADE"}, EVERYWHERE),
    "set_default": (
        {"ondelete": "NO ACTION"},
        {"ondelete": "SET DEFAULT"},
        ("postgresql", "sqlite"),
    ),
    "restrict": ({"ondelete": "RESTRICT"}, {}, EVERYWHERE),
}
for name, (before, after, on) in FOREIGN_KEYS.items():

    def with_key(
        metadata: MetaData, version: int, n: str = name, b: Any = before, a: Any = after
    ) -> None:
        more = b if version == 1 else a
        Table(f"k_fk_{n}_p", metadata, key_column())
        Table(
            f"k_fk_{n}",
            metadata,
            key_column(),
            Column("a", sa.Integer),
            Column("q", sa.ForeignKey(f"k_fk_{n}_p.id", name=f"k_fk_{n}_q", **more)),
            sa.ForeignKeyConstraint(["a"], [f"k_fk_{n}_p.id"], **more),
        )

    tables(
        f"k_fk_{name}",
        with_key,
        *on,
        rows=f"INSERT INTO k_fk_{name}_p (id) VALUES (1);"
        f"INSERT INTO k_fk_{name} (id, a, q) VALUES (1, 1, 1)",
    )


def key_of_two(metadata: MetaData, version: int) -> None:
    """A foreign key to a unique constraint gets a column more."""
    columns = ["a", "b"][:version]
    Table(
        "k_two_p",
        metadata,
        key_column(),
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.UniqueConstraint(*columns, name="k_two_uq"),
    )
    Table(
        "k_two",
        metadata,
        key_column(),
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.ForeignKeyConstraint(columns, [f"k_two_p.{c}" for c in columns], name="k_two_fk"),
    )


tables("k_key_of_two", key_of_two)

KEY_TYPES: dict[str, tuple[Any, Any, str, tuple[str, ...]]] = {
    "integer_big": (sa.Integer, sa.BigInteger, "1", EVERYWHERE),
    "integer_string": (sa.Integer, lambda: sa.String(20), "1", EVERYWHERE),
    "string_longer": (lambda: sa.String(10), lambda: sa.String(20), "'1'", EVERYWHERE),
    "string_uuid": (
        lambda: sa.String(36),
        sa.Uuid,
        "'00000000-0000-0000-0000-000000000007'",
        POSTGRESQL,
    ),
    "enum": (
        lambda: sa.Enum("a", "b", name="k_key_enum"),
        lambda: sa.Enum("a", "b", "c", name="k_key_enum"),
        "'a'",
        EVERYWHERE,
    ),
    "integer_uuid": (sa.Integer, sa.Uuid, "7", ("postgresql",)),
    "enum_gone": (
        lambda: sa.Enum("a", "b", name="k_key_gone"),
        lambda: sa.Enum("a", "c", name="k_key_gone"),
        "'b'",
        EVERYWHERE,
    ),
}
for name, (before, after, value, on) in KEY_TYPES.items():

    def with_key_type(
        metadata: MetaData, version: int, n: str = name, b: Any = before, a: Any = after
    ) -> None:
        type_ = (b if version == 1 else a)()
        Table(
            f"k_kt_{n}_p",
            metadata,
            Column("id", type_, primary_key=True, autoincrement=False),
            Column("up", type_, sa.ForeignKey(f"k_kt_{n}_p.id"), index=True),
        )
        Table(
            f"k_kt_{n}",
            metadata,
            Column(
                "p", type_, sa.ForeignKey(f"k_kt_{n}_p.id", ondelete="CASCADE"), primary_key=True
            ),
            Column("n", sa.Integer, primary_key=True, autoincrement=False),
        )
        Table(
            f"k_kt_{n}_c",
            metadata,
            key_column(),
            Column("p", type_),
            Column("n", sa.Integer),
            sa.ForeignKeyConstraint(
                ["p", "n"], [f"k_kt_{n}.p", f"k_kt_{n}.n"], name=f"k_kt_{n}_fk"
            ),
        )

    tables(
        f"k_key_type_{name}",
        with_key_type,
        *on,
        rows=f"INSERT INTO k_kt_{name}_p (id, up) VALUES ({value}, {value});"
        f"INSERT INTO k_kt_{name} (p, n) VALUES ({value}, 2);"
        f"INSERT INTO k_kt_{name}_c (id, p, n) VALUES (1, {value}, 2)",
    )


NUMBERED: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "key": (sa.Integer, sa.BigInteger, ("postgresql", "mariadb")),
    "uuid": (sa.BigInteger, sa.Uuid, ("postgresql",)),
}
for name, (before, after, on) in NUMBERED.items():

    def numbered(
        metadata: MetaData, version: int, n: str = name, b: Any = before, a: Any = after
    ) -> None:
        """A key that counts by itself gets another type, and a key points at it."""
        Table(
            f"k_numbered_{n}_p", metadata, Column("id", b if version == 1 else a, primary_key=True)
        )
        Table(
            f"k_numbered_{n}",
            metadata,
            key_column(),
            Column("p", sa.ForeignKey(f"k_numbered_{n}_p.id")),
        )

    tables(
        f"k_numbered_{name}",
        numbered,
        *on,
        rows=f"INSERT INTO k_numbered_{name}_p (id) VALUES (7), (-3);"
        f"INSERT INTO k_numbered_{name} (id, p) VALUES (1, 7), (2, -3)",
    )
differ(
    "k_numbers_stop",
    lambda: [Column("id", sa.Integer, primary_key=True)],
    lambda: [Column("id", sa.Integer, primary_key=True, autoincrement=False)],
    "mariadb",
    rows="INSERT INTO k_numbers_stop (id) VALUES (7)",
)


def key_order(metadata: MetaData, version: int) -> None:
    """The columns of a primary key change their places."""
    columns = ("p", "q") if version == 1 else ("q", "p")
    Table(
        "k_key_order",
        metadata,
        Column("p", sa.Integer),
        Column("q", sa.Integer),
        sa.PrimaryKeyConstraint(*columns, name="k_key_order_k"),
    )


tables("k_key_order", key_order, rows="INSERT INTO k_key_order (p, q) VALUES (1, 2)")


def unique_key(metadata: MetaData, version: int) -> None:
    """A key points at a unique column, which becomes the primary key."""
    Table(
        "k_unique_p",
        metadata,
        Column(
            "a",
            sa.Integer,
            primary_key=version == 2,
            autoincrement=False,
            unique=version == 1,
            nullable=False,
        ),
        Column(
            "b",
            sa.Integer,
            primary_key=version == 1,
            autoincrement=False,
            unique=version == 2,
            nullable=False,
        ),
    )
    Table("k_unique", metadata, key_column(), Column("p", sa.ForeignKey("k_unique_p.a")))


tables(
    "k_unique_key",
    unique_key,
    rows="INSERT INTO k_unique_p (a, b) VALUES (1, 2);INSERT INTO k_unique (id, p) VALUES (1, 1)",
)

CHECKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("a > 0 AND c > 0", "a > 0 OR c > 0", EVERYWHERE),
    ("b LIKE 'a%'", "b LIKE 'a%%'", ("sqlite", "mariadb")),
    ("a BETWEEN 1 AND 5", "a BETWEEN 1 AND 6", EVERYWHERE),
    ("b IS NULL OR length(b) > 1", "b IS NOT NULL", EVERYWHERE),
    ("b ~ '^[a-z]+$'", "b ~* '^[a-z]+$'", POSTGRESQL),
    ("(a, c) <> (1, 2)", "a <> ALL (ARRAY[1, 2])", POSTGRESQL),
    ("b::text <> '\\:x'", "b <> 'a:b'::text", POSTGRESQL),
    ("CASE WHEN a > 0 THEN c > 0 ELSE true END", "coalesce(a, c) > 0", POSTGRESQL),
)
for number, (before, after, on) in enumerate(CHECKS):
    for label, named in (("named", f"k_ck_{number}"), ("unnamed", None)):
        differ(
            f"k_check_{number}_{label}",
            with_columns(lambda t=before, n=named: sa.CheckConstraint(t, name=n)),
            with_columns(lambda t=after, n=named: sa.CheckConstraint(t, name=n)),
            *on,
            rows=f"INSERT INTO k_check_{number}_{label} (id, a, b, c) VALUES (1, 3, 'abc', 4)"
            if number not in (1,)
            else "",
        )


# Indexes

SIMPLE = {"a", "b", "c"}


def indexed(name: str, *expressions: str, **kw: Any) -> Items:
    return with_columns(
        lambda: sa.Index(name, *(e if e in SIMPLE else sa.text(e) for e in expressions), **kw)
    )


PG_INDEXES: tuple[tuple[Sequence[str], dict[str, Any], Sequence[str], dict[str, Any]], ...] = (
    (("a DESC NULLS LAST",), {}, ("a ASC NULLS FIRST",), {}),
    (("a", "b"), {}, ("b", "a"), {}),
    (
        ("a",),
        {"postgresql_using": "brin"},
        ("a",),
        {"postgresql_using": "brin", "postgresql_with": {"pages_per_range": 9}},
    ),
    (("b",), {"postgresql_using": "spgist"}, ("b",), {"postgresql_using": "hash"}),
    (("a",), {"unique": True}, ("a",), {"unique": True, "postgresql_include": ["b", "c"]}),
    (("a",), {"unique": True, "postgresql_where": sa.text("c IS NULL")}, ("a",), {"unique": True}),
    (("lower(b)",), {"unique": True}, ('lower(b) COLLATE "C"',), {"unique": True}),
    (
        ("b",),
        {"postgresql_ops": {"b": "varchar_pattern_ops"}},
        ("b",),
        {"postgresql_ops": {"b": "bpchar_pattern_ops"}},
    ),
    (("(b || 'x')", "a DESC"), {}, ("(b || 'y')", "a"), {}),
    (
        ("a",),
        {"postgresql_where": sa.text("b LIKE 'x%'")},
        ("a",),
        {"postgresql_where": sa.text("b ~ '^x'")},
    ),
    (("(a::text)",), {}, ("((a + c)::text)",), {}),
    (("coalesce(b, 'none')",), {}, ("coalesce(b, 'some')",), {}),
    (("(CASE WHEN a > 0 THEN 1 END)",), {}, ("(CASE WHEN a > 0 THEN 2 END)",), {}),
    (("substr(b, 1, 3)",), {}, ("substr(b, 1, 4)",), {}),
)
for number, (before, old_options, after, new_options) in enumerate(PG_INDEXES):
    differ(
        f"k_index_{number}",
        indexed(f"k_ix_{number}", *before, **old_options),
        indexed(f"k_ix_{number}", *after, **new_options),
        "postgresql",
        rows=f"INSERT INTO k_index_{number} (id, a, b, c) VALUES (1, 1, 'x', 2)",
    )
differ(
    "k_index_name",
    indexed("k Index", "a"),
    indexed('k "Index"', "a"),
    "postgresql",
    "sqlite",
)
differ(
    "k_exclude_deferrable",
    with_columns(
        lambda: postgresql.ExcludeConstraint(
            (sa.text("int4range(a, c)"), "&&"), using="gist", name="k_ex"
        )
    ),
    with_columns(
        lambda: postgresql.ExcludeConstraint(
            (sa.text("int4range(a, c)"), "&&"),
            using="gist",
            name="k_ex",
            deferrable=True,
            initially="DEFERRED",
        )
    ),
    "postgresql",
    rows="INSERT INTO k_exclude_deferrable (id, a, c) VALUES (1, 2, 3)",
)
differ(
    "k_exclude_column",
    lambda: [
        Column("during", postgresql.INT4RANGE),
        postgresql.ExcludeConstraint(("during", "&&"), name="k_exc"),
    ],
    lambda: [
        Column("during", postgresql.INT4RANGE),
        postgresql.ExcludeConstraint(("during", "-|-"), name="k_exc"),
    ],
    "postgresql",
    rows="INSERT INTO k_exclude_column (id, during) VALUES (1, '[1,2)')",
)


# Tables and types of PostgreSQL

options("k_autovacuum", "postgresql", postgresql_with=({}, {"autovacuum_enabled": False}))
options("k_fillfactor", "postgresql", postgresql_with=({"fillfactor": 50}, {"fillfactor": 60}))
options("k_unlogged", "postgresql", prefixes=([], ["UNLOGGED"]))
options("k_comment", "postgresql", "mariadb", comment=("it's", '100% \\ "x"'))


def enum_in(metadata: MetaData, version: int) -> None:
    """An enum in an index, a CHECK, a computed column and an array changes."""
    type_ = sa.Enum(*(("a", "b") if version == 1 else ("b", "c", "a")), name="k_enum_in")
    table = Table(
        "k_enum_table",
        metadata,
        key_column(),
        Column("x", type_, server_default="a", nullable=False),
        Column("l", sa.ARRAY(type_), server_default="{a,b}"),
        sa.CheckConstraint("x <> 'b' OR id > 0", name="k_enum_ck"),
        sa.UniqueConstraint("x", "id", name="k_enum_uq"),
    )
    sa.Index("k_enum_ix", table.c.x, postgresql_where=table.c.x == "a")


tables("k_enum_in", enum_in, "postgresql", rows="INSERT INTO k_enum_table (id) VALUES (1)")


def enum_schema(metadata: MetaData, version: int) -> None:
    """An enum moves to another schema."""
    Table("k_enum_home", metadata, key_column(), schema="k_types")
    type_ = sa.Enum("a", "b", name="k_moved", schema=None if version == 1 else "k_types")
    Table("k_enum_schema", metadata, key_column(), Column("x", type_))


tables(
    "k_enum_schema",
    enum_schema,
    "postgresql",
    rows="INSERT INTO k_enum_schema (id, x) VALUES (1, 'a')",
)


def domain(name: str, **kw: Any) -> Any:
    return postgresql.DOMAIN(f"k_dom_{name}", sa.Integer, **kw)


DOMAINS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "check": ({"check": "VALUE > 0"}, {"check": "VALUE > 1"}),
    "check_named": (
        {"check": "VALUE > 0", "constraint_name": "k_dom_plus"},
        {"check": "VALUE > 1", "constraint_name": "k_dom_plus"},
    ),
    "check_new": ({}, {"check": "VALUE <> 13"}),
    "default": ({"default": "3"}, {"default": sa.text("4")}),
    "default_gone": ({"default": "3"}, {}),
    "not_null": ({}, {"not_null": True, "default": "2", "check": "VALUE > 0"}),
}
for name, (old_words, new_words) in DOMAINS.items():
    differ(
        f"k_domain_{name}",
        lambda n=name, w=old_words: [Column("x", domain(n, **w)), Column("y", domain(n, **w))],
        lambda n=name, w=new_words: [Column("x", domain(n, **w)), Column("y", domain(n, **w))],
        "postgresql",
        rows=f"INSERT INTO k_domain_{name} (id, x, y) VALUES (1, 2, 3)",
    )
typed(
    "k_domain_gone",
    lambda: domain("gone", check="VALUE > 0", default="3", not_null=True),
    sa.Integer,
    value="2",
)
typed(
    "k_domain_other",
    lambda: postgresql.DOMAIN("k_dom_one", sa.String(9), collation="C", check="VALUE <> ''"),
    lambda: postgresql.DOMAIN("k_dom_two", sa.String(12), check="VALUE <> 'x'"),
    value="'a'",
)


def lonely_sequence(metadata: MetaData, version: int) -> None:
    """A sequence that no column uses comes, and another one changes."""
    Table("k_lonely", metadata, key_column())
    sa.Sequence("k_lonely_kept", metadata=metadata, increment=version)
    if version == 2:
        sa.Sequence("k_lonely_new", metadata=metadata, start=7)


tables("k_lonely_sequence", lonely_sequence, "postgresql", "mariadb")


# MariaDB

differ(
    "k_my_json_gone",
    lambda: [Column("x", sa.JSON), Column("y", sa.JSON, nullable=False)],
    lambda: [Column("z", sa.JSON)],
    "mariadb",
    rows="INSERT INTO k_my_json_gone (id, x, y) VALUES (1, '[1]', '[2]')",
)

MY_TYPES: dict[str, tuple[Any, Any, str]] = {
    "unsigned_big": (sa.BigInteger, lambda: mysql.BIGINT(unsigned=True), "7"),
    "zerofill": (lambda: mysql.INTEGER(8), lambda: mysql.INTEGER(8, zerofill=True), "7"),
    "boolean": (sa.Boolean, lambda: mysql.TINYINT(4), "1"),
    "bit": (lambda: mysql.BIT(4), lambda: mysql.BIT(8), "b'101'"),
    "text": (sa.Text, mysql.MEDIUMTEXT, "'a'"),
    "blob": (mysql.BLOB, mysql.LONGBLOB, "'a'"),
    "set": (lambda: mysql.SET("a", "b"), lambda: mysql.SET("a", "c", "b"), "'a,b'"),
    "enum_more": (lambda: sa.Enum("a", "b"), lambda: sa.Enum("a", "c", "b"), "'b'"),
    "enum_text": (lambda: sa.Enum("a", "b"), lambda: sa.String(9), "'a'"),
    "datetime": (sa.DateTime, lambda: mysql.DATETIME(fsp=6), "'2020-01-01'"),
    "timestamp": (sa.DateTime, mysql.TIMESTAMP, "'2020-01-01'"),
    "decimal": (lambda: sa.Numeric(8, 2), lambda: mysql.DECIMAL(8, 2, unsigned=True), "1.5"),
    "double": (sa.Float, lambda: mysql.DOUBLE(8, 2), "1.5"),
    "binary": (lambda: mysql.BINARY(8), lambda: mysql.VARBINARY(8), "'12345678'"),
    "charset": (lambda: sa.String(9), lambda: mysql.VARCHAR(9, charset="ascii"), "'a'"),
    "json": (sa.Text, sa.JSON, "'[1]'"),
    "national": (lambda: sa.String(9), lambda: sa.NVARCHAR(9), "'a'"),
    "year": (sa.Integer, mysql.YEAR, "2020"),
    "time": (sa.Time, lambda: mysql.TIME(fsp=3), "'10:00'"),
}
for name, (before, after, value) in MY_TYPES.items():
    typed(f"k_my_{name}", before, after, "mariadb", value=value)
for name in ("unsigned_big", "enum_more", "datetime", "charset"):
    before, after, value = MY_TYPES[name]
    typed(f"k_my_{name}_index", before, after, "mariadb", value=value, index=True, nullable=False)
    typed(
        f"k_my_{name}_comment", before, after, "mariadb", value=value, comment="kept", unique=True
    )

options("k_my_engine", "mariadb", mysql_engine=("InnoDB", "Aria"))
options("k_my_collate", "mariadb", mysql_collate=("utf8mb4_bin", "utf8mb4_general_ci"))
options("k_my_charset", "mariadb", mysql_charset=("utf8mb4", "latin1"))
options("k_my_row_format", "mariadb", mysql_row_format=("DYNAMIC", "COMPACT"))

MY_DEFAULTS: tuple[tuple[Any, Any, Any], ...] = (
    (
        sa.TIMESTAMP,
        sa.text("CURRENT_TIMESTAMP"),
        sa.text("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"),
    ),
    (lambda: mysql.DATETIME(fsp=3), sa.text("CURRENT_TIMESTAMP(3)"), None),
    (lambda: sa.String(20), "a", sa.text("(concat('a', 'b'))")),
    (sa.Integer, "1", sa.text("(1 + 2)")),
    (sa.JSON, None, sa.text("('[]')")),
    (sa.Boolean, sa.true(), sa.false()),
    (lambda: sa.Numeric(8, 2), "1.00", "2.50"),
    (lambda: mysql.BIT(4), sa.text("b'101'"), sa.text("b'111'")),
)
for number, (type_, old_default, new_default) in enumerate(MY_DEFAULTS):
    differ(
        f"k_my_default_{number}",
        lambda t=type_, d=old_default: [Column("x", t(), server_default=d, nullable=False)],
        lambda t=type_, d=new_default: [Column("x", t(), server_default=d, nullable=False)],
        "mariadb",
    )

MY_INDEXES: tuple[tuple[Sequence[str], dict[str, Any], Sequence[str], dict[str, Any]], ...] = (
    (("b",), {}, ("b",), {"mysql_prefix": "FULLTEXT"}),
    (("a",), {"mysql_using": "btree"}, ("a", "c"), {"mysql_using": "btree"}),
    (("b", "a"), {"mysql_length": {"b": 3}}, ("b", "a"), {"mysql_length": {"b": 4}}),
    (("a DESC",), {}, ("a",), {}),
    (("a",), {}, ("a",), {"unique": True}),
)
for number, (before, old_options, after, new_options) in enumerate(MY_INDEXES):
    differ(
        f"k_my_index_{number}",
        indexed(f"k_my_ix_{number}", *before, **old_options),
        indexed(f"k_my_ix_{number}", *after, **new_options),
        "mariadb",
        rows=f"INSERT INTO k_my_index_{number} (id, a, b, c) VALUES (1, 1, 'x', 2)",
    )
differ(
    "k_my_virtual",
    lambda: [
        Column("n", sa.Integer),
        Column("x", sa.Integer, sa.Computed("n + 1", persisted=False)),
    ],
    lambda: [
        Column("n", sa.Integer),
        Column("x", sa.Integer, sa.Computed("n + 1", persisted=True)),
    ],
    "mariadb",
    "sqlite",
    rows="INSERT INTO k_my_virtual (id, n) VALUES (1, 2)",
)


for name, (before, after) in SEQUENCES.items():
    if name in ("increment", "start", "maximum"):

        def my_numbers_of(
            metadata: MetaData, version: int, n: str = name, b: Any = before, a: Any = after
        ) -> None:
            numbers = sa.Sequence(f"k_my_numbers_{n}", **(b if version == 1 else a))
            Table(
                f"k_my_sequence_{n}",
                metadata,
                Column("id", sa.Integer, numbers, primary_key=True),
            )

        tables(f"k_my_sequence_{name}", my_numbers_of, "mariadb")


# SQLite

options("k_without_rowid", "sqlite", sqlite_with_rowid=(True, False))
options("k_strict", "sqlite", sqlite_strict=(False, True), columns=lambda: [
    Column("a", sa.Integer), Column("b", sa.Text), Column("c", sa.Integer)
])  # fmt: skip
differ(
    "k_autoincrement",
    lambda: [Column("a", sa.Integer)],
    lambda: [Column("a", sa.Integer), {"sqlite_autoincrement": True}],
    "sqlite",
    rows="INSERT INTO k_autoincrement (id, a) VALUES (7, 1)",
)
SQLITE_COLUMNS: dict[str, tuple[Any, Any]] = {
    "nocase": (
        lambda: Column("x", sa.String(9)),
        lambda: Column("x", sa.String(9, collation="NOCASE")),
    ),
    "type": (lambda: Column("x", sa.Integer), lambda: Column("x", sa.String(20))),
    "affinity": (lambda: Column("x", sa.Integer), lambda: Column("x", sa.BigInteger)),
    "default": (
        lambda: Column("x", sa.Integer),
        lambda: Column("x", sa.Integer, server_default=sa.text("(1 + 2)")),
    ),
}
for name, (before, after) in SQLITE_COLUMNS.items():
    differ(
        f"k_sqlite_{name}",
        lambda b=before: [b(), Column("n", sa.String(9, collation="NOCASE"), index=True)],
        lambda a=after: [a(), Column("n", sa.String(9, collation="NOCASE"), index=True)],
        "sqlite",
        rows=f"INSERT INTO k_sqlite_{name} (id, x) VALUES (1, 2)",
    )
CONFLICTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unique": ({"unique": True}, {"unique": True, "sqlite_on_conflict_unique": "REPLACE"}),
    "unique_other": (
        {"unique": True, "sqlite_on_conflict_unique": "IGNORE"},
        {"unique": True, "sqlite_on_conflict_unique": "ABORT"},
    ),
}
for name, (old_words, new_words) in CONFLICTS.items():
    differ(
        f"k_conflict_{name}",
        lambda w=old_words: [Column("x", sa.Integer, **{"nullable": False, **w})],
        lambda w=new_words: [Column("x", sa.Integer, **{"nullable": False, **w})],
        "sqlite",
        rows=f"INSERT INTO k_conflict_{name} (id, x) VALUES (1, 2)",
    )
differ(
    "k_conflict_table",
    with_columns(lambda: sa.UniqueConstraint("a", "c", name="k_ct")),
    with_columns(lambda: sa.UniqueConstraint("a", "c", name="k_ct", sqlite_on_conflict="FAIL")),
    "sqlite",
    rows="INSERT INTO k_conflict_table (id, a, c) VALUES (1, 2, 3)",
)
SQLITE_INDEXES: tuple[tuple[Sequence[str], dict[str, Any], Sequence[str], dict[str, Any]], ...] = (
    (("b COLLATE NOCASE",), {}, ("b",), {}),
    (("lower(b)", "a DESC"), {"unique": True}, ("lower(b)", "a"), {"unique": True}),
    (
        ("a",),
        {"sqlite_where": sa.text("b is null")},
        ("a",),
        {"sqlite_where": sa.text("b = 'it''s'")},
    ),
    (("a + c",), {}, ("a - c",), {}),
    (("a",), {}, ("a",), {"unique": True}),
)
for number, (before, old_options, after, new_options) in enumerate(SQLITE_INDEXES):
    differ(
        f"k_sqlite_index_{number}",
        indexed(f"k_s_ix_{number}", *before, **old_options),
        indexed(f"k_s_ix_{number}", *after, **new_options),
        "sqlite",
        rows=f"INSERT INTO k_sqlite_index_{number} (id, a, b, c) VALUES (1, 1, 'x', 2)",
    )


def kept_in_batch(metadata: MetaData, version: int) -> None:
    """All that a table made anew could lose, while a column changes."""
    table = Table(
        "k_kept",
        metadata,
        key_column(),
        Column("x", sa.String(9 * version), nullable=False, server_default="a"),
        Column("n", sa.String(9, collation="NOCASE"), unique=True),
        Column("q", sa.Integer, sa.Computed("id * 2", persisted=False)),
        Column("p", sa.ForeignKey("k_kept.id", ondelete="CASCADE", deferrable=True)),
        sa.UniqueConstraint("x", "n", name="k_kept_uq", sqlite_on_conflict="REPLACE"),
        sa.CheckConstraint("x <> ''", name="k_kept_ck"),
        sa.CheckConstraint("n <> 'b'"),
        sqlite_autoincrement=True,
    )
    sa.Index("k_kept_lower", sa.func.lower(table.c.n))
    sa.Index("k_kept_desc", table.c.n.desc(), sqlite_where=table.c.x > "a")


tables(
    "k_kept_in_batch", kept_in_batch, "sqlite", rows="INSERT INTO k_kept (id, n) VALUES (9, 'A')"
)
