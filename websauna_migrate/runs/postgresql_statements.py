"""PostgreSQL: statements that wait by themselves, and indexes that were left unfinished."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.runs.statement_words import COMMENTS

#: What speaks of transactions cannot be wrapped into a savepoint.
ABOUT_TRANSACTIONS = re.compile(
    rf"^{COMMENTS}(?:SAVEPOINT|RELEASE|ROLLBACK|COMMIT|BEGIN|START|END|ABORT|SET|SHOW|PREPARE)\b",
    re.IGNORECASE | re.DOTALL,
)

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[\w$]+)'

CREATES_CONCURRENTLY = re.compile(
    rf"^{COMMENTS}CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"({IDENTIFIER})\s+ON\s+(?:ONLY\s+)?({IDENTIFIER}(?:\.{IDENTIFIER})?)",
    re.IGNORECASE | re.DOTALL,
)

#: How the statement that wraps a retried one is called on PostgreSQL.
SAVEPOINT = "websauna_migrate_statement"


class PostgreSQLStatements:
    """What a step's statements need on PostgreSQL."""

    def __init__(
        self,
        connection: Connection,
        wait: Callable[[float], bool],
        tell: Callable[[str], None],
        settings: Callable[[float], str],
    ) -> None:
        """Prepare; for ``wait`` and ``tell`` see :class:`.StatementGuard`.

        :param settings: gives the statements that bound a transaction, after seconds of waiting
        """
        self.connection = connection
        self.wait = wait
        self.tell = tell
        self.settings = settings

    def execute(
        self,
        cursor: DBAPICursor,
        statement: str,
        execute: Callable[[], object],
        *,
        savepoints: bool,
    ) -> bool:
        """Look after a statement, and tell whether it was executed here.

        :param savepoints: whether statements that need a lock are to wait by themselves
        """
        if "CONCURRENTLY" in statement or "concurrently" in statement:
            self.remove_invalid_index(cursor, statement)
        elif savepoints and not ABOUT_TRANSACTIONS.match(statement):
            self.execute_in_savepoint(cursor, execute)
            return True
        return False

    def execute_in_savepoint(self, cursor: DBAPICursor, execute: Callable[[], object]) -> None:
        """Execute a statement, again and again while the lock that it needs is taken."""
        other = cursor.connection.cursor()
        waited = 0.0
        try:
            while True:
                other.execute(f"SAVEPOINT {SAVEPOINT}")
                began = time.monotonic()
                try:
                    execute()
                except Exception as exc:
                    if not is_lock_failure(exc, "postgresql"):
                        raise
                    other.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
                    waited += time.monotonic() - began
                    paused = time.monotonic()
                    if not self.wait(waited):
                        raise
                    waited += time.monotonic() - paused
                    other.execute(self.settings(waited))
                    continue
                other.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")
                return
        finally:
            other.close()

    def remove_invalid_index(self, cursor: DBAPICursor, statement: str) -> None:
        """Drop what an earlier CREATE INDEX CONCURRENTLY of the same name left behind.

        On a driver's cursor: listeners keep what they know of a statement on SQLAlchemy's
        connection while it is executed, so that no other may be executed there meanwhile.
        """
        match = CREATES_CONCURRENTLY.match(statement)
        if match is None:
            return
        index, table = match.groups()
        other = cursor.connection.cursor()
        try:
            other.execute(
                "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
                "EXISTS (SELECT 1 FROM pg_locks l WHERE l.relation = c.oid AND l.granted "
                "AND l.pid <> pg_backend_pid() AND l.mode <> 'AccessShareLock') "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                f"WHERE i.indrelid = to_regclass({literal(table)}) AND NOT i.indisvalid "
                f"AND c.relname = (parse_ident({literal(index)}))[1]"
            )
            found = other.fetchone()
            # One that a session is at work on is being built, not left behind.
            if found is not None and not found[1]:
                other.execute(f"DROP INDEX CONCURRENTLY {found[0]}")
                self.tell(
                    f"The INVALID index {found[0]}, which an earlier CREATE INDEX CONCURRENTLY "
                    "left behind, was dropped."
                )
        finally:
            other.close()


def literal(value: str) -> str:
    """Return a text as PostgreSQL's literal, safe with every setting."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
