"""The service's own statements of each step, compiled once and given to the driver itself.

SQLAlchemy's way of executing a statement takes longer than the marker's INSERT does. Only drivers
whose parameters have names are served; elsewhere :func:`prepare` has nothing to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement

__all__ = ["DirectStatement", "as_text", "prepare", "psycopg2_dialect", "wrapped"]


class DirectStatement:
    """A statement as its driver wants it.

    :ivar sql: with named parameters
    """

    def __init__(self, statement: ClauseElement, dialect: Dialect, adapt: bool) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._defaults: Mapping[str, Any] = compiled.params
        self._adapt = adapt

    def execute(self, connection: Connection, values: Mapping[str, Any], before: str = "") -> int:
        """Execute the statement in the connection's transaction.

        :param before: other statements to execute first, in one go with it
        :returns: how many rows it changed
        :raises DBAPIError: as ``connection.execute`` does; the values are not in it
        """
        if not connection.in_transaction():
            connection.begin()
        parameters = {**self._defaults, **values}
        if self._adapt:
            parameters = {name: as_text(value) for name, value in parameters.items()}
        sql = f"{before}; {self.sql}" if before else self.sql
        driver: Any = connection.dialect.dbapi
        cursor: Any = connection.connection.cursor()
        try:
            cursor.execute(sql, parameters)
            return int(cursor.rowcount)
        except driver.Error as exc:
            raise wrapped(exc, connection, sql, cursor) from exc
        finally:
            cursor.close()


def wrapped(
    exc: Exception, connection: Connection, sql: str | None, cursor: Any = None
) -> DBAPIError:
    """Return a driver's error as SQLAlchemy's, without values; a lost connection is given up.

    :param sql: the statement that failed, if it is one that may be shown
    """
    dialect: Any = connection.dialect
    gone = dialect.is_disconnect(exc, connection.connection.dbapi_connection, cursor)
    if gone:
        connection.invalidate(exc)
    error: Any = DBAPIError.instance(
        sql,
        None,
        exc,
        dialect.dbapi.Error,
        hide_parameters=True,
        connection_invalidated=gone,
        dialect=dialect,
    )
    return error  # type: ignore[no-any-return]


def prepare(statement: ClauseElement, driver: str) -> DirectStatement | None:
    """Return a statement for a driver; ``None`` where SQLAlchemy has to execute it."""
    make = DIALECTS.get(driver)
    return None if make is None else DirectStatement(statement, make(), driver == "pysqlite")


def as_text(value: Any) -> Any:
    """Return a time as SQLAlchemy's ``DateTime`` stores it on SQLite; anything else as it is."""
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value


def psycopg2_dialect() -> Dialect:
    """Return a dialect that is imported only where its database is."""
    from sqlalchemy.dialects.postgresql import psycopg2

    dialect: Dialect = psycopg2.dialect()  # type: ignore[no-untyped-call]
    return dialect


def pysqlite_dialect() -> Dialect:
    """Return SQLite's dialect with named parameters."""
    from sqlalchemy.dialects.sqlite import pysqlite

    dialect: Dialect = pysqlite.dialect(paramstyle="named")
    return dialect


DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "psycopg2": psycopg2_dialect,
    "pysqlite": pysqlite_dialect,
}
