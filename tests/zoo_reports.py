"""Models as those in public reports about autogenerate, in our own words: changes with rows."""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import mysql, postgresql

from zoo import EVERYWHERE, SERVERS, simple
from zoo_catalogue import MARIADB, POSTGRESQL, SQLITE, tables
from zoo_facts import differ, key_column, with_columns

__all__: list[str] = []


class Level(enum.IntEnum):
    """An enum whose names are stored, not its numbers."""

    LOW = 1
    HIGH = 2


class Mode(str, enum.Enum):
    """An enum by values, one of them with an apostrophe."""

    FAST = "it's fast"
    SLOW = "slow, not fast"


class ModeMore(str, enum.Enum):
    """The same with one more value in the middle."""

    FAST = "it's fast"
    IDLE = "100% idle"
    SLOW = "slow, not fast"


def by_value(kind: type[enum.Enum], **kw: Any) -> sa.Enum:
    return sa.Enum(kind, values_callable=lambda k: [m.value for m in k], **kw)


def row(name: str, **values: str) -> str:
    names, literals = ", ".join(["id", *values]), ", ".join(["1", *values.values()])
    return f"INSERT INTO {name} ({names}) VALUES ({literals})"


# Indexes on expressions

JSON_INDEXES: tuple[tuple[Any, Any], ...] = (
    (
        lambda t: sa.Index("r_j0", t.c.d, postgresql_using="gin"),
        lambda t: sa.Index(
            "r_j0", t.c.d, postgresql_using="gin", postgresql_ops={"d": "jsonb_path_ops"}
        ),
    ),
    (
        lambda t: sa.Index("r_j1", t.c.d["a"].astext),
        lambda t: sa.Index("r_j1", t.c.d["a"]["b"].astext, unique=True),
    ),
    (
        lambda t: sa.Index(
            "r_j2", sa.func.lower(t.c.b).label("low"), postgresql_ops={"low": "text_pattern_ops"}
        ),
        lambda t: sa.Index("r_j2", sa.func.lower(t.c.b).label("low")),
    ),
    (
        lambda t: sa.Index("r_j3", t.c.a.desc().nulls_last(), t.c.b),
        lambda t: sa.Index("r_j3", t.c.a.desc().nulls_first(), t.c.b.collate("C")),
    ),
    (
        lambda t: sa.Index("r_j4", sa.func.coalesce(t.c.a, 0), unique=True),
        lambda t: sa.Index("r_j4", sa.func.coalesce(t.c.a, -1), unique=True),
    ),
    (
        lambda t: sa.Index("r_j5", sa.func.date_trunc("day", t.c.m)),
        lambda t: sa.Index("r_j5", sa.func.date_trunc("hour", t.c.m), t.c.b),
    ),
    (
        lambda t: sa.Index("r_j6", t.c.b, postgresql_where=t.c.b.like("100%")),
        lambda t: sa.Index("r_j6", t.c.b, postgresql_where=t.c.b.notin_(["x", "it's"])),
    ),
    (
        lambda t: sa.Index("r_j7", sa.cast(t.c.b, sa.Integer)),
        lambda t: sa.Index("r_j7", sa.cast(t.c.b, sa.Numeric(8, 2))),
    ),
    (
        lambda t: sa.Index("R_j8 Upper", sa.func.upper(t.c.b), postgresql_include=["a"]),
        lambda t: sa.Index("R_j8 Upper", sa.func.upper(t.c.b), postgresql_include=["m"]),
    ),
    (
        lambda t: sa.Index("r_j9", sa.extract("year", t.c.m)),
        lambda t: sa.Index("r_j9", sa.extract("month", t.c.m), t.c.a),
    ),
)
for number, (before, after) in enumerate(JSON_INDEXES):

    def with_index(
        metadata: MetaData, version: int, n: int = number, b: Any = before, a: Any = after
    ) -> None:
        table = Table(
            f"r_json_index_{n}",
            metadata,
            key_column(),
            Column("a", sa.Integer),
            Column("b", sa.Text),
            Column("d", postgresql.JSONB),
            Column("m", sa.DateTime),
        )
        (b if version == 1 else a)(table)

    tables(
        f"r_json_index_{number}",
        with_index,
        *POSTGRESQL,
        rows=row(f"r_json_index_{number}", a="1", b="'5'", d="""'{"a": {"b": 1}}'"""),
    )


