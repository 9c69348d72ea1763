"""Connections of PostgreSQL's drivers that tell a queue before anything else gets to the server.

A script may go past SQLAlchemy and take the driver's own connection, for a COPY say. So it is not
SQLAlchemy's events that empty the queue of a step but the driver's connection itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

#: Methods by which something gets to the server, by driver.
SENDING = {
    "psycopg2": ("set_session", "set_client_encoding", "lobject", "tpc_begin", "tpc_prepare"),
    "psycopg": ("transaction", "pipeline", "notifies", "tpc_begin", "tpc_prepare"),
}


class Queue(Protocol):
    """What a connection tells of: statements that wait are sent, or dropped, before others are."""

    driver: str

    def before_cursor(self) -> None:
        """A cursor is asked for."""

    def after_cursor(self, cursor: DBAPICursor) -> None:
        """A cursor was made."""

    def send(self) -> int:
        """Send what waits."""

    def drop(self) -> None:
        """Forget what waits: it is rolled back."""


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

        queue: Queue | None = None

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
