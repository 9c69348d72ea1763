"""Changes that MariaDB alone makes hard: keys and their indexes, words of columns, colons."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, MetaData, Table, UniqueConstraint, text
from sqlalchemy.dialects import mysql

from zoo import change, simple
from zoo_catalogue import differ, options, tables

__all__: list[str] = []


def parent_and_child(name: str, before: Any, after: Any) -> None:
    """Register a change of what a foreign key's own columns are found by."""

    def fill(metadata: MetaData, version: int) -> None:
        simple(metadata, f"{name}_parent")
        items = (before if version == 1 else after)(f"{name}_parent.id")
        Table(name, metadata, *items)

    rows = f"INSERT INTO {name}_parent (id) VALUES (1); INSERT INTO {name} (id, p) VALUES (1, 1)"
    tables(name, fill, "mariadb", "sqlite", rows=rows)


def key(target: str, **kw: Any) -> Column[Any]:
    return Column("p", sa.Integer, ForeignKey(target, name="fk_" + target.split(".")[0]), **kw)


def number(**kw: Any) -> Column[Any]:
    return Column("id", sa.Integer, primary_key=True, autoincrement=False, **kw)


parent_and_child(
    "m_unique_under_key",
    lambda target: [number(), key(target, unique=True)],
    lambda target: [number(), key(target)],
)
parent_and_child(
    "m_index_under_key",
    lambda target: [number(), key(target), Index("ix_m_under", "p")],
    lambda target: [number(), key(target), Index("ix_m_under", "p", "id")],
)
parent_and_child(
    "m_unique_order_under_key",
    lambda target: [number(), key(target), UniqueConstraint("p", "id", name="uq_m_under")],
    lambda target: [number(), key(target), UniqueConstraint("id", "p", name="uq_m_under")],
)
parent_and_child(
    "m_primary_under_key",
    lambda target: [key(target, primary_key=True, autoincrement=False), number()],
    lambda target: [key(target, nullable=False), number()],
)
parent_and_child(
    "m_index_goes_with_key",
    lambda target: [number(), key(target, index=True)],
    lambda target: [number(), Column("p", sa.Integer)],
)
parent_and_child(
    "m_primary_over_key",
    lambda target: [number(nullable=False), key(target, nullable=False)],
    lambda target: [key(target, primary_key=True, autoincrement=False), number()],
)


def m_unique_comes_with_key(metadata: MetaData, version: int) -> None:
    """Fill with a foreign key that changes while a UNIQUE constraint comes that serves it."""
    simple(metadata, "m_comes_parent")
    unique = ("id", "p") if version == 1 else ("p", "id")
    target = ForeignKey(
        "m_comes_parent.id", name="m_comes_fk", ondelete="CASCADE" if version == 2 else None
    )
    parts = [Column("p", target), UniqueConstraint(*unique, name="m_comes_uq")]
    Table("m_comes", metadata, number(), *parts)


# Its index is as a dump would make it: the server does not know it for its own.
tables(
    "m_unique_comes_with_key",
    m_unique_comes_with_key,
    "mariadb",
    rows="ALTER TABLE m_comes DROP INDEX m_comes_fk, ADD INDEX m_comes_fk (p)",
)


def m_names_of_keys(metadata: MetaData, version: int) -> None:
    """Fill with foreign keys that exchange their names, and one whose columns change places."""
    first = version == 1
    Table("m_names_p", metadata, number(), Column("b", sa.Integer), UniqueConstraint("id", "b"))
    places = ("x", "y") if first else ("y", "x")
    keys = [
        sa.ForeignKeyConstraint([one], ["m_names_p.id"], name=name, ondelete=word)
        for one, name, word in zip(places, ("m_name_1", "m_name_2"), (None, "CASCADE"), strict=True)
    ]
    both = sa.ForeignKeyConstraint(places, ["m_names_p.id", "m_names_p.b"], name="m_name_both")
    columns = [Column(one, sa.Integer) for one in "xy"]
    Table("m_names", metadata, number(), *columns, *keys, both)


tables("m_names_of_keys", m_names_of_keys, "mariadb", "sqlite")


