"""MariaDB's and MySQL's named locks."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.locks.advisory_locks import still_there
from websauna_migrate.locks.locks import LockLost, RunLock

__all__ = ["NamedLock"]


class NamedLock(RunLock):
    """``GET_LOCK`` of the session that does the work; the implicit commits of DDL do not end it."""

    spans_steps = True

    def __init__(self, connection: Connection, scope: str) -> None:
        self.connection = connection
        # The lock is the server's, not the database's; its name has at most 64 characters.
        database = connection.scalar(text("SELECT DATABASE()"))
        connection.rollback()
        digest = hashlib.sha256(f"{database}:{scope}".encode()).hexdigest()
        self.key = f"websauna_migrate:{digest[:40]}"
        self._driver: Any = None

    def take(self) -> bool:
        """Try to take the lock."""
        row = self.connection.execute(
            text("SELECT GET_LOCK(:key, 0), CONNECTION_ID()"), {"key": self.key}
        ).one()
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
            self.connection.scalar(text("SELECT RELEASE_LOCK(:key)"), {"key": self.key})
            self.connection.commit()
        except DBAPIError:
            # The lock ends with the connection, which is closed next.
            self.connection.invalidate()

    def check(self) -> None:
        """Make sure that the session is still the one that took the lock."""
        if not still_there(self.connection, self._driver):
            raise LockLost("The connection to the database was lost, and the run's lock with it.")

    def holder(self) -> str:
        """Return who holds the lock."""
        session = self.connection.scalar(text("SELECT IS_USED_LOCK(:key)"), {"key": self.key})
        self.other_session = int(session) if session else None
        if not session:
            self.connection.rollback()
            return ""
        words = f"connection id {int(session)}"
        row = self.connection.execute(
            text("SELECT user, host FROM information_schema.processlist WHERE id = :id"),
            {"id": session},
        ).first()
        self.connection.rollback()
        return words if row is None else f"{words}, user {row[0]} from {row[1]}"
