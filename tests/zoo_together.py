"""Changes that are made at once, and need each other or are in each other's way."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table
from sqlalchemy.dialects import postgresql

from zoo import SERVERS, simple
from zoo_catalogue import tables

__all__: list[str] = []


def late_key(metadata: MetaData, version: int, name: str = "t_late") -> None:
    """A new table refers to what its target gets with it: a UNIQUE, a column, a type, a key."""
    new = version == 2
    simple(
        metadata,
        f"{name}_target",
        Column("code", sa.String(9)),
        Column("size", sa.BigInteger if new else sa.Integer, unique=True),
        *([Column("late", sa.Integer, unique=True)] if new else []),
        *([sa.UniqueConstraint("code", name=f"{name}_target_uq")] if new else []),
    )
    Table(
        f"{name}_keyed",
        metadata,
        Column("a", sa.Integer, primary_key=True, autoincrement=False),
        Column("b", sa.Integer, primary_key=new, autoincrement=False, nullable=False),
    )
    if new:
        simple(
            metadata,
            f"{name}_child",
            Column("code", sa.String(9), sa.ForeignKey(f"{name}_target.code")),
            Column(
                "size",
                sa.BigInteger,
                sa.ForeignKey(f"{name}_target.size", name=f"{name}_child_size"),
            ),
            Column("late", sa.Integer, sa.ForeignKey(f"{name}_target.late")),
            Column("a", sa.Integer),
            Column("b", sa.Integer),
            ForeignKeyConstraint(["a", "b"], [f"{name}_keyed.a", f"{name}_keyed.b"]),
        )


tables(
    "t_late_key",
    late_key,
    rows="INSERT INTO t_late_target (id, code, size) VALUES (1, 'x', 2);"
    "INSERT INTO t_late_keyed (a, b) VALUES (1, 2)",
)
tables("t_early_key", lambda metadata, version: late_key(metadata, 3 - version, "t_early"))


def numbered_key(metadata: MetaData, version: int) -> None:
    """The key changes of a column that numbers itself."""
    more = version == 2
    Table(
        "t_numbered",
        metadata,
        Column("id", sa.Integer, primary_key=True, autoincrement=True),
        Column("n", sa.Integer, primary_key=more, autoincrement=False, nullable=False),
    )


tables("t_numbered_key", numbered_key, *SERVERS, rows="INSERT INTO t_numbered (n) VALUES (2)")


def computed_source(metadata: MetaData, version: int) -> None:
    """A column goes, and another comes, that are computed from what changes its type."""
    simple(
        metadata,
        "t_computed",
        Column("n", sa.BigInteger if version == 2 else sa.Integer),
        Column(f"v{version}", sa.BigInteger, sa.Computed("n * 2", persisted=True), index=True),
    )


tables("t_computed_source", computed_source, rows="INSERT INTO t_computed (id, n) VALUES (1, 2)")


def computed_default(metadata: MetaData, version: int) -> None:
    """A default without brackets, of a column that is there."""
    default = sa.text("3 + 4") if version == 2 else None
    simple(metadata, "t_default", Column("n", sa.Integer, server_default=default))


tables("t_computed_default", computed_default, rows="INSERT INTO t_default (id) VALUES (1)")


def enum_beside(metadata: MetaData, version: int) -> None:
    """Values of an enum change beside a computed column and an index on an expression."""
    values = ["a", "b", "c"][: version + 1]
    table = simple(
        metadata,
        "t_enum_beside",
        Column("e", sa.Enum(*values, name="t_beside")),
        Column("n", sa.Integer),
        Column("v", sa.BigInteger, sa.Computed("n * 2", persisted=True)),
        Column("s", sa.String(9)),
    )
    sa.Index("t_beside_lower", sa.func.lower(table.c.s))


tables(
    "t_enum_beside",
    enum_beside,
    "sqlite",
    "postgresql",
    rows="INSERT INTO t_enum_beside (id, e, n) VALUES (1, 'b', 2)",
)


def enum_moves(metadata: MetaData, version: int) -> None:
    """A type with other values goes from one column to a new one, which begins with a new one."""
    new = version == 2
    values = ("b", "c", "d") if new else ("a", "b")
    type_ = sa.Enum(*values, name="t_moves")
    column = Column("y" if new else "x", type_, server_default=values[-1])
    simple(metadata, "t_enum_moves", column, Column("n", sa.Integer))
    more = sa.Enum(*("p", "q", "r")[: version + 1], name="t_more")
    simple(metadata, f"t_enum_more{version}", Column("z", more, server_default="r" if new else "q"))


tables("t_enum_moves", enum_moves, rows="INSERT INTO t_enum_moves (id, x) VALUES (1, 'a')")


def enum_taken_over(metadata: MetaData, version: int) -> None:
    """A new table has the type of one that goes, to which a table refers, with other values."""
    values = ("a", "b", "c") if version == 1 else ("b", "d")
    type_ = sa.Enum(*values, name="t_taken")
    simple(metadata, f"t_taken{version}", Column("x", type_, server_default=values[-1]))
    keys = [sa.ForeignKey("t_taken1.id")] if version == 1 else []
    simple(metadata, "t_taken_child", Column("p", sa.Integer, *keys))


tables("t_enum_taken", enum_taken_over, rows="INSERT INTO t_taken1 (id, x) VALUES (1, 'a')")


def two_targets(metadata: MetaData, version: int) -> None:
    """A column refers to two tables."""
    for name in ("one", "two"):
        simple(metadata, f"t_target_{name}")
    keys = [sa.ForeignKey(f"t_target_{name}.id") for name in ("one", "two")[:version]]
    simple(metadata, "t_two_targets", Column("p", sa.Integer, *keys))


tables("t_two_targets", two_targets)


def listened(metadata: MetaData, version: int) -> None:
    """DDL of a listener says of a new table's columns what the model does not."""
    if version == 2:
        table = simple(metadata, "t_listened", Column("a", sa.Integer), Column("b", sa.Integer))
        for words in ("a SET NOT NULL", "b SET DEFAULT 7"):
            ddl = sa.DDL(f"ALTER TABLE t_listened ALTER COLUMN {words}")
            sa.event.listen(table, "after_create", ddl)
        ddl = sa.DDL("COMMENT ON COLUMN t_listened.b IS 'it''s'")
        sa.event.listen(table, "after_create", ddl)


