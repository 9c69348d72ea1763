"""The statements of a whole step in one piece, for :mod:`websauna_migrate.runs.pipeline`.

A batch begins a transaction, does what the script says, moves the history, writes the step's row
into the ledger and commits. Since nothing in it can end the transaction early, no marker is needed:
the row says ``done`` from the beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from websauna_migrate.planning.steps import Step
from websauna_migrate.runs.direct_sql import as_text
from websauna_migrate.runs.ledger import DONE

__all__ = [
    "Batch",
    "BatchFailed",
    "Batches",
    "Message",
    "PostgreSQLBatches",
    "SQLiteBatches",
    "batches_for",
]


class BatchFailed(Exception):
    """A batch cannot be sent, or did not come to its end and was rolled back."""


@dataclass
class Batch:
    """What is to be sent for one step.

    :ivar statements: the script's, each with its parameters
    :ivar settings: statements that bound the transaction, empty for none
    :ivar lasting: whether the commit is to be on the disk when it is told. The one of a later batch
        is on the disk no sooner than all before it.
    """

    step: Step
    values: Mapping[str, Any]
    settings: str = ""
    lasting: bool = True
    statements: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> tuple[str | None, str]:
        """The history's row that goes, ``None`` if it is empty, and the one that comes."""
        (gone,) = self.step.rows_before - self.step.rows_after or (None,)
        (new,) = self.step.rows_after - self.step.rows_before
        return gone, new


class Message(NamedTuple):
    """A batch as one text, around the moment at which it is sent."""

    head: bytes
    tail: bytes

    def at(self, moment: datetime) -> bytes:
        """Return the whole text.

        :param moment: in UTC, without a zone
        """
        return b"%b'%b'%b" % (self.head, as_text(moment).encode("ascii"), self.tail)


