"""Who holds the lock that a step waits for: named while it waits, by a second connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from websauna_migrate.database.servers import Server
from websauna_migrate.runs.statement_words import without_literals

T = TypeVar("T")

#: Seconds between two looks at what blocks; a fraction of the shortest lock timeout.
LOOK_SECONDS = 0.03

#: How much of a blocking session's statement is shown.
QUERY_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that holds what a step needs.

    :ivar process: its number at the server
    :ivar age: seconds since its transaction began
    :ivar certain: whether the server said so; otherwise it is one that may be the cause
    """

    process: int
    user: str = ""
    application: str = ""
    state: str = ""
    query: str = ""
    age: float | None = None
    certain: bool = True

    def __str__(self) -> str:
        """Return the session in words."""
        words = [f"process {self.process}"]
        if self.user:
            words.append(f"user {self.user}")
        if self.application:
            words.append(self.application)
        if self.state:
            words.append(self.state)
        if self.age is not None:
            words.append(f"for {self.age:.0f} s")
        query = f": {self.query}" if self.query else ""
        return f"{'' if self.certain else 'perhaps '}{', '.join(words)}{query}"


POSTGRESQL = text(
    "SELECT pid, usename, application_name, state, query, "
    "extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)) AS age "
    "FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(:process))"
)

#: MariaDB tells who holds a row that another transaction waits for. It renews what these tables
#: say when they were not read for 0.1 s (storage/innobase/trx/trx0i_s.cc), so look less often.
ROW_LOCKS = text(
    "SELECT p.id, p.user, p.host, p.command, coalesce(b.trx_query, p.info), "
    "timestampdiff(SECOND, b.trx_started, now()) "
    "FROM information_schema.innodb_lock_waits w "
    "JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id "
    "JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id "
    "JOIN information_schema.processlist p ON p.id = b.trx_mysql_thread_id "
    "WHERE r.trx_mysql_thread_id = :process"
)

#: And who uses a table, where its plugin METADATA_LOCK_INFO is installed.
METADATA_LOCKS = text(
    "SELECT DISTINCT p.id, p.user, p.host, p.command, p.info, p.time "
    "FROM information_schema.metadata_lock_info m "
    "JOIN information_schema.processlist p ON p.id = m.thread_id "
    "WHERE m.thread_id <> :process AND m.table_schema = database() "
    "AND (m.table_name = :table OR :table = '') LIMIT 5"
)

#: Else all that have a transaction come into question.
TRANSACTIONS = text(
    "SELECT p.id, p.user, p.host, p.command, coalesce(t.trx_query, p.info), "
    "timestampdiff(SECOND, t.trx_started, now()) "
    "FROM information_schema.innodb_trx t "
    "JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
    "WHERE p.id <> :process AND p.db = database() ORDER BY t.trx_started LIMIT 5"
)

#: And for a user without the right PROCESS, all other sessions of the same user.
SESSIONS = text(
    "SELECT id, user, host, command, info, time FROM information_schema.processlist "
    "WHERE id NOT IN (:process, connection_id()) AND db = database() ORDER BY time DESC LIMIT 5"
)


