"""What stands between a step's statements and the driver.

Most statements pass untouched. Those that a step cannot survive if they go wrong are looked after:

- In a run that is one transaction, a literal COMMIT is refused.
- A CREATE INDEX CONCURRENTLY first removes the INVALID index that an earlier one left under its
  name, which IF NOT EXISTS would silently keep.
- A statement that could not get a lock is tried again by itself once the step is no longer one
  transaction, because then the step as a whole cannot be: on MariaDB every DDL statement, on
  PostgreSQL what follows an ``autocommit_block``.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from websauna_migrate.blockers import without_literals
from websauna_migrate.locks import RunLock
from websauna_migrate.servers import Server
from websauna_migrate.stopping import CutOff, Stopping
from websauna_migrate.timeouts import Timeouts

__all__ = ["EndsTransaction", "RollsBack", "Supervisor", "is_lock_failure"]

COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"

#: A statement, or one among several in a text, that ends the transaction around it. The bodies of
#: triggers have an END behind a semicolon.
ENDS_TRANSACTION = re.compile(
    rf"(?:^{COMMENTS}END\b|(?:^|;){COMMENTS}(?:COMMIT|ROLLBACK|ABORT|PREPARE\s+TRANSACTION)\b)"
    r"(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)",
    re.IGNORECASE | re.DOTALL,
)

ROLLS_BACK = re.compile(r"\b(?:ROLLBACK|ABORT)\b", re.IGNORECASE)

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

#: Statements of MariaDB that do not commit implicitly. Any other is taken to do so.
KEEPS_TRANSACTION = re.compile(
    rf"^{COMMENTS}\(*(?:INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH|VALUES|DO|SET|SHOW|DESCRIBE|DESC|"
    r"EXPLAIN|CALL|USE|SAVEPOINT|RELEASE|EXECUTE|PREPARE|DEALLOCATE|HANDLER|KILL|"
    r"ROLLBACK\s+TO)\b",
    re.IGNORECASE | re.DOTALL,
)

#: Statements of MariaDB that change nothing.
ONLY_LOOKS = re.compile(
    rf"^{COMMENTS}\(*(?:SELECT|SET|SHOW|DESCRIBE|DESC|EXPLAIN|USE|SAVEPOINT|RELEASE)\b",
    re.IGNORECASE | re.DOTALL,
)

#: Statements of MariaDB that do all or nothing. A DROP of several tables does not.
ALL_OR_NOTHING = re.compile(
    rf"^{COMMENTS}(?:CREATE(?!\s+OR\s+REPLACE)|ALTER|RENAME|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)

#: How the statement that wraps a retried one is called on PostgreSQL.
SAVEPOINT = "websauna_migrate_statement"

#: An online ALTER that failed at its end has done this many seconds of work for nothing; from
#: then on it may wait for a share of that.
EXPENSIVE_SECONDS = 2.0
SHARE_OF_EXPENSIVE = 0.1
LONGEST_WAIT_SECONDS = 60

#: What "no limit" is where there has to be one.
UNLIMITED_MS = 600_000


class EndsTransaction(Exception):
    """A statement would end the transaction that a whole run is."""


class RollsBack(Exception):
    """A statement would roll back the step's transaction, and its marker with it."""


