"""Attempts at a step, and their waits for locks: how long, for whom, and when it is of no use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from websauna_migrate.database.engines import driver_of, server_process
from websauna_migrate.database.timeouts import NAMES, Timeouts
from websauna_migrate.locks.file_locks import database_file
from websauna_migrate.locks.run_lock import RunBlocked
from websauna_migrate.planning.steps import Step
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.runs.blockers import Blocker, BlockerWatch, blockers_of_file
from websauna_migrate.runs.failures import blocked_by_caller
from websauna_migrate.runs.run_access import RunContext
from websauna_migrate.runs.sessions import held_connections


class Waiting:
    """The time that one step, or one run that is one transaction, spends waiting for locks."""

    def __init__(self, budget: float) -> None:
        self.began = time.monotonic()
        self.budget = budget
        self.attempts = 0
        self.told = 0.0
        self.named = False
        self.blockers: tuple[Blocker, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it has been waiting; 0 before the first failure."""
        return time.monotonic() - self.began if self.attempts else 0.0


@dataclass
class Attempt:
    """A step that is being run.

    :ivar number: the step's place in the run, from 1
    :ivar values: the step's row in the ledger
    :ivar waiting: what this attempt and those before have waited for locks
    :ivar began: when the first attempt at the step began, in UTC
    :ivar clock: and by ``time.perf_counter``
    """

    number: int
    step: Step
    values: dict[str, object]
    timeouts: Timeouts
    waiting: Waiting
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    clock: float = field(default_factory=time.perf_counter)

    @property
    def entry(self) -> str:
        """The id of the step's row in the ledger."""
        return str(self.values["id"])

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.clock


def timeouts_of_script(module: object, path: str) -> dict[str, float]:
    """Return the limits that a revision script sets for itself, by name.

    :raises ScriptError: if one is not a number, or below 0
    """
    found: dict[str, float] = {}
    for name in NAMES:
        value = getattr(module, name, None)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise ScriptError(
                "limit",
                path,
                f'Revision script "{path}" has {name} = {value!r}: it must be a number, 0 or more. '
                "Correct the script. Nothing of it was applied.",
            )
        found[name] = value
    return found


#: Seconds after which a lock that the calling thread itself may hold is believed to be the cause,
#: where the database cannot tell who holds it.
OWN_LOCK_SECONDS = {"sqlite": 0.5, "mysql": 3.0}

#: Seconds between two messages about the same wait.
TELL_AGAIN_SECONDS = 10.0


class LockWaits:
    """The waits for locks of one run.

    :ivar current: the attempt at work, for statements that wait by themselves
    """

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.connection = run.connection
        self.server = run.server
        self.blockers = BlockerWatch(run.access.make_engine, run.server)
        self.current: Attempt | None = None
        #: Gives the table that the statement which waited changes; empty if that is not known.
        self.changed_table: Callable[[], str] = lambda: ""
        #: The server's numbers of connections that this thread held during the last try: those
        #: that an ``env.py`` opens are closed again when the try has ended.
        self._own: frozenset[int] = frozenset()

    def stop_watching(self) -> None:
        """Look no longer who blocks the attempt, and keep who was seen last."""
        assert self.current is not None
        waiting = self.current.waiting
        self.blockers.stop()
        waiting.blockers = self.blockers.found or waiting.blockers

    def watch(self, connection: Connection) -> None:
        """Look from now on who blocks the attempt, in its transaction."""
        self._own = self._own_processes()
        process = self.server.process
        if self.server.pooled:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        if process is not None:
            self.blockers.start(process)

    def wait_in_step(self, waited: float) -> bool:
        """Wait before a statement is tried again by itself; tell whether it is to be.

        It is not where the calling thread itself holds the lock. That is told once the step has
        ended: SQLAlchemy gives up a connection during whose statement a ``TimeoutError`` is raised.
        """
        assert self.current is not None
        self.current.waiting.attempts += 1
        try:
            return self.wait(self.current, waited)
        except RunBlocked:
            return False

    def wait(self, attempt: Attempt, waited: float | None = None) -> bool:
        """Let others go first; tell whether the step is to be tried again.

        :param waited: for how many seconds; default: since the first attempt at the step
        :raises RunBlocked: if the calling thread itself holds the lock
        """
        step, waiting = attempt.step, attempt.waiting
        seconds = waiting.seconds if waited is None else waited
        self._name_blockers(waiting)
        own = self._own_holders(waiting)
        if own:
            raise blocked_by_caller(step, own)
        if seconds >= waiting.budget or self.run.access.stopping():
            return False
        self.blockers.prepare()
        now = time.monotonic()
        news = bool(waiting.blockers) and not waiting.named
        if waiting.attempts > 1 and (news or now - waiting.told > TELL_AGAIN_SECONDS):
            waiting.told = now
            waiting.named = bool(waiting.blockers)
            self.run.access.tell(
                f"{step.package} {step.revision.id} waits for a lock{held_by(waiting.blockers)}; "
                f"it is tried again for {max(0.0, waiting.budget - seconds):.0f} s."
            )
        pause = min(attempt.timeouts.pause_after(seconds), max(0.0, waiting.budget - seconds))
        return not self.run.access.stopping.wait(pause)

    def _name_blockers(self, waiting: Waiting) -> None:
        """Learn who holds the lock, where the database tells afterwards."""
        if self.server.kind == "mysql" and self.server.process is not None:
            self.blockers.look(self.server.process, self.changed_table())
            waiting.blockers = self.blockers.found or waiting.blockers
        elif self.server.kind == "sqlite" and not self.connection.closed:
            path = database_file(driver_of(self.connection))
            waiting.blockers = blockers_of_file(path) if path else ()

    def _own_processes(self) -> frozenset[int]:
        """Return the server's numbers of other connections that the calling thread holds."""
        own = held_connections.of_this_thread(but=driver_of(self.connection))
        return frozenset(number for number in map(server_process, own) if number is not None)

    def _own_holders(self, waiting: Waiting) -> str:
        """Return which open transactions of the calling thread are in the way; empty for none."""
        own = held_connections.of_this_thread(but=driver_of(self.connection))
        processes = self._own_processes() | self._own
        if not own and not processes:
            return ""
        if self.server.kind == "sqlite":
            if waiting.seconds < OWN_LOCK_SECONDS["sqlite"]:
                return ""
            path = database_file(driver_of(self.connection))
            return "an open SQLite transaction" if any(has_open(c, path) for c in own) else ""
        if self.server.kind == "mysql" and waiting.seconds < OWN_LOCK_SECONDS["mysql"]:
            return ""
        found = sorted(b.process for b in waiting.blockers if b.process in processes)
        return ", ".join(f"server process {number}" for number in found)


def lock_problem(waiting: Waiting) -> str:
    """Return what is said of a lock that never came free."""
    return f"a lock was not free within {waiting.seconds:.1f} s{held_by(waiting.blockers)}."


def held_by(blockers: Sequence[Blocker]) -> str:
    """Return words about who holds a lock; empty if it is not known."""
    return f", held by {'; '.join(map(str, blockers))}" if blockers else ""


def has_open(dbapi_connection: DBAPIConnection, path: str) -> bool:
    """Tell whether a ``sqlite3`` connection has a transaction open in a file."""
    # One that its owner closed raises whatever it is asked.
    with suppress(Exception):
        return dbapi_connection.in_transaction and database_file(dbapi_connection) == path
    return False