class Batches(ABC):
    """Sends batches over a connection's driver, behind SQLAlchemy's back.

    :ivar defers: whether a commit need not be on the disk when it is told
    """

    defers = False

    def __init__(self, connection: Connection, ledger: Table, history: Table) -> None:
        self.driver: Any = connection.connection.dbapi_connection
        dialect: Any = connection.dialect
        self.error: type[Exception] = dialect.dbapi.Error
        named = dialect.identifier_preparer.format_table
        self.schema = ledger.schema
        self.ledger = named(ledger)
        self.history = named(history)
        self.columns = {column.name: column.type.python_type for column in ledger.columns}

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the driver has begun a transaction."""

    @abstractmethod
    def opened(self) -> AbstractContextManager[None]:
        """Have the transactions, which are the driver's otherwise; none is open.

        It raises the driver's error where the database does not let it.
        """

    @abstractmethod
    def message(self, batch: Batch) -> Message:
        """Return a batch as one text, in the order in which they are sent.

        It raises what the driver does where it cannot write a value.
        """

    @abstractmethod
    def send(self, text: bytes) -> None:
        """Execute the text of a message; called in a thread of its own.

        Where it raises, nothing of the batch is done, unless the connection is gone as well.

        :raises BatchFailed: if not all of it was executed
        """


#: Types of the ledger's columns, wide enough that the columns' own say whether a value fits.
TYPES: Mapping[type, str] = {str: "text", int: "bigint", datetime: "timestamp"}

#: PostgreSQL's names of psycopg2's isolation levels.
LEVELS = {1: b"READ COMMITTED", 2: b"REPEATABLE READ", 3: b"SERIALIZABLE", 4: b"READ UNCOMMITTED"}

#: What follows the ledger's values. The division fails, and all with it, where the history is not
#: what the plan says.
TOLD = (
    ", clock_timestamp() AT TIME ZONE 'UTC' FROM moved RETURNING 1) SELECT 1 / count(*) FROM told"
)

#: PostgreSQL's name of what ends a step, in the run's own session.
PREPARED = "websauna_migrate_step"


class PostgreSQLBatches(Batches):
    """A batch is one message to the server, which answers once."""

    defers = True

    @property
    def in_transaction(self) -> bool:
        """Whether the driver has begun a transaction."""
        return bool(self.driver.info.transaction_status)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let the driver send no BEGIN of its own."""
        self._begin = b"BEGIN"
        if self.driver.isolation_level is not None:
            # The engine's, or the one that a step went back to which is no transaction.
            self._begin += b" ISOLATION LEVEL " + LEVELS[self.driver.isolation_level]
        self.driver.autocommit = True
        # One for each thread.
        self.cursor, self.writer = self.driver.cursor(), self.driver.cursor()
        self._prepared = False
        try:
            yield
        finally:
            if not self.driver.closed:
                if self._prepared:
                    # Of a connection that is lost, what was lost with it is told, not this.
                    with suppress(self.error):
                        self.writer.execute(f"DEALLOCATE {PREPARED}")
                self.cursor.close()
                self.writer.close()
                self.driver.autocommit = False

    @cached_property
    def _names(self) -> list[str]:
        """The ledger's columns that a message has values for, the moment of the beginning last."""
        return [*(name for name in self.columns if name not in ("ended", "started")), "started"]

    def _end(self, move: str, given: str) -> str:
        """Return what ends a step, up to the ledger's values.

        :param move: changes one row of the history
        :param given: the ledger's values
        """
        return (
            f"WITH moved AS ({move} RETURNING 1), "
            f"told AS (INSERT INTO {self.ledger} ({', '.join(self._names)}, ended) SELECT {given}"
        )

    def _prepare(self) -> bytes:
        """Return what lets the server plan once what it does at the end of each step."""
        types = ("text", "text", *(TYPES[self.columns[name]] for name in self._names))
        numbers = ", ".join(f"${number}" for number, _ in enumerate(self._names, 3))
        move = f"UPDATE {self.history} SET version_num = $1 WHERE version_num = $2"
        words = f"PREPARE {PREPARED} ({', '.join(types)}) AS {self._end(move, numbers)}{TOLD}"
        # The names are written for a text in which the driver puts parameters.
        return bytes(self.writer.mogrify(words, ()))

    def _last(self, gone: str | None, values: Mapping[str, Any]) -> tuple[bytes, str]:
        """Return what ends a step, before and behind the moment at which it began."""
        given = ", ".join(f"%({name})s" for name in self._names[:-1])
        if gone is not None:
            words, tail = f"EXECUTE {PREPARED} (%(new)s, %(gone)s, {given}, ", ")"
        else:
            move = (
                f"INSERT INTO {self.history} (version_num) SELECT %(new)s "
                f"WHERE NOT EXISTS (SELECT 1 FROM {self.history})"
            )
            words, tail = self._end(move, f"{given}, timestamp "), TOLD
        return self.writer.mogrify(words, values), tail

    def message(self, batch: Batch) -> Message:
        """Return a batch as one text; the driver puts the parameters in, as it always does."""
        gone, new = batch.rows
        values = {**batch.values, "outcome": DONE, "gone": gone, "new": new}
        parts = [self._begin]
        if not batch.lasting:
            parts.append(b"SET LOCAL synchronous_commit = off")
        if batch.settings:
            parts.append(batch.settings.encode("ascii"))
        if gone is not None and not self._prepared:
            # It outlives the transaction, whatever becomes of that.
            parts.append(self._prepare())
            self._prepared = True
        parts += [self.writer.mogrify(sql, parameters) for sql, parameters in batch.statements]
        head, tail = self._last(gone, values)
        # A script's last line may be a comment.
        return Message(b"\n;\n".join([*parts, head]), f"{tail}\n;\nCOMMIT".encode("ascii"))

    def send(self, text: bytes) -> None:
        """Execute the text of a message."""
        try:
            self.cursor.execute(text)
            # It does not, say, where the text ended early for the driver.
            if self.cursor.statusmessage != "COMMIT":
                raise BatchFailed
        except BaseException:
            if not self.driver.closed:
                self.cursor.execute("ROLLBACK")
            raise


#: Levels of SQLite's PRAGMA synchronous.
SYNCHRONOUS_NORMAL, SYNCHRONOUS_FULL = 1, 2


