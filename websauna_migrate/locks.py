"""One run at a time per database.

The lock is held on the connection that does the work, so that a database which still runs a dead
client's statement still holds it, and it is polled, never waited for inside the database: a
blocked waiter keeps a snapshot that CREATE INDEX CONCURRENTLY would wait for.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.engine import Connection

from websauna_migrate.errors import MigrationError

__all__ = ["NotWritable", "RunInProgress", "require_primary", "run_lock"]

#: Poll between these many seconds, at random, so that waiters do not come in step.
POLL_SECONDS = (0.05, 0.25)


class RunInProgress(MigrationError, TimeoutError):
    """Another run holds the database's lock for longer than ``lock_wait``."""

    def __init__(self, waited: float, holder: str) -> None:
        self.waited = waited
        self.holder = holder
        super().__init__(
            f"Another migration run is in progress on this database{holder}; gave up after "
            f"{waited:.1f} s. Nothing was changed. Try again when it is over, or raise the setting "
            '"websauna_migrate.lock_wait" (seconds).'
        )


class NotWritable(MigrationError, RuntimeError):
    """The server is a standby, or read-only."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"This database is {what}: migrations cannot run on it, and nothing was changed. Let "
            "the setting sqlalchemy.url (or websauna_migrate.url) name the primary."
        )


def require_primary(connection: Connection) -> None:
    """Refuse a standby, which grants locks and would look as if there were nothing to do.

    :raises NotWritable: if the server does not accept writes
    """
    backend = connection.dialect.name
    if backend == "postgresql":
        if connection.scalar(text("SELECT pg_is_in_recovery()")):
            raise NotWritable("a standby")
        if connection.scalar(text("SHOW transaction_read_only")) == "on":
            raise NotWritable("read-only for this user")
        connection.rollback()
    elif backend in ("mysql", "mariadb"):
        if connection.scalar(text("SELECT @@read_only")):
            raise NotWritable("a read-only replica")
        connection.rollback()


@contextmanager
def run_lock(
    connection: Connection,
    wait: float,
    *,
    scope: str = "",
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[bool]:
    """Hold the database's lock for runs.

    :param wait: seconds to wait for it, 0 to fail at once
    :param scope: what besides the database the lock is for: the history tables' schema
    :param on_wait: told once, in words, who holds the lock that is waited for
    :returns: whether the lock spans transactions. Where it is false (SQLite), each transaction
        takes the database's write lock by itself, and the history has to be read again in each.
    :raises RunInProgress: when the time is over
    """
    backend = connection.dialect.name
    if backend == "postgresql":
        take, release = "SELECT pg_try_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)"
        digest = hashlib.sha256(f"websauna_migrate:{scope}".encode()).digest()
        key: int | str = int.from_bytes(digest[:8], "big", signed=True)
    elif backend in ("mysql", "mariadb"):
        # The lock is the server's, not the database's; its name has at most 64 characters.
        take, release = "SELECT GET_LOCK(:key, 0)", "SELECT RELEASE_LOCK(:key)"
        database = connection.scalar(text("SELECT DATABASE()"))
        digest = hashlib.sha256(f"{database}:{scope}".encode()).digest()
        key = f"websauna_migrate:{digest.hex()[:40]}"
    else:
        yield False
        return
    deadline = time.monotonic() + wait
    told = False
    while True:
        taken = connection.scalar(text(take), {"key": key})
        connection.commit()
        if taken:
            break
        if not told or time.monotonic() >= deadline:
            holder = find_holder(connection, key)
        if time.monotonic() >= deadline:
            raise RunInProgress(wait, holder)
        if not told and on_wait is not None:
            on_wait(
                f"Another migration run is in progress{holder}; waiting for it, at most {wait:g} s."
            )
        told = True
        remaining = deadline - time.monotonic()
        time.sleep(max(0.0, min(random.uniform(*POLL_SECONDS), remaining)))
    try:
        yield True
    finally:
        if not connection.invalidated and not connection.closed:
            if connection.in_transaction():
                connection.rollback()
            connection.scalar(text(release), {"key": key})
            connection.commit()


def find_holder(connection: Connection, key: int | str) -> str:
    """Return who holds the lock, as words to put behind a noun; empty if it cannot be told."""
    if isinstance(key, int):
        row = connection.execute(
            text(
                "SELECT a.pid, a.usename, a.client_addr, a.application_name, a.backend_start "
                "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
            ),
            {"key": key},
        ).first()
        connection.commit()
        if row is None:
            return ""
        where = f" from {row.client_addr}" if row.client_addr else ""
        return (
            f" (server process {row.pid}, user {row.usename}{where}, "
            f"connected since {row.backend_start:%Y-%m-%d %H:%M:%S%z})"
        )
    session = connection.scalar(text("SELECT IS_USED_LOCK(:key)"), {"key": key})
    connection.commit()
    return f" (connection id {session})" if session else ""
