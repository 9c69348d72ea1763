"""Running one step of a plan: its marker, its script, its rows, and another try if need be."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from websauna_migrate.blockers import Blocker, BlockerWatch, blockers_of_file
from websauna_migrate.database import connect, hide_password, one_line
from websauna_migrate.environment import PackageEnvironment
from websauna_migrate.errors import MigrationError
from websauna_migrate.failures import (
    BlockedByCaller,
    ConnectionLost,
    HistoryMoved,
    RunStopped,
    StepFailed,
)
from websauna_migrate.file_locks import database_file
from websauna_migrate.ledger import DONE, FAILED, STOPPED, Ledger, MarkerLost
from websauna_migrate.locks import LockLost, RunLock
from websauna_migrate.servers import Server, server_process
from websauna_migrate.sessions import held_connections
from websauna_migrate.settings import Settings
from websauna_migrate.statements import (
    EndsTransaction,
    RollsBack,
    Supervisor,
    is_lock_failure,
)
from websauna_migrate.steps import Step
from websauna_migrate.stopping import CutOff, StopNow, Stopping
from websauna_migrate.timeouts import Timeouts, timeouts_of_script

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["RunContext", "StepRunner", "Waiting", "clean", "is_transactional", "lock_problem"]

#: Seconds after which a lock that the calling thread itself may hold is believed to be the cause,
#: where the database cannot tell who holds it.
OWN_LOCK_SECONDS = {"sqlite": 0.5, "mysql": 3.0}

#: Seconds between two messages about the same wait.
TELL_AGAIN_SECONDS = 10.0


@dataclass
class RunContext:
    """What all steps of a run have in common.

    :ivar connection: the one that does the work
    :ivar make_engine: makes an engine for a second connection, should one be needed
    :ivar limits: what the caller of the run asked for, in place of settings
    :ivar tell: told in words what somebody who waits for the run should know
    :ivar planned: id of the ledger's row that was written for the first step, until it is used
    """

    run_id: str
    connection: Connection
    server: Server
    lock: RunLock
    environments: Mapping[str, PackageEnvironment]
    ledger: Ledger
    settings: Settings
    make_engine: Callable[[], Engine]
    tell: Callable[[str], None]
    stopping: Stopping = field(default_factory=Stopping)
    limits: Mapping[str, float | None] = field(default_factory=dict)
    tag: str | None = None
    atomic: bool = False
    planned: str | None = None


class Waiting:
    """The time that one step, or one run that is one transaction, spends waiting for locks."""

    def __init__(self, budget: float) -> None:
        self.began = time.monotonic()
        self.budget = budget
        self.attempts = 0
        self.told = 0.0
        self.blockers: tuple[Blocker, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it has been waiting; 0 before the first failure."""
        return time.monotonic() - self.began if self.attempts else 0.0


