"""What a run stands on: its connection, the run's lock, what the histories and the ledger say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.engines import WRITES, make_engine
from websauna_migrate.database.history_tables import MIGRATES, RecordsBroken
from websauna_migrate.database.in_memory import refuse_private
from websauna_migrate.database.servers import Server, examine
from websauna_migrate.database.stopping import Stop
from websauna_migrate.locks.choice import make_lock
from websauna_migrate.locks.run_lock import RunLock, take
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import LedgerEntry
from websauna_migrate.runs.failures import InterruptedSteps
from websauna_migrate.runs.ledger import Ledger
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.run_context import RunOptions, clean
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.step_queue import connect_queueing

log = logging.getLogger(__name__)

Applied = Mapping[str, tuple[str, ...]]


class RunAccess:
    """Connects, takes the run's lock and reads: for a run, or to change the histories alone."""

    def __init__(
        self,
        site: Site,
        options: RunOptions | None = None,
        refuse: Callable[[Connection, Applied, Plan], None] = lambda *_: None,
    ) -> None:
        """Prepare; nothing is connected yet.

        :param refuse: called with a plan before it is begun, or found empty; raises what speaks
            against it
        """
        self.site = site
        self.options = options or RunOptions()
        self.refuse = refuse
        self.settings = site.settings
        self.environments = site.loaded.environments
        self.schema = site.schema
        self.stopping = Stop.of(self.options.stop)
        wait = self.options.lock_wait
        self.lock_wait = site.settings.lock_wait if wait is None else wait

    def make_engine(self) -> Engine:
        """Return a new engine of the database."""
        if self.options.dry_run and not self.site.has_database:
            # A dry run does not make the file of an SQLite database.
            return make_engine(make_url("sqlite://"))
        return self.site.make_engine()

    def connecting(self) -> AbstractContextManager[Connection]:
        """Give the connection that does the work."""
        if self.site.given is None:
            refuse_private(self.settings.require_url())
        return self.site.connecting(self._make_queueing)

    def _make_queueing(self) -> Engine:
        engine = self.make_engine()
        connect_queueing(engine)
        return engine

    @property
    def ledger(self) -> Ledger:
        """The ledger of the run."""
        return self.site.ledger

    def read(self, connection: Connection) -> tuple[Applied, bool]:
        """Return the rows of every registered package's history table, and if there is a ledger."""
        applied, tables = self.site.read(connection)
        return applied, LEDGER_TABLE in tables

    def tell(self, words: str) -> None:
        """Say in words what the run does, or waits for."""
        if self.site.hooks.on_wait is not None:
            self.site.hooks.on_wait(words)
        else:
            log.warning("%s", words)

    @contextmanager
    def locked(self, doing: str = "stamp") -> Iterator[tuple[Connection, Callable[[], Applied]]]:
        """Hold the run's lock for a change of the history tables alone.

        :param doing: what for, in words for those who wait
        :returns: the connection, and what reads the histories in its current transaction
        :raises InterruptedSteps: if an earlier run ended in the middle of a step
        """
        with self.locked_for_repair(doing) as connection:
            if self.marked(connection):
                self.refuse_interrupted(connection)
            yield connection, lambda: self.read(connection)[0]

    @contextmanager
    def locked_for_repair(self, doing: str) -> Iterator[Connection]:
        """Hold the run's lock whatever an earlier run left behind."""
        with PROCESS_LOCK.held(self.lock_wait), self.connecting() as connection:
            server = examine(connection)
            connection.execution_options(**{MIGRATES: True})
            with self._locked(connection, server, doing):
                connection.execution_options(**{WRITES: True})
                yield connection

    @contextmanager
    def _locked(self, connection: Connection, server: Server, doing: str) -> Iterator[RunLock]:
        lock = make_lock(connection, server, self.make_engine, self.schema)
        lock.doing = doing
        with take(
            lock,
            self.lock_wait,
            tell=self.tell,
            describe=lambda: self._describe_run(connection, lock.other_session),
            stopping=self.stopping,
        ):
            yield lock

    def _describe_run(self, connection: Connection, session: int | None) -> str:
        """Return what the ledger says of the run in progress: who, since when, how far it is.

        :param session: the server's session that holds the lock
        """
        if session is None:
            return ""
        try:
            entries = self.ledger.run_of(connection)
            connection.rollback()
        except (DBAPIError, RecordsBroken):
            # The run in progress may be about to make the table.
            clean(connection)
            return ""
        # Rows of another session are those of a run before.
        if not entries or not session or entries[-1].session != session:
            return ""
        first, last = entries[0], entries[-1]
        where = f'revision "{last.revision}" of package "{last.package}"'
        state = f"at {where}" if last.ended is None else f"past {where}"
        return (
            f"process {first.process} on {first.host}, {first.direction} since "
            f"{first.started:%Y-%m-%d %H:%M:%S} UTC, {state}"
        )

    def marked(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the steps that are marked as running; under the lock, all are half done."""
        has_ledger = self.ledger.is_there(connection)
        found = self.ledger.interrupted(connection) if has_ledger else ()
        connection.rollback()
        return found

    def refuse_interrupted(self, connection: Connection) -> None:
        """Raise what is to be said of steps that ended half done.

        :raises InterruptedSteps: always
        """
        from websauna_migrate.runs.half_done import known_facts

        entries = self.marked(connection)
        applied = self.read(connection)[0]
        known = {entry.id: known_facts(entry, connection, applied) for entry in entries}
        connection.rollback()
        raise InterruptedSteps(entries, known)


@dataclass
class RunContext:
    """What all steps of a run have in common.

    :ivar access: what the run stands on, and what its caller asked for
    :ivar connection: the one that does the work
    :ivar atomic: the whole run is one transaction
    :ivar marks: as in :class:`.RunOptions`, until the first step has gone well
    :ivar checksums: of the plan's scripts, by path
    :ivar kept: those whose texts the ledger has
    :ivar planned: id of the ledger's row that was written for the first step, until it is used
    :ivar due: package and revision of the steps whose precheck runs right before them
    """

    run_id: str
    access: RunAccess
    connection: Connection
    server: Server
    lock: RunLock
    atomic: bool
    marks: Mapping[str, str]
    checksums: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    planned: str | None = None
    due: frozenset[tuple[str, str]] = frozenset()