tables("t_listened", listened, "postgresql")


def enum_beside_index(metadata: MetaData, version: int) -> None:
    """Values of an enum change while an index on an expression does, and an equal UNIQUE goes."""
    type_ = sa.Enum(*("a", "b", "c")[: version + 1], name="t_beside_index")
    table = simple(
        metadata,
        "t_beside_index",
        Column("e", type_),
        Column("s", sa.String(9), unique=True),
        *(sa.UniqueConstraint("s", "e") for _ in range(3 - version)),
    )
    sa.Index("t_beside_index_ix", sa.func.lower(table.c.s) if version == 1 else table.c.s + "x")


tables(
    "t_beside_index", enum_beside_index, "sqlite", rows="INSERT INTO t_beside_index (id) VALUES (1)"
)


def type_in_expressions(metadata: MetaData, version: int) -> None:
    """The type of a column changes that CHECKs and indexes speak of: they are others then."""
    numbers, moments = [(sa.Integer, sa.Date), (sa.Numeric(10, 2), sa.DateTime)][version - 1]
    table = simple(
        metadata,
        "t_type_spoken",
        Column("n", numbers),
        Column("d", moments),
        Column("f", sa.Float if version == 1 else sa.SmallInteger),
        sa.CheckConstraint("n BETWEEN 1 AND 99"),
        sa.CheckConstraint("f > 0 OR n > 5", name="t_type_spoken_two"),
        sa.CheckConstraint("d > '2020-01-01'", name="t_type_spoken_day"),
    )
    condition = table.c.n > 7
    sa.Index("t_type_spoken_part", "f", postgresql_where=condition, sqlite_where=condition)


tables(
    "t_type_spoken",
    type_in_expressions,
    rows="INSERT INTO t_type_spoken (id, n, d, f) VALUES (1, 8, '2024-02-03', 3)",
)


def type_in_an_index(metadata: MetaData, version: int) -> None:
    """The type of a column changes that an index has an expression of."""
    table = simple(metadata, "t_type_index", Column("n", sa.Integer if version == 1 else sa.Float))
    sa.Index("t_type_index_sum", table.c.n + 1)


tables("t_type_index", type_in_an_index, "sqlite", "postgresql")


def unnamed_checks_go(metadata: MetaData, version: int) -> None:
    """Columns go with CHECKs that have no name."""
    gone = [
        *(Column("d", sa.Float), sa.CheckConstraint("d > 0"), sa.CheckConstraint("d > n")),
        Column("e", sa.Integer),
        sa.CheckConstraint("e < 3"),
    ]
    items = gone if version == 1 else []
    simple(metadata, "t_unnamed_gone", Column("n", sa.Integer), *items)


tables("t_unnamed_gone", unnamed_checks_go, rows="INSERT INTO t_unnamed_gone VALUES (1, 2, 3.5, 2)")


def checks_written_otherwise(metadata: MetaData, version: int) -> None:
    """Unnamed CHECKs come to a table; MariaDB writes one with another function."""
    texts = ["length(b) < 99", "c LIKE 'a%'"] if version == 2 else []
    checks = map(sa.CheckConstraint, texts)
    simple(metadata, "t_other_words", Column("b", sa.String(9)), Column("c", sa.String(9)), *checks)


tables("t_other_words", checks_written_otherwise)


def types_of_columns_change(metadata: MetaData, version: int) -> None:
    """Columns get a type that gets a value, or give it up, one for a new type."""
    first = version == 1
    type_ = sa.Enum("a", "b" if first else "c", "d", name="t_over_e")
    simple(
        metadata,
        "t_over",
        Column("stays", type_, server_default="a"),
        Column("joins", sa.String(9) if first else type_, server_default="b" if first else "c"),
        Column("leaves", type_ if first else sa.String(9), server_default="b"),
    )
    other = sa.Enum("b", "x", name="t_over_other")
    simple(metadata, "t_over_new", Column("x", type_ if first else other, server_default="b"))


