"""Statements that are recorded in place of being executed, and sent as one message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from sqlalchemy.engine.default import DefaultExecutionContext
    from sqlalchemy.engine.interfaces import DBAPICursor

#: Drivers that send several statements in one message.
DRIVERS = frozenset({"psycopg2", "psycopg"})


class NotRecorded(Exception):
    """A listener of the models executes a statement whose answer it may read."""


@contextmanager
def recorded(connection: Connection) -> Iterator[list[str]]:
    """Record the DDL that is executed within the block; nothing is sent.

    :raises NotRecorded: if something else is executed
    """
    found: list[str] = []

    def execute(
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: DefaultExecutionContext | None,
    ) -> bool | None:
        if context is None or context.root_connection is not connection:
            return None
        if not context.isddl or parameters:
            raise NotRecorded
        found.append(statement)
        return True

    event.listen(connection.engine, "do_execute", execute)
    try:
        yield found
    finally:
        event.remove(connection.engine, "do_execute", execute)


def send_in_one_message(connection: Connection, statements: Sequence[str]) -> None:
    """Send statements to PostgreSQL: in one message where the driver can, else one by one."""
    if connection.dialect.driver not in DRIVERS:
        for statement in statements:
            connection.exec_driver_sql(statement)
    elif statements:
        cursor = connection.connection.cursor()
        # With parameters, though there are none, the driver reads the doubled % as one.
        cursor.execute(";\n".join(statements), {})
        cursor.close()
