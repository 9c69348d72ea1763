"""What gives the user a right that a statement lacked."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.lock_errors import error_number

__all__ = ["remedy_for_rights"]

#: MariaDB's numbers: no right on the database, on the table, on one of its columns.
DENIED = (1044, 1142, 1143)

#: PostgreSQL's code.
INSUFFICIENT_PRIVILEGE = "42501"

#: What the history tables and the ledger need.
NEEDED = "SELECT, INSERT, UPDATE, DELETE"


def remedy_for_rights(
    exc: DBAPIError, connection: Connection, table: str, schema: str | None
) -> str:
    """Return a sentence with the statement that gives a right which a statement lacked.

    :param connection: of the user who lacks it, in no transaction; it is left so
    :param table: what the statement was about
    :returns: an empty text where something else was the matter
    """
    original: Any = exc.orig
    quote = connection.dialect.identifier_preparer.quote
    name = f"{quote(schema)}.{quote(table)}" if schema else quote(table)
    if connection.dialect.name == "postgresql":
        code = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
        if code != INSUFFICIENT_PRIVILEGE:
            return ""
        role = quote(str(connection.exec_driver_sql("SELECT current_user").scalar_one()))
        connection.rollback()
        of_schema = re.search(r"schema \"?([^\s\"]+)", str(original))
        if "must be owner" in str(original):
            statement = f"ALTER TABLE {name} OWNER TO {role}"
        elif of_schema is not None:
            statement = f"GRANT USAGE, CREATE ON SCHEMA {quote(of_schema[1])} TO {role}"
        else:
            statement = f"GRANT {NEEDED} ON {name} TO {role}"
    elif connection.dialect.name in ("mysql", "mariadb") and error_number(exc) in DENIED:
        query = "SELECT CURRENT_USER(), DATABASE()"
        account, database = connection.exec_driver_sql(query).one()
        connection.rollback()
        user, _, host = str(account).rpartition("@")
        rights = f"{NEEDED}, CREATE, ALTER, DROP"
        statement = f"GRANT {rights} ON {quote(schema or database)}.{quote(table)} "
        statement += f"TO '{user}'@'{host}'"
    else:
        return ""
    return f"The table is there, and this user lacks a right. Let its owner run: {statement};"
