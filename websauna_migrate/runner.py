"""Running a plan: the only part that changes the database.

Each step is one transaction of its own, on the connection that also holds the run's lock. It is
opened by Alembic, so that ``autocommit_block`` works, and contains everything: the ledger's marker,
the script's work, the history table's new rows and the ledger's final word.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from zope.interface import implementer

from websauna_migrate.atomicity import require_atomic
from websauna_migrate.database import WRITES, connect
from websauna_migrate.environment import PackageEnvironment
from websauna_migrate.exclusion import ALEMBIC
from websauna_migrate.execution import RunContext, StepRunner, Waiting, clean, lock_problem
from websauna_migrate.failures import (
    BlockedByCaller,
    HistoryMoved,
    InterruptedSteps,
    RunStopped,
    StepFailed,
)
from websauna_migrate.histories import list_history_tables, read_rows
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
)
from websauna_migrate.ledger import LEDGER_TABLE, STOPPED, Ledger, LedgerEntry, checksum
from websauna_migrate.locks import RunLock, make_lock, take
from websauna_migrate.plan import Plan, Step
from websauna_migrate.results import AppliedStep, Run
from websauna_migrate.servers import Server, examine
from websauna_migrate.settings import Settings
from websauna_migrate.statements import is_lock_failure
from websauna_migrate.stopping import Stopping
from websauna_migrate.trust import distrusted

__all__ = [
    "ALEMBIC",
    "BlockedByCaller",
    "InterruptedSteps",
    "RunOptions",
    "RunStopped",
    "Runner",
    "StepFailed",
    "checksum",
]

log = logging.getLogger(__name__)

Applied = Mapping[str, tuple[str, ...]]

T = TypeVar("T")


@dataclass(frozen=True)
class RunOptions:
    """What the caller of a run may ask for.

    :ivar tag: handed to ``env.py`` scripts as Alembic's ``--tag``
    :ivar atomic: the whole run shall be one transaction
    :ivar dry_run: and it shall be rolled back at its end
    :ivar stop: asked at each step's boundary whether to stop, see :class:`.Stop`
    :ivar lock_wait: seconds to wait for another run; ``None`` for the setting
    :ivar limits: in place of the settings of the same names; ``None`` for no change
    """

    tag: str | None = None
    atomic: bool = False
    dry_run: bool = False
    stop: Callable[[], bool] | None = None
    lock_wait: float | None = None
    limits: Mapping[str, float | None] = field(default_factory=dict)


@implementer(IMigrationRunStarted)
class RunStarted:
    """See :class:`.IMigrationRunStarted`."""

    def __init__(self, run_id: str, plan: Plan) -> None:
        self.run_id = run_id
        self.plan = plan


@implementer(IMigrationStepApplied)
class StepApplied:
    """See :class:`.IMigrationStepApplied`."""

    def __init__(self, run_id: str, step: AppliedStep, number: int, total: int) -> None:
        self.run_id = run_id
        self.step = step
        self.number = number
        self.total = total


@implementer(IMigrationRunEnded)
class RunEnded:
    """See :class:`.IMigrationRunEnded`."""

    def __init__(self, run: Run, error: BaseException | None) -> None:
        self.run = run
        self.error = error


class Runner:
    """Runs plans on one database."""

    def __init__(
        self,
        *,
        make_engine: Callable[[], Engine],
        environments: Mapping[str, PackageEnvironment],
        ledger: Ledger,
        settings: Settings,
        notify: Callable[[object], None],
        on_wait: Callable[[str], None] | None = None,
        options: RunOptions | None = None,
    ) -> None:
        """Prepare; nothing is connected yet.

        :param make_engine: makes an engine that nobody else uses
        :param notify: gets the events of a run
        :param on_wait: told in words what somebody who waits for the run should know
        """
        self.make_engine = make_engine
        self.environments = environments
        self.ledger = ledger
        self.settings = settings
        self.notify = notify
        self.on_wait = on_wait
        self.options = options or RunOptions()
        self.schema = settings.version_table_schema
        self.stopping = Stopping(self.options.stop)
        wait = self.options.lock_wait
        self.lock_wait = settings.lock_wait if wait is None else wait

    def read(self, connection: Connection) -> tuple[Applied, bool]:
        """Return the rows of every registered package's history table, and if there is a ledger."""
        existing = list_history_tables(connection, self.schema)
        tables = {
            name: environment.package.history_table
            for name, environment in self.environments.items()
        }
        rows = read_rows(connection, existing.intersection(tables.values()), self.schema)
        return {name: rows.get(table, ()) for name, table in tables.items()}, (
            LEDGER_TABLE in existing
        )

    def tell(self, words: str) -> None:
        """Say something to whoever waits for the run."""
        if self.on_wait is not None:
            self.on_wait(words)
        else:
            log.warning("%s", words)

    def run(self, direction: str, make_plan: Callable[[Applied], Plan]) -> Run:
        """Make the plan under the lock and run it.

        :param make_plan: gets the applied rows of every package and returns the plan; called again
            whenever the history may have changed meanwhile
        """
        run_id = uuid.uuid4().hex
        with ALEMBIC.held(self.lock_wait), connect(self.make_engine()) as connection:
            server = examine(connection)
            if not self._anything_to_do(connection, make_plan):
                return Run(run_id, direction, dry_run=self.options.dry_run)
            with self._locked(connection, server, direction) as lock:
                context = RunContext(
                    run_id=run_id,
                    connection=connection,
                    server=server,
                    lock=lock,
                    environments=self.environments,
                    ledger=self.ledger,
                    settings=self.settings,
                    make_engine=self.make_engine,
                    tell=self.tell,
                    stopping=self.stopping,
                    limits=self.options.limits,
                    tag=self.options.tag,
                    atomic=self.options.atomic or self.options.dry_run,
                )
                return LockedRun(self, context, direction, make_plan).run()

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
        with ALEMBIC.held(self.lock_wait), connect(self.make_engine()) as connection:
            server = examine(connection)
            with self._locked(connection, server, doing):
                connection.execution_options(**{WRITES: True})
                yield connection

    @contextmanager
    def _locked(self, connection: Connection, server: Server, doing: str) -> Iterator[RunLock]:
        lock = make_lock(
            connection,
            server,
            scope=self.schema or "",
            second_engine=self.make_engine,
            schema=self.schema,
        )
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
        """Return what the ledger says of the run in progress, in words.

        :param session: the server's session that holds the lock
        """
        if session is None:
            return ""
        try:
            entries = self.ledger.run_of(connection)
            connection.rollback()
        except DBAPIError:
            clean(connection)
            return ""
        # Rows of another session are those of a run before.
        if not entries or not session or entries[-1].session != session:
            return ""
        return describe_run(entries)

    def _anything_to_do(self, connection: Connection, make_plan: Callable[[Applied], Plan]) -> bool:
        """Look without the lock: most runs find nothing to do and need none."""
        try:
            applied, has_ledger = self.read(connection)
            marked = has_ledger and self.ledger.interrupted(connection)
        except DBAPIError as exc:
            if not is_lock_failure(exc, connection.dialect.name):
                raise
            # SQLite cannot be read while somebody commits: somebody is at work.
            clean(connection)
            return True
        connection.rollback()
        return bool(marked) or bool(make_plan(applied).steps)

    def marked(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the steps that are marked as running; under the lock, nobody runs them."""
        has_ledger = LEDGER_TABLE in list_history_tables(connection, self.schema)
        found = self.ledger.interrupted(connection) if has_ledger else ()
        connection.rollback()
        return found

    def refuse_interrupted(self, connection: Connection) -> None:
        """Raise what is to be said of steps that ended half done.

        :raises InterruptedSteps: always
        """
        from websauna_migrate.repair import known_facts

        entries = self.marked(connection)
        applied = self.read(connection)[0]
        known = {entry.id: known_facts(entry, connection, applied) for entry in entries}
        connection.rollback()
        raise InterruptedSteps(entries, known)


class LockedRun:
    """One run, under the lock."""

    def __init__(
        self,
        runner: Runner,
        context: RunContext,
        direction: str,
        make_plan: Callable[[Applied], Plan],
    ) -> None:
        self.runner = runner
        self.context = context
        self.connection = context.connection
        self.direction = direction
        self.make_plan = make_plan
        self.options = runner.options
        self.done: list[AppliedStep] = []
        self.started = False
        self._first: Step | None = None

    def run(self) -> Run:
        """Plan, and run the plan; plan again when a history turns out to be different."""
        error: BaseException | None = None
        steps = StepRunner(self.context)
        run = Run(self.context.run_id, self.direction)
        try:
            while True:
                plan = self._plan(steps)
                if not plan.steps:
                    break
                try:
                    if self.context.atomic:
                        self._run_atomic(steps, plan)
                    else:
                        self._run_steps(steps, plan)
                except HistoryMoved:
                    clean(self.connection)
                    continue
                break
            self._forget_planned(steps)
        except BaseException as exc:
            error = exc
            raise
        finally:
            steps.close()
            run = Run(
                self.context.run_id,
                self.direction,
                tuple(self.done),
                dry_run=self.options.dry_run,
            )
            if self.started:
                self.runner.notify(RunEnded(run, error))
        return run

    def _plan(self, steps: StepRunner) -> Plan:
        """Read the histories under the lock, and refuse to go on after a half done step."""
        connection = self.connection
        applied, has_ledger = self.runner.read(connection)
        if has_ledger and self.context.ledger.interrupted(connection):
            connection.rollback()
            self.runner.refuse_interrupted(connection)
        connection.rollback()
        plan = self.make_plan(applied)
        if plan.steps and not self.started:
            self._start(steps, plan)
        self._first = plan.steps[0] if plan.steps else self._first
        return plan

    def _start(self, steps: StepRunner, plan: Plan) -> None:
        """Say that the run begins, to those who wait for it and to subscribers."""
        context, connection = self.context, self.connection
        if context.atomic:
            what = "A dry run" if self.options.dry_run else "An atomic run (--atomic)"
            require_atomic(context.server, plan.steps, context.environments, what)
        self._distrust(plan)
        connection.execution_options(**{WRITES: True})
        if not self.options.dry_run:
            first = plan.steps[0]
            table = context.environments[first.package].package.history_table

            def write() -> str:
                context.ledger.create(connection)
                return context.ledger.plan(
                    connection,
                    run=context.run_id,
                    step=first,
                    history_table=table,
                    session=context.lock.session,
                )

            context.planned = self._written(steps, first, write)
            self.runner.notify(RunStarted(context.run_id, plan))
            self.started = True

    def _distrust(self, plan: Plan) -> None:
        """Warn of scripts that others may change."""
        for name in plan.packages:
            package = self.context.environments[name].package
            files = {Path(step.revision.path) for step in plan.steps if step.package == name}
            folders = {package.script_directory, *(path.parent for path in files)}
            env = package.script_directory / "env.py"
            for warning in distrusted(name, [*sorted(folders), env, *sorted(files)]):
                self.runner.tell(f"Warning: {warning}")

    def _written(self, steps: StepRunner, step: Step, write: Callable[[], T]) -> T:
        """Write in a transaction of its own, again while a lock is taken, as for a step.

        :param step: the one that has to wait
        """
        timeouts = steps.timeouts_of(step)
        waiting = Waiting(timeouts.lock_budget)
        while True:
            try:
                steps.supervisor.begin_step(timeouts, waiting.seconds)
                settings = steps.supervisor.local_settings(waiting.seconds)
                if self.context.server.kind == "postgresql" and settings:
                    self.connection.exec_driver_sql(settings)
                found = write()
                self.connection.commit()
                return found
            except DBAPIError as exc:
                clean(self.connection)
                if not is_lock_failure(exc, self.context.server.kind):
                    raise
                waiting.attempts += 1
                if not steps.wait(step, waiting, timeouts):
                    raise StepFailed(
                        step,
                        step.revision.path,
                        lock_problem(waiting),
                        half_done=False,
                        done=len(self.done),
                    ) from exc

    def _run_steps(self, steps: StepRunner, plan: Plan) -> None:
        """Run each step in a transaction of its own."""
        total = len(self.done) + len(plan.steps)
        for step in plan.steps:
            number = len(self.done) + 1
            if self.context.stopping:
                self._stop(steps, step, number, total)
            began = datetime.now(timezone.utc)
            clock = time.perf_counter()
            steps.run(number, total, step)
            applied = applied_step(step, began, time.perf_counter() - clock)
            self.done.append(applied)
            self.runner.notify(StepApplied(self.context.run_id, applied, number, total))

    def _stop(self, steps: StepRunner, step: Step, number: int, total: int) -> None:
        """End the run before a step.

        :raises RunStopped: always
        """
        values = steps.values(number, step)
        planned = self.context.planned
        if self.context.atomic and planned is not None:
            values["id"] = planned
        if not self.options.dry_run:
            steps.record(values, STOPPED, exists=values["id"] == planned)
        raise RunStopped(
            step,
            done=number - 1 if not self.context.atomic else 0,
            total=total,
            running=False,
            exit_code=self.context.stopping.exit_code,
        )

    def _run_atomic(self, steps: StepRunner, plan: Plan) -> None:
        """Run all steps in one transaction; all of them again while a lock is taken."""
        context = self.context
        limits = [steps.timeouts_of(step) for step in plan.steps]
        waiting = Waiting(max(limit.lock_budget for limit in limits))
        while True:
            steps.require_lock(0)
            applied: list[AppliedStep] = []
            failing = plan.steps[0]
            values = steps.values(1, failing)
            clean(self.connection)
            try:
                steps.supervisor.begin_step(limits[0], waiting.seconds)
                self.connection.begin()
                if self.options.dry_run:
                    context.ledger.create(self.connection)
                for number, step in enumerate(plan.steps, 1):
                    failing = step
                    if context.stopping:
                        clean(self.connection)
                        self._stop(steps, step, number, len(plan.steps))
                    values = steps.values(number, step)
                    began = datetime.now(timezone.utc)
                    clock = time.perf_counter()
                    steps.attempt(step, values, limits[number - 1], waiting)
                    applied.append(applied_step(step, began, time.perf_counter() - clock))
                if self.options.dry_run:
                    self.connection.rollback()
                else:
                    self.connection.commit()
                break
            except (HistoryMoved, RunStopped):
                clean(self.connection)
                raise
            except BaseException as exc:
                clean(self.connection)
                # It comes back only if the run is to be tried again.
                steps.after_atomic_failure(
                    exc,
                    failing,
                    values,
                    waiting,
                    limits[len(applied)] if len(applied) < len(limits) else limits[-1],
                    done=len(applied),
                    total=len(plan.steps),
                    dry_run=self.options.dry_run,
                )
        self.done.extend(applied)
        if not self.options.dry_run:
            for number, one in enumerate(applied, 1):
                self.runner.notify(StepApplied(context.run_id, one, number, len(applied)))

    def _forget_planned(self, steps: StepRunner) -> None:
        """Take the row of the first step away if in the end there was no step."""
        entry, first = self.context.planned, self._first
        if entry is not None and first is not None and not self.done:
            self._written(steps, first, lambda: self.context.ledger.remove(self.connection, entry))


def applied_step(step: Step, began: datetime, seconds: float) -> AppliedStep:
    """Return a step that is done."""
    return AppliedStep(
        package=step.package,
        revision=step.revision.id,
        message=step.revision.message,
        direction=step.direction,
        started=began,
        seconds=seconds,
        reason=step.reason,
    )


def describe_run(entries: tuple[LedgerEntry, ...]) -> str:
    """Return a run in words: who, since when, and how far it is."""
    first, last = entries[0], entries[-1]
    where = f'revision "{last.revision}" of package "{last.package}"'
    state = f"at {where}" if last.ended is None else f"past {where}"
    return (
        f"process {first.process} on {first.host}, {first.direction} since "
        f"{first.started:%Y-%m-%d %H:%M:%S} UTC, {state}"
    )
