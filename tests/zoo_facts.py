"""Changes that only the server's own words tell, one column or constraint each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import mysql, postgresql

from zoo import CHANGES, Feature

__all__: list[str] = []

Items = Callable[[], list[Any]]


def differ(name: str, old: Items, new: Items, *on: str, rows: str = "") -> None:
    """Register a change of what a table has besides its key.

    :param rows: a statement that fills the table before the change
    """

    def fill(metadata: MetaData, version: int) -> None:
        items = old() if version == 1 else new()
        options = [item for item in items if isinstance(item, dict)]
        parts = [item for item in items if not isinstance(item, dict)]
        key = [] if any(c.primary_key for c in parts if isinstance(c, Column)) else [key_column()]
        Table(name, metadata, *key, *parts, **(options[0] if options else {}))

    CHANGES[name] = Feature(name, fill, on, rows=rows)


def key_column() -> Column[Any]:
    return Column("id", sa.Integer, primary_key=True)


def typed(name: str, old: Any, new: Any, *on: str, value: str, **kw: Any) -> None:
    """Register a change of a column's type, with a row."""
    differ(
        name,
        lambda: [Column("x", old(), **kw)],
        lambda: [Column("x", new(), **kw)],
        *(on or ("postgresql",)),
        rows=f"INSERT INTO {name} (id, x) VALUES (1, {value})",
    )


def with_columns(*more: Callable[[], Any]) -> Items:
    return lambda: [
        Column("a", sa.Integer),
        Column("b", sa.String(9)),
        Column("c", sa.Integer),
        *(one() for one in more),
    ]


# Types

typed("f_collation", sa.Text, lambda: sa.Text(collation="C"), value="'a'")
typed("f_numeric", sa.Numeric, lambda: sa.Numeric(8, 2), value="1.5")
typed("f_numeric_scale", lambda: sa.Numeric(8, 2), lambda: sa.Numeric(8, 3), value="1.5")
typed(
    "f_interval",
    postgresql.INTERVAL,
    lambda: postgresql.INTERVAL(fields="DAY TO SECOND"),
    value="'1 day'",
)
typed(
    "f_bit",
    lambda: postgresql.BIT(4),
    lambda: postgresql.BIT(8, varying=True),
    value="B'1010'",
)
typed("f_time", sa.DateTime, lambda: postgresql.TIMESTAMP(precision=3), value="'2020-01-01'")
typed("f_array", lambda: sa.String(20), lambda: postgresql.ARRAY(sa.String), value="'{a,b}'")
typed("f_json", sa.JSON, postgresql.JSONB, value="'[1]'")
typed("f_text_integer", lambda: sa.String(20), sa.Integer, value="'12'")
typed("f_boolean", sa.Boolean, sa.Integer, value="true")
typed("f_integer_boolean", sa.Integer, sa.Boolean, value="1")
typed("f_bytes", sa.LargeBinary, sa.Text, value="'abc'")
typed("f_to_enum", lambda: sa.String(9), lambda: sa.Enum("a", "b", name="f_e1"), value="'a'")
typed("f_from_enum", lambda: sa.Enum("a", "b", name="f_e2"), lambda: sa.String(9), value="'a'")
typed(
    "f_enum_renamed",
    lambda: sa.Enum("a", "b", name="f_mail"),
    lambda: sa.Enum("a", "b", name="f_letter"),
    value="'a'",
    server_default="b",
)
typed(
    "f_enum_array_renamed",
    lambda: postgresql.ARRAY(sa.Enum("a", "b", name="f_mails")),
    lambda: postgresql.ARRAY(sa.Enum("a", "b", name="f_letters")),
    value="'{a}'",
    server_default="{b}",
)
differ(
    "f_enum_default_removed",
    lambda: [Column("x", sa.Enum("p", "q", "r", name="f_pqr"), server_default="q")],
    lambda: [Column("x", sa.Enum("p", "r", name="f_pqr"), server_default="p")],
    "postgresql",
    "mariadb",
    "sqlite",
    rows="INSERT INTO f_enum_default_removed (id, x) VALUES (1, 'r')",
)
differ(
    "f_enum_default_dropped",
    lambda: [
        Column("x", sa.Enum("p", "q", name="f_pqd", create_constraint=True), server_default="q")
    ],
    lambda: [Column("x", sa.Enum("p", "s", name="f_pqd", create_constraint=True))],
    "postgresql",
    "mariadb",
    "sqlite",
    rows="INSERT INTO f_enum_default_dropped (id, x) VALUES (1, 'p')",
)
differ(
    "f_enum_checked_default",
    lambda: [
        Column(
            "x",
            sa.Enum("p", "q", name="f_pqc", native_enum=False, create_constraint=True),
            server_default="q",
        )
    ],
    lambda: [
        Column(
            "x",
            sa.Enum("p", "rrrr", name="f_pqc", native_enum=False, create_constraint=True),
            server_default="rrrr",
        )
    ],
    "postgresql",
    "mariadb",
    "sqlite",
    rows="INSERT INTO f_enum_checked_default (id, x) VALUES (1, 'p')",
)
typed("f_domain", sa.Integer, lambda: postgresql.DOMAIN("f_dom", sa.Integer), value="3")

