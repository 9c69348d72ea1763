"""Statements of a step whose answer nothing reads: they go to PostgreSQL in one message.

An operation of Alembic's hands its statement to SQLAlchemy, and SQLAlchemy to the driver, where it
is kept. The first thing that is not kept sends what was, in one message before itself: a query, a
statement with parameters, whatever a script does with the connection or with the driver's own. A
script may go past SQLAlchemy, for a COPY say, so it is the driver's connection that tells the queue
before anything else gets to the server. At the end of the step the rest goes out together with the
change of the history table and the ledger's last word.

The server works on one statement after the other, as if each had come by itself. Where that can be
told apart, by a trigger that reads ``current_query()``, nothing is kept.
"""

from __future__ import annotations

import functools
import re
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Engine, event, text
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExecutionContext
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.engines import driver_of
from websauna_migrate.database.lock_errors import is_lock_failure, sqlstate
from websauna_migrate.database.stopping import Stop
from websauna_migrate.revision_scripts.script_error import running_line

if TYPE_CHECKING:
    # Older releases have none.
    from sqlalchemy.engine.interfaces import DBAPIModule

#: One statement that means the same among others as by itself: it changes what is in the database,
#: not the session, and is closed in itself. How a backslash, a dollar or a comment in a comment is
#: read depends on more than the text, and PostgreSQL alone ends a comment at a carriage return.
KEPT = re.compile(
    r"""
    \s* (?: ALTER | COMMENT | CREATE | DELETE | DROP | GRANT | INSERT | REVOKE | TRUNCATE | UPDATE )
    \b (?: [^'"`$\\;\-/\0] | '[^'\\\0]*' | "[^"\\\0]*" | -(?!-) | --[^\n\r\0]*(?:\r?\n|\Z)
         | /(?!\*) )*
    ;?\s*
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: Words of a statement that may end a transaction, or change how others are read, wherever they
#: stand. One that only looks so is sent by itself.
APART = re.compile(
    r"\b(?:ABORT|BEGIN|COMMIT|CONCURRENTLY|CURRENT_QUERY|DATABASE|END|EXTENSION|FUNCTION|PREPARE|"
    r"PROCEDURE|RETURNING|ROLLBACK|RULE|SET_CONFIG|START|STATEMENT_TIMESTAMP|SYSTEM|TRIGGER)\b",
    re.IGNORECASE,
)

#: Words of a statement behind which something may read statements that did not before.
MAY_READ = re.compile(
    r"\b(?:CALL|CURRENT_QUERY|DO|EXECUTE|EXTENSION|FUNCTION|PROCEDURE|RULE|TRIGGER)\b",
    re.IGNORECASE,
)

#: What in a database may read the text of the message that a statement came with: event triggers,
#: functions, and the defaults of columns. 817 is the number of ``current_query()``, everywhere.
READERS = text(
    "SELECT EXISTS (SELECT 1 FROM pg_event_trigger WHERE evtenabled <> 'D' "
    # That of ``drift --record-who`` passes over runs.
    "AND evtname NOT IN ('websauna_migrate_changes_end', 'websauna_migrate_changes_drop')) "
    "OR EXISTS (SELECT 1 FROM pg_proc WHERE pronamespace <> 'pg_catalog'::regnamespace "
    "AND proname <> 'websauna_migrate_changes' "
    "AND prosrc ~* 'current_query|pg_stat_activity') "
    "OR EXISTS (SELECT 1 FROM pg_attrdef WHERE adbin::text LIKE '%\\:funcid 817 %')"
)

#: From this version of PostgreSQL on a ``statement_timeout`` is of each statement in a message.
MEASURES_EACH = (13,)

SAVEPOINT = "websauna_migrate_message"

#: Seconds after which a message that failed is not sent anew, statement by statement.
AGAIN_SECONDS = 1.0

#: PostgreSQL's code for a statement that was canceled.
QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement that waits.

    :ivar sql: as the server reads it
    :ivar line: of the script, ``None`` for a statement of the run's own
    """

    sql: str
    line: int | None = None


class StepQueue:
    """The statements of the running step that were not sent yet.

    :ivar driver: SQLAlchemy's name of the driver
    """

    def __init__(self, connection: Connection, stopping: Stop) -> None:
        self.stopping = stopping
        self.driver = connection.dialect.driver
        driver = driver_of(connection)
        driver.queue = self
        self._connection = connection
        self._driver = driver
        self._kept: list[Kept] = []
        #: Stands for the statement that marks the step, which is written when it is sent.
        self._marker = Kept("")
        self._write_marker: Callable[[], str] = str
        self._opened = False
        self._path = ""
        #: The construct that an operation is having executed, until the driver gets it.
        self._expected: object = None
        self._cursor_expected = False
        #: Cursors that did not come by SQLAlchemy, or have not yet.
        self._cursors: weakref.WeakSet[DBAPICursor] = weakref.WeakSet()
        self._unclaimed: DBAPICursor | None = None
        self._readers: bool | None = None
        self._failed: tuple[BaseException, int] | None = None

    def close(self) -> None:
        """Let the driver's connection be an ordinary one."""
        self.drop()
        self._driver.queue = None

    def open(self, path: str, settings: str, marker: Callable[[], str]) -> bool:
        """Begin to keep the statements of a step, if nothing reads what a message says.

        :param path: the script's
        :param settings: statements that bound the transaction, empty for none
        :param marker: returns the statement that marks the step
        :returns: whether the step's statements are kept; else nothing was
        """
        self.drop()
        self._claim(None)
        self._failed = None
        if self._readers is None:
            self._readers = bool(self._connection.scalar(READERS))
        if self._readers or self._driver.autocommit or any(not c.closed for c in self._cursors):
            return False
        self._path = path
        self._write_marker = marker
        self._kept = [Kept(settings), self._marker] if settings else [self._marker]
        self._opened = True
        return True

    def stop(self) -> None:
        """Keep no more of the step's statements."""
        self._opened = False

    def expect_end(self) -> None:
        """Keep no more, and wait for the statement that ends the step."""
        self._opened, self._cursor_expected = False, True

    def forget_marker(self) -> bool:
        """Forget the statement that marks the step; return ``False`` if it was sent."""
        if self._marker not in self._kept:
            return False
        self._kept.remove(self._marker)
        return True

    def drop(self) -> None:
        """Forget what was kept: the transaction is rolled back, or another step begins."""
        self._kept = []
        self._opened = self._cursor_expected = False

    def line_of(self, error: BaseException) -> int | None:
        """Return the line of the statement that failed; ``None`` if it is not known here."""
        return self._failed[1] if self._failed is not None and self._failed[0] is error else None

    # What Alembic and SQLAlchemy call

    def operations(self, execute: Callable[..., object]) -> Callable[..., object]:
        """Return Alembic's function for its operations' statements, whose answers are not read."""

        def executed(construct: object, *arguments: Any, **keywords: Any) -> object:
            if isinstance(construct, str):
                construct = text(construct)
            self._expected, self._cursor_expected = construct, True
            try:
                return execute(construct, *arguments, **keywords)
            finally:
                self._expected, self._cursor_expected = None, False

        return executed

    def before_cursor(self) -> None:
        """Send what is kept, unless the cursor is for the statement that an operation gives."""
        if not self._cursor_expected:
            self.send()

    def after_cursor(self, cursor: DBAPICursor) -> None:
        """Remember a cursor that may be a script's."""
        self._claim(None)
        self._cursors.add(cursor)
        self._unclaimed = cursor
        self._cursor_expected = False

    def _claim(self, cursor: DBAPICursor | None) -> None:
        """Take notice of a cursor by which SQLAlchemy executes something, ``None`` for none.

        What a script does with one of its own is not seen here: it may be anything.
        """
        if self._unclaimed is not None and self._unclaimed is not cursor:
            self._opened, self._readers = False, None
        self._unclaimed = None
        if cursor is not None:
            self._cursors.discard(cursor)

    def keep(
        self,
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: ExecutionContext,
    ) -> bool:
        """Keep a statement, or send all that were kept before it; tell which.

        :param cursor: which was going to execute it
        """
        self._claim(cursor)
        expected, self._expected = self._expected, None
        sql = statement.replace("%%", "%")
        if (
            self._opened
            and not parameters
            and not context.no_parameters
            and is_of(context, expected)
            and statement.isascii()
            and statement.count("%") == 2 * statement.count("%%")
            and KEPT.fullmatch(sql)
            and not APART.search(sql)
            and not self._connection.in_nested_transaction()
            and not any(not cursor.closed for cursor in self._cursors)
        ):
            self._kept.append(Kept(sql, running_line(self._path) or 0))
            return True
        self.send()
        if MAY_READ.search(statement):
            self._opened, self._readers = False, None
        return False

    # Sending

    def send(self, last: str = "", cursor: DBAPICursor | None = None) -> int:
        """Send what is kept; return how many rows the last statement changed.

        :param last: one more statement
        :param cursor: by which SQLAlchemy executes it; default: one of the queue's own
        :raises DBAPIError: of the statement that failed, which knows its line then
        """
        if cursor is not None:
            self._claim(cursor)
        kept, self._kept = self._kept, []
        if self._marker in kept:
            kept[kept.index(self._marker)] = Kept(self._write_marker())
        if last:
            kept.append(Kept(last))
        if not kept:
            return -1
        own = own_cursor(self._driver) if cursor is None else cursor
        try:
            # Behind a script's end too: what nothing reads is mostly sent there.
            with self.stopping.cancelable(self._driver.cancel):
                return self._send(own, kept)
        finally:
            if cursor is None:
                own.close()

    def _send(self, cursor: DBAPICursor, kept: list[Kept]) -> int:
        scripts = [one for one in kept if one.line is not None]
        texts = [one.sql for one in kept]
        place = kept.index(scripts[0]) if len(scripts) > 1 else None
        if place is not None:
            # Only a message of several statements needs to be looked at again.
            texts.insert(place, f"SAVEPOINT {SAVEPOINT}")
        began = time.monotonic()
        try:
            # A statement may end in a comment.
            return self._execute(cursor, "\n;\n".join(texts))
        except self._connection.dialect.loaded_dbapi.Error as exc:
            if place is None:
                raise self._error(exc, scripts[0] if scripts else kept[-1], cursor) from exc
            took = time.monotonic() - began
            return self._send_again(cursor, exc, kept[place:], took)

    def _send_again(
        self, cursor: DBAPICursor, exc: DBAPIModule.Error, kept: list[Kept], took: float
    ) -> int:
        """Send statements one by one to learn which of them fails."""
        if not self._may_send_again(exc, took):
            raise self._error(exc, Kept("\n;\n".join(one.sql for one in kept), 0), cursor) from exc
        cursor.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        rows = -1
        for one in kept:
            try:
                rows = self._execute(cursor, one.sql)
            except self._connection.dialect.loaded_dbapi.Error as error:
                raise self._error(error, one, cursor) from error
        return rows

    def _may_send_again(self, exc: DBAPIModule.Error, took: float) -> bool:
        return not (
            took > AGAIN_SECONDS
            or sqlstate(exc) in (None, QUERY_CANCELED)
            or is_lock_failure(exc, "postgresql")
            or self._connection.dialect.is_disconnect(exc, self._driver, None)
        )

    def _execute(self, cursor: Any, sql: str) -> int:
        if self.driver == "psycopg2":
            cursor.execute(sql)
        else:
            cursor.execute(sql, prepare=False)
            while cursor.nextset():
                # What counts is the last answer.
                pass
        return int(cursor.rowcount)

    def _error(self, exc: DBAPIModule.Error, failed: Kept, cursor: DBAPICursor) -> DBAPIError:
        """Return a driver's error as SQLAlchemy's; a connection that is lost is given up."""
        dialect = self._connection.dialect
        gone = dialect.is_disconnect(exc, self._driver, cursor)
        if gone:
            self._connection.invalidate(exc)
        error = cast(
            DBAPIError,
            DBAPIError.instance(
                failed.sql,
                None,
                exc,
                dialect.loaded_dbapi.Error,
                connection_invalidated=gone,
                dialect=dialect,
            ),
        )
        if failed.line is not None:
            self._failed = error, failed.line
        return error


def is_of(context: Any, construct: object) -> bool:
    """True if SQLAlchemy executes a construct that an operation gave, and none in between."""
    return construct is not None and (
        context.invoked_statement is construct
        or (context.isddl and context.compiled.statement is construct)
    )


def queue_of(connection: Connection, stopping: Stop) -> StepQueue | None:
    """Return a queue for a connection; ``None`` where there can be none.

    :param stopping: cancels what the queue sends
    """
    driver = driver_of(connection)
    version = connection.dialect.server_version_info or ()
    if not hasattr(driver, "queue") or version < MEASURES_EACH:
        return None
    return StepQueue(connection, stopping)


# The driver's connection

#: Methods by which something gets to the server, by driver.
SENDING = {
    "psycopg2": ("set_session", "set_client_encoding", "lobject", "tpc_begin", "tpc_prepare"),
    "psycopg": ("transaction", "pipeline", "notifies", "tpc_begin", "tpc_prepare"),
}


def connect_queueing(engine: Engine) -> None:
    """Let an engine's connections be ones that a queue can be set for, where the driver is known.

    Where the application gave a class of its own the connection has no attribute ``queue``.
    """
    driver = engine.dialect.driver
    if driver not in SENDING:
        return

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, record: object, arguments: list[object], keywords: dict[str, object]
    ) -> DBAPIConnection | None:
        made = connection_class(driver)
        if driver == "psycopg2":
            keywords.setdefault("connection_factory", made)
            return None
        connection: DBAPIConnection = made.connect(*arguments, **keywords)
        return connection