# A column's own CHECK

OWN_CHECKS: tuple[tuple[str | None, str | None, str | None, str | None], ...] = (
    ("x > 0", "r_own_a", "x > 0", "r_own_b"),
    ("x > 0", None, "x > 1", None),
    ("x > 0", None, None, None),
    (None, None, "x IN (1, 2, 3)", "r_own_in"),
    ("x > 0 AND x < 90", "r_own_two", "x BETWEEN 1 AND 80", "r_own_two"),
)
for number, (old_text, old_name, new_text, new_name) in enumerate(OWN_CHECKS):

    def own(text: str | None, name: str | None) -> Any:
        check = [sa.CheckConstraint(text, name=name)] if text else []
        return lambda: [Column("x", sa.Integer, *check), Column("y", sa.Integer)]

    differ(
        f"r_own_check_{number}",
        own(old_text, old_name),
        own(new_text, new_name),
        # MariaDB takes no name for one in a column; scripts write it as one of the table.
        "postgresql",
        "sqlite",
        rows=row(f"r_own_check_{number}", x="3"),
    )


# Foreign keys


def across_schemas(metadata: MetaData, version: int) -> None:
    """A key moves from a table of the default schema to one of another schema, and back."""
    Table("r_as_near", metadata, key_column())
    Table("r_as_far", metadata, key_column(), schema="r_far")
    target = "r_as_near.id" if version == 1 else "r_far.r_as_far.id"
    Table("r_as", metadata, key_column(), Column("p", sa.ForeignKey(target)))
    Table(
        "r_as_back",
        metadata,
        key_column(),
        Column("p", sa.ForeignKey("r_as.id", ondelete="CASCADE")),
        Column(
            "q", sa.ForeignKey("r_far.r_as_far.id", ondelete="SET NULL" if version == 2 else None)
        ),
        schema="r_far",
    )


tables("r_across_schemas", across_schemas, *POSTGRESQL)


def same_names(metadata: MetaData, version: int) -> None:
    """Tables of one name in two schemas refer to each other."""
    Table("r_twin", metadata, key_column(), Column("a", sa.String(5 * version), index=True))
    Table(
        "r_twin",
        metadata,
        key_column(),
        Column("a", sa.Integer, index=version == 2, unique=version == 1),
        Column("p", sa.ForeignKey("r_twin.id")),
        schema="r_other",
    )


tables("r_same_names", same_names, *POSTGRESQL, rows="INSERT INTO r_twin (id, a) VALUES (1, 'a')")


def circle(metadata: MetaData, version: int) -> None:
    """Three tables in a circle, by keys of two columns, change the type of these."""
    kind = sa.Integer if version == 1 else sa.BigInteger
    for name, to in (("a", "b"), ("b", "c"), ("c", "a")):
        Table(
            f"r_circle_{name}",
            metadata,
            Column("k", kind, primary_key=True, autoincrement=False),
            Column("n", kind, primary_key=True, autoincrement=False),
            Column("pk", kind),
            Column("pn", kind),
            sa.ForeignKeyConstraint(
                ["pk", "pn"],
                [f"r_circle_{to}.k", f"r_circle_{to}.n"],
                name=f"r_circle_{name}_fk",
                use_alter=True,
            ),
        )


tables("r_circle", circle, rows="INSERT INTO r_circle_a (k, n) VALUES (1, 1)")


def renamed_unique(metadata: MetaData, version: int) -> None:
    """A key leans on a unique constraint that gets another name."""
    Table(
        "r_ru_p",
        metadata,
        key_column(),
        Column("code", sa.String(9), nullable=False),
        sa.UniqueConstraint("code", name="r_ru_one" if version == 1 else "r_ru_two"),
    )
    Table("r_ru", metadata, key_column(), Column("p", sa.String(9), sa.ForeignKey("r_ru_p.code")))