# Constraints


def unique(**kw: Any) -> Callable[[], Any]:
    return lambda: sa.UniqueConstraint("a", "b", name="f_uq", **kw)


def exclusion(where: str) -> Callable[[], Any]:
    return lambda: postgresql.ExcludeConstraint(
        (sa.text("int4range(a, c)"), "&&"), using="gist", name="f_ex", where=sa.text(where)
    )


for number, options in enumerate(
    (
        {"deferrable": True},
        {"deferrable": True, "initially": "DEFERRED"},
        {"postgresql_nulls_not_distinct": True},
        {"postgresql_include": ["c"]},
    )
):
    differ(
        f"f_unique_{number}",
        with_columns(lambda n=number: sa.UniqueConstraint("a", "b", name=f"f_uq_{n}")),
        with_columns(
            lambda n=number, o=options: sa.UniqueConstraint("a", "b", name=f"f_uq_{n}", **o)
        ),
        "postgresql",
    )
differ("f_exclude", with_columns(), with_columns(exclusion("a > 0")), "postgresql")
differ(
    "f_exclude_where",
    with_columns(
        lambda: postgresql.ExcludeConstraint(
            (sa.text("int4range(a, c)"), "&&"), using="gist", name="f_ex2", where=sa.text("a > 0")
        )
    ),
    with_columns(
        lambda: postgresql.ExcludeConstraint(
            (sa.text("int4range(a, c)"), "&&"), using="gist", name="f_ex2", where=sa.text("a > 9")
        )
    ),
    "postgresql",
)


def keyed(name: str, **kw: Any) -> Items:
    return lambda: [
        Column("k", sa.Integer, primary_key=True, autoincrement=False),
        Column("a", sa.Integer),
        sa.PrimaryKeyConstraint("k", name=name, **kw),
    ]


differ(
    "f_key_include",
    keyed("f_key_include_k", postgresql_include=["a"]),
    keyed("f_key_include_k"),
    "postgresql",
)
differ(
    "f_key_deferrable",
    keyed("f_key_deferrable_k", deferrable=True, initially="DEFERRED"),
    keyed("f_key_deferrable_k"),
    "postgresql",
)
differ(
    "f_key_more",
    lambda: [
        Column("k", sa.Integer, primary_key=True, autoincrement=False),
        Column("a", sa.Integer, nullable=False),
    ],
    lambda: [
        Column("k", sa.Integer, primary_key=True, autoincrement=False),
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
    ],
    "postgresql",
    "mariadb",
    "sqlite",
    rows="INSERT INTO f_key_more (k, a) VALUES (1, 2)",
)
differ(
    "f_key_named",
    keyed("f_key_named_one"),
    lambda: [
        Column("k", sa.Integer, nullable=False),
        Column("a", sa.Integer),
        Column("b", sa.Integer, primary_key=True, autoincrement=False, server_default="7"),
    ],
    "postgresql",
    "mariadb",
    "sqlite",
    rows="INSERT INTO f_key_named (k, a) VALUES (1, 2)",
)
differ(
    "f_own_check",
    lambda: [Column("a", sa.Integer, sa.CheckConstraint("a > 0", name="f_ck"))],
    lambda: [Column("a", sa.Integer, sa.CheckConstraint("a > 1", name="f_ck"))],
    "postgresql",
    "sqlite",
)
differ(
    "f_check_rewritten",
    with_columns(lambda: sa.CheckConstraint("b IN ('x', 'y')", name="f_in")),
    with_columns(lambda: sa.CheckConstraint("b IN ('x', 'y', 'z')", name="f_in")),
    "postgresql",
    "sqlite",
    "mariadb",
    rows="INSERT INTO f_check_rewritten (id, b) VALUES (1, 'x')",
)