def own_cursor(connection: DBAPIConnection) -> DBAPICursor:
    """Return a cursor of which the queue is not told."""
    made: DBAPICursor = super(connection_class(connection.queue.driver), connection).cursor()
    return made


@functools.cache
def connection_class(driver: str) -> Any:
    """Return a subclass of a driver's connection."""
    if driver == "psycopg2":
        from psycopg2.extensions import connection as base
    else:
        from psycopg import Connection as base

    class QueueingConnection(base):  # type: ignore[misc, valid-type, unused-ignore]
        """A connection before whose statements a queue is sent.

        :ivar queue: of the step that runs; ``None`` where there is none
        """

        queue: StepQueue | None = None

        def cursor(self, *arguments: Any, **keywords: Any) -> Any:
            queue = self.queue
            if queue is None:
                return super().cursor(*arguments, **keywords)
            queue.before_cursor()
            made = super().cursor(*arguments, **keywords)
            queue.after_cursor(made)
            return made

        def commit(self) -> None:
            if self.queue is not None:
                self.queue.send()
            super().commit()

        def rollback(self) -> None:
            if self.queue is not None:
                self.queue.drop()
            super().rollback()

    for name in SENDING[driver]:
        setattr(QueueingConnection, name, sending(getattr(base, name)))
    return QueueingConnection


def sending(method: Callable[..., object]) -> Callable[..., object]:
    """Return a method of a connection that sends the queue before."""

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **keywords: Any) -> object:
        if self.queue is not None:
            self.queue.send()
        return method(self, *arguments, **keywords)

    return call