tables(
    "t_enum_over",
    types_of_columns_change,
    rows="INSERT INTO t_over (id, joins) VALUES (1, 'd'); INSERT INTO t_over_new (id) VALUES (1)",
)


def value_of_what_goes(metadata: MetaData, version: int) -> None:
    """A value goes from a type with a table, and with a column, whose default it is."""
    first = version == 1
    type_ = sa.Enum(*("a", "b")[: 3 - version], name="t_value_goes_e")
    more = [Column("y", type_, server_default="b")] if first else []
    simple(metadata, "t_value_goes", Column("x", type_, server_default="a"), *more)
    if first:
        simple(metadata, "t_value_gone", Column("x", type_, server_default="b"))


tables("t_value_goes", value_of_what_goes, rows="INSERT INTO t_value_goes (id) VALUES (1)")


def array_of_type(metadata: MetaData, version: int) -> None:
    """A column becomes an array of a type that gets a value, and another one is none any more."""
    type_ = sa.Enum(*("a", "b", "c")[: version + 1], name="t_array_of_e")
    plain, typed = sa.ARRAY(sa.Text), sa.ARRAY(type_)
    columns = (typed, plain) if version == 1 else (plain, typed)
    simple(metadata, "t_array_of", *map(Column, ("x", "y"), columns), Column("z", type_))


tables(
    "t_array_of",
    array_of_type,
    "postgresql",
    rows="INSERT INTO t_array_of (id, x, y, z) VALUES (1, '{a}', '{b}', 'a')",
)


def name_of_primary_key(metadata: MetaData, version: int) -> None:
    """A UNIQUE constraint takes over the name of the primary key, which becomes another one."""
    name = "t_name_of_key"
    unique = [sa.UniqueConstraint("a", name=name)] if version == 2 else []
    key = sa.PrimaryKeyConstraint("a", name=name)
    if version == 2:
        key = sa.PrimaryKeyConstraint("b", name=f"{name}_new")
    columns = [Column(one, sa.Integer, nullable=False, autoincrement=False) for one in "ab"]
    Table("t_key_name", metadata, *columns, key, *unique)


tables("t_key_name", name_of_primary_key, rows="INSERT INTO t_key_name (a, b) VALUES (1, 2)")


def more_comes_and_goes(metadata: MetaData, version: int) -> None:
    """A table comes, and another one goes, of which no operation of Alembic's says all."""
    simple(metadata, "t_said")
    name = f"t_said_{version}"
    table = simple(
        metadata,
        name,
        Column("a", sa.Integer, index=True),
        Column("b", sa.Text),
        sa.CheckConstraint("a > 0", name=f"{name}_ck", comment="it's one"),
        sa.UniqueConstraint("a", "b", name=f"{name}_uq", comment="once"),
    )
    for words in (
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} ALTER COLUMN b SET STORAGE EXTERNAL",
        f"COMMENT ON INDEX ix_{name}_a IS 'of an index'",
    ):
        sa.event.listen(table, "after_create", sa.DDL(words))


tables("t_said_comes", more_comes_and_goes, "postgresql")


def commented_anew(metadata: MetaData, version: int) -> None:
    """Constraints with comments change, and one comes; a primary key gets a name and a comment."""
    key = [sa.PrimaryKeyConstraint("id", name="t_anew_key", comment="key")] if version == 2 else []
    new = [sa.CheckConstraint("a < 99", name="t_anew_new", comment="new")] if version == 2 else []
    action = "CASCADE" if version == 2 else None
    simple(
        metadata,
        "t_anew",
        Column("a", sa.Integer),
        sa.CheckConstraint(f"a >= {version}", name="t_anew_kept", comment="kept"),
        sa.ForeignKeyConstraint(
            ["a"], ["t_anew.id"], name="t_anew_fk", comment=f"version {version}", ondelete=action
        ),
        *new,
        *key,
    )


tables("t_anew", commented_anew, "postgresql", rows="INSERT INTO t_anew (id, a) VALUES (2, 2)")


def excluded_otherwise(metadata: MetaData, version: int) -> None:
    """Exclusion constraints change with their column, and become another kind under their name."""
    first = version == 1
    column = "r" if first else "s"
    equal = postgresql.ExcludeConstraint(("t", "="), name="t_excluded_eq", using="btree")
    simple(
        metadata,
        "t_excluded",
        Column(column, postgresql.INT4RANGE),
        Column("t", sa.Text),
        postgresql.ExcludeConstraint((column, "&&"), name="t_excluded_over"),
        equal if first else sa.UniqueConstraint("t", name="t_excluded_eq"),
    )


tables(
    "t_excluded",
    excluded_otherwise,
    "postgresql",
    rows="INSERT INTO t_excluded (id, t) VALUES (1, 'x')",
)