# Indexes


def index(name: str, *expressions: str, **kw: Any) -> Callable[[], Any]:
    plain = ("a", "b", "c")
    return lambda: sa.Index(name, *(e if e in plain else sa.text(e) for e in expressions), **kw)


INDEXES: tuple[tuple[Callable[[], Any] | None, Callable[[], Any] | None], ...] = (
    (index("f_i0", "a"), index("f_i0", "a", postgresql_include=["c"])),
    (index("f_i1", "b"), index("f_i1", "b", postgresql_ops={"b": "text_pattern_ops"})),
    (index("f_i2", "lower(b)"), None),
    (None, index("f_i3", "lower(b) text_pattern_ops")),
    (index("f_i4", "a DESC"), index("f_i4", "a DESC NULLS LAST")),
    (index("f_i5", "(a % 10)"), index("f_i5", "(a % 11)")),
    (index("f_i6", "a", postgresql_where=sa.text("b IN ('x', 'y')")), index("f_i6", "a")),
    (index("f_i7", "a"), index("f_i7", "a", postgresql_with={"fillfactor": 50})),
    (index("f_i8", "a"), index("f_i8", "a", postgresql_using="hash")),
    (index("f_i9", "a"), index("f_i9", "a", unique=True, postgresql_nulls_not_distinct=True)),
    (index("f_i10", 'b COLLATE "C"'), index("f_i10", 'b COLLATE "POSIX"')),
    (
        index("f_i11", "to_tsvector('english', b)", postgresql_using="gin"),
        index("f_i11", "to_tsvector('simple', b)", postgresql_using="gin"),
    ),
)
for number, (before, after) in enumerate(INDEXES):
    differ(
        f"f_index_{number}",
        with_columns(*([before] if before else [])),
        with_columns(*([after] if after else [])),
        "postgresql",
    )

# Numbers, computed columns, options

differ(
    "f_serial",
    lambda: [Column("id", sa.Integer, primary_key=True, autoincrement=False)],
    lambda: [Column("id", sa.Integer, primary_key=True)],
    "postgresql",
    rows="INSERT INTO f_serial (id) VALUES (7)",
)
differ(
    "f_serial_to_identity",
    lambda: [Column("id", sa.Integer, primary_key=True)],
    lambda: [Column("id", sa.Integer, sa.Identity(), primary_key=True)],
    "postgresql",
    rows="INSERT INTO f_serial_to_identity (id) VALUES (7)",
)
differ(
    "f_big_key",
    lambda: [Column("id", sa.Integer, primary_key=True)],
    lambda: [Column("id", sa.BigInteger, primary_key=True)],
    "postgresql",
    rows="INSERT INTO f_big_key (id) VALUES (7)",
)
differ(
    "f_identity_options",
    lambda: [Column("n", sa.Integer, sa.Identity(start=3, increment=2, cycle=True))],
    lambda: [Column("n", sa.Integer, sa.Identity(start=5, increment=5, cache=9, maxvalue=900))],
    "postgresql",
)


def computed(number: int) -> Items:
    return lambda: [
        Column("n", sa.Integer),
        Column("lines", sa.Integer, sa.Computed(f"n\n + {number}", persisted=True)),
        Column("commas", sa.Integer, sa.Computed(f"coalesce(n, (0), {number})", persisted=True)),
    ]


