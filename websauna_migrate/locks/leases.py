"""The lock for runs on a Galera cluster: a row that all nodes agree on.

Named locks and row locks are each node's own there; only what is committed is the same on all of
them. So a run writes its name and an expiry into a row, and keeps moving the expiry on. Of two
nodes that commit a change of the row at once one is refused (error 1213), and has lost.

A run that is cut off may still believe that it holds the lease. It therefore changes a second row,
the fence, in each step's own transaction, and the run that takes the lease over changes it too: of
the late step and the new holder again only one can commit.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.lock_errors import error_number
from websauna_migrate.locks.run_lock import LockLost, RunLock

LEASE_TABLE = "websauna_migrate_lease"

#: Seconds after which a lease that was not moved on may be taken over.
EXPIRES_AFTER = 15.0

#: Seconds between two moves of the expiry.
HEARTBEAT = 3.0

#: What MariaDB says when another node's commit was first, and when a lock was not free.
LOST_RACE = (1213, 1205)


def make_table(schema: str | None) -> Table:
    """Return the lease's table, with one row for the lease and one for the fence."""
    return Table(
        LEASE_TABLE,
        MetaData(),
        Column("name", String(16), primary_key=True),
        Column("owner", String(32)),
        Column("expires", DateTime),
        Column("counter", Integer, nullable=False),
        Column("host", String(255)),
        Column("process", Integer),
        Column("since", DateTime),
        Column("doing", String(255)),
        schema=schema,
    )


class Lease(RunLock):
    """A committed row with an expiry, moved on by a thread that has a connection of its own."""

    spans_steps = True

    def __init__(self, connection: Connection, engine: Engine, schema: str | None) -> None:
        self.connection = connection
        self.engine = engine
        self.owner = uuid.uuid4().hex
        self.table = make_table(schema)
        self.name = connection.dialect.identifier_preparer.format_table(self.table)
        self._exists = False
        self._held_until = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> bool:
        """Try to take the lease."""
        self._ensure()
        connection = self.connection
        # Seconds are counted from before the statement: never later than on the server.
        began = time.monotonic()
        try:
            taken = connection.execute(
                text(
                    f"UPDATE {self.name} SET owner = :owner, host = :host, process = :process, "
                    "since = UTC_TIMESTAMP(), doing = :doing, counter = counter + 1, "
                    "expires = UTC_TIMESTAMP() + INTERVAL :seconds SECOND WHERE name = 'run' "
                    "AND (owner IS NULL OR expires < UTC_TIMESTAMP())"
                ),
                {
                    "owner": self.owner,
                    "host": socket.gethostname()[:255],
                    "process": os.getpid(),
                    "doing": self.doing[:255],
                    "seconds": round(EXPIRES_AFTER),
                },
            ).rowcount
            if taken:
                connection.execute(
                    text(
                        f"UPDATE {self.name} SET owner = :owner, counter = counter + 1 "
                        "WHERE name = 'fence'"
                    ),
                    {"owner": self.owner},
                )
            connection.commit()
        except DBAPIError as exc:
            connection.rollback()
            if error_number(exc) in LOST_RACE:
                return False
            raise
        if not taken:
            return False
        self._held_until = began + EXPIRES_AFTER
        self._thread = threading.Thread(
            target=self._keep, name="websauna_migrate lease", daemon=True
        )
        self._thread.start()
        return True

    def _ensure(self) -> None:
        """Make the table and its rows, once."""
        if self._exists:
            return
        connection = self.connection
        for attempt in range(20):
            try:
                self.table.create(connection, checkfirst=True)
                for name in ("run", "fence"):
                    connection.execute(
                        text(f"INSERT IGNORE INTO {self.name} (name, counter) VALUES (:name, 0)"),
                        {"name": name},
                    )
                connection.commit()
                break
            except DBAPIError as exc:
                connection.rollback()
                # 1050: another run's CREATE TABLE was first.
                if error_number(exc) not in (*LOST_RACE, 1050) or attempt == 19:
                    raise
                time.sleep(random.uniform(0.05, 0.2))
        self._exists = True

    def _keep(self) -> None:
        """Move the expiry on until the run is over or the lease is lost."""
        connection: Connection | None = None
        while not self._ended.wait(HEARTBEAT if connection is not None else 0.0):
            began = time.monotonic()
            try:
                if connection is None:
                    connection = self.engine.connect()
                moved = connection.execute(
                    text(
                        f"UPDATE {self.name} SET counter = counter + 1, "
                        "expires = UTC_TIMESTAMP() + INTERVAL :seconds SECOND "
                        "WHERE name = 'run' AND owner = :owner"
                    ),
                    {"owner": self.owner, "seconds": round(EXPIRES_AFTER)},
                ).rowcount
                connection.commit()
            except DBAPIError as exc:
                # The next beat may go better; until the lease expires nothing is lost.
                if connection is not None:
                    connection.invalidate()
                    connection.close()
                    connection = None
                if error_number(exc) not in LOST_RACE and self._ended.wait(0.5):
                    break
                continue
            if not moved:
                self._held_until = 0.0
                break
            self._held_until = began + EXPIRES_AFTER
        if connection is not None:
            connection.close()

    def check(self) -> None:
        """Make sure that the lease has not expired."""
        # UTC_TIMESTAMP has whole seconds, and the nodes' clocks may differ a little.
        if time.monotonic() > self._held_until - 2.0:
            raise LockLost(
                "The lease of this run expired before it could be moved on, or was taken over."
            )

    def join(self, connection: Connection) -> None:
        """Change the fence in the step's transaction, so that it cannot commit after a loss."""
        self.check()
        changed = connection.execute(
            text(
                f"UPDATE {self.name} SET counter = counter + 1 "
                "WHERE name = 'fence' AND owner = :owner"
            ),
            {"owner": self.owner},
        ).rowcount
        if not changed:
            raise LockLost("The lease of this run was taken over by another run.")

    def release(self) -> None:
        """Give the lease back; if that fails, it expires."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(EXPIRES_AFTER)
        try:
            if self.connection.closed:
                return
            self.connection.rollback()
            self.connection.execute(
                text(
                    f"UPDATE {self.name} SET owner = NULL, counter = counter + 1 "
                    "WHERE name = 'run' AND owner = :owner"
                ),
                {"owner": self.owner},
            )
            self.connection.commit()
        except DBAPIError:
            self.connection.invalidate()

    def holder(self) -> str:
        """Return who holds the lease."""
        row = self.connection.execute(
            text(
                f"SELECT host, process, since, doing FROM {self.name} "
                "WHERE name = 'run' AND owner IS NOT NULL"
            )
        ).first()
        self.connection.rollback()
        if row is None:
            return ""
        return f"process {row[1]} on {row[0]}, since {row[2]} UTC, {row[3]}".rstrip(", ")
