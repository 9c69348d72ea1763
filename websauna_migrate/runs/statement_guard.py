"""What stands between a step's statements and the driver.

Most statements pass untouched. Those that a step cannot survive if they go wrong are looked after:

- In a run that is one transaction, a literal COMMIT is refused; on SQLite one that ends what the
  script has begun itself is a savepoint's end.
- A CREATE INDEX CONCURRENTLY first removes the INVALID index that an earlier one left under its
  name, which IF NOT EXISTS would silently keep.
- A statement that could not get a lock is tried again by itself once the step is no longer one
  transaction, because then the step as a whole cannot be: on MariaDB every DDL statement, on
  PostgreSQL what follows an ``autocommit_block``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

from websauna_migrate.database.engines import driver_of
from websauna_migrate.database.servers import Server
from websauna_migrate.database.stopping import Stop
from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.revision_scripts.script_error import ScriptRefused, cut_off
from websauna_migrate.runs.mysql_statements import MySQLStatements, ends_transaction
from websauna_migrate.runs.postgresql_statements import PostgreSQLStatements, literal
from websauna_migrate.runs.sqlite_statements import SQLiteStatements
from websauna_migrate.runs.statement_log import StatementLog
from websauna_migrate.runs.statement_words import COMMENTS, without_literals
from websauna_migrate.runs.step_queue import StepQueue

#: A statement, or one among several in a text, that ends the transaction around it. The bodies of
#: triggers have an END behind a semicolon.
ENDS_TRANSACTION = re.compile(
    rf"(?:^{COMMENTS}END\b|(?:^|;){COMMENTS}(?:COMMIT|ROLLBACK|ABORT|PREPARE\s+TRANSACTION)\b)"
    r"(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)",
    re.IGNORECASE | re.DOTALL,
)

ROLLS_BACK = re.compile(r"\b(?:ROLLBACK|ABORT)\b", re.IGNORECASE)

#: What "no limit" is where there has to be one.
UNLIMITED_MS = 600_000

#: Milliseconds for which SQLite waits at most where waiting is all that is left. It does not listen
#: to requests to stop meanwhile.
PATIENT_MS = 30_000


#: The methods of SQLAlchemy's dialects by which each statement reaches the driver.
EXECUTING = ("do_execute", "do_executemany", "do_execute_no_params")


class StatementGuard:
    """Looks after the statements of one run, on its connection.

    :ivar connection: the run's
    :ivar queue: keeps the statements that nothing reads; ``None`` where there is none
    :ivar log: remembers the statements of the running step; ``None`` for none
    :ivar end_with: returns what is sent in place of the change of the history
    :ivar ended: whether that wrote the ledger's last word
    """

    def __init__(
        self,
        connection: Connection,
        server: Server,
        lock: RunLock,
        stopping: Stop,
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
        self.stopping = stopping
        self.atomic = False
        self.active = False
        self.queue: StepQueue | None = None
        self.log: StatementLog | None = None
        self.end_with: Callable[[str], str] | None = None
        self.ended = False
        self._published = False
        self._timeouts = Timeouts()
        self._savepoints = False
        self.postgresql = PostgreSQLStatements(connection, wait, tell, self.local_settings)
        self.mysql = MySQLStatements(connection, lock, wait, mariadb=server.mariadb)
        self.sqlite = SQLiteStatements(connection)

    def watch(self, engine: Engine) -> None:
        """Listen to an engine that is used for this run alone."""
        for method in EXECUTING:
            event.listen(engine, method, self._instead_of(method))
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "after_cursor_execute", self._after_cursor_execute)

    def begin_step(self, timeouts: Timeouts, waited: float) -> None:
        """Say that a step's statements come now.

        :param waited: seconds that the step has waited for locks so far
        """
        self._timeouts = timeouts
        self._published = False
        self._savepoints = False
        self.end_with = None
        self.ended = False
        if self.server.kind == "mysql":
            self.mysql.begin_step(timeouts, waited)
        elif self.server.kind == "sqlite":
            self.sqlite.begin_step()
            driver_of(self.connection).execute(self.settings_of(timeouts, waited))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look after the statements of a script while it runs."""
        self.active = True
        try:
            yield
        finally:
            self.active = False

    def settings_of(self, timeouts: Timeouts, waited: float) -> str:
        """Return the statements that bound a step's transaction; empty for none.

        :param waited: seconds that the step has waited for locks so far
        """
        if self.server.kind == "sqlite":
            milliseconds = timeouts.lock_ms_after(waited) or UNLIMITED_MS
            return f"PRAGMA busy_timeout = {milliseconds}"
        if self.server.kind != "postgresql":
            return ""
        parts = []
        lock_ms = timeouts.lock_ms_after(waited)
        # In one transaction for all steps, the limits of the step before still stand.
        if lock_ms or self.atomic:
            parts.append(f"SET LOCAL lock_timeout = '{lock_ms}ms'")
        if timeouts.statement_timeout_ms or self.atomic:
            milliseconds = math.ceil(timeouts.statement_timeout_ms)
            parts.append(f"SET LOCAL statement_timeout = '{milliseconds}ms'")
        return "; ".join(parts)

    def local_settings(self, waited: float) -> str:
        """Return the statements that bound the running step's transaction on PostgreSQL.

        Behind an ``autocommit_block`` or a literal COMMIT the limits are gone with the transaction,
        so they never cut off a CREATE INDEX CONCURRENTLY.
        """
        return self.settings_of(self._timeouts, waited)

    # What SQLAlchemy calls

    def _begin(self, connection: Connection) -> None:
        if not self.active or connection is not self.connection:
            return
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            self._publish()
            self._savepoints = False
        elif self._published and self.server.kind == "postgresql":
            # What follows an autocommit_block is a new transaction, which knows no limits yet.
            settings = self.local_settings(0.0)
            if settings:
                # Past SQLAlchemy, which may be in the middle of another statement.
                with closing(connection.connection.cursor()) as cursor:
                    cursor.execute(settings)
            self._savepoints = bool(self._timeouts.lock_timeout_ms)

    def _commit(self, connection: Connection) -> None:
        """Take notice of a script that commits, or refuse it."""
        if not self.active or connection is not self.connection:
            return
        if self.atomic:
            # SQLAlchemy forgets the transaction, whatever is raised here.
            driver_of(connection).rollback()
            raise ScriptRefused(
                "transaction", '"commit()" would end the transaction that the whole run is.'
            )
        self._publish()

    def _after_cursor_execute(
        self, connection: Connection, cursor: DBAPICursor, statement: str, *_: object
    ) -> None:
        if self.active and self.log is not None and connection is self.connection:
            self.log.end(commit=self.server.kind == "mysql" and ends_transaction(statement))

    def _instead_of(self, method: str) -> Callable[..., bool]:
        """Return what SQLAlchemy asks before it has its dialect execute a statement.

        :param method: the dialect's: ``do_execute`` and the like
        """

        def execute(*arguments: Any) -> bool:
            cursor, statement, *given, context = arguments
            return self._looked_after(
                cursor,
                statement,
                given[0] if given else None,
                context,
                lambda: getattr(context.dialect, method)(*arguments),
            )

        return execute

    def _looked_after(
        self,
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: ExecutionContext,
        execute: Callable[[], object],
    ) -> bool:
        """Return whether nothing is left to do for a statement.

        :param execute: what SQLAlchemy does otherwise
        """
        if context.root_connection is not self.connection:
            return False
        if self.active:
            if self.stopping.at_once:
                raise cut_off()
            if self.log is not None:
                self.log.begin(statement)
                if self.server.kind == "mysql" and ends_transaction(statement):
                    self.log.publish()
        if self.queue is not None:
            end_with, self.end_with = self.end_with, None
            if end_with is not None and statement.startswith("UPDATE "):
                return self._end_step(cursor, end_with, statement, parameters)
            if self.queue.keep(cursor, statement, parameters, context):
                return True
        if not self.active:
            return False
        if self.server.kind == "sqlite" and self.sqlite.execute(cursor, statement):
            return True
        if ENDS_TRANSACTION.search(statement):
            self._end_transaction(without_literals(statement))
        if self.server.kind == "mysql":
            return self.mysql.execute(statement, execute)
        if self.server.kind == "postgresql":
            return self.postgresql.execute(cursor, statement, execute, savepoints=self._savepoints)
        return False

    def _end_step(
        self,
        cursor: DBAPICursor,
        end_with: Callable[[str], str],
        statement: str,
        parameters: Any,
    ) -> bool:
        """Send the rest of a step, with the change of its history; tell whether that was done.

        Otherwise the history and the ledger are changed one by one, to see which has no such row.
        """
        assert self.queue is not None
        if getattr(cursor, "name", None):
            # A script had all statements of the connection be cursors of the server.
            self.queue.send()
            return False
        # An UPDATE of a history has identifiers for parameters.
        change = statement % {name: literal(value) for name, value in parameters.items()}
        self.ended = self.queue.send(end_with(change), cursor) == 1
        return self.ended

    def _end_transaction(self, statement: str) -> None:
        """Take notice of a statement that ends the step's transaction, or refuse it.

        What follows a literal ROLLBACK would be committed one by one without the marker, so that
        no later run could find it.
        """
        match = ENDS_TRANSACTION.search(statement)
        if match is None:
            return
        words = " ".join(statement.split())
        if self.atomic:
            refused = f'"{words}" would end the transaction that the whole run is.'
            raise ScriptRefused("transaction", refused)
        if ROLLS_BACK.search(match.group()) and not (self._published or self.mysql.published):
            raise ScriptRefused("rollback")
        self._publish()

    def _publish(self) -> None:
        """Take notice that the step is no longer one transaction, so that it cannot start anew."""
        if self.server.kind == "sqlite" and not self._published:
            # All that follows has to wait by itself: a step cannot start anew any more.
            limits = self._timeouts
            patience = min(math.ceil(limits.lock_budget * 1000), PATIENT_MS)
            patience = max(limits.lock_ms_after(0.0), patience)
            driver_of(self.connection).execute(f"PRAGMA busy_timeout = {patience}")
        self._published = self.mysql.published = True
        if self.queue is not None:
            self.queue.stop()
        if self.log is not None:
            self.log.publish()
