"""Which database connections the current thread holds, so that a run never waits for itself.

``upgrade()`` inside a request works on a connection of its own. Where the request's transaction
holds a lock that a step needs, the two would wait for each other until a timeout, since the
database cannot see that one thread is behind both. The pool's events tell it.
"""

from __future__ import annotations

import threading

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, Pool


class HeldConnections:
    """Keeps the DBAPI connections that are checked out of any pool, with their threads."""

    def __init__(self) -> None:
        #: By its id each connection with its threads: the one that a run is given is held twice.
        self._held: dict[int, list[tuple[DBAPIConnection, int]]] = {}

    def watch(self) -> None:
        """Begin to listen; needed once in a process, repeated calls change nothing."""
        if not event.contains(Pool, "checkout", self._checkout):
            event.listen(Pool, "checkout", self._checkout)
            event.listen(Pool, "checkin", self._checkin)

    def _checkout(
        self, dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: object
    ) -> None:
        held = self._held.setdefault(id(dbapi_connection), [])
        held.append((dbapi_connection, threading.get_ident()))

    def _checkin(self, dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        held = self._held.pop(id(dbapi_connection), [])
        if len(held) > 1:
            self._held[id(dbapi_connection)] = held[:-1]

    def of_this_thread(self, but: DBAPIConnection | None = None) -> list[DBAPIConnection]:
        """Return the DBAPI connections that the calling thread holds.

        :param but: one to leave out: the run's own
        """
        thread = threading.get_ident()
        return [
            connection
            for held in list(self._held.values())
            for connection, holder in held[:1]
            if holder == thread and connection is not but
        ]


#: Pools are a matter of the process, and so is this.
held_connections = HeldConnections()