class SecondConnection:
    """Asks the server about a run from another connection, for as long as that is possible.

    :ivar is_over: whether nothing is asked any more
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        """Prepare; nothing is connected yet."""
        self.is_over = False
        self._make_engine = make_engine
        self._connection: Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._connection is not None

    def ask(self, question: Callable[[Connection], T]) -> T | None:
        """Return what a function finds; ``None`` where that cannot be asked, or any more."""
        if self.is_over:
            return None
        try:
            if self._connection is None:
                self._connection = self._make_engine().connect()
            found = question(self._connection)
            # No transaction stays open: it would hold a snapshot.
            self._connection.rollback()
        except SQLAlchemyError:
            # No connection is left, or a right is missing: the run goes on without.
            self.is_over = True
            return None
        return found

    def close(self) -> None:
        """Let it go."""
        self.is_over = True
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()


class BlockerWatch:
    """Looks from a second connection while a step waits.

    :ivar found: the blocking sessions that were seen last
    """

    def __init__(self, make_engine: Callable[[], Engine], server: Server) -> None:
        self.server = server
        self.found: tuple[Blocker, ...] = ()
        self._second = SecondConnection(make_engine)
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def start(self, process: int) -> None:
        """Begin to look who blocks a session of PostgreSQL; for others see :meth:`look`.

        :param process: the waiting session's number at the server
        """
        if self.server.kind != "postgresql" or self._second.is_over:
            return
        self._over.clear()
        self._thread = threading.Thread(
            target=self._watch, args=(process,), name="websauna_migrate blockers", daemon=True
        )
        self._thread.start()

    def prepare(self) -> None:
        """Connect, so that the next attempt is looked at from its beginning."""
        if self.server.kind == "postgresql" and not self._second.is_open:
            self.look(0)

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def close(self) -> None:
        """Let the second connection go."""
        self.stop()
        self._second.close()

    def _watch(self, process: int) -> None:
        while not self._over.is_set() and not self._second.is_over:
            self.look(process)
            self._over.wait(LOOK_SECONDS)

    def look(self, process: int, table: str = "") -> None:
        """Look once; on MariaDB that is after a wait.

        :param table: the one that is changed, without a schema; empty if that is not known
        """
        found = self._second.ask(lambda one: find_blockers(one, self.server, process, table))
        self.found = found or self.found


def find_blockers(
    connection: Connection, server: Server, process: int, table: str = "", *, guess: bool = True
) -> tuple[Blocker, ...]:
    """Return the sessions that hold what another one needs.

    :param process: the waiting session's number at the server
    :param table: the one that it changes, without a schema; empty if that is not known
    :param guess: where the server does not tell, return those that come into question
    """
    if server.kind == "postgresql":
        return blockers_in(connection, POSTGRESQL, certain=True, process=process)
    for query, certain in (
        (ROW_LOCKS, True),
        (METADATA_LOCKS, bool(table)),
        (TRANSACTIONS, False),
        (SESSIONS, False),
    ):
        if not guess and query is not ROW_LOCKS:
            break
        # A right, or a plugin, may be missing.
        with suppress(DBAPIError):
            found = blockers_in(connection, query, certain=certain, process=process, table=table)
            if found:
                return found
    return ()


def blockers_in(
    connection: Connection, query: TextClause, *, certain: bool, **values: object
) -> tuple[Blocker, ...]:
    """Return the sessions that a query finds."""
    known = {name: value for name, value in values.items() if f":{name}" in query.text}
    rows = connection.execute(query, known).all()
    return tuple(
        Blocker(
            process=row[0],
            user=row[1] or "",
            application=row[2] or "",
            state=(row[3] or "").lower(),
            query=shown_query(row[4] or ""),
            age=None if row[5] is None else float(row[5]),
            certain=certain,
        )
        for row in rows
    )


def shown_query(query: str) -> str:
    """Return another session's statement, fit to be shown: short, and without what it quotes."""
    words = " ".join(without_literals(query).split())
    return words if len(words) <= QUERY_LENGTH else words[: QUERY_LENGTH - 3] + "..."


def blockers_of_file(path: str) -> tuple[Blocker, ...]:
    """Return the processes that hold locks on a file, where the system tells; Linux does."""
    found = set()
    with suppress(OSError, ValueError, IndexError, DBAPIError):
        inodes = {Path(name).stat().st_ino for name in (path, path + "-shm") if Path(name).exists()}
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            # 1: POSIX  ADVISORY  WRITE 4711 08:01:1234 0 EOF
            if words[1] == "POSIX" and int(words[5].rpartition(":")[2]) in inodes:
                found.add(int(words[4]))
    return tuple(
        Blocker(process, application=command_of(process))
        for process in sorted(found)
        if process > 0
    )


def command_of(process: int) -> str:
    """Return the name of a process's program; empty if it cannot be told."""
    with suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    return ""
