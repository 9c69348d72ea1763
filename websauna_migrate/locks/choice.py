"""Which lock a run takes: the one that fits the server.

=============================  ====================================================================
PostgreSQL                     a session's advisory lock, on the connection that does the work: a
                               server that still runs a dead client's statement still holds it
PostgreSQL, in a transaction   an advisory lock of that transaction
  that the caller gave
PostgreSQL behind a pooler     a transaction's advisory lock, in a second transaction, and one in
                               each step's own
MariaDB                        ``GET_LOCK``, on the connection that does the work
Galera                         a committed row with an expiry, since its locks are each node's own
SQLite                         a lock on a file beside the database, and ``BEGIN IMMEDIATE``
=============================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.engine import Connection, Engine

from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.servers import Server
from websauna_migrate.locks.advisory_locks import CallersLock, SessionLock, TransactionLock
from websauna_migrate.locks.file_locks import FileLock
from websauna_migrate.locks.leases import Lease
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.locks.session_locks import NamedLock


def make_lock(
    connection: Connection,
    server: Server,
    second_engine: Callable[[], Engine],
    schema: str | None,
) -> RunLock:
    """Return the lock that fits the server, not taken yet.

    :param second_engine: makes an engine for the lock's own connection, where it needs one
    :param schema: of the history tables: what besides the database the lock is for
    """
    scope = schema or ""
    if server.kind == "postgresql":
        if given_state(connection) == "in transaction":
            return CallersLock(connection, scope)
        if server.pooled:
            return TransactionLock(second_engine(), scope)
        return SessionLock(connection, scope)
    if server.kind == "mysql":
        if server.galera:
            return Lease(connection, second_engine(), schema)
        return NamedLock(connection, scope)
    if server.kind == "sqlite":
        return FileLock.beside(connection) or RunLock()
    return RunLock()