class StepRunner:
    """Runs steps, one at a time, in a run's context."""

    def __init__(self, run: RunContext) -> None:
        self.run_context = run
        self.connection = run.connection
        self.server = run.server
        self.blockers = BlockerWatch(run.make_engine, run.server)
        self.supervisor = Supervisor(
            run.connection, run.server, run.lock, run.stopping, self._wait_in_step, run.tell
        )
        self.supervisor.atomic = run.atomic
        self.supervisor.watch(run.connection.engine)
        self._step: Step | None = None
        self._waiting = Waiting(0.0)
        self._timeouts = Timeouts()

    def close(self) -> None:
        """Let go of what was opened besides the run's connection."""
        self.blockers.close()

    def timeouts_of(self, step: Step) -> Timeouts:
        """Return a step's limits: the run's, else the script's, the package's, everybody's."""
        run = self.run_context
        script = run.environments[step.package].scripts.get_revision(step.revision.id)
        own = timeouts_of_script(script.module, step.revision.path)
        return run.settings.timeouts_of(step.package).changed(own).changed(run.limits)

    def run(self, number: int, total: int, step: Step) -> None:
        """Run a step in a transaction of its own, again and again while a lock is taken.

        :param number: its place in the run, from 1
        :raises HistoryMoved: when the plan does not fit any more
        :raises MigrationError: when the step failed, was stopped, or could not get a lock
        """
        timeouts = self.timeouts_of(step)
        waiting = Waiting(timeouts.lock_budget)
        while True:
            self.require_lock(number - 1)
            values = self.values(number, step)
            try:
                self.attempt(step, values, timeouts, waiting)
                return
            except HistoryMoved:
                clean(self.connection)
                raise
            except BaseException as exc:
                clean(self.connection)
                # It comes back only if the step is to be tried again.
                self._after_failure(exc, number, total, step, values, waiting, timeouts)

    def values(self, number: int, step: Step) -> dict[str, Any]:
        """Return the ledger's row of a step that is about to run."""
        run = self.run_context
        return run.ledger.values(
            run=run.run_id,
            number=number,
            step=step,
            history_table=run.environments[step.package].package.history_table,
            session=run.lock.session,
            entry=run.planned if number == 1 else None,
        )

    def require_lock(self, done: int) -> None:
        """Make sure that this run may go on.

        :raises ConnectionLost: if it has lost its lock
        """
        try:
            self.run_context.lock.check()
        except LockLost as exc:
            raise ConnectionLost(str(exc), done) from exc

    def attempt(
        self, step: Step, values: dict[str, Any], timeouts: Timeouts, waiting: Waiting
    ) -> None:
        """Run a step once. In an atomic run the caller's transaction is open, and stays so."""
        run = self.run_context
        from websauna_migrate.alembic_internals import planned_step

        environment = run.environments[step.package]
        scripts = environment.scripts
        script = scripts.get_revision(step.revision.id)
        self._step, self._waiting, self._timeouts = step, waiting, timeouts

        def steps(rows: Any, context: MigrationContext) -> Sequence[Any]:
            if frozenset(rows) != step.rows_before:
                raise HistoryMoved
            if run.atomic:
                context.autocommit_block = refuse_autocommit  # type: ignore[method-assign]
            revision_step = planned_step(scripts, step)
            revision_step.migration_fn = self._marked(
                step,
                revision_step.migration_fn,
                context,
                values,
                waiting,
                transactional=is_transactional(script.module),
            )
            return [revision_step]

        def on_version_apply(*, ctx: MigrationContext, **_: Any) -> None:
            assert ctx.connection is not None
            if not self.supervisor.ended:
                run.ledger.end(ctx.connection, values["id"], DONE)
            # The last moment at which a run that lost its lock can keep from committing.
            run.lock.check()

        if not run.atomic and self.connection.in_transaction():
            self.connection.rollback()
        self.supervisor.begin_step(timeouts, waiting.seconds)
        try:
            environment.run(
                steps,
                connection=self.connection,
                rows=tuple(sorted(step.rows_before)) if run.lock.spans_steps else None,
                configure={"on_version_apply": on_version_apply},
                tag=run.tag,
            )
        finally:
            self.blockers.stop()
            waiting.blockers = self.blockers.found or waiting.blockers
        if not run.atomic and self.connection.in_transaction():
            self.connection.commit()

    def _marked(
        self,
        step: Step,
        function: Callable[..., None],
        context: MigrationContext,
        values: dict[str, Any],
        waiting: Waiting,
        *,
        transactional: bool,
    ) -> Callable[..., None]:
        """Return a script's function with the marker in front of it."""
        run = self.run_context

        from websauna_migrate.data import data_of_step

        @functools.wraps(function)
        def marked(**arguments: Any) -> None:
            connection = context.connection
            assert connection is not None
            planned = values["id"] == run.planned
            settings = ""
            if self.server.kind == "postgresql":
                settings = self.supervisor.local_settings(waiting.seconds)
            run.lock.join(connection)
            run.ledger.start(connection, values, planned=planned, settings=settings)
            if waiting.attempts:
                self._watch(connection)
            with self.supervisor.looking(), run.stopping.running(self._cancel):
                if transactional:
                    with data_of_step(connection):
                        function(**arguments)
                else:
                    # It commits the marker first.
                    with context.autocommit_block(), data_of_step(connection):
                        function(**arguments)
            if run.stopping.at_once:
                raise CutOff
            if is_plain(step) and connection.dialect.driver == "psycopg2":
                self.supervisor.end_with = functools.partial(
                    run.ledger.end_with, entry=values["id"]
                )

        return marked

    def _cancel(self) -> None:
        """Cancel what the server does for this run; called from another thread."""
        driver: Any = self.connection.connection.dbapi_connection
        if self.server.kind == "sqlite":
            driver.interrupt()
        elif self.server.kind == "mysql":
            with self.run_context.make_engine().connect() as connection:
                connection.exec_driver_sql(f"KILL QUERY {int(self.server.process or 0)}")
        elif hasattr(driver, "cancel"):
            driver.cancel()

    # Waiting for locks

    def _watch(self, connection: Connection) -> None:
        """Look from now on who blocks the attempt, in its transaction."""
        process = self.server.process
        if self.server.pooled:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        if process is not None:
            self.blockers.start(process)

    def _wait_in_step(self, waited: float) -> bool:
        """Wait before a statement is tried again by itself; tell whether it is to be."""
        step, waiting = self._step, self._waiting
        assert step is not None
        waiting.attempts += 1
        return self.wait(step, waiting, self._timeouts, waited)

    def wait(
        self, step: Step, waiting: Waiting, timeouts: Timeouts, waited: float | None = None
    ) -> bool:
        """Let others go first; tell whether the step is to be tried again.

        :raises BlockedByCaller: if the calling thread itself holds the lock
        """
        seconds = waiting.seconds if waited is None else waited
        self._name_blockers(waiting)
        own = self._own_holders(waiting)
        if own:
            raise BlockedByCaller(step, own)
        if seconds >= waiting.budget or self.run_context.stopping:
            return False
        now = time.monotonic()
        if waiting.attempts > 1 and now - waiting.told > TELL_AGAIN_SECONDS:
            waiting.told = now
            self.run_context.tell(
                f"{step.package} {step.revision.id} waits for a lock{held_by(waiting.blockers)}; "
                f"it is tried again for {max(0.0, waiting.budget - seconds):.0f} s."
            )
        pause = min(timeouts.pause_after(seconds), max(0.0, waiting.budget - seconds))
        return not self.run_context.stopping.wait(pause)

    def _name_blockers(self, waiting: Waiting) -> None:
        """Learn who holds the lock, where the database tells afterwards."""
        if self.server.kind == "mysql" and self.server.process is not None:
            self.blockers.look(self.server.process)
            waiting.blockers = self.blockers.found or waiting.blockers
        elif self.server.kind == "sqlite" and not self.connection.closed:
            path = database_file(self.connection.connection.dbapi_connection)
            waiting.blockers = blockers_of_file(path) if path else ()

    def _own_holders(self, waiting: Waiting) -> str:
        """Return which open transactions of the calling thread are in the way; empty for none."""
        own = held_connections.of_this_thread(but=self.connection.connection.dbapi_connection)
        if not own:
            return ""
        if self.server.kind == "sqlite":
            if waiting.seconds < OWN_LOCK_SECONDS["sqlite"]:
                return ""
            path = database_file(self.connection.connection.dbapi_connection)
            return "an open SQLite transaction" if any(has_open(c, path) for c in own) else ""
        processes = {number for number in map(server_process, own) if number is not None}
        if self.server.kind == "mysql" and waiting.seconds < OWN_LOCK_SECONDS["mysql"]:
            return ""
        found = sorted(b.process for b in waiting.blockers if b.process in processes)
        return ", ".join(f"server process {number}" for number in found)

    # When a step did not go well

    def _after_failure(
        self,
        exc: BaseException,
        number: int,
        total: int,
        step: Step,
        values: dict[str, Any],
        waiting: Waiting,
        timeouts: Timeouts,
    ) -> None:
        """Wait for another try, or raise what is to be told."""
        run = self.run_context
        lost = self._is_lost()
        visible = self._marker_is_visible(values["id"], lost=lost)
        half_done = visible and not self.supervisor.untouched
        exists = visible or values["id"] == run.planned
        stopped = isinstance(exc, (StopNow, CutOff)) or run.stopping.at_once
        if not isinstance(exc, Exception) or stopped:
            if not half_done:
                self.record(values, STOPPED, exists=exists, lost=lost)
            if not stopped:
                # KeyboardInterrupt, SystemExit: whoever raised it means the whole program.
                raise exc
            raise RunStopped(
                step,
                done=number - 1,
                total=total,
                running=True,
                half_done=half_done,
                exit_code=run.stopping.exit_code,
            ) from exc
        if isinstance(exc, LockLost):
            raise ConnectionLost(str(exc), number - 1) from exc
        problem = ""
        if is_lock_failure(exc, self.server.kind) and not lost:
            waiting.attempts += 1
            problem = lock_problem(waiting)
            if not half_done:
                try:
                    if self.wait(step, waiting, timeouts):
                        return
                except BlockedByCaller as blocked:
                    self.record(values, FAILED, exists=exists)
                    raise blocked from exc
                if run.stopping:
                    self.record(values, STOPPED, exists=exists)
                    raise RunStopped(
                        step,
                        done=number - 1,
                        total=total,
                        running=True,
                        exit_code=run.stopping.exit_code,
                    ) from exc
                problem = lock_problem(waiting)
        if not half_done and not lost:
            self.record(values, FAILED, exists=exists)
        if isinstance(exc, MigrationError) and not half_done:
            raise exc
        raise StepFailed(
            step,
            place_of(exc, step.revision.path),
            problem or self.describe(exc),
            half_done=half_done,
            unknown=lost and not half_done,
            done=number - 1,
        ) from exc

    def after_atomic_failure(
        self,
        exc: BaseException,
        step: Step,
        values: dict[str, Any],
        waiting: Waiting,
        timeouts: Timeouts,
        *,
        done: int,
        total: int,
        dry_run: bool,
    ) -> None:
        """Wait for another try of a run that is one transaction, or raise what is to be told.

        :param step: the one that failed
        :param done: how many went well before, and are rolled back with it
        """
        run = self.run_context
        lost = self._is_lost()
        visible = not dry_run and self._marker_is_visible(values["id"], lost=lost)
        exists = run.planned is not None
        if exists:
            # The row of the first step is the only one that is there, so it tells of this one.
            values = {**values, "id": run.planned}
        stopped = isinstance(exc, (StopNow, CutOff)) or run.stopping.at_once
        problem = ""
        outcome = FAILED
        error: MigrationError | None = None
        if stopped or not isinstance(exc, Exception):
            outcome = STOPPED
            if stopped:
                error = RunStopped(
                    step, done=0, total=total, running=True, exit_code=run.stopping.exit_code
                )
        elif isinstance(exc, LockLost):
            raise ConnectionLost(str(exc), 0) from exc
        elif is_lock_failure(exc, self.server.kind) and not lost:
            waiting.attempts += 1
            try:
                if self.wait(step, waiting, timeouts):
                    return
            except BlockedByCaller as blocked:
                error = blocked
            problem = lock_problem(waiting)
        if not dry_run and not lost and not visible:
            self.record(values, outcome, exists=exists)
        if error is not None:
            raise error from exc
        if isinstance(exc, MigrationError) or not isinstance(exc, Exception):
            raise exc
        raise StepFailed(
            step,
            place_of(exc, step.revision.path),
            problem or self.describe(exc),
            half_done=visible,
            unknown=lost,
            done=done,
            atomic=True,
        ) from exc

    def _is_lost(self) -> bool:
        """Tell whether the connection, and with it the lock, is not what it was."""
        if is_gone(self.connection):
            return True
        try:
            self.run_context.lock.check()
        except LockLost:
            return True
        for _ in range(2):
            try:
                # A broken connection may not have been noticed yet.
                self.connection.exec_driver_sql("SELECT 1")
                self.connection.rollback()
            except SQLAlchemyError:
                # Or a request to cancel the last statement came late, and hit this one.
                clean(self.connection)
            else:
                return False
            if is_gone(self.connection):
                break
        return True

    def _marker_is_visible(self, entry: str, *, lost: bool) -> bool:
        """Tell, after the rollback, if the step's marker was published all the same."""
        try:
            if lost:
                with connect(self.run_context.make_engine()) as connection:
                    marks = self.run_context.ledger.interrupted(connection)
            else:
                marks = self.run_context.ledger.interrupted(self.connection)
                self.connection.rollback()
        except (SQLAlchemyError, MigrationError):
            # The next run looks again, under the lock.
            clean(self.connection)
            return False
        return any(mark.id == entry for mark in marks)

    def record(
        self, values: dict[str, Any], outcome: str, *, exists: bool, lost: bool = False
    ) -> None:
        """Write that a step left nothing behind; if that fails, it must not hide why.

        :param exists: whether the step has its row in the ledger already
        :param lost: whether the run's own connection is of no use any more
        """
        with suppress(SQLAlchemyError, MigrationError):
            if lost:
                with connect(self.run_context.make_engine()) as connection:
                    self.run_context.ledger.record(connection, values, outcome, planned=exists)
                    connection.commit()
                return
            try:
                self.run_context.ledger.record(self.connection, values, outcome, planned=exists)
                self.connection.commit()
            finally:
                clean(self.connection)

    def describe(self, exc: BaseException) -> str:
        """Return what went wrong in one sentence, without a password or bound values."""
        url = self.connection.engine.url
        if isinstance(exc, DBAPIError):
            return hide_password(one_line(str(exc.orig)), url)
        if isinstance(exc, (MarkerLost, RollsBack)):
            return (
                "the script rolls its transaction back by itself. To take back a part, use a "
                "savepoint or websauna_migrate.data.session()."
            )
        if isinstance(exc, EndsTransaction):
            return f'"{exc}" would end the transaction that the whole run is.'
        words = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        return hide_password(one_line(words), url)