class SQLiteBatches(Batches):
    """A batch is one script, in which nobody else wants Python's lock between two statements."""

    @property
    def in_transaction(self) -> bool:
        """Whether the driver has begun a transaction."""
        return bool(self.driver.in_transaction)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Have a journal for many steps, and let the driver begin no transactions."""
        # SQLAlchemy lets it, behind a step that is no transaction.
        self.driver.isolation_level = None
        self.cursor = self.driver.cursor()
        self._settings = ""
        try:
            with self._journal_kept(), self._disk_at_the_end():
                yield
        finally:
            self.cursor.close()

    @contextmanager
    def _journal_kept(self) -> Iterator[None]:
        """Have one rollback journal that is overwritten, not a new file for each transaction.

        That is this connection's alone; SQLite says how the modes go together, and whoever comes
        after a crash reads the journal or removes it as always.
        """
        if self._pragma("journal_mode") != "delete":
            yield
            return
        self._pragma("journal_mode", "persist")
        try:
            yield
        finally:
            # An application that was started meanwhile may have turned to WAL, for everybody.
            if self._pragma("journal_mode") == "persist":
                # It removes the file, unless somebody else is writing, who does so.
                self._pragma("journal_mode", "delete")

    @contextmanager
    def _disk_at_the_end(self) -> Iterator[None]:
        """Wait for the disk only at the end, if a write-ahead log keeps the order of the steps."""
        self._level = self._pragma("synchronous") or 0
        # Each file has its own; the ledger's is to be the one that the steps change.
        self.defers = (
            self._level >= SYNCHRONOUS_FULL
            and not self.schema
            and self._pragma("journal_mode") == "wal"
        )
        try:
            yield
        finally:
            if self.defers:
                self._pragma("synchronous", self._level)

    def _pragma(self, name: str, value: object = "") -> Any:
        """Ask for a setting of the main database, or change it; ``None`` if the file is locked."""
        with suppress(self.error):
            change = f" = {value}" if value else ""
            found = self.cursor.execute(f"PRAGMA main.{name}{change}").fetchone()
            return found[0] if found else None
        return None

    def message(self, batch: Batch) -> Message:
        """Return a batch as one text."""
        # Of some statements SQLite keeps the text, up to the next semicolon.
        if any(parameters or "--" in sql for sql, parameters in batch.statements):
            raise BatchFailed
        before = batch.step.rows_before
        gone, new = batch.rows
        number = len(before)
        settings = batch.settings
        if self.defers:
            level = self._level if batch.lasting else SYNCHRONOUS_NORMAL
            settings += f"; PRAGMA main.synchronous = {level}"
        parts = [settings] if settings != self._settings else []
        self._settings = settings
        parts.append("BEGIN IMMEDIATE")
        parts += [sql for sql, _ in batch.statements]
        # Whoever does not know the run's lock may have written to the history in between.
        where = f"(SELECT count(*) FROM {self.history}) = {number}"
        if number > 1:
            given = ", ".join(map(literal, sorted(before)))
            where += (
                f" AND (SELECT count(*) FROM {self.history} WHERE version_num IN ({given}))"
                f" = {number}"
            )
        if gone is None:
            move = f"INSERT INTO {self.history} (version_num) SELECT {literal(new)} WHERE {where}"
        else:
            move = (
                f"UPDATE {self.history} SET version_num = {literal(new)} "
                f"WHERE version_num = {literal(gone)} AND {where}"
            )
        parts.append(move)
        values = {**batch.values, "outcome": DONE}
        names = [name for name in self.columns if name not in ("id", "ended", "started")]
        given = ", ".join(literal(values[name]) for name in names)
        # The row without an id fails, and all with it.
        parts.append(
            f"INSERT INTO {self.ledger} (id, {', '.join(names)}, started, ended) "
            f"SELECT CASE changes() WHEN 1 THEN {literal(values['id'])} END, {given}, "
            "began, max(began, strftime('%Y-%m-%d %H:%M:%f000', 'now')) FROM (SELECT "
        )
        return Message(";".join(parts).encode(), b" AS began);COMMIT")

    def send(self, text: bytes) -> None:
        """Execute the text of a message."""
        try:
            self.cursor.executescript(text.decode())
            if self.driver.in_transaction:
                raise BatchFailed
        except BaseException:
            if self.driver.in_transaction:
                self.cursor.execute("ROLLBACK")
            raise


def literal(value: Any) -> str:
    """Return a text, a number or nothing as SQLite reads it."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(int(value))


def batches_for(connection: Connection, ledger: Table, history: Table) -> Batches | None:
    """Return what sends batches over a connection; ``None`` where nothing can.

    :param history: the history table of the package whose steps they are
    """
    driver: Any = connection.connection.dbapi_connection
    name = connection.dialect.driver
    # The driver would begin transactions in other words still.
    if name == "psycopg2" and driver.readonly is None and driver.deferrable is None:
        return PostgreSQLBatches(connection, ledger, history)
    return SQLiteBatches(connection, ledger, history) if name == "pysqlite" else None
