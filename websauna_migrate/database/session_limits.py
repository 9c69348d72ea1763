"""Limits of a session besides a step's own: the role's, the database's, those of ``env.py``."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from websauna_migrate.database.engines import SESSION
from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.servers import Server
from websauna_migrate.database.timeouts import Timeouts

__all__ = ["env_limited", "lift_limits"]

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


def env_limited(limits: Timeouts, connection: Connection) -> Timeouts:
    """Return limits as far as those that ``env.py`` set on its connection allow.

    How long a statement may wait for a lock there, a step is tried again here. A setting of this
    package's comes before a ``statement_timeout`` of ``env.py``.
    """
    found = connection.info.get(SESSION, {})
    changes: dict[str, float | None] = {}
    waits = [
        float(found[name]) * seconds
        for name, seconds in WAITS.items()
        if name in found and float(found[name]) > 0
    ]
    if waits:
        changes["lock_budget"] = min(limits.lock_budget, *waits)
    if not limits.statement_timeout_ms:
        for name, milliseconds in LASTS.items():
            if name in found:
                changes["statement_timeout_ms"] = float(found[name]) * milliseconds
    return limits.changed(changes)


#: Settings of a session that bound the wait for a lock, with what their unit is in seconds.
WAITS = {"lock_timeout": 0.001, "lock_wait_timeout": 1.0, "innodb_lock_wait_timeout": 1.0}

#: Those that bound a statement, with what their unit is in milliseconds.
LASTS = {"statement_timeout": 1.0, "max_statement_time": 1000.0}
