"""Version tables of any name and schema, as Alembic or another tool made them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Connection

#: Tables whose one column is ``version_num``, or whose primary key is, as text: an application may
#: give its table more columns by Alembic's ``version_table_impl``. Schema, name, and whether the
#: name alone finds it.
QUERIES = {
    "postgresql": (
        "SELECT n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid) "
        "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE a.attname = 'version_num' AND NOT a.attisdropped AND c.relkind IN ('r', 'p') "
        "AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_' "
        "AND has_table_privilege(c.oid, 'SELECT') AND (NOT EXISTS (SELECT FROM "
        "pg_catalog.pg_attribute o WHERE o.attrelid = c.oid AND o.attnum > 0 "
        "AND NOT o.attisdropped AND o.attnum <> a.attnum) "
        "OR a.atttypid IN ('varchar'::regtype, 'text'::regtype) AND EXISTS (SELECT FROM "
        "pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary "
        "AND i.indkey::text = a.attnum::text))"
    ),
    "sqlite": (
        "SELECT 'main', m.name, 1 FROM sqlite_master m WHERE m.type = 'table' AND "
        "(SELECT group_concat(i.name) FROM pragma_table_info(m.name) i) = 'version_num' OR "
        "m.type = 'table' AND (SELECT group_concat(i.name) FROM pragma_table_info(m.name) i "
        "WHERE i.pk AND i.type LIKE '%CHAR%') = 'version_num'"
    ),
    "mysql": (
        "SELECT c.table_schema, c.table_name, 1 FROM information_schema.columns c "
        "JOIN information_schema.tables t ON t.table_schema = c.table_schema "
        "AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE' "
        "WHERE c.table_schema = database() GROUP BY c.table_schema, c.table_name "
        "HAVING sum(c.column_name = 'version_num') = 1 AND (count(*) = 1 OR group_concat(CASE WHEN "
        "c.column_key = 'PRI' THEN concat(c.data_type, ' ', c.column_name) END) "
        "= 'varchar version_num')"
    ),
}
QUERIES["mariadb"] = QUERIES["mysql"]


@dataclass(frozen=True, slots=True)
class VersionTable:
    """A table that records revisions.

    :ivar visible: whether its name alone finds it
    :ivar rows: the revisions, sorted
    """

    schema: str
    name: str
    visible: bool
    rows: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the name that finds it."""
        return self.name if self.visible else f"{self.schema}.{self.name}"

    def is_called(self, name: str) -> bool:
        """Tell whether a name, with or without its schema, is the table's."""
        return name in (str(self), f"{self.schema}.{self.name}")


def find_version_tables(
    connection: Connection, leave_out: Iterable[tuple[str | None, str]] = ()
) -> tuple[VersionTable, ...]:
    """Return the version tables of a database, in all its schemas: one query, two if there are any.

    :param leave_out: schema and name of tables that are known; no schema means the default one, and
        the table of this name where the name alone finds it
    """
    query = QUERIES.get(connection.dialect.name)
    if query is None:
        return ()
    known = set(leave_out)
    found = [
        VersionTable(schema, name, bool(visible))
        for schema, name, visible in connection.execute(text(query))
        if (schema, name) not in known and not (visible and (None, name) in known)
    ]
    found.sort(key=lambda table: (table.schema, table.name))
    rows: list[list[str]] = [[] for _ in found]
    if found:
        quote = connection.dialect.identifier_preparer.quote
        kind = "CHAR" if connection.dialect.name in ("mysql", "mariadb") else "VARCHAR(255)"
        union = " UNION ALL ".join(
            f"SELECT {number} AS number, CAST(version_num AS {kind}) AS revision "
            f"FROM {quote(table.schema)}.{quote(table.name)}"
            for number, table in enumerate(found)
        )
        for number, row in connection.exec_driver_sql(union):
            if row is not None:
                rows[number].append(str(row))
    return tuple(
        VersionTable(table.schema, table.name, table.visible, tuple(sorted(revisions)))
        for table, revisions in zip(found, rows, strict=True)
    )