tables(
    "r_renamed_unique",
    renamed_unique,
    rows="INSERT INTO r_ru_p (id, code) VALUES (1, 'a');INSERT INTO r_ru (id, p) VALUES (1, 'a')",
)


def unique_index_target(metadata: MetaData, version: int) -> None:
    """A key leans on a unique index, which becomes a constraint."""
    table = Table(
        "r_ui_p",
        metadata,
        key_column(),
        Column("code", sa.Integer, unique=version == 2, nullable=False),
    )
    if version == 1:
        sa.Index("r_ui_ix", table.c.code, unique=True)
    Table("r_ui", metadata, key_column(), Column("p", sa.Integer, sa.ForeignKey("r_ui_p.code")))


tables(
    "r_unique_index_target",
    unique_index_target,
    # On MariaDB a unique constraint is an index.
    "postgresql",
    "sqlite",
    rows="INSERT INTO r_ui_p (id, code) VALUES (1, 7);INSERT INTO r_ui (id, p) VALUES (1, 7)",
)


def wider_primary_key(metadata: MetaData, version: int) -> None:
    """A primary key that others refer to gets one column more, and the key to it too."""
    two = version == 2
    Table(
        "r_wp_p",
        metadata,
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
        Column("b", sa.Integer, primary_key=two, autoincrement=False, nullable=False),
    )
    columns = ["a", "b"] if two else ["a"]
    Table(
        "r_wp",
        metadata,
        key_column(),
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.ForeignKeyConstraint(columns, [f"r_wp_p.{c}" for c in columns], name="r_wp_fk"),
    )


tables(
    "r_wider_primary_key",
    wider_primary_key,
    rows="INSERT INTO r_wp_p (a, b) VALUES (1, 2);INSERT INTO r_wp (id, a, b) VALUES (1, 1, 2)",
)


def joined(metadata: MetaData, version: int) -> None:
    """Joined inheritance: the key of a table is a key to its parent's, and both get wider."""
    kind = sa.Integer if version == 1 else sa.BigInteger
    Table("r_joined", metadata, Column("id", kind, primary_key=True), Column("type", sa.String(9)))
    Table(
        "r_joined_child",
        metadata,
        Column("id", kind, sa.ForeignKey("r_joined.id", ondelete="CASCADE"), primary_key=True),
        Column("x", sa.Integer, unique=version == 2),
    )


tables(
    "r_joined",
    joined,
    "postgresql",
    "mariadb",
    rows="INSERT INTO r_joined (id) VALUES (1);INSERT INTO r_joined_child (id, x) VALUES (1, 2)",
)


# Enums

differ(
    "r_enum_by_value",
    lambda: [Column("x", by_value(Mode, name="r_mode"), server_default="it's fast")],
    lambda: [Column("x", by_value(ModeMore, name="r_mode"), server_default="100% idle")],
    *EVERYWHERE,
    rows=row("r_enum_by_value", x="'slow, not fast'"),
)
differ(
    "r_enum_int",
    lambda: [Column("x", sa.Enum(Level, name="r_level"), server_default="LOW", nullable=False)],
    lambda: [Column("x", sa.SmallInteger, server_default="1", nullable=False)],
    *MARIADB,
)
differ(
    "r_enum_member_default",
    lambda: [Column("x", by_value(Mode, name="r_member"), server_default=Mode.FAST)],
    lambda: [Column("x", by_value(Mode, name="r_member"), server_default=Mode.SLOW)],
    *EVERYWHERE,
    rows=row("r_enum_member_default"),
)
differ(
    "r_enum_strings",
    lambda: [Column("x", by_value(Mode, name="r_strings", native_enum=False, length=20))],
    lambda: [
        Column("x", by_value(ModeMore, name="r_strings", native_enum=False, length=40)),
        Column("y", by_value(Mode, name="r_strings_y", native_enum=False, create_constraint=True)),
    ],
    *EVERYWHERE,
    rows=row("r_enum_strings", x="'slow, not fast'"),
)
differ(
    "r_enum_constraint_added",
    lambda: [Column("x", sa.Enum("a", "b", name="r_eca", native_enum=False))],
    lambda: [
        Column("x", sa.Enum("a", "b", name="r_eca", native_enum=False, create_constraint=True))
    ],
    *EVERYWHERE,
    rows=row("r_enum_constraint_added", x="'a'"),
)
differ(
    "r_enum_array_gone",
    lambda: [
        Column("x", postgresql.ARRAY(sa.Enum("a", "b", "c", name="r_eag")), server_default="{a,c}")
    ],
    lambda: [Column("x", postgresql.ARRAY(sa.Enum("a", "c", name="r_eag")), server_default="{}")],
    *POSTGRESQL,
    rows=row("r_enum_array_gone", x="'{c}'"),
)
differ(
    "r_enum_upper",
    lambda: [Column("x", sa.Enum("Äpfel", "b'c", name="R Enum"))],
    lambda: [Column("x", sa.Enum("Äpfel", "b'c", "d%e", name="R Enum"))],
    *EVERYWHERE,
    rows=row("r_enum_upper", x="'Äpfel'"),
)


