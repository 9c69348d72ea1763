"""Columns that number the rows of a table on MariaDB and MySQL, and come or go with its key.

A column with AUTO_INCREMENT is never without a key there. A script makes the column and the primary
key by operations of their own: between these the column has an index aside.
"""

from __future__ import annotations

from typing import Any

from alembic.ddl.base import AddColumn
from alembic.ddl.impl import DefaultImpl
from sqlalchemy import (
    Column,
    Constraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    inspect,
    text,
)
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, DropIndex
from sqlalchemy.sql.compiler import DDLCompiler

from websauna_migrate.alembic_adapter.key_indexes import index_of
from websauna_migrate.alembic_adapter.unnamed_offline import literal
from websauna_migrate.models.sqlalchemy_internals import escaped


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
    return index_of(table, f"{column[:56]}_aside", [column])


def number_columns(impl: DefaultImpl) -> None:
    """Let an implementation of MariaDB or MySQL add and drop columns that number a table's rows."""
    if impl.dialect.name not in ("mysql", "mariadb"):
        return
    add_column, drop_column = impl.add_column, impl.drop_column
    add_constraint, drop_constraint = impl.add_constraint, impl.drop_constraint
    connection = None if impl.as_sql else impl.connection
    asides: dict[tuple[str | None, str], dict[str, Index]] = {}
    #: Tables of which it turns out where SQL runs whether a column has an index aside.
    perhaps: set[tuple[str | None, str]] = set()

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
            if (const.table.schema, str(const.table.name)) in perhaps:
                for one in const.columns:
                    write_drop_aside(impl, aside_of(const.table, str(one.name)))

    def drop_key(const: Constraint, **kw: Any) -> None:
        if isinstance(const, PrimaryKeyConstraint):
            if connection is None:
                on = impl.dialect.identifier_preparer.format_table(const.table).replace("%%", "%")
                execute_found(impl, const.table, ASIDE, on=literal(on))
                perhaps.add((const.table.schema, str(const.table.name)))
            for name in numbered_by_key(connection, const.table) if connection is not None else ():
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


#: Statements that make the index aside of the column that :func:`numbered_by_key` tells.
ASIDE = """SELECT CONCAT('CREATE INDEX ', name, '_aside` ON ', {on}, ' (', quoted, ')') AS words
    FROM (SELECT CONCAT('`', REPLACE(column_name, '`', '``'), '`') AS quoted,
            CONCAT('`', REPLACE(LEFT(column_name, 56), '`', '``')) AS name
        FROM information_schema.columns AS numbered
        WHERE table_schema = {schema} AND table_name = {table} AND extra LIKE '%auto_increment%'
            AND NOT EXISTS (SELECT 1 FROM information_schema.statistics AS one
                WHERE one.table_schema = {schema} AND one.table_name = {table}
                    AND one.column_name = numbered.column_name
                    AND seq_in_index = 1 AND index_name <> 'PRIMARY')) AS found"""

#: Statements that drop an index if it is there.
DROP_ASIDE = """SELECT {drop} AS words FROM information_schema.statistics
    WHERE table_schema = {schema} AND table_name = {table} AND index_name = {index}"""


def write_drop_aside(impl: DefaultImpl, index: Index) -> None:
    """Write SQL that drops an index aside where it runs, if it is there."""
    assert index.table is not None
    drop = str(DropIndex(index).compile(dialect=impl.dialect)).strip().replace("%%", "%")
    execute_found(impl, index.table, DROP_ASIDE, drop=literal(drop), index=literal(str(index.name)))


def execute_found(impl: DefaultImpl, table: Table, query: str, **parts: str) -> None:
    """Write SQL that executes the statement that a query finds where it runs, if it finds one.

    MySQL has no EXECUTE IMMEDIATE, and no DROP INDEX IF EXISTS.

    :param query: selects the statement as ``words``
    """
    schema = literal(table.schema) if table.schema else "DATABASE()"
    found = query.format(schema=schema, table=literal(str(table.name)), **parts)
    for statement in (
        f"SET @aside = (SELECT COALESCE(MIN(words), 'DO 0') FROM ({found}) AS statements)",
        "PREPARE aside FROM @aside",
        "EXECUTE aside",
        "DEALLOCATE PREPARE aside",
    ):
        impl.execute(text(escaped(statement)))
