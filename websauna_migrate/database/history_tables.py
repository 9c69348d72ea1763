"""History tables: their names, reading all in one query, writing one, and those of other tools."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Column, MetaData, String, Table, delete, insert, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import said_by
from websauna_migrate.database.lock_errors import error_number, says_nothing_of_a_table, sqlstate

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

HISTORY_PREFIX = "alembic_history_"


class RecordsBroken(MigrationError, RuntimeError):
    """A history table or the ledger cannot be used.

    :ivar kind: ``history``, ``ledger``, or ``unsteady`` for a history table that holds other rows
        whenever it is read
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


NO_HISTORY = (
    'It has to be a table with the text column "version_num", as Alembic makes it. Restore it, or '
    "give the package another one with the setting websauna_migrate.version_table.PACKAGE."
)


def unusable(table: str, problem: str, remedy: str = "") -> RecordsBroken:
    """Return the error of a history table that cannot be read or written.

    :param remedy: what to do; empty where it is no history table
    """
    return RecordsBroken(
        "history",
        f'The history table "{table}" cannot be used: {problem} {remedy or NO_HISTORY}',
    )


@contextmanager
def usable(
    connection: Connection,
    table: str,
    schema: str | None,
    error: Callable[[str, str, str], RecordsBroken] = unusable,
) -> Iterator[None]:
    """Turn a statement's failure into one that names the table.

    :param error: makes it of the table, the problem and the remedy
    :raises RecordsBroken: when it does, unless a lock was not to be had or the server is gone
    """
    try:
        yield
    except DBAPIError as exc:
        if says_nothing_of_a_table(exc, connection):
            raise
        connection.rollback()
        problem = said_by(exc, connection.engine.url)
        raise error(table, problem, remedy_for_rights(exc, connection, table, schema)) from exc


#: PostgreSQL allows 63 bytes, and Alembic names the table's primary key after it with "_pkc".
MAX_NAME_BYTES = 63 - len("_pkc")


def history_table_name(package: str) -> str:
    """Return the name of a package's history table.

    ``alembic_history_`` and the dotted name in lower case with ``.`` as ``_``. A name of more than
    59 bytes in UTF-8 ends in a hash of the dotted name instead, the same on every database.
    """
    name = HISTORY_PREFIX + package.lower().replace(".", "_")
    encoded = name.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(package.encode()).hexdigest()[:10]
    return encoded[: MAX_NAME_BYTES - len(digest) - 1].decode(errors="ignore") + "_" + digest


def problem_of_table_name(name: object) -> str:
    """Return why a history table cannot have a name, on one database or another; empty if it can.

    :param name: what a registration or a setting says
    """
    if not isinstance(name, str):
        return f"a name is a text, not of type {type(name).__name__}."
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it has a character that cannot be written in UTF-8."
    if "\0" in name:
        return "it has a NUL character."
    if length > MAX_NAME_BYTES:
        return f"it has {length} bytes in UTF-8; no more than {MAX_NAME_BYTES} are allowed."
    if name.lower().startswith("sqlite_"):
        return 'SQLite keeps names that begin with "sqlite_" for itself.'
    if name != name.rstrip():
        # MariaDB refuses it.
        return "it ends with a blank."
    return ""


def list_tables(
    connection: Connection, schema: str | None = None, *, views: bool = False
) -> frozenset[str]:
    """Return the names of all tables of a schema; one query.

    :param views: on PostgreSQL of its views too, where a table could not be made beside them
    """
    if connection.dialect.name == "postgresql":
        # As the inspector does it, which takes longer to write the query than to run it.
        where = "n.nspname = :schema" if schema else "pg_catalog.pg_table_is_visible(c.oid)"
        kinds = "'r', 'p', 'v', 'm', 'f'" if views else "'r', 'p'"
        query = text(
            "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
            f"ON n.oid = c.relnamespace WHERE {where} AND c.relkind IN ({kinds}) "
            "AND n.nspname != 'pg_catalog'"
        )
        return frozenset(connection.scalars(query, {"schema": schema} if schema else {}))
    return frozenset(inspect(connection).get_table_names(schema=schema))


def qualified(connection: Connection, name: str, schema: str | None) -> str:
    """Return the name of a table as the driver takes it, in quotes where need be."""
    quote = connection.dialect.identifier_preparer.quote
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def read_rows(
    connection: Connection, tables: Iterable[str], schema: str | None = None
) -> Mapping[str, tuple[str, ...]]:
    """Return the rows of existing history tables, sorted, by table; one query for all of them.

    :param tables: names of tables that exist
    """
    names = sorted(tables)
    rows: dict[str, list[str]] = {name: [] for name in names}
    # SQLite allows 500 terms in a compound SELECT.
    for start in range(0, len(names), 400):
        # No part of it is user input, and the expression language takes longer than the query.
        query = " UNION ALL ".join(
            f"SELECT {number}, version_num FROM {qualified(connection, names[number], schema)}"
            for number in range(start, min(start + 400, len(names)))
        )
        try:
            found = connection.exec_driver_sql(query).all()
        except DBAPIError as exc:
            if says_nothing_of_a_table(exc, connection):
                raise
            # It does not say at which table; nothing was written so far.
            connection.rollback()
            for name in names:
                one = f"SELECT version_num FROM {qualified(connection, name, schema)}"
                with usable(connection, name, schema):
                    connection.exec_driver_sql(one)
            raise
        for number, row in found:
            if not isinstance(row, str):
                what = "an empty row." if row is None else f"a {type(row).__name__} for a text."
                raise unusable(names[number], f"it has {what}")
            rows[names[number]].append(row)
    return {name: tuple(sorted(found)) for name, found in rows.items()}


