"""Drops of constraints without a name in SQL for MariaDB, which no connection says the names of.

The statements look for the name where they run, as a run with a connection does: see
:mod:`.unnamed_constraints`.
"""

from __future__ import annotations

from typing import Any

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import Constraint, Index, text
from sqlalchemy.schema import DropConstraint, DropIndex
from sqlalchemy.sql.ddl import DDLElement

from websauna_migrate.alembic_adapter.unnamed_constraints import AUTOMATIC
from websauna_migrate.models.sqlalchemy_internals import escaped

#: Names of a kind, each with the columns after which PostgreSQL names it.
NAMES = {
    "fkey": """
    SELECT constraint_name AS name,
        GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR '_') AS columns
    FROM information_schema.key_column_usage
    WHERE table_schema = {schema} AND table_name = {table} AND referenced_table_name IS NOT NULL
    GROUP BY constraint_name""",
    "key": """
    SELECT index_name AS name,
        GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR '_') AS columns
    FROM information_schema.statistics
    WHERE table_schema = {schema} AND table_name = {table}
        AND NOT non_unique AND index_name <> 'PRIMARY'
    GROUP BY index_name""",
    "check": """
    SELECT constraint_name AS name, (
        SELECT IF(COUNT(*) = 1, MIN(column_name), NULL) FROM information_schema.columns
        WHERE table_schema = {schema} AND table_name = {table}
            AND LOCATE(CONCAT('`', column_name, '`'), check_clause)) AS columns
    FROM information_schema.check_constraints
    WHERE constraint_schema = {schema} AND table_name = {table} AND level = 'Table'""",
}

#: The indexes that the server makes for foreign keys.
KEY_INDEXES = """
    SELECT index_name AS name,
        GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR '_') AS columns
    FROM information_schema.statistics
    WHERE table_schema = {schema} AND table_name = {table} AND non_unique
    GROUP BY index_name"""


def write_lookups(impl: DefaultImpl) -> None:
    """Let an implementation of MariaDB write SQL that finds what it drops."""
    if not (impl.as_sql and getattr(impl.dialect, "is_mariadb", False)):
        return
    drop_constraint = impl.drop_constraint
    drop_index = impl.drop_index

    def drop(const: Constraint, **kw: Any) -> None:
        match = AUTOMATIC.fullmatch(str(const.name))
        if match is None or match[1] not in NAMES:
            drop_constraint(const, **kw)
        else:
            drop_found(impl, NAMES[match[1]], const, DropConstraint(const))

    def drop_of_key(index: Index, **kw: Any) -> None:
        if not str(index.name).endswith("_fkey"):
            drop_index(index, **kw)
        else:
            drop_found(impl, KEY_INDEXES, index, DropIndex(index, **kw))

    impl.drop_constraint = drop  # type: ignore[method-assign]
    impl.drop_index = drop_of_key  # type: ignore[method-assign]


def drop_found(
    impl: DefaultImpl, names: str, item: Constraint | Index, statement: DDLElement
) -> None:
    """Write a drop of what has a name, or of the only one that PostgreSQL may give it.

    :param names: the query for all that may be meant
    :param statement: the drop by the name that PostgreSQL gives
    """
    name, table = str(item.name), item.table
    match = AUTOMATIC.fullmatch(name)
    assert match is not None and table is not None
    schema = literal(table.schema) if table.schema else "DATABASE()"
    found = names.format(schema=schema, table=literal(str(table.name)))
    begin = f"CONCAT_WS('_', {literal(str(table.name))}, columns, {literal(match[1])})"
    wanted = literal(name.removesuffix(match[2]))
    impl.execute(
        text(
            escaped(
                f"SET @name = (SELECT IF(COUNT(*) = 1, MIN(name), {literal(name)}) FROM ({found}"
                f"\n) AS found WHERE name = {literal(name)} OR {begin} = {wanted})"
            )
        )
    )
    whole = str(statement.compile(dialect=impl.dialect)).strip()
    before, _, behind = whole.rpartition(impl.dialect.identifier_preparer.quote(name))
    # A "%" in a name is written twice for the driver, which there is none of.
    before, behind = (part.replace("%%", "%") for part in (before, behind))
    impl.execute(
        text(
            escaped(
                f"EXECUTE IMMEDIATE CONCAT({literal(before + '`')}, "
                f"REPLACE(@name, '`', '``'), {literal('`' + behind)})"
            )
        )
    )


def literal(value: str) -> str:
    """Return a text as a literal of MariaDB."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
