"""What the error of a statement means: a lock was not free, a thing is there already."""

from __future__ import annotations

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError


def error_number(exc: BaseException) -> int:
    """Return MariaDB's number of a driver's error, 0 if it has none."""
    original = getattr(exc, "orig", None) or exc
    arguments = getattr(original, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def sqlstate(exc: BaseException | None) -> str | None:
    """Return PostgreSQL's code of an error, SQLAlchemy's or the driver's own."""
    original = getattr(exc, "orig", None) or exc
    return getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)


def is_lock_failure(exc: BaseException, kind: str) -> bool:
    """True if a statement failed because a lock was taken, or two transactions collided.

    :param exc: SQLAlchemy's error or the driver's own
    """
    original = getattr(exc, "orig", None) or exc
    if kind == "postgresql":
        # Not available; deadlock; could not serialize.
        return sqlstate(exc) in ("55P03", "40P01", "40001")
    if kind == "sqlite":
        name = type(original).__module__.split(".")[0]
        return name == "sqlite3" and "locked" in str(original)
    if kind in ("mysql", "mariadb"):
        return type(original).__module__.split(".")[0] != "builtins" and error_number(exc) in (
            1205,
            1213,
        )
    return False


def says_nothing_of_a_table(exc: DBAPIError, connection: Connection) -> bool:
    """True if a statement failed for lack of a lock or of a connection, not for its table."""
    return exc.connection_invalidated or is_lock_failure(exc, connection.dialect.name)


def says_already_there(exc: BaseException, kind: str) -> bool:
    """True if a statement failed because the table, column or type that it makes exists.

    :param kind: of the database
    """
    original = getattr(exc, "orig", None) or exc
    if kind == "postgresql":
        # A table, view or index; a type; a column.
        return sqlstate(exc) in ("42P07", "42710", "42701")
    if kind == "sqlite":
        name = type(original).__module__.split(".")[0]
        words = str(original)
        there = words.endswith("already exists") or words.startswith("duplicate column name: ")
        return name == "sqlite3" and there
    # A table; a column.
    return error_number(exc) in (1050, 1060)
