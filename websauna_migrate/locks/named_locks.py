"""MariaDB's and MySQL's named locks."""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.engine import Connection

from websauna_migrate.locks.session_locks import OwnSessionLock

__all__ = ["NamedLock"]


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