def refuse_autocommit() -> Any:
    """Stand in for ``autocommit_block`` in a run that is one transaction."""
    raise EndsTransaction("autocommit_block()")


def is_transactional(module: Any) -> bool:
    """Tell whether a script lets its step be one transaction: not if ``transactional = False``."""
    return getattr(module, "transactional", True) is not False


def is_plain(step: Step) -> bool:
    """Tell whether a step replaces one row of its history table and does nothing else to it."""
    return len(step.rows_before - step.rows_after) == len(step.rows_after - step.rows_before) == 1


def lock_problem(waiting: Waiting) -> str:
    """Return what is said of a lock that never came free."""
    return f"a lock was not free within {waiting.seconds:.1f} s{held_by(waiting.blockers)}."


def held_by(blockers: Sequence[Blocker]) -> str:
    """Return words about who holds a lock; empty if nobody knows."""
    return f", held by {'; '.join(map(str, blockers))}" if blockers else ""


def has_open(dbapi_connection: Any, path: str) -> bool:
    """Tell whether a ``sqlite3`` connection has a transaction open in a file."""
    if not getattr(dbapi_connection, "in_transaction", False):
        return False
    with suppress(Exception):
        return database_file(dbapi_connection) == path
    return False


def is_gone(connection: Connection) -> bool:
    """Tell whether a connection is known to be closed or broken."""
    return connection.closed or connection.invalidated


def clean(connection: Connection) -> None:
    """Leave no transaction open, whatever state the connection is in."""
    try:
        if not connection.closed and connection.in_transaction():
            connection.rollback()
    except SQLAlchemyError:
        connection.invalidate()


def place_of(exc: BaseException, path: str) -> str:
    """Return the script's file and the line in it that was running when ``exc`` arose."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == path
    ]
    return f"{path}, line {lines[-1]}" if lines else path