differ(
    "f_computed_texts",
    computed(1),
    computed(2),
    "postgresql",
    "sqlite",
    "mariadb",
    rows="INSERT INTO f_computed_texts (id, n) VALUES (1, 2)",
)
differ(
    "f_computed_index",
    lambda: [
        Column("n", sa.Integer),
        Column("t", sa.Integer, sa.Computed("n * 2", persisted=True), index=True),
    ],
    lambda: [
        Column("n", sa.Integer),
        Column("t", sa.Integer, sa.Computed("n * 3", persisted=True), index=True),
    ],
    "postgresql",
    "sqlite",
    "mariadb",
    rows="INSERT INTO f_computed_index (id, n) VALUES (1, 2)",
)
differ(
    "f_table_options",
    lambda: [Column("n", sa.Integer)],
    lambda: [Column("n", sa.Integer), {"postgresql_with": {"fillfactor": 70}}],
    "postgresql",
)
differ(
    "f_enum_value",
    lambda: [Column("e", postgresql.ARRAY(sa.Enum("a", "b", name="f_arr")), server_default="{a}")],
    lambda: [
        Column("e", postgresql.ARRAY(sa.Enum("a", "c", "b", name="f_arr")), server_default="{c}")
    ],
    "postgresql",
    rows="INSERT INTO f_enum_value (id, e) VALUES (1, '{a,b}')",
)
differ(
    "f_enum_value_gone",
    lambda: [Column("e", sa.Enum("p", "q", "r", name="f_gone"), server_default="q")],
    lambda: [Column("e", sa.Enum("p", "r", name="f_gone"), server_default="p")],
    "sqlite",
    rows="INSERT INTO f_enum_value_gone (id, e) VALUES (1, 'r')",
)
differ(
    "f_long_enum",
    lambda: [Column("e", sa.Enum("p", "q", name="f_long", native_enum=False))],
    lambda: [Column("e", sa.Enum("p", "q", "much_longer", name="f_long", native_enum=False))],
    "postgresql",
    "sqlite",
    "mariadb",
)


@lambda function: CHANGES.__setitem__(
    "f_key_type",
    Feature(
        "f_key_type",
        function,
        ("sqlite", "postgresql", "mariadb"),
        rows="INSERT INTO f_key_parent (id) VALUES (1);"
        "INSERT INTO f_key_child (id, p) VALUES (1, 1)",
    ),
)
def f_key_type(metadata: MetaData, version: int) -> None:
    type_ = sa.Integer if version == 1 else sa.BigInteger
    Table(
        "f_key_parent",
        metadata,
        Column("id", type_, primary_key=True, autoincrement=False),
        Column("above", type_, sa.ForeignKey("f_key_parent.id")),
    )
    Table(
        "f_key_child", metadata, key_column(), Column("p", type_, sa.ForeignKey("f_key_parent.id"))
    )


# MariaDB

differ(
    "f_unsigned",
    lambda: [Column("x", mysql.INTEGER(unsigned=True))],
    lambda: [Column("x", mysql.INTEGER())],
    "mariadb",
    rows="INSERT INTO f_unsigned (id, x) VALUES (1, 2)",
)
differ(
    "f_enum_order",
    lambda: [Column("x", sa.Enum("a", "b"))],
    lambda: [Column("x", sa.Enum("b", "a"))],
    "mariadb",
    rows="INSERT INTO f_enum_order (id, x) VALUES (1, 'a')",
)
differ(
    "f_my_collation",
    lambda: [Column("x", sa.String(20, collation="utf8mb4_bin"), index=True)],
    lambda: [Column("x", sa.String(20, collation="utf8mb4_general_ci"), index=True)],
    "mariadb",
    rows="INSERT INTO f_my_collation (id, x) VALUES (1, 'a')",
)
differ(
    "f_my_length",
    lambda: [Column("x", sa.Text), sa.Index("f_my_length_x", "x", mysql_length=10)],
    lambda: [Column("x", sa.Text), sa.Index("f_my_length_x", "x", mysql_length=20)],
    "mariadb",
)

# SQLite

for number, (before_index, after_index) in enumerate(
    (
        (index("f_s0", "a"), index("f_s0", "a DESC")),
        (index("f_s1", "a"), index("f_s1", "a", sqlite_where=sa.text("a > 5"))),
        (index("f_s2", "lower(b)"), index("f_s2", "upper(b)")),
        (None, index("f_s3", "lower(b)", "a")),
    )
):
    differ(
        f"f_sqlite_index_{number}",
        with_columns(*([before_index] if before_index else [])),
        with_columns(after_index),
        "sqlite",
    )
