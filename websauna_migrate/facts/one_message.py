"""Statements that wait, and go to PostgreSQL as one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection

__all__ = ["in_one_message"]

#: Drivers that send several statements in one message.
DRIVERS = frozenset({"psycopg2", "psycopg"})


@contextmanager
def in_one_message(connection: Connection) -> Iterator[None]:
    """Let the DDL that is executed within the block wait, and go to the server at its end.

    A query, whose answer is read, is sent behind what waits before it. Where the driver sends no
    more than one statement at a time, nothing waits.
    """
    if connection.dialect.driver not in DRIVERS:
        yield
        return
    waiting: list[str] = []

    def send(cursor: Any) -> None:
        if waiting:
            statement = ";\n".join(waiting)
            waiting.clear()
            # With parameters, though there are none, the driver reads the doubled % as one.
            cursor.execute(statement, {})

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        if context is None or context.root_connection is not connection:
            return None
        if context.isddl and not parameters:
            waiting.append(statement)
            return True
        send(cursor)
        return None

    event.listen(connection.engine, "do_execute", execute)
    try:
        yield
    finally:
        event.remove(connection.engine, "do_execute", execute)
    cursor = connection.connection.cursor()
    send(cursor)
    cursor.close()
