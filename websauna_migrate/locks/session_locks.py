"""What the locks of one session have in common: they are held as long as the session lives."""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.locks.run_lock import LockLost, RunLock


class OwnSessionLock(RunLock):
    """A lock of the session that does the work.

    :cvar taking: the query that tries to take it, with 1 or true for success, and
        the number of the session
    :cvar releasing: the one that lets it go
    """

    spans_steps = True
    taking: str
    releasing: str

    def __init__(self, connection: Connection, key: int | str) -> None:
        self.connection = connection
        self.key = key
        self._driver: object = None

    def take(self) -> bool:
        """Try to take the lock."""
        row = self.connection.execute(text(self.taking), {"key": self.key}).one()
        self.connection.commit()
        if row[0] == 1:
            self._driver = self.connection.connection.dbapi_connection
            self.session = row[1]
        return bool(row[0] == 1)

    def release(self) -> None:
        """Let the lock go."""
        if not still_there(self.connection, self._driver):
            return
        try:
            self.connection.rollback()
            self.connection.scalar(text(self.releasing), {"key": self.key})
            self.connection.commit()
        except DBAPIError:
            # The lock ends with the connection, which is closed next.
            self.connection.invalidate()

    def check(self) -> None:
        """Make sure that the session is still the one that took the lock."""
        if not still_there(self.connection, self._driver):
            raise LockLost("The connection to the database was lost, and the run's lock with it.")


def still_there(connection: Connection, driver_connection: object) -> bool:
    """True if a connection still has the driver's connection; SQLAlchemy replaces a broken one."""
    return (
        driver_connection is not None
        and not connection.closed
        and not connection.invalidated
        and connection.connection.dbapi_connection is driver_connection
    )


class NamedLock(OwnSessionLock):
    """``GET_LOCK`` of the session that does the work; the implicit commits of DDL do not end it."""

    taking = "SELECT GET_LOCK(:key, 0), CONNECTION_ID()"
    releasing = "SELECT RELEASE_LOCK(:key)"

    def __init__(self, connection: Connection, scope: str) -> None:
        # The lock is the server's, not the database's; its name has at most 64 characters.
        database = connection.scalar(text("SELECT DATABASE()"))
        connection.rollback()
        digest = hashlib.sha256(f"{database}:{scope}".encode()).hexdigest()
        super().__init__(connection, f"websauna_migrate:{digest[:40]}")

    def holder(self) -> str:
        """Return who holds the lock."""
        session = self.connection.scalar(text("SELECT IS_USED_LOCK(:key)"), {"key": self.key})
        self.other_session = int(session) if session else None
        if not session:
            self.connection.rollback()
            return ""
        words = f"connection id {int(session)}"
        row = self.connection.execute(
            text("SELECT user, host, info FROM information_schema.processlist WHERE id = :id"),
            {"id": session},
        ).first()
        self.connection.rollback()
        self.other_statement = "" if row is None else row[2] or ""
        return words if row is None else f"{words}, user {row[0]} from {row[1]}"
