"""The statements of a whole step in one piece, for :mod:`websauna_migrate.runs.pipeline`.

A batch begins a transaction, does what the script says, moves the history, writes the step's row
into the ledger and commits. Since nothing in it can end the transaction early, no marker is needed:
the row says ``done`` from the beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from websauna_migrate.planning.steps import Step
from websauna_migrate.runs.direct_sql import as_text
from websauna_migrate.runs.ledger import DONE, utc_now

__all__ = ["Batch", "BatchFailed", "Batches", "PostgreSQLBatches", "SQLiteBatches", "batches_for"]


class BatchFailed(Exception):
    """A batch found something else in the database than the plan, and was rolled back."""


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
    def rows(self) -> tuple[str, str]:
        """The history's row that goes, and the one that comes."""
        (gone,) = self.step.rows_before - self.step.rows_after
        (new,) = self.step.rows_after - self.step.rows_before
        return gone, new


class Batches(ABC):
    """Sends batches over a connection's driver, behind SQLAlchemy's back.

    :ivar defers: whether a commit need not be on the disk when it is told
    """

    defers = False

    def __init__(self, connection: Connection, ledger: Table, history: Table) -> None:
        self.driver: Any = connection.connection.dbapi_connection
        named = connection.dialect.identifier_preparer.format_table
        self.ledger = named(ledger)
        self.history = named(history)
        self.columns = [column.name for column in ledger.columns]

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the driver has begun a transaction."""

    @abstractmethod
    def opened(self) -> AbstractContextManager[None]:
        """Have the transactions, which are the driver's otherwise; none is open."""

    @abstractmethod
    def send(self, batch: Batch) -> None:
        """Execute a batch; called in a thread of its own.

        Where it raises, nothing of the batch is done, unless the connection is gone as well.

        :raises BatchFailed: if the history is not what the plan says
        """


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
        self.driver.autocommit = True
        self.cursor = self.driver.cursor()
        names = ", ".join(self.columns)
        given = ", ".join(EXPRESSIONS.get(name, f"%({name})s") for name in self.columns)
        # The division fails, and all with it, where the history is not what the plan says.
        self._finish = (
            f"WITH moved AS (UPDATE {doubled(self.history)} SET version_num = %(new)s "
            "WHERE version_num = %(gone)s RETURNING 1), "
            f"told AS (INSERT INTO {doubled(self.ledger)} ({names}) "
            f"SELECT {given} FROM moved RETURNING 1) SELECT 1 / count(*) FROM told"
        )
        try:
            yield
        finally:
            if not self.driver.closed:
                self.cursor.close()
                self.driver.autocommit = False

    def send(self, batch: Batch) -> None:
        """Execute a batch."""
        message = self.message(batch)
        try:
            self.cursor.execute(message)
            # It does not, say, where the text ended early for the driver.
            if self.cursor.statusmessage != "COMMIT":
                raise BatchFailed
        except BaseException:
            if not self.driver.closed:
                self.cursor.execute("ROLLBACK")
            raise

    def message(self, batch: Batch) -> bytes:
        """Return a batch as one text; the driver puts the parameters in, as it always does."""
        gone, new = batch.rows
        values = {**batch.values, "outcome": DONE, "gone": gone, "new": new}
        parts = [b"BEGIN"]
        if not batch.lasting:
            parts.append(b"SET LOCAL synchronous_commit = off")
        if batch.settings:
            parts.append(batch.settings.encode("ascii"))
        parts += [self.cursor.mogrify(sql, parameters) for sql, parameters in batch.statements]
        parts.append(self.cursor.mogrify(self._finish, values))
        parts.append(b"COMMIT")
        # A script's last line may be a comment.
        return b"\n;\n".join(parts)


#: Columns of the ledger that PostgreSQL fills in by itself.
EXPRESSIONS = {"ended": "clock_timestamp() AT TIME ZONE 'UTC'"}


class SQLiteBatches(Batches):
    """The statements of a batch are executed one by one; there is no server to wait for."""

    @property
    def in_transaction(self) -> bool:
        """Whether the driver has begun a transaction."""
        return bool(self.driver.in_transaction)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Prepare the statements; the driver begins no transactions anyway."""
        self.cursor = self.driver.cursor()
        marks = ", ".join(f":{name}" for name in self.columns)
        self._insert = f"INSERT INTO {self.ledger} ({', '.join(self.columns)}) VALUES ({marks})"
        self._update = (
            f"UPDATE {self.history} SET version_num = ? WHERE version_num = ? "
            f"AND (SELECT count(*) FROM {self.history}) = ?"
        )
        self._settings = ""
        try:
            with self._journal_kept():
                yield
        finally:
            self.cursor.close()

    @contextmanager
    def _journal_kept(self) -> Iterator[None]:
        """Have one rollback journal that is overwritten, not a new file for each transaction.

        That is this connection's alone; SQLite says how the modes go together, and whoever comes
        after a crash reads the journal or removes it as always.
        """
        (mode,) = self.cursor.execute("PRAGMA journal_mode").fetchone()
        if mode != "delete":
            yield
            return
        self.cursor.execute("PRAGMA journal_mode = persist").fetchall()
        try:
            yield
        finally:
            # It removes the file, unless somebody else is writing, who does so.
            self.cursor.execute("PRAGMA journal_mode = delete").fetchall()

    def send(self, batch: Batch) -> None:
        """Execute a batch."""
        execute = self.cursor.execute
        before = batch.step.rows_before
        gone, new = batch.rows
        if batch.settings != self._settings:
            execute(batch.settings)
            self._settings = batch.settings
        try:
            execute("BEGIN IMMEDIATE")
            # Whoever does not know the run's lock may have written to the history in between.
            if len(before) > 1:
                rows = execute(f"SELECT version_num FROM {self.history}").fetchall()
                if {row[0] for row in rows} != before:
                    raise BatchFailed
            for sql, parameters in batch.statements:
                execute(sql, parameters)
            execute(self._update, (new, gone, len(before)))
            if self.cursor.rowcount != 1:
                raise BatchFailed
            values = {**batch.values, "outcome": DONE, "ended": utc_now()}
            execute(self._insert, {key: as_text(value) for key, value in values.items()})
            execute("COMMIT")
        except BaseException:
            if self.driver.in_transaction:
                execute("ROLLBACK")
            raise


def doubled(name: str) -> str:
    """Return a name for a text in which the driver puts parameters."""
    return name.replace("%", "%%")


def batches_for(connection: Connection, ledger: Table, history: Table) -> Batches | None:
    """Return what sends batches over a connection; ``None`` where nothing can.

    :param history: the history table of the package whose steps they are
    """
    driver: Any = connection.connection.dbapi_connection
    name = connection.dialect.driver
    # With a level of its own the driver begins transactions in other words.
    if name == "psycopg2" and (
        driver.isolation_level is None and driver.readonly is None and driver.deferrable is None
    ):
        return PostgreSQLBatches(connection, ledger, history)
    if name == "pysqlite" and driver.isolation_level is None:
        return SQLiteBatches(connection, ledger, history)
    return None
