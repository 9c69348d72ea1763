"""Limits that a role or a database has for every session."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.servers import Server

__all__ = ["lift_limits"]

#: ``transaction_timeout`` is known from PostgreSQL 17 on.
LIFT = (
    "SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE setting <> '0' "
    "AND source <> 'session' AND name "
    "IN ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', "
    "'transaction_timeout')"
)


def lift_limits(connection: Connection, server: Server) -> None:
    """Take the role's and the database's own limits off a session; no transaction is open.

    They are meant for an application's statements, and would cut a CREATE INDEX CONCURRENTLY or a
    VALIDATE off half way. The steps' own limits are set in each step's transaction. Behind a pooler
    the session is shared with others, and stays as it is; so does one that the caller gave.
    """
    if server.kind != "postgresql" or server.pooled or given_state(connection):
        return
    connection.exec_driver_sql(LIFT)
    connection.commit()
