"""Columns that number the rows of a table on MariaDB and MySQL, and come or go with its key.

A column with AUTO_INCREMENT is never without a key there. A script makes the column and the primary
key by operations of their own: between these the column has an index aside.
"""

from __future__ import annotations

from typing import Any

from alembic.ddl.base import AddColumn
from alembic.ddl.impl import DefaultImpl
from sqlalchemy import Column, Constraint, Index, MetaData, PrimaryKeyConstraint, Table, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, DropIndex
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.types import NULLTYPE


class AddNumberedColumn(AddColumn):
    """``ADD COLUMN`` with an index on the column."""


@compiles(AddNumberedColumn, "mysql", "mariadb")
def add_numbered_column(element: AddNumberedColumn, compiler: DDLCompiler, **kw: Any) -> str:
    """Return the statement."""
    plain = AddColumn(element.table_name, element.column, schema=element.schema)
    index = aside_of(element.column.table, str(element.column.name))
    names = [compiler.preparer.quote(str(name)) for name in (index.name, element.column.name)]
    return f"{compiler.process(plain, **kw)}, ADD INDEX {names[0]} ({names[1]})"


def aside_of(table: Table | None, column: str) -> Index:
    """Return the index that a column has while its table has no primary key."""
    assert table is not None
    of = Table(str(table.name), MetaData(), Column(column, NULLTYPE), schema=table.schema)
    return Index(f"{column[:56]}_aside", *of.columns)


def number_columns(impl: DefaultImpl) -> None:
    """Let an implementation of MariaDB or MySQL add and drop columns that number a table's rows."""
    if impl.dialect.name not in ("mysql", "mariadb"):
        return
    add_column, drop_column = impl.add_column, impl.drop_column
    add_constraint, drop_constraint = impl.add_constraint, impl.drop_constraint
    connection = None if impl.as_sql else impl.connection
    asides: dict[tuple[str | None, str], dict[str, Index]] = {}

    def asides_of(table: str, schema: str | None) -> dict[str, Index]:
        return asides.setdefault((schema, str(table)), {})

    def add(table_name: str, column: Column[Any], *, schema: str | None = None, **kw: Any) -> None:
        own = column.table is not None and column.table.autoincrement_column is column
        # A script that says more, as a key in the statement, means just that.
        if not own or any(kw.values()):
            add_column(table_name, column, schema=schema, **kw)
            return
        impl.execute(AddNumberedColumn(table_name, column, schema=schema))
        index = aside_of(column.table, str(column.name))
        asides_of(table_name, schema)[str(column.name)] = index

    def drop(table_name: str, column: Column[Any], *, schema: str | None = None, **kw: Any) -> None:
        drop_column(table_name, column, schema=schema, **kw)
        asides_of(table_name, schema).pop(str(column.name), None)

    def add_key(const: Constraint, **kw: Any) -> None:
        add_constraint(const, **kw)
        if isinstance(const, PrimaryKeyConstraint):
            # One of a column that is in no key any more goes with the column.
            found = asides_of(const.table.name, const.table.schema)
            for index in filter(None, [found.pop(str(one.name), None) for one in const.columns]):
                impl.execute(DropIndex(index))

    def drop_key(const: Constraint, **kw: Any) -> None:
        if isinstance(const, PrimaryKeyConstraint) and connection is not None:
            for name in numbered_by_key(connection, const.table):
                index = aside_of(const.table, name)
                impl.execute(CreateIndex(index))
                asides_of(const.table.name, const.table.schema)[name] = index
        drop_constraint(const, **kw)

    impl.add_column = add  # type: ignore[method-assign]
    impl.drop_column = drop  # type: ignore[method-assign]
    impl.add_constraint = add_key  # type: ignore[method-assign]
    impl.drop_constraint = drop_key  # type: ignore[method-assign]


def numbered_by_key(connection: Connection, table: Table) -> list[str]:
    """Return the numbered column of a table that no index has besides the primary key."""
    inspector = inspect(connection)
    name, schema = str(table.name), table.schema
    if not inspector.has_table(name, schema):
        # The server says so of the statement.
        return []
    there = {one["column_names"][0] for one in inspector.get_indexes(name, schema)}
    columns = inspector.get_columns(name, schema)
    return [
        one["name"]
        for one in columns
        if one.get("autoincrement") is True and one["name"] not in there
    ]