class Supervisor:
    """Looks after the statements of one run, on its connection.

    :ivar connection: the run's
    :ivar published: whether the running step is no longer one transaction
    :ivar end_with: adds the ledger's last word to the next statement, which changes the history
    :ivar ended: whether that was done
    :ivar untouched: whether a published step failed before it changed anything: its first
        statement was one that does all or nothing
    """

    def __init__(
        self,
        connection: Connection,
        server: Server,
        lock: RunLock,
        stopping: Stopping,
        wait: Callable[[float], bool],
        tell: Callable[[str], None],
    ) -> None:
        """Begin to look after a connection.

        :param wait: called when a lock was not free, with the seconds that were waited before;
            waits a little and tells whether to try again
        :param tell: told in words what is done besides
        """
        self.connection = connection
        self.server = server
        self.lock = lock
        self.stopping = stopping
        self.wait = wait
        self.tell = tell
        self.atomic = False
        self.published = False
        self.untouched = False
        self.active = False
        self.end_with: Callable[[str], str] | None = None
        self.ended = False
        self._changes = 0
        self._timeouts = Timeouts()
        self._savepoints = False
        self._cleaning = False
        self._session_settings = ""
        self._listeners = (
            ("do_execute", self._do_execute),
            ("do_executemany", self._do_executemany),
            ("do_execute_no_params", self._do_execute_no_params),
            ("begin", self._begin),
        )

    def watch(self, engine: Engine) -> None:
        """Listen to an engine that nobody else uses."""
        for name, function in self._listeners:
            event.listen(engine, name, function)

    def begin_step(self, timeouts: Timeouts, waited: float) -> None:
        """Say that a step's statements come now.

        :param waited: seconds that the step has waited for locks so far
        """
        self._timeouts = timeouts
        self.published = False
        self.untouched = False
        self._savepoints = False
        self._changes = 0
        self.end_with = None
        self.ended = False
        if self.server.kind == "mysql":
            self._set_mysql(waited)
        elif self.server.kind == "sqlite":
            self._set_sqlite(waited)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look after the statements of a script while it runs."""
        self.active = True
        try:
            yield
        finally:
            self.active = False

    def local_settings(self, waited: float) -> str:
        """Return the statements that bound a transaction on PostgreSQL; empty for none.

        Behind an ``autocommit_block`` or a literal COMMIT the limits are gone with the transaction,
        so they never cut off a CREATE INDEX CONCURRENTLY.
        """
        parts = []
        lock_ms = self._timeouts.lock_ms_after(waited)
        # In one transaction for all steps, the limits of the step before still stand.
        if lock_ms or self.atomic:
            parts.append(f"SET LOCAL lock_timeout = '{lock_ms}ms'")
        if self._timeouts.statement_timeout_ms or self.atomic:
            milliseconds = math.ceil(self._timeouts.statement_timeout_ms)
            parts.append(f"SET LOCAL statement_timeout = '{milliseconds}ms'")
        return "; ".join(parts)

    # What SQLAlchemy calls

    def _begin(self, connection: Connection) -> None:
        if not self.active or connection is not self.connection or self.server.kind != "postgresql":
            return
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            self.published = True
            self._savepoints = False
        elif self.published:
            # What follows an autocommit_block is a new transaction, which knows no limits yet.
            settings = self.local_settings(0.0)
            if settings:
                connection.exec_driver_sql(settings)
            self._savepoints = bool(self._timeouts.lock_timeout_ms)

    def _do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        end_with, self.end_with = self.end_with, None
        if end_with is not None and statement.startswith("UPDATE "):
            cursor.execute(end_with(statement), parameters)
            self.ended = bool(cursor.rowcount)
            # Otherwise the two are done one by one, to see which of them finds no row.
            return self.ended
        return self._supervise(
            cursor, statement, context, lambda: cursor.execute(statement, parameters)
        )

    def _do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        if self.server.kind == "mysql":
            return self._supervise(
                cursor, statement, context, lambda: cursor.executemany(statement, parameters)
            )
        return False

    def _do_execute_no_params(self, cursor: Any, statement: str, context: Any) -> bool:
        return self._supervise(cursor, statement, context, lambda: cursor.execute(statement))

    def _supervise(
        self, cursor: Any, statement: str, context: Any, execute: Callable[[], object]
    ) -> bool:
        """Return whether the statement was executed here."""
        if not self.active or context.root_connection is not self.connection or self._cleaning:
            return False
        if self.stopping.at_once:
            raise CutOff
        if ENDS_TRANSACTION.search(statement):
            self._end_transaction(without_literals(statement))
        if self.server.kind == "mysql":
            return self._execute_mysql(statement, execute)
        if self.server.kind == "postgresql":
            if "CONCURRENTLY" in statement or "concurrently" in statement:
                self._remove_invalid_index(statement)
                return False
            if self._savepoints and not ABOUT_TRANSACTIONS.match(statement):
                self._execute_in_savepoint(cursor, execute)
                return True
        return False

    def _end_transaction(self, statement: str) -> None:
        """Take notice of a statement that ends the step's transaction, or refuse it.

        What follows a literal ROLLBACK would be committed one by one without the marker, so that
        nobody could ever find it.
        """
        match = ENDS_TRANSACTION.search(statement)
        if match is None:
            return
        words = " ".join(statement.split())
        if self.atomic:
            raise EndsTransaction(words)
        if ROLLS_BACK.search(match.group()) and not self.published:
            raise RollsBack(words)
        self.published = True

    # PostgreSQL

    def _execute_in_savepoint(self, cursor: Any, execute: Callable[[], object]) -> None:
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
                    other.execute(self.local_settings(waited))
                    continue
                other.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")
                return
        finally:
            other.close()

    def _remove_invalid_index(self, statement: str) -> None:
        match = CREATES_CONCURRENTLY.match(statement)
        if match is None:
            return
        index, table = match.groups()
        self._cleaning = True
        try:
            found = self.connection.exec_driver_sql(
                "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
                "EXISTS (SELECT 1 FROM pg_locks l WHERE l.relation = c.oid AND l.granted "
                "AND l.pid <> pg_backend_pid() AND l.mode <> 'AccessShareLock') "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                f"WHERE i.indrelid = to_regclass({literal(table)}) AND NOT i.indisvalid "
                f"AND c.relname = (parse_ident({literal(index)}))[1]"
            ).first()
            # One that a session is at work on is being built, not left behind.
            if found is not None and not found[1]:
                self.connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {found[0]}")
                self.tell(
                    f"The INVALID index {found[0]}, which an earlier CREATE INDEX CONCURRENTLY "
                    "left behind, was dropped."
                )
        finally:
            self._cleaning = False

    # MariaDB and MySQL

    def _execute_mysql(self, statement: str, execute: Callable[[], object]) -> bool:
        ends = not KEEPS_TRANSACTION.match(statement)
        if ends:
            # A run that lost its lock must not publish anything any more.
            self.lock.check()
            self.published = True
        changes = not ONLY_LOOKS.match(statement)
        if not self.published:
            self._changes += changes
            return False
        waited = 0.0
        while True:
            began = time.monotonic()
            try:
                execute()
                break
            except Exception as exc:
                took = time.monotonic() - began
                waited += took
                self.untouched = not self._changes and bool(ALL_OR_NOTHING.match(statement))
                if not is_lock_failure(exc, "mysql") or error_number(exc) != 1205:
                    raise
                paused = time.monotonic()
                if not self.wait(waited):
                    raise
                waited += time.monotonic() - paused
                self._set_mysql(waited, took)
        self.untouched = False
        self._changes += changes
        if waited:
            self._set_mysql(0.0)
        return True

    def _set_mysql(self, waited: float, took: float = 0.0) -> None:
        """Let the session's statements wait for locks as long as they may by now.

        A table's lock is waited for in whole seconds. On MariaDB 0 means not at all, so that
        nobody has to queue behind: that comes first.

        :param took: seconds that the last attempt took before it failed
        """
        milliseconds = self._timeouts.lock_ms_after(waited)
        parts = []
        if milliseconds:
            seconds = round(milliseconds / 1000) if milliseconds >= 500 else 0
            if took > EXPENSIVE_SECONDS:
                share = math.ceil(took * SHARE_OF_EXPENSIVE)
                seconds = max(seconds, min(LONGEST_WAIT_SECONDS, share))
            if not self.server.mariadb:
                seconds = max(1, seconds)
            parts.append(f"lock_wait_timeout = {seconds}")
            # A row's lock makes nobody queue who only reads.
            parts.append(f"innodb_lock_wait_timeout = {max(1, seconds)}")
        if self.server.mariadb:
            limit = self._timeouts.statement_timeout_ms / 1000
            parts.append(f"max_statement_time = {limit:.3f}")
        settings = ", ".join(f"SESSION {part}" for part in parts)
        if not settings or settings == self._session_settings:
            return
        cursor = self.connection.connection.cursor()
        try:
            # Past SQLAlchemy, which would begin a transaction for it.
            cursor.execute(f"SET {settings}")
        finally:
            cursor.close()
        self._session_settings = settings

    def _set_sqlite(self, waited: float) -> None:
        """Let SQLite wait for the file as long as a statement may by now."""
        milliseconds = self._timeouts.lock_ms_after(waited) or UNLIMITED_MS
        dbapi_connection: Any = self.connection.connection.dbapi_connection
        dbapi_connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def literal(value: str) -> str:
    """Return a text as PostgreSQL's literal, safe with every setting; ``%`` is the driver's."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
    return f"E'{escaped}'"


def error_number(exc: BaseException) -> int:
    """Return MariaDB's number of a driver's error, 0 if it has none."""
    original = getattr(exc, "orig", None) or exc
    arguments = getattr(original, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def is_lock_failure(exc: BaseException, kind: str) -> bool:
    """Tell whether a statement failed only since a lock was taken, or two sessions were at odds.

    :param exc: SQLAlchemy's error or the driver's own
    """
    original: Any = getattr(exc, "orig", None) or exc
    if kind == "postgresql":
        code = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
        # Not available; deadlock; could not serialize.
        return code in ("55P03", "40P01", "40001")
    if kind == "sqlite":
        name = type(original).__module__.split(".")[0]
        return name == "sqlite3" and "locked" in str(original)
    if kind == "mysql":
        return type(original).__module__.split(".")[0] != "builtins" and error_number(exc) in (
            1205,
            1213,
        )
    return False
