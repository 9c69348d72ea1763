"""SQLite's schema, read at once: SQLAlchemy asks a dozen questions about each table.

SQLite keeps what it was told, and reads it anew each time it opens a database: all that is known of
a table is in the text that made it, in those of its indexes, and for a foreign key that names no
columns in the text of the table that it refers to.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy.engine import Connection

from websauna_migrate.models.sqlalchemy_internals import Answer

__all__ = ["KnownSchema", "StoredSchema"]

#: How SQLAlchemy asks for a table's text.
TABLE_TEXT = (
    "SELECT sql FROM (SELECT * FROM sqlite_master UNION ALL SELECT * FROM sqlite_temp_master) "
    "WHERE name = ? AND type in ('table', 'view')"
)

#: How it asks for the text of an index that has a predicate.
INDEX_TEXT = "SELECT sql FROM sqlite_master WHERE name = ? AND type = 'index'"

REFERENCES = re.compile(r"references", re.IGNORECASE)

#: A foreign key that names its columns.
EXPLICIT = re.compile(r"\breferences\s*(?:\"(?:[^\"]|\"\")*\"|\s\w+)\s*\(", re.IGNORECASE)


class StoredSchema:
    """The texts of ``main``'s tables and indexes.

    :ivar tables: by name
    :ivar indexes: names and texts by the table's name; an index of a constraint has no text
    :ivar temporary: whether there are temporary tables, which SQLAlchemy takes for tables too
    """

    def __init__(self, connection: Connection) -> None:
        """Read them all.

        :raises sqlalchemy.exc.DBAPIError: if one is no text, say
        """
        self.tables: dict[str, str] = {}
        self.indexes: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        rows = connection.exec_driver_sql(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('table', 'index') "
            "UNION ALL SELECT 'temporary', name, tbl_name, sql FROM sqlite_temp_master "
            "ORDER BY 1, 2"
        ).all()
        self.temporary = False
        for kind, name, table, sql in rows:
            if kind == "table":
                self.tables[name] = sql
            elif kind == "index":
                self.indexes[table].append((name, sql))
            else:
                self.temporary = True

    def texts_of(self, table: str) -> Any:
        """Return all texts that decide what is reflected of a table.

        :returns: ``None`` if there may be others
        """
        sql = self.tables.get(table)
        if self.temporary or sql is None or not sql[:13].upper().startswith("CREATE TABLE "):
            # A virtual table is what its module says.
            return None
        if len(REFERENCES.findall(sql)) != len(EXPLICIT.findall(sql)):
            return None
        return sql, self.indexes.get(table, [])


class KnownSchema(Connection):
    """A connection to SQLite that knows the answers to what SQLAlchemy asks about some tables.

    They were read with a query for each kind of answer. A question that is not known, say because
    another release of SQLAlchemy asks in other words, goes to the database.
    """

    def __init__(
        self, connection: Connection, stored: StoredSchema, tables: Collection[str]
    ) -> None:
        """Read the answers.

        :raises sqlalchemy.exc.DBAPIError: if SQLite is too old for such queries
        """
        # What a connection has, the given one has: nothing is opened, nothing else is sent.
        self.given = connection
        self.quote = connection.dialect.identifier_preparer.quote_identifier
        self.known: dict[tuple[str, Any], list[Any]] = {}
        names = [table for table in tables if table in stored.tables]
        if not stored.temporary:
            self.learn(stored, names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["given"], name)

    def exec_driver_sql(
        self, statement: str, parameters: Any = None, execution_options: Any = None
    ) -> Any:
        """Answer, or let the database do so."""
        rows = None
        if parameters is None:
            rows = self.known.get((statement, None))
        elif isinstance(parameters, tuple):
            rows = self.known.get((" ".join(statement.split()), parameters))
        if rows is None:
            return self.given.exec_driver_sql(statement, parameters, execution_options)
        return Answer(rows)

    def learn(self, stored: StoredSchema, tables: list[str]) -> None:
        """Read the answers for some tables."""
        columns = self.learn_pragma("table_xinfo", tables)
        self.learn_pragma("foreign_key_list", tables)
        indexes = self.learn_pragma("index_list", tables)
        self.learn_pragma("index_info", [row[1] for rows in indexes.values() for row in rows])
        for table in tables:
            self.known[TABLE_TEXT, (table,)] = [(stored.tables[table],)]
            # Hidden columns, computed ones among them, are not in the older pragma.
            ordinary = [row[:6] for row in columns[table] if not row[6]]
            self.known[self.statement("main", "table_info", table), None] = ordinary
            for name, sql in stored.indexes.get(table, ()):
                self.known[INDEX_TEXT, (name,)] = [(sql,)]

    def learn_pragma(self, pragma: str, names: list[str]) -> dict[str, list[Any]]:
        """Read what a pragma says of some tables or indexes, by their names."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        query = f"SELECT one.value, p.* FROM json_each(?) one, pragma_{pragma}(one.value, 'main') p"
        for name, *row in self.given.exec_driver_sql(query, (json.dumps(names),)):
            found[name].append(tuple(row))
        for name, rows in found.items():
            self.known[self.statement("main", pragma, name), None] = rows
            self.known[self.statement("temp", pragma, name), None] = []
        return found

    def statement(self, schema: str, pragma: str, name: str) -> str:
        """Return how SQLAlchemy asks."""
        return f"PRAGMA {schema}.{pragma}({self.quote(name)})"
