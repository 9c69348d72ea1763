"""What a session of the server does now, and whom it waits for: looked at from another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from websauna_migrate.database.servers import Server
from websauna_migrate.results import Activity
from websauna_migrate.runs.blockers import SecondConnection, find_blockers
from websauna_migrate.runs.statement_log import Statement, kind_of, table_of

POSTGRESQL = text(
    "SELECT CASE a.state WHEN 'active' THEN a.query ELSE '' END, p.phase, "
    "CASE WHEN p.blocks_total > 0 THEN 100.0 * p.blocks_done / p.blocks_total END, "
    "a.wait_event_type = 'Lock' "
    "FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid "
    "WHERE a.pid = :process"
)

#: MariaDB tells the progress of an ALTER TABLE by its stage.
MYSQL = text(
    "SELECT info, CASE WHEN max_stage > 0 THEN state END, "
    "CASE WHEN max_stage > 0 THEN progress END, state LIKE 'Waiting for %lock%' "
    "FROM information_schema.processlist WHERE id = :process"
)

QUERIES = {"postgresql": POSTGRESQL, "mysql": MYSQL}


def activity_of(connection: Connection, server: Server, process: int) -> Activity:
    """Return what a session does, as the server tells.

    :param connection: of another session; it is left without a transaction
    :param process: the session's number at the server
    :raises SQLAlchemyError: where the server does not tell
    """
    try:
        row = connection.execute(QUERIES[server.kind], {"process": process}).first()
        if row is None:
            return Activity()
        query, phase, percent, waits = row
        done = phase or ""
        if done and percent is not None:
            done += f", {percent:.0f} %"
        kind = kind_of(query or "")
        blockers: Sequence[object] = ()
        if query:
            table = table_of(kind)
            blockers = find_blockers(connection, server, process, table, guess=bool(waits))
        return Activity(kind, "; ".join(map(str, blockers)), done)
    finally:
        # No transaction stays open: it would hold a snapshot.
        connection.rollback()


class ActivityLook:
    """Tells what a run's session does; may be called from any thread.

    :ivar running: gives the statement that is being executed, as far as this process knows
    """

    def __init__(self, make_engine: Callable[[], Engine], server: Server) -> None:
        """Prepare; nothing is connected yet."""
        self._second = SecondConnection(make_engine)
        self._server = server
        self.running: Callable[[], Statement | None] = lambda: None
        self._lock = threading.Lock()
        # Behind a pooler the session is another one each time.
        self._process = None if server.kind not in QUERIES or server.pooled else server.process

    def __call__(self) -> Activity:
        """Return what the session does, as this process knows and the server tells."""
        with self._lock:
            found = self._ask()
        own = self.running()
        if own is None or (found.statement and found.statement != own.kind):
            return found
        place = f" (line {own.line})" if own.line else ""
        return Activity(f"{own.kind}{place}", found.waits_for, found.done)

    def close(self) -> None:
        """Let the second connection go."""
        with self._lock:
            self._second.close()

    def _ask(self) -> Activity:
        """Return what the server tells."""
        process = self._process
        if process is None:
            return Activity()
        found = self._second.ask(lambda one: activity_of(one, self._server, process))
        return found or Activity()
