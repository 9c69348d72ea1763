"""Model features, each as the tables that have it: what autogenerate must write correctly.

A feature is a function that fills a ``MetaData``; its ``version`` is 1, and 2 for a feature that
tells of a change. ``on`` names the databases that have the feature.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeDecorator, UserDefinedType

__all__ = ["CHANGES", "FEATURES", "Feature"]

EVERYWHERE = ("sqlite", "postgresql", "mariadb")
SERVERS = ("postgresql", "mariadb")

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


@dataclass(frozen=True)
class Feature:
    """A feature of models.

    :ivar fill: fills a ``MetaData`` with tables; called with the version
    :ivar on: the databases that have it
    :ivar convention: whether constraints are named by a convention
    :ivar rows: statements that fill the tables of version 1, with ``;`` between them
    """

    name: str
    fill: Callable[[MetaData, int], object]
    on: tuple[str, ...] = EVERYWHERE
    convention: bool = False
    rows: str = ""

    def metadata(self, version: int = 1) -> MetaData:
        """Return the models."""
        metadata = MetaData(naming_convention=CONVENTION if self.convention else None)
        self.fill(metadata, version)
        return metadata


FEATURES: dict[str, Feature] = {}
CHANGES: dict[str, Feature] = {}


def feature(
    *on: str, convention: bool = False, changes: bool = False
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register a function as a feature."""

    def register(function: Callable[..., object]) -> Callable[..., object]:
        name = function.__name__
        target = CHANGES if changes else FEATURES
        assert name not in target
        target[name] = Feature(name, function, on or EVERYWHERE, convention)
        return function

    return register