# Small changes

differ(
    "r_unique_to_index",
    with_columns(lambda: sa.UniqueConstraint("a", name="r_uti")),
    with_columns(lambda: sa.Index("r_uti", "a", unique=True)),
    "postgresql",
    "sqlite",
    rows=row("r_unique_to_index", a="1"),
)
differ(
    "r_check_to_not_null",
    with_columns(lambda: sa.CheckConstraint("a IS NOT NULL", name="r_ctn")),
    lambda: [
        Column("a", sa.Integer, nullable=False),
        Column("b", sa.String(9), nullable=False),
        Column("c", sa.Integer),
    ],
    *EVERYWHERE,
    rows=row("r_check_to_not_null", a="1", b="'x'"),
)
differ(
    "r_many_at_once",
    lambda: [
        Column("a", sa.String(20), nullable=False, server_default="7", index=True),
        Column("b", sa.Integer, unique=True),
        Column("gone", sa.Integer, index=True),
        sa.CheckConstraint("gone > 0", name="r_mao_gone"),
    ],
    lambda: [
        Column("a", sa.Integer, nullable=True, server_default="8", unique=True),
        Column("b", sa.BigInteger, index=True, nullable=False),
        Column("new", sa.Integer, server_default="1", nullable=False),
    ],
    *EVERYWHERE,
    rows=row("r_many_at_once", a="'12'", b="3", gone="1"),
)
differ(
    "r_default_texts",
    lambda: [
        Column("a", sa.String(30), server_default="a:b"),
        Column("b", sa.String(30), server_default="100%"),
        Column("c", sa.String(30), server_default="{}"),
        Column("d", sa.String(30), server_default=sa.text("'x::y'")),
    ],
    lambda: [
        Column("a", sa.String(30), server_default="a::b"),
        Column("b", sa.String(30), server_default="100%%"),
        Column("c", sa.String(30), server_default='{"a": ":b"}'),
        Column("d", sa.String(30), server_default="NULL"),
    ],
    *EVERYWHERE,
    rows=row("r_default_texts"),
)
differ(
    "r_boolean_defaults",
    lambda: [
        Column("a", sa.Boolean, server_default="false", nullable=False),
        Column("b", sa.Boolean, server_default=sa.text("true")),
        Column("c", sa.Boolean, server_default="0"),
    ],
    lambda: [
        Column("a", sa.Boolean, server_default="true", nullable=False),
        Column("b", sa.Boolean, server_default=sa.text("false")),
        Column("c", sa.Boolean, server_default="1"),
    ],
    *POSTGRESQL,
)
differ(
    "r_onupdate_timestamps",
    lambda: [Column("x", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)],
    lambda: [
        Column("x", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=True),
        Column(
            "y",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
    ],
    "postgresql",
    "mariadb",
    rows=row("r_onupdate_timestamps"),
)
differ(
    "r_words_as_names",
    lambda: [
        Column("order", sa.Integer),
        Column("Group By", sa.Integer),
        Column("user", sa.String(9)),
    ],
    lambda: [
        Column("order", sa.Integer, sa.CheckConstraint('"order" > 0', name="r_wan"), index=True),
        Column("Group By", sa.BigInteger, unique=True, server_default="3"),
        Column("select", sa.String(9)),
    ],
    "postgresql",
    "sqlite",
)
differ(
    "r_identity_big",
    lambda: [Column("id", sa.BigInteger, sa.Identity(always=True, start=1000), primary_key=True)],
    lambda: [Column("id", sa.BigInteger, sa.Identity(start=1, increment=10), primary_key=True)],
    *POSTGRESQL,
)
differ(
    "r_not_valid_types",
    lambda: [
        Column("a", postgresql.TIMESTAMP(precision=0)),
        Column("b", postgresql.TIME(timezone=True, precision=2)),
        Column("c", sa.CHAR(1)),
        Column("d", postgresql.BYTEA),
        Column("e", postgresql.NUMRANGE),
    ],
    lambda: [
        Column("a", postgresql.TIMESTAMP(timezone=True, precision=6)),
        Column("b", postgresql.TIME(precision=4)),
        Column("c", postgresql.VARCHAR),
        Column("d", sa.Text),
        Column("e", postgresql.NUMMULTIRANGE),
    ],
    *POSTGRESQL,
    rows=row("r_not_valid_types", a="'2020-01-01'", c="'a'"),
)
differ(
    "r_array_defaults",
    lambda: [
        Column("a", postgresql.ARRAY(sa.String), server_default="{}", nullable=False),
        Column("b", postgresql.ARRAY(sa.Integer), server_default=sa.text("'{1,2}'::int[]")),
        Column("c", postgresql.JSONB, server_default=sa.text("'{}'::jsonb")),
    ],
    lambda: [
        Column(
            "a",
            postgresql.ARRAY(sa.String(5), dimensions=2),
            server_default=sa.text("ARRAY[]::varchar[]"),
            nullable=False,
        ),
        Column(
            "b", postgresql.ARRAY(sa.BigInteger), server_default=sa.text("array_fill(0, ARRAY[3])")
        ),
        Column("c", postgresql.JSONB, server_default=sa.text("'[]'::jsonb"), nullable=False),
    ],
    *POSTGRESQL,
    rows=row("r_array_defaults", b="'{5}'"),
)


# Partitioned tables


def partitioned(metadata: MetaData, version: int) -> None:
    """A partitioned table gets a column, an index, and another key."""
    table = Table(
        "r_parted",
        metadata,
        Column("id", sa.Integer, nullable=False, autoincrement=False),
        Column("day", sa.Date, nullable=False),
        *([Column("x", sa.Integer, server_default="3", nullable=False)] if version == 2 else []),
        sa.PrimaryKeyConstraint(
            *(["id", "day"] if version == 1 else ["day", "id"]), name="r_parted_k"
        ),
        postgresql_partition_by="RANGE (day)",
    )
    sa.Index("r_parted_ix", table.c.day, *([table.c.x] if version == 2 else []))


tables("r_partitioned", partitioned, *POSTGRESQL)


# MariaDB

differ(
    "r_my_unsigned_key",
    lambda: [Column("id", mysql.INTEGER(unsigned=True), primary_key=True, autoincrement=True)],
    lambda: [Column("id", mysql.BIGINT(unsigned=True), primary_key=True, autoincrement=True)],
    *MARIADB,
    rows="INSERT INTO r_my_unsigned_key () VALUES ()",
)


def my_keys(metadata: MetaData, version: int) -> None:
    """Foreign keys of unsigned columns, whose size changes; one has an index of its own."""
    kind = (mysql.INTEGER if version == 1 else mysql.BIGINT)(unsigned=True)
    Table("r_my_keys_p", metadata, Column("id", kind, primary_key=True))
    Table(
        "r_my_keys",
        metadata,
        key_column(),
        Column("p", kind, sa.ForeignKey("r_my_keys_p.id", ondelete="CASCADE"), index=True),
        Column("q", kind, sa.ForeignKey("r_my_keys_p.id"), nullable=version == 1, comment="it's"),
    )


tables(
    "r_my_keys",
    my_keys,
    *MARIADB,
    rows="INSERT INTO r_my_keys_p () VALUES ();INSERT INTO r_my_keys (id, p, q) VALUES (1, 1, 1)",
)


def my_enum_key(metadata: MetaData, version: int) -> None:
    """An enum at both ends of a key: a value is renamed, one comes, the order changes."""
    values = ("a", "b", "c") if version == 1 else ("d", "b", "x", "a")
    kind = sa.Enum(*values, name="r_my_enum_key")
    Table("r_mek_p", metadata, Column("id", kind, primary_key=True))
    Table(
        "r_mek",
        metadata,
        key_column(),
        Column("p", kind, sa.ForeignKey("r_mek_p.id"), server_default="b"),
    )


tables(
    "r_my_enum_key",
    my_enum_key,
    rows="INSERT INTO r_mek_p (id) VALUES ('a');INSERT INTO r_mek (id, p) VALUES (1, 'a')",
)
differ(
    "r_my_texts",
    lambda: [
        Column("a", mysql.TEXT(charset="utf8mb4", collation="utf8mb4_bin")),
        Column("b", mysql.VARCHAR(20), comment="one", server_default="x", nullable=False),
        Column("c", sa.String(191), unique=True),
    ],
    lambda: [
        Column("a", mysql.LONGTEXT(collation="utf8mb4_general_ci"), nullable=False),
        Column("b", mysql.VARCHAR(30), comment="it's two", server_default="y", nullable=True),
        Column("c", sa.String(255, collation="utf8mb4_bin"), unique=True, comment="c"),
    ],
    *MARIADB,
    rows=row("r_my_texts", a="'a'", c="'c'"),
)
differ(
    "r_my_on_update",
    lambda: [
        Column(
            "x",
            mysql.DATETIME(fsp=6),
            server_default=sa.text("CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),
            nullable=False,
        )
    ],
    lambda: [
        Column(
            "x",
            mysql.DATETIME(fsp=6),
            server_default=sa.text("CURRENT_TIMESTAMP(6)"),
            nullable=False,
        )
    ],
    *MARIADB,
    rows=row("r_my_on_update"),
)
differ(
    "r_my_json_to_text",
    lambda: [Column("x", sa.JSON), Column("y", sa.JSON, nullable=False)],
    lambda: [Column("x", sa.Text), Column("y", sa.JSON, comment="kept")],
    *MARIADB,
    rows=row("r_my_json_to_text", x="'[1]'", y="'[2]'"),
)
differ(
    "r_my_prefix",
    lambda: [Column("x", sa.Text), sa.Index("r_my_px", "x", mysql_length=10, unique=True)],
    lambda: [Column("x", sa.String(50)), sa.Index("r_my_px", "x", unique=True)],
    *MARIADB,
    rows=row("r_my_prefix", x="'a'"),
)


# SQLite's batches

differ(
    "r_lite_everything",
    lambda: [
        Column("a", sa.String(9, collation="NOCASE"), server_default="x", nullable=False),
        Column("b", sa.Integer, sa.CheckConstraint("b > 0", name="r_le_b")),
        Column("c", sa.Integer, sa.Computed("b + 1", persisted=False)),
        sa.CheckConstraint("a <> 'it''s, (ok)'"),
        sa.Index("r_le_ix", sa.text("lower(a)"), sa.text("b DESC"), sqlite_where=sa.text("b > 5")),
        {"sqlite_with_rowid": False},
    ],
    lambda: [
        Column("a", sa.String(9, collation="RTRIM"), server_default="y"),
        Column("b", sa.BigInteger, sa.CheckConstraint("b > 1", name="r_le_b")),
        Column("c", sa.Integer, sa.Computed("b + 2", persisted=False)),
        sa.CheckConstraint("a <> 'it''s, (ok)'"),
        sa.Index("r_le_ix", sa.text("lower(a)"), sa.text("b DESC"), sqlite_where=sa.text("b > 6")),
        {"sqlite_with_rowid": False},
    ],
    *SQLITE,
    rows=row("r_lite_everything", b="7"),
)


def lite_self(metadata: MetaData, version: int) -> None:
    """A table with a key to itself and one from another, both made anew."""
    Table(
        "r_ls",
        metadata,
        key_column(),
        Column("p", sa.ForeignKey("r_ls.id", ondelete="CASCADE" if version == 2 else None)),
        Column("n", sa.String(9), nullable=version == 1, server_default="x"),
        sqlite_autoincrement=True,
    )
    Table(
        "r_ls_c",
        metadata,
        key_column(),
        Column(
            "p", sa.ForeignKey("r_ls.id", deferrable=True, initially="DEFERRED"), nullable=False
        ),
        Column("k", sa.Integer if version == 1 else sa.Text),
        sa.UniqueConstraint("p", "k"),
    )


tables(
    "r_lite_self",
    lite_self,
    *SQLITE,
    rows="INSERT INTO r_ls (id, p) VALUES (1, 1);INSERT INTO r_ls_c (id, p, k) VALUES (1, 1, 2)",
)
differ(
    "r_lite_unnamed",
    lambda: [
        Column("a", sa.Integer, unique=True),
        Column("b", sa.Integer, sa.ForeignKey("r_lite_unnamed.id")),
        sa.UniqueConstraint("a", "b"),
        sa.CheckConstraint("a > 0"),
        sa.CheckConstraint("b > 0"),
    ],
    lambda: [
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.CheckConstraint("b > 0"),
        sa.CheckConstraint("a > 7"),
    ],
    *SQLITE,
    rows=row("r_lite_unnamed", a="8", b="1"),
)


# Names that another table takes over


def r_names_taken(metadata: MetaData, version: int) -> None:
    """Fill with tables of which one goes, and one changes, whose names come to others."""
    parent = simple(metadata, "r_taken_parent")
    names = ("r_taken_old", "r_taken_b") if version == 1 else ("r_taken_new", "r_taken_a")
    Table(
        names[0],
        metadata,
        key_column(),
        Column("e", sa.Integer),
        Column("p", sa.ForeignKey(parent.c.id, name="r_taken_fk")),
        sa.Index("r_taken_ix", "e"),
        sa.UniqueConstraint("p", "e", name="r_taken_uq"),
    )
    for name in ("r_taken_a", "r_taken_b"):
        parts = [sa.Index("r_taken_by", "x")] if name == names[1] else []
        Table(name, metadata, key_column(), Column("x", sa.Integer), *parts)


tables("r_names_taken", r_names_taken, rows="INSERT INTO r_taken_a (id, x) VALUES (1, 2)")


def r_names_of_new(metadata: MetaData, version: int) -> None:
    """Fill with a table that stays, whose index's name comes to a new one."""
    names = ["r_stays"] if version == 1 else ["r_stays", "r_comes"]
    for name in names:
        parts = [sa.Index("r_named_by", "x")] if name == names[-1] else []
        Table(name, metadata, key_column(), Column("x", sa.Integer), *parts)


tables("r_names_of_new", r_names_of_new, rows="INSERT INTO r_stays (id, x) VALUES (1, 2)")


def r_key_comment(metadata: MetaData, version: int) -> None:
    """Fill with a table whose numbered key changes in its comment alone."""
    comment = f"version {version}"
    key = Column("id", sa.Integer, primary_key=True, comment=comment)
    Table("r_key_comment", metadata, key, Column("x", sa.Integer))


tables("r_key_comment", r_key_comment, *SERVERS, rows=row("r_key_comment", x="1"))


# A primary key that numbers the rows that are there


def r_numbered_anew(metadata: MetaData, version: int) -> None:
    """Fill with an association table that gets a key of its own."""
    parent = simple(metadata, "r_anew_parent")
    keys = [
        Column(name, sa.ForeignKey(parent.c.id), primary_key=version == 1, nullable=False)
        for name in ("a", "b")
    ]
    more = [key_column(), sa.UniqueConstraint("a", "b", name="r_anew_uq")] if version == 2 else []
    Table("r_anew", metadata, *keys, *more)


tables(
    "r_numbered_anew",
    r_numbered_anew,
    rows="INSERT INTO r_anew_parent (id) VALUES (1); INSERT INTO r_anew_parent (id) VALUES (2); "
    "INSERT INTO r_anew (a, b) VALUES (1, 1); INSERT INTO r_anew (a, b) VALUES (1, 2)",
)