def m_name_of_key(metadata: MetaData, version: int) -> None:
    """Fill with a UNIQUE constraint and a foreign key, each of which becomes the other one."""
    simple(metadata, "m_name_p")
    one, other = ("x", "y") if version == 1 else ("y", "x")
    unique = UniqueConstraint(one, name=f"m_name_{one}")
    key = sa.ForeignKeyConstraint([other], ["m_name_p.id"], name=f"m_name_{other}")
    Table("m_name", metadata, number(), *(Column(c, sa.Integer) for c in "xy"), key, unique)


tables("m_name_of_key", m_name_of_key, "mariadb", "sqlite")


def changed(name: str, before: Any, after: Any, *on: str) -> None:
    """Register a change of the columns of a table with a row."""
    rows = f"INSERT INTO {name} (id) VALUES (1)"
    differ(name, before, after, *(on or ("mariadb",)), rows=rows)


changed(
    "m_colons",
    lambda: [
        Column("x", sa.String(20), server_default="it's %s \\ :x"),
        Column("y", sa.String(40), sa.Computed("replace(x, ' \\:x', '\\:y')", persisted=False)),
    ],
    lambda: [
        Column("x", sa.String(20), server_default=":y"),
        Column("y", sa.String(40), sa.Computed("replace(x, ' \\:z', '\\:y')", persisted=False)),
    ],
    "mariadb",
    "sqlite",
)
changed(
    "m_percent",
    lambda: [Column("x", sa.String(9)), sa.CheckConstraint("x <> '%s'", name="m%ck")],
    lambda: [Column("x", sa.String(9)), sa.CheckConstraint("x <> '%(x)s'", name="m%ck")],
    "mariadb",
    "sqlite",
)
changed(
    "m_default_in_brackets",
    lambda: [Column("x", sa.DateTime, server_default=text("(now() + interval 1 day)"))],
    lambda: [Column("x", sa.DateTime, server_default=text("(now() + interval 2 day)"))],
)
ON_UPDATE = "ON UPDATE CURRENT_TIMESTAMP"
for number_, default in enumerate(("CURRENT_TIMESTAMP", "NULL")):
    changed(
        f"m_on_update_{number_}",
        lambda d=default: [
            Column("x", sa.DateTime, server_default=text(f"{d} {ON_UPDATE}"), comment="c")
        ],
        lambda d=default: [Column("x", sa.DateTime, server_default=text(d), comment="d")],
    )
changed(
    "m_enum_collation",
    lambda: [Column("x", mysql.ENUM("a", "b", collation="utf8mb4_bin"))],
    lambda: [Column("x", mysql.ENUM("a", "b", collation="utf8mb4_general_ci"))],
)
changed(
    "m_enum_values_collation",
    lambda: [Column("x", mysql.ENUM("a", "b", collation="utf8mb4_bin"))],
    lambda: [Column("x", mysql.ENUM("b", "c", "a", collation="utf8mb4_bin"))],
)
options(
    "m_partitions",
    "mariadb",
    mysql_partition_by=("", "HASH (`id`)"),
    mysql_partitions=("", "4"),
    mysql_row_format=("DYNAMIC", "COMPACT"),
)
options(
    "m_partitions_change",
    "mariadb",
    mysql_partition_by=("KEY (`id`)", "RANGE (`id`) (PARTITION `a` VALUES LESS THAN (9))"),
)
options(
    "m_partitions_stay",
    "mariadb",
    mysql_partition_by=("HASH (`id`)", "HASH (`id`)"),
    mysql_charset=("utf8mb4", "latin1"),
    comment=("no\n PARTITION BY", "no\n PARTITION BY HASH"),
)
options("m_engine_stats", "mariadb", mysql_engine=("InnoDB", "Aria"), mysql_checksum=("", "1"))


def numbers(metadata: MetaData, version: int) -> None:
    """Fill with a table behind whose name that of its sequence comes."""
    own = sa.Sequence("m_zz_numbers", start=5, increment=version, metadata=metadata)
    comment = f"version {version}"
    column = Column("x", sa.BigInteger, own, server_default=own.next_value(), comment=comment)
    simple(metadata, "m_next_value", column)


tables("m_next_value", numbers, "mariadb", rows="INSERT INTO m_next_value (id) VALUES (1)")


@change(convention=True)
def m_long_unique(metadata: MetaData, version: int) -> None:
    """Fill with a table whose naming convention makes names that are too long."""
    name = "m_long_name_of_a_table_that_has_a_unique_constraint_beside_it"
    column = Column("also_a_long_name", sa.Integer, unique=version == 1, index=version == 2)
    simple(metadata, name, column)
