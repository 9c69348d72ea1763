"""The ledger: a table that records every step of every run, and marks a step in progress.

A step's row is inserted in the step's own transaction before its script runs, with outcome
``running``, and updated to ``done`` right after the history table. In a purely transactional step
nobody ever sees it as ``running``; whatever ends the transaction early (an ``autocommit_block``, a
literal COMMIT, MariaDB's implicit one) publishes it exactly when the step stops being atomic. A
row that is seen as ``running`` while no run is in progress is therefore a step that ended half
done.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection

__all__ = ["LEDGER_TABLE", "Ledger", "LedgerEntry"]

LEDGER_TABLE = "websauna_migrate_ledger"

RUNNING = "running"
DONE = "done"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row of the ledger.

    :ivar id: 32 hexadecimal digits
    :ivar run: identifier of the run, 32 hexadecimal digits
    :ivar number: the step's place in its run, from 1
    :ivar started: UTC
    :ivar ended: UTC, ``None`` while running
    :ivar outcome: ``running``, ``done`` or ``failed``
    :ivar checksum: SHA-256 of the script as it was run, hexadecimal
    """

    id: str
    run: str
    number: int
    package: str
    revision: str
    direction: str
    history_table: str
    started: datetime
    ended: datetime | None
    outcome: str
    host: str
    process: int
    version: str
    checksum: str


def make_table(schema: str | None) -> Table:
    """Return the ledger's table; its types are the same on every database."""
    return Table(
        LEDGER_TABLE,
        MetaData(),
        Column("id", String(32), primary_key=True),
        Column("run", String(32), nullable=False),
        Column("number", Integer, nullable=False),
        Column("package", String(255), nullable=False),
        Column("revision", String(255), nullable=False),
        Column("direction", String(16), nullable=False),
        Column("history_table", String(64), nullable=False),
        Column("started", DateTime, nullable=False),
        Column("ended", DateTime),
        Column("outcome", String(16), nullable=False),
        Column("host", String(255), nullable=False),
        Column("process", Integer, nullable=False),
        Column("version", String(64), nullable=False),
        Column("checksum", String(64), nullable=False),
        Index(f"{LEDGER_TABLE}_outcome", "outcome"),
        schema=schema,
    )


def utc_now() -> datetime:
    """Return the time in UTC without a zone, as the ledger keeps it on every database."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def program_version() -> str:
    """Return this package's version."""
    try:
        return version("websauna_migrate")
    except PackageNotFoundError:
        return "unknown"


class Ledger:
    """Reads and writes the ledger's table on a connection that it is given."""

    def __init__(self, schema: str | None = None) -> None:
        self.table = make_table(schema)
        self.host = socket.gethostname()[:255]
        self.version = program_version()[:64]

    def create(self, connection: Connection) -> None:
        """Create the table unless it is there."""
        self.table.create(connection, checkfirst=True)

    def start(
        self,
        connection: Connection,
        *,
        run: str,
        number: int,
        package: str,
        revision: str,
        direction: str,
        history_table: str,
        checksum: str,
        outcome: str = RUNNING,
    ) -> str:
        """Write a row for a step and return its id."""
        entry = uuid.uuid4().hex
        now = utc_now()
        connection.execute(
            insert(self.table).values(
                id=entry,
                run=run,
                number=number,
                package=package[:255],
                revision=revision[:255],
                direction=direction,
                history_table=history_table,
                started=now,
                ended=None if outcome == RUNNING else now,
                outcome=outcome,
                host=self.host,
                process=os.getpid(),
                version=self.version,
                checksum=checksum,
            )
        )
        return entry

    def end(self, connection: Connection, entry: str, outcome: str = DONE) -> None:
        """Write how a step ended."""
        connection.execute(
            update(self.table)
            .where(self.table.c.id == entry)
            .values(outcome=outcome, ended=utc_now())
        )

    def remove(self, connection: Connection, entry: str) -> None:
        """Delete a row."""
        connection.execute(delete(self.table).where(self.table.c.id == entry))

    def interrupted(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the steps that are marked as running; the table must be there."""
        return self._read(connection, self.table.c.outcome == RUNNING)

    def entries(self, connection: Connection, package: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return all rows, oldest first, of one package or of all."""
        return self._read(connection, *([] if package is None else [self.table.c.package == package]))

    def _read(self, connection: Connection, *conditions: Any) -> tuple[LedgerEntry, ...]:
        rows: Sequence[Any] = connection.execute(
            select(self.table)
            .where(*conditions)
            .order_by(self.table.c.started, self.table.c.number)
        ).all()
        return tuple(LedgerEntry(**row._mapping) for row in rows)
