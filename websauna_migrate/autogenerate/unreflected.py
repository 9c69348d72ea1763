"""What SQLAlchemy does not reflect: types that it has no class for, SQLite's expression indexes and
what its columns say of their own constraints, MariaDB's expressions as defaults, and its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.engine import Connection

from websauna_migrate.facts.brackets import split_brackets, split_commas
from websauna_migrate.facts.mysql import without_schema
from websauna_migrate.facts.written_tables import WrittenTable

#: A CREATE INDEX as SQLite keeps it: unique, expressions with their bracket, predicate.
CREATE_INDEX = re.compile(
    r"create\s+(?P<unique>unique\s+)?index\s+.*?\bon\s+(?:\"(?:[^\"]|\"\")*\"|[^\s(]+)\s*(?P<rest>\(.*)",
    re.IGNORECASE | re.DOTALL,
)

#: The ends of a foreign key, as SQLAlchemy reflects it.
ENDS = ("constrained_columns", "referred_table", "referred_columns")

STORED_TYPES = {
    "postgresql": (
        "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relname = :table AND a.attname = :column "
        "AND n.nspname = coalesce(:schema, current_schema())"
    ),
    "mysql": (
        "SELECT column_type FROM information_schema.columns WHERE table_name = :table "
        "AND column_name = :column AND table_schema = coalesce(:schema, database())"
    ),
    "sqlite": "SELECT type FROM pragma_table_info(:table) WHERE name = :column AND :schema IS NULL",
}


def stored_type_name(
    connection: Connection, schema: str | None, table: str, column: str
) -> str | None:
    """Return how the database names a column's type."""
    query = STORED_TYPES.get(connection.dialect.name.replace("mariadb", "mysql"))
    if query is None:
        return None
    found: str | None = connection.scalar(
        text(query), {"schema": schema, "table": table, "column": column}
    )
    return found


def correct_mariadb(
    connection: Connection, schema: str | None, found: Mapping[Any, list[dict[str, Any]]]
) -> None:
    """Let defaults, comments and NOT NULL be the server's, in columns reflected from MariaDB.

    SQLAlchemy reads constants alone as defaults, an expression in brackets up to the first that
    closes, and nothing of a line that it cannot take apart.
    """
    query = text(
        "SELECT table_schema, table_name, column_name, column_default, column_comment, is_nullable "
        "FROM information_schema.columns "
        "WHERE table_schema = coalesce(:schema, database()) AND table_name IN :tables"
    ).bindparams(bindparam("tables", expanding=True))
    tables = [name for _, name in found]
    known = {
        (table, column): (own, default, comment, nullable == "YES")
        for own, table, column, default, comment, nullable in connection.execute(
            query, {"schema": schema, "tables": tables}
        )
    }
    for (_, table), columns in found.items():
        for one in columns:
            own, default, comment, nullable = known[table, one["name"]]
            one["comment"] = comment or None
            if one.get("computed"):
                continue
            one["nullable"] = nullable
            if default in (None, "NULL"):
                continue
            if one["default"] is None:
                one["default"] = without_schema(default, own)
            elif str(one["default"]).startswith("("):
                one["default"] = f"({default})"


def mariadb_json(
    connection: Connection, schema: str | None, tables: Collection[str]
) -> set[tuple[str, str]]:
    """Return table and name of the columns that are JSON, which are texts with a CHECK there."""
    query = text(
        "SELECT table_name, constraint_name FROM information_schema.check_constraints "
        "WHERE constraint_schema = coalesce(:schema, database()) AND table_name IN :tables "
        "AND level = 'Column' AND check_clause = concat('json_valid(`', constraint_name, '`)')"
    ).bindparams(bindparam("tables", expanding=True))
    rows = connection.execute(query, {"schema": schema, "tables": list(tables)})
    return {(table, column) for table, column in rows}


def spelled_types(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the types of SQLite's columns by table and column, as they were written."""
    rows = connection.exec_driver_sql(
        "SELECT m.name, x.name, x.type FROM sqlite_master m, pragma_table_xinfo(m.name) x "
        "WHERE m.type = 'table'"
    )
    return {(table, column): type_ for table, column, type_ in rows}


def put_right(kind: str, facts: Any, written: WrittenTable) -> None:
    """Let what SQLAlchemy reflects of a table on SQLite be what its CREATE TABLE says.

    :param kind: ``foreign_keys``, ``unique_constraints``, ...
    """
    if kind == "pk_constraint":
        facts["name"] = written.key_name
    elif kind == "unique_constraints":
        facts[:] = [{"name": name, "column_names": [*columns]} for name, columns in written.uniques]
    elif kind == "check_constraints":
        found = [{"name": name, "sqltext": sql} for name, sql in written.checks]
        facts[:] = sorted(found, key=lambda one: one["name"] or "~")
    elif kind == "columns":
        for column in facts:
            if column.get("computed") and column["name"] in written.computed:
                text = written.computed[column["name"]]
                column["computed"] = {**column["computed"], "sqltext": text}
    elif kind == "foreign_keys":
        for one, key in written.paired(facts, itemgetter(*ENDS)):
            one["name"], one["options"] = key.name, dict(key.options)


def sqlite_expression_indexes(
    indexes: Iterable[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """Yield the indexes of a table that are on an expression, as SQLAlchemy reflects others.

    :param indexes: names and texts
    """
    for name, sql in indexes:
        match = CREATE_INDEX.match(sql)
        if not match:
            continue
        inside, rest = split_brackets(match["rest"])
        expressions = list(split_commas(inside))
        if all(re.fullmatch(r"\w+|\"(?:[^\"]|\"\")*\"", one) for one in expressions):
            continue
        plain = [
            one.strip('"') if re.fullmatch(r"\w+|\"[^\"]*\"", one) else None for one in expressions
        ]
        where = re.match(r"\s*where\s+(.*)", rest, re.IGNORECASE | re.DOTALL)
        yield {
            "name": name,
            "unique": bool(match["unique"]),
            "column_names": plain,
            "expressions": expressions,
            "dialect_options": {"sqlite_where": where[1]} if where else {},
        }