def read_left(
    connection: Connection, tables: Iterable[str], schema: str | None = None
) -> Mapping[str, tuple[str, ...]]:
    """Return the rows of tables that look like history tables of packages which are gone.

    What is no history table is left out: it has no owner.
    """
    tables = set(tables)
    try:
        return read_rows(connection, tables, schema) if tables else {}
    except RecordsBroken:
        look = inspect(connection)
        columns = {table: look.get_columns(table, schema=schema) for table in tables}
        right = {t for t, found in columns.items() if "version_num" in {c["name"] for c in found}}
        if right == tables:
            raise
        return read_rows(connection, right, schema) if right else {}


def version_table(name: str, schema: str | None = None) -> Table:
    """Return a history table's shape, enough to read and write its rows."""
    return Table(name, MetaData(), Column("version_num", String(32)), schema=schema)


def write_rows(
    connection: Connection, name: str, schema: str | None, rows: Sequence[str] | None
) -> None:
    """Let a history table hold exactly these rows, in the current transaction.

    :param rows: the identifiers; the table is created if need be. ``None`` drops the table.
    :raises RecordsBroken: if something else has its name
    """
    with usable(connection, name, schema):
        if rows is None:
            Table(name, MetaData(), schema=schema).drop(connection, checkfirst=True)
            return
        table = version_table(name, schema)
        if not inspect(connection).has_table(name, schema=schema):
            from alembic.runtime.migration import MigrationContext

            context = MigrationContext.configure(connection)
            full_version_table(context, name, schema).create(connection)
        connection.execute(delete(table))
        if rows:
            connection.execute(insert(table), [{"version_num": row} for row in sorted(rows)])


def full_version_table(context: MigrationContext, name: str, schema: str | None) -> Table:
    """Return a history table in the shape that Alembic gives it, also on a third party dialect."""
    return context.impl.version_table_impl(
        version_table=name, version_table_schema=schema, version_table_pk=True
    )


#: The option of a connection that a run reads by before it writes.
MIGRATES = "websauna_migrate_migrates"

#: MariaDB's numbers: no right on the database, on the table, on one of its columns.
DENIED = (1044, 1142, 1143)

#: PostgreSQL's code.
INSUFFICIENT_PRIVILEGE = "42501"

#: What the history tables and the ledger need of a role that migrates. One that only looks needs
#: no more than SELECT, and may not have more where the owner runs scripts that the ledger keeps.
NEEDED = "SELECT, INSERT, UPDATE, DELETE"


def remedy_for_rights(
    exc: DBAPIError, connection: Connection, table: str, schema: str | None
) -> str:
    """Return a sentence with the statement that gives a right which a statement lacked.

    :param connection: of the user who lacks it, in no transaction; it is left so
    :param table: what the statement was about
    :returns: an empty text where something else was the matter
    """
    quote = connection.dialect.identifier_preparer.quote
    reads = str(exc.statement or "").lstrip("( \n").upper().startswith("SELECT")
    # A run reads first, and needs the other rights next.
    reads = reads and not connection.get_execution_options().get(MIGRATES)
    needed, more = NEEDED, ""
    if reads:
        needed, more = "SELECT", f" To migrate, it needs {NEEDED}."
    there = "The table is there, and this user lacks a right. Let its owner run"
    name = qualified(connection, table, schema)
    if connection.dialect.name == "postgresql":
        if sqlstate(exc) != INSUFFICIENT_PRIVILEGE:
            return ""
        role = quote(str(connection.exec_driver_sql("SELECT current_user").scalar_one()))
        connection.rollback()
        of_schema = re.search(r"schema \"?([^\s\"]+)", str(exc.orig))
        if "must be owner" in str(exc.orig):
            statement, more = f"ALTER TABLE {name} OWNER TO {role}", ""
        elif of_schema is not None:
            there = "This user may not create tables in the schema. Let its owner run"
            rights = "USAGE" if reads else "USAGE, CREATE"
            if reads:
                there = "This user may not look into the schema. Let its owner run"
            statement, more = f"GRANT {rights} ON SCHEMA {quote(of_schema[1])} TO {role}", ""
        else:
            statement = f"GRANT {needed} ON {name} TO {role}"
    elif connection.dialect.name in ("mysql", "mariadb") and error_number(exc) in DENIED:
        query = "SELECT CURRENT_USER(), DATABASE()"
        account, database = connection.exec_driver_sql(query).one()
        connection.rollback()
        user, _, host = str(account).rpartition("@")
        rights = needed if reads else f"{NEEDED}, CREATE, ALTER, DROP"
        statement = f"GRANT {rights} ON {quote(schema or database)}.{quote(table)} "
        statement += f"TO '{user}'@'{host}'"
    else:
        return ""
    return f"{there}: {statement};{more}"


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
        kind = "CHAR" if connection.dialect.name in ("mysql", "mariadb") else "VARCHAR(255)"
        union = " UNION ALL ".join(
            f"SELECT {number} AS number, CAST(version_num AS {kind}) AS revision "
            f"FROM {qualified(connection, table.name, table.schema)}"
            for number, table in enumerate(found)
        )
        for number, row in connection.exec_driver_sql(union):
            if row is not None:
                rows[number].append(str(row))
    return tuple(
        replace(table, rows=tuple(sorted(revisions)))
        for table, revisions in zip(found, rows, strict=True)
    )
