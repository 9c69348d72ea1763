"""The indexes that MariaDB and MySQL make for foreign keys.

A foreign key needs an index that begins with its columns, and the server makes one where there is
none. It refuses to drop the last one, and takes its own away where a better one comes, unless the
database is from a dump. A script that another database's author wrote knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import (
    Column,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, DropIndex
from sqlalchemy.types import NULLTYPE

from websauna_migrate.facts.mysql import is_numbered, is_servers
from websauna_migrate.models.model_sql import final_name

#: What the server calls every primary key.
PRIMARY = "PRIMARY"


class KeyIndex(NamedTuple):
    """An index by its name and its columns in their order."""

    name: str
    columns: list[str]
    unique: bool = True

    def begins_with(self, columns: Sequence[str]) -> bool:
        """True if a foreign key of some columns can use it."""
        return self.columns[: len(columns)] == [*columns]


def keep_key_indexes(impl: DefaultImpl) -> None:
    """Let an implementation of MariaDB or MySQL keep an index for each foreign key."""
    connection = impl.connection
    if impl.dialect.name not in ("mysql", "mariadb") or connection is None or impl.as_sql:
        return
    drop_constraint = impl.drop_constraint
    drop_index = impl.drop_index
    add_constraint = impl.add_constraint
    create_index = impl.create_index
    #: Indexes that were those of foreign keys which are dropped, by schema, table and name.
    left: set[tuple[str | None, str, str]] = set()

    def drop_key(const: Constraint, **kw: Any) -> None:
        name = final_name(const, connection)
        if isinstance(const, UniqueConstraint):
            replace_before(connection, const.table, name)
        elif isinstance(const, PrimaryKeyConstraint):
            replace_before(connection, const.table, PRIMARY)
        elif isinstance(const, ForeignKeyConstraint) and own_index(connection, const.table, name):
            left.add((const.table.schema, str(const.table.name), str(name)))
        drop_constraint(const, **kw)

    def make_room(table: Table, name: str | None) -> None:
        """Drop an index that stayed behind its foreign key, before its name is taken over."""
        found = (table.schema, str(table.name), str(name))
        if found in left:
            left.remove(found)
            drop_left_behind(connection, table, name)

    def drop(index: Index, **kw: Any) -> None:
        if index.table is not None:
            replace_before(connection, index.table, final_name(index, connection))
        drop_index(index, **kw)

    def add_key(const: Constraint, **kw: Any) -> None:
        make_room(const.table, final_name(const, connection))
        add_constraint(const, **kw)
        if isinstance(const, UniqueConstraint):
            name = final_name(const, connection) or ""
            own = KeyIndex(name, [str(one.name) for one in const.columns])
            leave_one(connection, const.table, own)
        elif isinstance(const, (PrimaryKeyConstraint, ForeignKeyConstraint)):
            # An index of a foreign key that was dropped is there still, and may serve no more.
            for one in indexes(connection, const.table):
                leave_one(connection, const.table, one)

    def create(index: Index, **kw: Any) -> None:
        if index.table is not None:
            make_room(index.table, final_name(index, connection))
        create_index(index, **kw)
        if index.table is not None:
            name = final_name(index, connection) or ""
            own = KeyIndex(name, [str(getattr(one, "name", "")) for one in index.expressions])
            leave_one(connection, index.table, own)

    impl.drop_constraint = drop_key  # type: ignore[method-assign]
    impl.drop_index = drop  # type: ignore[method-assign]
    impl.add_constraint = add_key  # type: ignore[method-assign]
    impl.create_index = create  # type: ignore[method-assign]


def drop_left_behind(connection: Connection, table: Table, name: str | None) -> None:
    """Drop an index that stayed behind its foreign key, if it is there."""
    gone = next((one for one in indexes(connection, table) if one.name == name), None)
    if gone is not None and not gone.unique:
        replace_before(connection, table, name)
        connection.execute(DropIndex(index_of(table, gone.name, gone.columns)))


def own_index(connection: Connection, table: Table, name: str | None) -> bool:
    """True if an index of a table has the name and the columns of its foreign key of that name."""
    keys = dict(foreign_keys(connection, table))
    return any(
        one.name == name and one.columns == keys.get(one.name) and not one.unique
        for one in indexes(connection, table)
    )


def replace_before(connection: Connection, table: Table, name: str | None) -> None:
    """Make what the server would make for foreign keys that use an index which goes."""
    there = indexes(connection, table)
    gone = next((one for one in there if one.name == name), None)
    for key, columns in foreign_keys(connection, table) if gone else ():
        using = [one for one in there if one.begins_with(columns)]
        if using == [gone]:
            taken = {one.name.lower() for one in there}
            made = key_index(table, key, columns, taken)
            connection.execute(CreateIndex(made))
            there.append(KeyIndex(str(made.name), columns, unique=False))


def leave_one(connection: Connection, table: Table, added: KeyIndex) -> None:
    """Drop the server's own indexes of foreign keys that can use a new one."""
    for key, columns in foreign_keys(connection, table):
        if not added.begins_with(columns):
            continue
        own = [
            one
            for one in indexes(connection, table)
            if one.columns == columns
            and one.name != added.name
            and not one.unique
            and (
                one.name == key
                or (is_servers(key, str(table.name)) and is_numbered(one.name, columns[0]))
            )
        ]
        for one in own:
            connection.execute(DropIndex(index_of(table, one.name, columns)))


def indexes(connection: Connection, table: Table) -> list[KeyIndex]:
    """Return the indexes of a table, its primary key among them."""
    inspector = inspect(connection)
    name, schema = str(table.name), table.schema
    if not inspector.has_table(name, schema):
        # The server says so of the statement.
        return []
    key = inspector.get_pk_constraint(name, schema)["constrained_columns"]
    found = [
        KeyIndex(str(one["name"]), [str(name) for name in one["column_names"]], bool(one["unique"]))
        for one in inspector.get_indexes(name, schema)
    ]
    return [KeyIndex(PRIMARY, key), *found] if key else found


def foreign_keys(connection: Connection, table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield name and columns of the foreign keys of a table."""
    for one in inspect(connection).get_foreign_keys(str(table.name), table.schema):
        yield str(one["name"]), one["constrained_columns"]


def key_index(table: Table, key: str, columns: Sequence[str], taken: set[str]) -> Index:
    """Return the index that the server makes for a foreign key: of its name, if it has one.

    :param taken: names of other indexes, in lower case
    """
    name, number = (columns[0] if is_servers(key, str(table.name)) else key), 1
    given = name
    while given.lower() in taken:
        number += 1
        given = f"{name}_{number}"
    return index_of(table, given, columns)


def index_of(table: Table, name: str, columns: Sequence[str]) -> Index:
    """Return an index of a table."""
    parts: list[Column[Any]] = [Column(one, NULLTYPE) for one in columns]
    of = Table(str(table.name), MetaData(), *parts, schema=table.schema)
    return Index(name, *of.columns)
