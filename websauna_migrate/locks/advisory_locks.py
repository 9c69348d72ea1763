"""PostgreSQL's advisory locks: a session's own, and for poolers a transaction's."""

from __future__ import annotations

import time

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from websauna_migrate.database.servers import CHECK_INTERVAL
from websauna_migrate.locks.run_lock import LockLost, RunLock, lock_key
from websauna_migrate.locks.session_locks import OwnSessionLock

NOTICE = f"SET LOCAL client_connection_check_interval = '{CHECK_INTERVAL}'"

#: Seconds for which a step waits for a killed run's last statement to end on the server.
ORPHAN_SECONDS = 60.0


class SessionLock(OwnSessionLock):
    """A session's advisory lock."""

    taking = "SELECT pg_try_advisory_lock(:key), pg_backend_pid()"
    releasing = "SELECT pg_advisory_unlock(:key)"

    def __init__(self, connection: Connection, scope: str) -> None:
        super().__init__(connection, lock_key(scope))

    def holder(self) -> str:
        """Return who holds the lock."""
        return tell_holder(self, self.connection, int(self.key))


class CallersLock(SessionLock):
    """A lock of the caller's transaction, in which the whole run is.

    What the run did is seen by others once that transaction is committed; so long it is held.
    """

    taking = "SELECT pg_try_advisory_xact_lock(:key), pg_backend_pid()"

    def release(self) -> None:
        """Leave it to the end of the transaction."""


class TransactionLock(RunLock):
    """A lock of a transaction that does nothing else, for where sessions are not one's own.

    A pooler lends a server's session for one transaction, so a session's lock would stay behind
    with a stranger. The second transaction is READ COMMITTED: it holds no snapshot that CREATE
    INDEX CONCURRENTLY would wait for. A run that is killed loses it at once though its last
    statement may run on; therefore each step's transaction takes a lock of its own as well, which
    is free no sooner than that statement has ended.
    """

    spans_steps = True

    def __init__(self, engine: Engine, scope: str) -> None:
        self.engine = engine
        self.key = lock_key(scope)
        self.step_key = lock_key(f"{scope}:step")
        self.connection: Connection | None = None
        self._notices: bool | None = None

    def take(self) -> bool:
        """Try to take the lock."""
        connection = self.connection
        if connection is None:
            connection = self.engine.connect().execution_options(isolation_level="READ COMMITTED")
            self.connection = connection
        # Whatever limits idle transactions here must spare this one.
        connection.execute(
            text(
                "SELECT set_config(name, '0', true) FROM unnest(ARRAY"
                "['idle_in_transaction_session_timeout', 'transaction_timeout']) AS name "
                "WHERE current_setting(name, true) IS NOT NULL"
            )
        )
        row = connection.execute(
            text("SELECT pg_try_advisory_xact_lock(:key), pg_backend_pid()"), {"key": self.key}
        ).one()
        if not row[0]:
            connection.rollback()
            return False
        self.session = row[1]
        return True

    def release(self) -> None:
        """Let the lock go."""
        if self.connection is not None:
            try:
                self.connection.rollback()
            except DBAPIError:
                self.connection.invalidate()
            self.connection.close()
            self.connection = None

    def check(self) -> None:
        """Make sure that the transaction is still open."""
        try:
            assert self.connection is not None
            if self.connection.scalar(text("SELECT pg_backend_pid()")) == self.session:
                return
        except (DBAPIError, InvalidRequestError):
            pass
        raise LockLost("The transaction that held the run's lock was ended from outside.")

    def join(self, connection: Connection) -> None:
        """Take the step's own lock, in its transaction."""
        self.check()
        self._notice_orphans(connection)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while not connection.scalar(
            text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": self.step_key}
        ):
            if time.monotonic() > deadline:
                raise LockLost(
                    "The server still runs a statement of an earlier run that was killed."
                )
            time.sleep(0.1)

    def _notice_orphans(self, connection: Connection) -> None:
        """Let the server notice during this transaction when the client is gone, if it can."""
        if self._notices is None:
            # Older servers do not know the setting, and not every operating system can do it.
            try:
                with connection.begin_nested():
                    connection.execute(text(NOTICE))
                self._notices = True
            except DBAPIError:
                self._notices = False
        elif self._notices:
            connection.execute(text(NOTICE))

    def holder(self) -> str:
        """Return who holds the lock."""
        if self.connection is None:
            return ""
        return tell_holder(self, self.connection, self.key)


def tell_holder(lock: RunLock, connection: Connection, key: int) -> str:
    """Return in words who holds an advisory lock, and remember its session and statement."""
    lock.other_session, lock.other_statement = None, ""
    try:
        row = connection.execute(
            text(
                "SELECT a.pid, a.usename, host(a.client_addr) AS client, a.application_name, "
                "a.backend_start, CASE a.state WHEN 'active' THEN a.query ELSE '' END AS query "
                "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
            ),
            {"key": key},
        ).first()
        connection.rollback()
    except DBAPIError:
        connection.rollback()
        return ""
    if row is None:
        return ""
    lock.other_session, lock.other_statement = row.pid, row.query or ""
    words = f"server process {row.pid}, user {row.usename}"
    if row.client:
        words += f" from {row.client}"
    if row.backend_start:
        words += f", connected since {row.backend_start:%Y-%m-%d %H:%M:%S%z}"
    return words