def change(
    *on: str, convention: bool = False
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register a function as a change from version 1 to version 2."""
    return feature(*on, convention=convention, changes=True)


def typed(name: str, type_: Any, *on: str, **kw: Any) -> None:
    """Register a feature that is one column of a type."""

    def fill(metadata: MetaData, version: int) -> None:
        Table(
            name, metadata, Column("id", sa.Integer, primary_key=True), Column("x", type_(), **kw)
        )

    FEATURES[name] = Feature(name, fill, on or EVERYWHERE)


def simple(metadata: MetaData, name: str, *items: Any, **kw: Any) -> Table:
    """Make a table with an integer key."""
    return Table(name, metadata, Column("id", sa.Integer, primary_key=True), *items, **kw)


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"
    BLUE = "b"


class Money(TypeDecorator[Any]):
    impl = sa.Numeric(12, 2)
    cache_ok = True


class Guid(TypeDecorator[Any]):
    impl = sa.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID())
        return dialect.type_descriptor(sa.CHAR(32))


class Shouted(TypeDecorator[Any]):
    impl = sa.Enum
    cache_ok = True


class ShortString(sa.String):
    def __init__(self) -> None:
        super().__init__(17)


class Point(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "point"


# Types

typed("small_integer", sa.SmallInteger)
typed("big_integer", sa.BigInteger)
typed("float_", sa.Float)
typed("double", sa.Double)
typed("float_precision", lambda: sa.Float(20))
typed("numeric", lambda: sa.Numeric(10, 3))
typed("string", lambda: sa.String(50))
typed("unicode_", lambda: sa.Unicode(50))
typed("text", sa.Text)
typed("unicode_text", sa.UnicodeText)
typed("char", lambda: sa.CHAR(3))
typed("boolean", sa.Boolean)
typed("date", sa.Date)
typed("time", sa.Time)
typed("datetime_", sa.DateTime)
typed("datetime_utc", lambda: sa.DateTime(timezone=datetime.timezone.utc))  # type: ignore[arg-type]
typed("interval", sa.Interval)
typed("binary", sa.LargeBinary)
typed("fixed_binary", lambda: sa.BINARY(8), "sqlite", "mariadb")
typed("uuid_", sa.Uuid)
typed("uuid_text", lambda: sa.Uuid(native_uuid=False))
typed("json", sa.JSON)
typed("pickle", lambda: sa.PickleType(pickler=datetime))
typed("decorated", Money)
typed("decorated_by_database", Guid)
typed("decorated_enum", lambda: Shouted(Color, name="shouted"))
typed("string_subclass", ShortString)
typed("custom_type", Point, "postgresql")
typed(
    "variant",
    lambda: (
        sa.JSON().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.Text(), "sqlite")
    ),
)
typed("enum", lambda: sa.Enum("a", "b", name="plain_enum"))
typed("enum_class", lambda: sa.Enum(Color))
typed(
    "enum_values",
    lambda: sa.Enum(Color, name="colors", values_callable=lambda e: [c.value for c in e]),
    nullable=False,
    server_default="g",
)
typed("enum_quotes", lambda: sa.Enum("it's", "50%", "a:b", 'say "x"', name="Quoted Enum"))
typed("enum_checked", lambda: sa.Enum("a", "b", name="checked_enum", create_constraint=True))
typed("enum_string", lambda: sa.Enum("a", "bcd", name="string_enum", native_enum=False, length=20))
typed(
    "enum_string_checked",
    lambda: sa.Enum("a", "b", name="ck_string_enum", native_enum=False, create_constraint=True),
)
typed("boolean_checked", lambda: sa.Boolean(create_constraint=True, name="ck_bool"))
typed("collation_text", lambda: sa.String(20, collation="C"), "postgresql")
typed("collation_nocase", lambda: sa.String(20, collation="NOCASE"), "sqlite")
typed("pg_array", lambda: postgresql.ARRAY(sa.String(5)), "postgresql")
typed("pg_array_2d", lambda: sa.ARRAY(sa.Integer, dimensions=2), "postgresql")
typed("pg_enum_array", lambda: sa.ARRAY(sa.Enum("a", "b", name="array_enum")), "postgresql")
typed("pg_jsonb", lambda: postgresql.JSONB(astext_type=sa.Text()), "postgresql")
typed("pg_inet", postgresql.INET, "postgresql")
typed("pg_macaddr", postgresql.MACADDR, "postgresql")
typed("pg_tsvector", postgresql.TSVECTOR, "postgresql")
typed("pg_int4range", postgresql.INT4RANGE, "postgresql")
typed("pg_tstzmultirange", postgresql.TSTZMULTIRANGE, "postgresql")
typed("pg_bit", lambda: postgresql.BIT(5), "postgresql")
typed("pg_varbit", lambda: postgresql.BIT(5, varying=True), "postgresql")
typed("pg_money", postgresql.MONEY, "postgresql")
typed("pg_interval", lambda: postgresql.INTERVAL(precision=3), "postgresql")
typed("pg_timestamp", lambda: postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")
typed("pg_oid", postgresql.OID, "postgresql")
typed("pg_bytea", postgresql.BYTEA, "postgresql")
typed(
    "pg_domain",
    lambda: postgresql.DOMAIN(
        "short_text", sa.String(9), check=sa.text("VALUE <> ''"), not_null=False
    ),
    "postgresql",
)
typed("my_integer", lambda: mysql.INTEGER(unsigned=True), "mariadb")
typed("my_tinyint", lambda: mysql.TINYINT(4), "mariadb")
typed("my_mediumtext", mysql.MEDIUMTEXT, "mariadb")
typed("my_longblob", mysql.LONGBLOB, "mariadb")
typed("my_set", lambda: mysql.SET("a", "b"), "mariadb")
typed("my_year", mysql.YEAR, "mariadb")
typed("my_datetime", lambda: mysql.DATETIME(fsp=6), "mariadb")
typed("my_charset", lambda: mysql.VARCHAR(20, charset="latin1"), "mariadb")

# Server defaults

typed("default_string", lambda: sa.String(30), server_default="it's 100% 'fine'")
typed("default_empty", lambda: sa.String(30), server_default="")
typed("default_number", sa.Integer, server_default="7")
typed("default_negative", sa.Integer, server_default=sa.text("-7"))
typed("default_decimal", lambda: sa.Numeric(6, 2), server_default=str(decimal.Decimal("1.50")))
typed("default_float", sa.Float, server_default=sa.text("0.5"))
typed("default_true", sa.Boolean, server_default=sa.true(), nullable=False)
typed("default_false_text", sa.Boolean, server_default=sa.text("false"))
typed("default_boolean_string", sa.Boolean, server_default="1")
typed("default_now", sa.DateTime, server_default=sa.func.now())
typed(
    "default_current",
    lambda: sa.DateTime(timezone=True),
    server_default=sa.func.current_timestamp(),
)
typed("default_text_now", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP"))
typed("default_date", sa.Date, server_default="2020-01-31")
typed("default_null", sa.Integer, server_default=sa.null())
typed("default_function", lambda: sa.String(40), "sqlite", server_default=sa.func.lower("ABC"))
typed(
    "default_function_server", lambda: sa.String(40), *SERVERS, server_default=sa.func.lower("ABC")
)
typed("default_uuid", sa.Uuid, "postgresql", server_default=sa.func.gen_random_uuid())
typed("default_clock", sa.DateTime, "postgresql", server_default=sa.func.clock_timestamp())
typed("default_json", postgresql.JSON, "postgresql", server_default=sa.text("'{\"a\": 1}'::json"))
typed("default_jsonb", postgresql.JSONB, "postgresql", server_default="{}")
typed("default_json_plain", sa.JSON, "postgresql", "mariadb", server_default="[]")
typed("default_array", lambda: sa.ARRAY(sa.Text), "postgresql", server_default="{}")
typed("default_interval", sa.Interval, "postgresql", server_default="1 day")
typed(
    "default_cast", sa.Date, "postgresql", server_default=sa.cast(sa.text("'2020-01-01'"), sa.Date)
)
typed("default_uuid_value", sa.Uuid, "postgresql", server_default=str(uuid.UUID(int=7)))
typed(
    "default_on_update",
    sa.TIMESTAMP,
    "mariadb",
    server_default=sa.text("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"),
    nullable=False,
)


# Keys, constraints and indexes


@feature()
def composite_key(metadata: MetaData, version: int) -> None:
    Table(
        "composite_key",
        metadata,
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
        Column("b", sa.String(10), primary_key=True),
    )


@feature()
def no_key(metadata: MetaData, version: int) -> None:
    Table("no_key", metadata, Column("a", sa.Integer))


@feature()
def big_key(metadata: MetaData, version: int) -> None:
    Table(
        "big_key",
        metadata,
        Column("a", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    )


@feature()
def foreign_key(metadata: MetaData, version: int) -> None:
    simple(metadata, "fk_parent")
    simple(metadata, "fk_child", Column("parent_id", sa.ForeignKey("fk_parent.id")))


@feature()
def foreign_key_actions(metadata: MetaData, version: int) -> None:
    simple(metadata, "fka_parent")
    simple(
        metadata,
        "fka_child",
        Column("p", sa.ForeignKey("fka_parent.id", ondelete="CASCADE", onupdate="SET NULL")),
        Column("q", sa.ForeignKey("fka_parent.id", name="fka_named", ondelete="RESTRICT")),
    )


@feature()
def foreign_key_composite(metadata: MetaData, version: int) -> None:
    Table(
        "fkc_parent",
        metadata,
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
        Column("b", sa.Integer, primary_key=True, autoincrement=False),
    )
    simple(
        metadata,
        "fkc_child",
        Column("x", sa.Integer),
        Column("y", sa.Integer),
        sa.ForeignKeyConstraint(["x", "y"], ["fkc_parent.a", "fkc_parent.b"]),
    )


@feature("sqlite", "postgresql")
def foreign_key_deferred(metadata: MetaData, version: int) -> None:
    simple(metadata, "fkd_parent")
    simple(
        metadata,
        "fkd_child",
        Column("p", sa.ForeignKey("fkd_parent.id", deferrable=True, initially="DEFERRED")),
    )


@feature()
def foreign_key_self(metadata: MetaData, version: int) -> None:
    simple(metadata, "tree", Column("parent_id", sa.ForeignKey("tree.id")))


@feature(convention=True)
def foreign_key_circle(metadata: MetaData, version: int) -> None:
    simple(metadata, "circle_a", Column("b_id", sa.ForeignKey("circle_b.id")))
    simple(metadata, "circle_b", Column("a_id", sa.ForeignKey("circle_a.id")))


@feature()
def foreign_key_use_alter(metadata: MetaData, version: int) -> None:
    simple(
        metadata, "alter_a", Column("b", sa.ForeignKey("alter_b.id", name="fk_ab", use_alter=True))
    )
    simple(metadata, "alter_b", Column("a", sa.ForeignKey("alter_a.id", name="fk_ba")))


@feature()
def unique(metadata: MetaData, version: int) -> None:
    simple(metadata, "unique_", Column("a", sa.String(9), unique=True), Column("b", sa.Integer))


@feature()
def unique_named(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "unique_named",
        Column("a", sa.Integer),
        Column("b", sa.Integer),
        sa.UniqueConstraint("a", "b", name="ab_once"),
    )


@feature("postgresql")
def unique_deferred(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "unique_deferred",
        Column("a", sa.Integer),
        sa.UniqueConstraint("a", name="a_later", deferrable=True, initially="DEFERRED"),
    )


@feature("postgresql")
def unique_nulls(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "unique_nulls",
        Column("a", sa.Integer),
        sa.UniqueConstraint("a", name="null_once", postgresql_nulls_not_distinct=True),
    )


@feature(convention=True)
def naming_convention(metadata: MetaData, version: int) -> None:
    simple(metadata, "nc_parent", Column("code", sa.String(9), unique=True, index=True))
    simple(
        metadata,
        "nc_child",
        Column("p", sa.ForeignKey("nc_parent.id")),
        Column("n", sa.Integer),
        sa.CheckConstraint("n > 0", name="positive"),
    )


@feature(convention=True)
def naming_convention_types(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "nc_types",
        Column("b", sa.Boolean(name="is_b", create_constraint=True)),
        Column("e", sa.Enum("x", "y", name="nc_enum", create_constraint=True)),
        Column("s", sa.Enum("x", "y", name="nc_str", native_enum=False, create_constraint=True)),
    )


@feature()
def index(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "indexed",
        Column("a", sa.Integer, index=True),
        Column("b", sa.Integer, index=True, unique=True),
        Column("c", sa.Integer),
        sa.Index("ix_bc", "b", "c"),
    )


@feature("sqlite", "postgresql")
def index_partial(metadata: MetaData, version: int) -> None:
    table = simple(metadata, "ix_partial", Column("a", sa.Integer), Column("s", sa.String(9)))
    where = table.c.s.like("a%")
    sa.Index("ix_some", table.c.a, postgresql_where=where, sqlite_where=where)


@feature("sqlite", "postgresql")
def index_expression(metadata: MetaData, version: int) -> None:
    table = simple(metadata, "ix_expression", Column("a", sa.String(20)), Column("n", sa.Integer))
    sa.Index("ix_lower", sa.func.lower(table.c.a))
    sa.Index("ix_mod", table.c.n % 10)


@feature("postgresql")
def index_options(metadata: MetaData, version: int) -> None:
    table = simple(
        metadata, "ix_options", Column("a", sa.String(20)), Column("j", postgresql.JSONB)
    )
    sa.Index("ix_gin", table.c.j, postgresql_using="gin", postgresql_ops={"j": "jsonb_path_ops"})
    sa.Index("ix_include", table.c.a, postgresql_include=["id"])
    sa.Index("ix_desc", table.c.a.desc().nulls_last())


@feature("mariadb")
def index_prefix(metadata: MetaData, version: int) -> None:
    table = simple(metadata, "ix_prefix", Column("a", sa.Text))
    sa.Index("ix_front", table.c.a, mysql_length=10)


@feature()
def check(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "checked",
        Column("a", sa.Integer),
        Column("s", sa.String(20)),
        sa.CheckConstraint("a > 0 AND a < 100", name="a_range"),
        sa.CheckConstraint(r"s NOT LIKE '10%\:x'", name="s_like"),
    )


@feature()
def check_expression(metadata: MetaData, version: int) -> None:
    a = Column("a", sa.Integer)
    b = Column("b", sa.String(20))
    simple(
        metadata,
        "check_expression",
        a,
        b,
        sa.CheckConstraint(a.in_([1, 2, 3]), name="a_in"),
        sa.CheckConstraint(sa.and_(a > 5, b.like("x%")), name="both"),
        sa.CheckConstraint(sa.func.length(b) > 2, name="b_long"),
    )


@feature()
def check_unnamed(metadata: MetaData, version: int) -> None:
    simple(metadata, "check_unnamed", Column("a", sa.Integer), sa.CheckConstraint("a <> 13"))


@feature("postgresql")
def exclude(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "excluded",
        Column("during", postgresql.INT4RANGE),
        postgresql.ExcludeConstraint(("during", "&&"), name="no_overlap"),
    )


# Columns


@feature()
def computed_stored(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "computed_stored",
        Column("a", sa.Integer),
        Column("b", sa.Integer, sa.Computed("a * 2 + 1", persisted=True)),
    )


@feature("sqlite", "mariadb")
def computed_virtual(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "computed_virtual",
        Column("a", sa.Integer),
        Column("b", sa.Integer, sa.Computed("a % 2", persisted=False)),
    )


@feature("postgresql")
def identity(metadata: MetaData, version: int) -> None:
    Table(
        "identity_",
        metadata,
        Column(
            "id", sa.Integer, sa.Identity(always=True, start=100, increment=5), primary_key=True
        ),
        Column("n", sa.Integer, sa.Identity(cycle=True)),
    )


@feature(*SERVERS)
def sequence(metadata: MetaData, version: int) -> None:
    numbers = sa.Sequence("order_numbers", start=1000)
    Table("sequenced", metadata, Column("id", sa.Integer, numbers, primary_key=True))


@feature("postgresql")
def sequence_default(metadata: MetaData, version: int) -> None:
    numbers = sa.Sequence("default_numbers", metadata=metadata)
    simple(
        metadata, "sequence_default", Column("n", sa.Integer, server_default=numbers.next_value())
    )


@feature(*SERVERS)
def comments(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "commented",
        Column("a", sa.Integer, comment='it\'s 100% "a": \\n'),
        comment="What's 100% in\na table",
    )


@feature()
def quoted_names(metadata: MetaData, version: int) -> None:
    Table(
        "Order Items",
        metadata,
        Column("select", sa.Integer, primary_key=True),
        Column("Mixed Case", sa.String(5), index=True),
        Column("100%", sa.Integer),
        Column("group", sa.Integer, unique=True),
    )


@feature()
def apostrophe_names(metadata: MetaData, version: int) -> None:
    simple(metadata, "it's", Column("o'clock", sa.Integer, index=True, server_default="3"))


@feature()
def unicode_names(metadata: MetaData, version: int) -> None:
    simple(metadata, "größe", Column("länge", sa.Integer, server_default="3"))


@feature(convention=True)
def long_names(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "a_table_whose_name_is_rather_long_for_a_database",
        Column("and_a_column_whose_name_is_long_as_well", sa.Integer, index=True, unique=True),
    )


@feature()
def table_info(metadata: MetaData, version: int) -> None:
    simple(metadata, "with_info", info={"anything": object()})


@feature()
def column_key(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "keyed",
        Column("db_name", sa.Integer, key="python_name", index=True),
        Column("parent", sa.ForeignKey("keyed.id"), key="p"),
    )


@feature("postgresql")
def schema(metadata: MetaData, version: int) -> None:
    simple(metadata, "in_schema", Column("a", sa.Integer, index=True), schema="sales")
    simple(
        metadata,
        "in_schema_child",
        Column("p", sa.ForeignKey("sales.in_schema.id")),
        Column("e", sa.Enum("a", "b", name="sales_enum", schema="sales")),
        schema="sales",
    )


@feature("postgresql")
def schema_explicit_default(metadata: MetaData, version: int) -> None:
    simple(metadata, "in_public", Column("a", sa.Integer, unique=True), schema="public")


@feature("mariadb")
def mysql_options(metadata: MetaData, version: int) -> None:
    simple(metadata, "my_options", mysql_engine="InnoDB", mysql_charset="utf8mb4")


@feature("sqlite")
def sqlite_options(metadata: MetaData, version: int) -> None:
    simple(metadata, "strict_table", Column("t", sa.Text), sqlite_with_rowid=True)


@feature("postgresql")
def partitioned(metadata: MetaData, version: int) -> None:
    Table(
        "partitioned",
        metadata,
        Column("day", sa.Date, primary_key=True),
        postgresql_partition_by="RANGE (day)",
    )


@feature()
def enum_shared(metadata: MetaData, version: int) -> None:
    simple(metadata, "shared_a", Column("e", sa.Enum("a", "b", name="shared_enum")))
    simple(
        metadata,
        "shared_b",
        Column("e", sa.Enum("a", "b", name="shared_enum"), server_default="a"),
        Column("f", sa.Enum("a", "b", name="shared_enum")),
    )


@feature()
def many_columns(metadata: MetaData, version: int) -> None:
    simple(metadata, "many", *(Column(f"c{n}", sa.Integer) for n in range(260)))


# Changes: version 1 becomes version 2, and version 1 again


@change()
def add_table(metadata: MetaData, version: int) -> None:
    simple(metadata, "at_first", Column("a", sa.Integer))
    if version == 2:
        simple(metadata, "at_second", Column("f", sa.ForeignKey("at_first.id"), index=True))


@change()
def drop_tables(metadata: MetaData, version: int) -> None:
    simple(metadata, "dt_keep")
    if version == 1:
        parent = simple(metadata, "dt_parent", Column("e", sa.Enum("a", "b", name="dt_enum")))
        simple(
            metadata,
            "dt_child",
            Column("p", sa.ForeignKey("dt_parent.id", ondelete="CASCADE"), index=True),
            Column("s", sa.String(9), nullable=False, server_default="x", unique=True),
            sa.CheckConstraint("s <> ''", name="dt_s"),
        )
        assert parent is not None


@change()
def add_column(metadata: MetaData, version: int) -> None:
    simple(metadata, "ac", *([Column("a", sa.String(9))] if version == 2 else []))


@change()
def add_column_not_null(metadata: MetaData, version: int) -> None:
    new = [Column("a", sa.Integer, nullable=False), Column("b", sa.String(9), nullable=False)]
    simple(metadata, "acn", *(new if version == 2 else []))


@change()
def add_column_default(metadata: MetaData, version: int) -> None:
    new = [
        Column("a", sa.Integer, nullable=False, server_default="3"),
        Column("b", sa.DateTime, nullable=False, server_default=sa.func.now()),
        Column("c", sa.Boolean, nullable=False, server_default=sa.false()),
    ]
    simple(metadata, "acd", *(new if version == 2 else []))


@change()
def add_column_constraints(metadata: MetaData, version: int) -> None:
    simple(metadata, "acc_target")
    new = [
        Column("f", sa.ForeignKey("acc_target.id")),
        Column("u", sa.Integer, unique=True),
        Column("i", sa.Integer, index=True),
        sa.CheckConstraint("i > 0", name="acc_i"),
    ]
    simple(metadata, "acc", *(new if version == 2 else []))


@change(convention=True)
def add_constraints_convention(metadata: MetaData, version: int) -> None:
    simple(metadata, "accc_target")
    new: dict[str, Any] = {"unique": True} if version == 2 else {}
    simple(
        metadata,
        "accc",
        Column("f", sa.Integer, *([sa.ForeignKey("accc_target.id")] if version == 2 else [])),
        Column("u", sa.Integer, **new),
        Column("i", sa.Integer, index=version == 2),
        *([sa.CheckConstraint("i > 0", name="plus")] if version == 2 else []),
    )


@change()
def add_column_enum(metadata: MetaData, version: int) -> None:
    new = [Column("e", sa.Enum("a", "b", name="ace_enum"), nullable=False, server_default="a")]
    simple(metadata, "ace", *(new if version == 2 else []))


@change()
def add_column_computed(metadata: MetaData, version: int) -> None:
    new = [Column("c", sa.Integer, sa.Computed("n + 1", persisted=True))]
    simple(metadata, "acco", Column("n", sa.Integer), *(new if version == 2 else []))


@change()
def drop_column(metadata: MetaData, version: int) -> None:
    simple(metadata, "dc_target")
    old = [
        Column("f", sa.ForeignKey("dc_target.id")),
        Column("u", sa.String(9), unique=True),
        Column("i", sa.Integer, index=True),
        Column("d", sa.DateTime, server_default=sa.func.now()),
    ]
    simple(metadata, "dc", Column("keep", sa.Integer), *(old if version == 1 else []))


@change()
def nullable(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "nn",
        Column("a", sa.Integer, nullable=version == 1),
        Column("b", sa.String(9), nullable=version == 2, server_default="x"),
    )


@change()
def type_length(metadata: MetaData, version: int) -> None:
    simple(metadata, "tl", Column("a", sa.String(10 * version), nullable=False, index=True))


@change()
def type_kind(metadata: MetaData, version: int) -> None:
    first = [sa.String(20), sa.Integer(), sa.Text(), sa.Integer()]
    second = [sa.Integer(), sa.BigInteger(), sa.String(50), sa.Numeric(10, 2)]
    types = first if version == 1 else second
    simple(metadata, "tk", *(Column(f"c{n}", type_) for n, type_ in enumerate(types)))


@change()
def type_kind_default(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "tkd",
        Column("a", sa.String(20) if version == 1 else sa.Integer(), server_default="5"),
    )


@change()
def string_to_enum(metadata: MetaData, version: int) -> None:
    type_ = sa.String(20) if version == 1 else sa.Enum("a", "b", name="ste_enum")
    simple(metadata, "ste", Column("e", type_, server_default="a", nullable=False))


@change()
def default_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "dch",
        Column("a", sa.Integer, server_default=None if version == 1 else "1"),
        Column("b", sa.String(9), server_default="x" if version == 1 else None),
        Column("c", sa.String(9), server_default="x" if version == 1 else "y'z"),
        Column("d", sa.DateTime, server_default=None if version == 1 else sa.func.now()),
        Column("e", sa.Boolean, server_default=sa.true() if version == 1 else sa.false()),
    )


@change(*SERVERS)
def comment_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cc",
        Column("a", sa.Integer, comment=None if version == 1 else "new"),
        Column("b", sa.Integer, comment="one" if version == 1 else "it's two", nullable=False),
        Column("c", sa.Integer, comment="gone" if version == 1 else None),
        comment="table" if version == 1 else "it's a table",
    )


@change()
def index_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "ic",
        Column("a", sa.Integer, index=version == 1),
        Column("b", sa.Integer, index=version == 2),
        Column("c", sa.Integer),
        sa.Index("ic_two", "a", *(["b"] if version == 1 else ["c"]), unique=version == 2),
    )


@change("sqlite", "postgresql")
def index_partial_change(metadata: MetaData, version: int) -> None:
    table = simple(metadata, "ipc", Column("a", sa.Integer), Column("s", sa.String(9)))
    where = table.c.a > (1 if version == 1 else 2)
    sa.Index("ipc_some", table.c.a, postgresql_where=where, sqlite_where=where)
    sa.Index(
        "ipc_expression", sa.func.lower(table.c.s) if version == 1 else sa.func.upper(table.c.s)
    )


@change()
def check_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "ckc",
        Column("a", sa.Integer),
        sa.CheckConstraint("a > 0" if version == 1 else "a > 1", name="ckc_changed"),
        *([sa.CheckConstraint("a < 9", name="ckc_gone")] if version == 1 else []),
        *([sa.CheckConstraint("a <> 5", name="ckc_new")] if version == 2 else []),
    )


@change()
def check_unnamed_kept(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cuk",
        Column("a", sa.Integer),
        Column("b", sa.String(9 * version)),
        sa.CheckConstraint("a <> 13"),
    )


@change()
def check_unnamed_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cuc",
        Column("a", sa.Integer),
        sa.CheckConstraint("a <> 13" if version == 1 else "a <> 14"),
    )


@change()
def unique_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "uc",
        Column("a", sa.Integer, unique=version == 1),
        Column("b", sa.Integer, unique=version == 2),
        Column("c", sa.Integer),
        sa.UniqueConstraint("b", *(["a"] if version == 1 else ["c"]), name="uc_two"),
    )


@change()
def foreign_key_change(metadata: MetaData, version: int) -> None:
    simple(metadata, "fkx_one")
    simple(metadata, "fkx_two")
    target = "fkx_one.id" if version == 1 else "fkx_two.id"
    simple(
        metadata,
        "fkx",
        Column("a", sa.ForeignKey(target)),
        Column("b", sa.ForeignKey("fkx_one.id", ondelete="CASCADE" if version == 2 else None)),
    )


@change()
def enum_value_added(metadata: MetaData, version: int) -> None:
    values = ["new", "paid"] if version == 1 else ["draft", "new", "held", "paid", "sent"]
    type_ = sa.Enum(*values, name="eva_enum", length=20)
    simple(metadata, "eva", Column("e", type_, nullable=False, server_default="new"))
    simple(metadata, "eva_other", Column("e", type_))


@change()
def enum_value_removed(metadata: MetaData, version: int) -> None:
    values = ["new", "old", "paid"] if version == 1 else ["new", "paid"]
    simple(
        metadata,
        "evr",
        Column("e", sa.Enum(*values, name="evr_enum"), nullable=False, server_default="new"),
    )


@change("sqlite")
def key_without_name_stays(metadata: MetaData, version: int) -> None:
    """A key gets a name, which is no change; another one goes, by a name of a convention."""
    simple(metadata, "unnamed_target", Column("x", sa.Integer))
    name = None if version == 1 else "named_now"
    own = [sa.ForeignKey("unnamed_stays.id")] if version == 1 else []
    simple(
        metadata,
        "unnamed_stays",
        Column("a", sa.Integer, sa.ForeignKey("unnamed_target.id", name=name)),
        Column("s", sa.Integer, *own),
    )


@change()
def enum_default_renamed(metadata: MetaData, version: int) -> None:
    values = ("draft", "live") if version == 1 else ("draft", "published")
    type_ = sa.Enum(*values, name="default_renamed_e")
    simple(
        metadata,
        "default_renamed",
        Column("e", type_, server_default=values[1], nullable=False),
    )


@change()
def enum_value_renamed(metadata: MetaData, version: int) -> None:
    values = ["new", "payed", "sent"] if version == 1 else ["new", "paid", "sent"]
    simple(metadata, "evn", Column("e", sa.Enum(*values, name="evn_enum"), nullable=False))


@change()
def enum_values_reordered(metadata: MetaData, version: int) -> None:
    values = ["a", "b", "c"] if version == 1 else ["c", "a", "b"]
    simple(metadata, "evo", Column("e", sa.Enum(*values, name="evo_enum", create_constraint=True)))


@change()
def enum_default_new(metadata: MetaData, version: int) -> None:
    values = ["a", "b"] if version == 1 else ["a", "b", "c"]
    type_ = sa.Enum(*values, name="edn_enum")
    simple(metadata, "edn", Column("e", type_, server_default="a" if version == 1 else "c"))


@change("postgresql")
def enum_dependents(metadata: MetaData, version: int) -> None:
    values = ["a", "b", "z"] if version == 1 else ["b", "a"]
    type_ = sa.Enum(*values, name="ed_enum")
    table = simple(
        metadata,
        "ed",
        Column("e", type_, server_default="a"),
        Column("l", sa.ARRAY(type_)),
        sa.CheckConstraint("e <> 'b'", name="ed_check"),
    )
    sa.Index("ed_index", table.c.id, postgresql_where=sa.text("e = 'a'"))


@change()
def enum_string_change(metadata: MetaData, version: int) -> None:
    values = ["a", "b"] if version == 1 else ["a", "b", "longer"]
    type_ = sa.Enum(*values, name="esc_enum", native_enum=False, create_constraint=True)
    simple(metadata, "esc", Column("e", type_))


@change()
def mixed(metadata: MetaData, version: int) -> None:
    simple(metadata, "mx_parent", Column("code", sa.String(5 * version), unique=True))
    simple(
        metadata,
        "mx",
        Column("a", sa.Integer, server_default=str(version)),
        Column("b", sa.String(9), nullable=version == 1),
        *([Column("p", sa.ForeignKey("mx_parent.id"), index=True)] if version == 2 else []),
        *([Column("old", sa.DateTime, index=True)] if version == 1 else []),
        sa.CheckConstraint("a > 0"),
        sa.CheckConstraint("b <> ''", name="mx_b"),
    )


@change()
def circle_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cx_a",
        *([Column("b", sa.ForeignKey("cx_b.id", name="cx_ab"))] if version == 2 else []),
    )
    if version == 2:
        simple(metadata, "cx_b", Column("a", sa.ForeignKey("cx_a.id", name="cx_ba")))


@change("postgresql")
def sequence_change(metadata: MetaData, version: int) -> None:
    items: list[Any] = []
    if version == 2:
        numbers = sa.Sequence("sc_numbers", start=5, metadata=metadata)
        items = [Column("n", sa.Integer, numbers, server_default=numbers.next_value())]
    simple(metadata, "sc", *items)


@change("postgresql")
def schema_change(metadata: MetaData, version: int) -> None:
    simple(metadata, "sch_first")
    if version == 2:
        simple(metadata, "sch_second", Column("f", sa.ForeignKey("sch_first.id")), schema="stock")


@change()
def computed_kept(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cpk",
        Column("n", sa.Integer),
        Column("c", sa.Integer, sa.Computed("n + 1", persisted=True)),
        Column("s", sa.String(9 * version)),
    )


@change("sqlite", "postgresql")
def index_expression_kept(metadata: MetaData, version: int) -> None:
    table = simple(metadata, "iek", Column("a", sa.String(9)), Column("s", sa.String(9 * version)))
    sa.Index("iek_lower", sa.func.lower(table.c.a), unique=True)
    where = table.c.a > "b"
    sa.Index("iek_some", table.c.a, postgresql_where=where, sqlite_where=where)


@change()
def computed_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "cpc",
        Column("n", sa.Integer),
        Column("c", sa.Integer, sa.Computed(f"n + {version}", persisted=True)),
    )


@change("postgresql")
def identity_change(metadata: MetaData, version: int) -> None:
    simple(
        metadata,
        "idc",
        Column("n", sa.Integer, *([sa.Identity(start=7)] if version == 2 else []), nullable=False),
        Column("m", sa.Integer, sa.Identity(always=version == 2)),
    )


@change(*SERVERS)
def key_change(metadata: MetaData, version: int) -> None:
    Table(
        "kc",
        metadata,
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
        Column("b", sa.BigInteger if version == 2 else sa.Integer, nullable=False),
    )
