"""One run, once it holds the lock: plan, run the steps, plan again where a history moved."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from operator import attrgetter
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from websauna_migrate.config.trust import distrusted, distrusted_cache
from websauna_migrate.database.cache import Cache
from websauna_migrate.database.engines import WRITES, said_by
from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.history_tables import (
    RecordsBroken,
    remedy_for_rights,
    write_rows,
)
from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.database.stopping import RunStopped
from websauna_migrate.events import (
    MigrationRunEnded,
    MigrationRunStarted,
    MigrationStepApplied,
    MigrationStepFailed,
    MigrationStepStarted,
)
from websauna_migrate.planning.ledger_agreement import refuse_contradictions
from websauna_migrate.planning.steps import Adopted, Plan, Step
from websauna_migrate.results import NOT_BEGUN, AppliedStep, Run, StampedPackage
from websauna_migrate.runs.atomicity import (
    MARKED,
    SHOWN,
    require_atomic,
    require_same,
    transaction_of,
)
from websauna_migrate.runs.failures import HistoryMoved, StepFailed, run_stopped
from websauna_migrate.runs.in_progress import ActivityLook
from websauna_migrate.runs.kept_facts import keep_facts
from websauna_migrate.runs.kept_scripts import kept_checksums
from websauna_migrate.runs.ledger import DONE, STOPPED
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.run_access import Applied, RunContext
from websauna_migrate.runs.run_context import clean
from websauna_migrate.runs.script_checks import run_prechecks
from websauna_migrate.runs.step_runner import StepRunner, target_of
from websauna_migrate.runs.waiting import Attempt, Waiting, lock_problem

T = TypeVar("T")

log = logging.getLogger(__name__)

#: How often in a row a plan is made anew, without a step in between. No other run changes a history
#: while the lock is held, so that once is usual and twice is rare.
MAX_MOVES = 5


class LockedRun:
    """One run, under the lock."""

    def __init__(
        self,
        context: RunContext,
        direction: str,
        make_plan: Callable[[Applied], Plan],
    ) -> None:
        self.context = context
        self.runner = runner = context.access
        self.hooks = runner.site.hooks
        self.connection = context.connection
        self.direction = direction
        self.make_plan = make_plan
        self.look = ActivityLook(runner.make_engine, context.server)
        self.options = runner.options
        self.done: list[AppliedStep] = []
        self.adopted: list[Adopted] = []
        self.started = False
        #: The packages of the plan, or of all plans where a history moved.
        self.packages: set[str] = set()
        #: How many seconds steps took the last time, by package and revision.
        self._expected: dict[tuple[str, str], float | None] = {}
        self._running: MigrationStepStarted | None = None
        self._first: Step | None = None
        #: How often a history moved before the same step, and how many were done before that.
        self._moves, self._moved_at = 0, 0

    def run(self) -> Run:
        """Plan, and run the plan; plan again when a history turns out to be different."""
        error: BaseException | None = None
        steps = StepRunner(self.context)
        self.look.running = steps.running_statement
        try:
            while self._run_plan(steps):
                pass
            self._forget_planned(steps)
            self._keep_facts()
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
                adopted=tuple(
                    StampedPackage(
                        one.package,
                        tuple(sorted(one.rows_before)),
                        tuple(sorted(one.rows_after)),
                    )
                    for one in self.adopted
                ),
            )
            self._tell_of_end(run, error)
            self.look.close()
        return run

    def _run_plan(self, steps: StepRunner) -> bool:
        """Plan, and run the plan; True if there is to be another one."""
        plan = self._plan(steps)
        if not plan.steps:
            if not self.options.dry_run:
                self._adopt_apart(plan.adopted)
            self.adopted += plan.adopted
            return False
        steps.destinations = {step.package: target_of(step) for step in plan.steps}
        try:
            if self.context.atomic:
                self._run_atomic(steps, plan)
            else:
                self._adopt_apart(plan.adopted)
                self._run_steps(steps, plan)
            self.adopted += plan.adopted
        except HistoryMoved:
            clean(self.connection)
            self._running = None
            self._note_move(plan)
            return True
        # What was run of old scripts may have been the rest of what a squash replaces.
        return bool(plan.partial) and not self.options.dry_run

    def _note_move(self, plan: Plan) -> None:
        """Count the times that a history moved before the same step.

        :raises RecordsBroken: if it does so time and again
        """
        self._moves = self._moves + 1 if self._moved_at == len(self.done) else 1
        self._moved_at = len(self.done)
        if self._moves > MAX_MOVES:
            raise RecordsBroken(
                "unsteady",
                f'The history table of package "{plan.steps[0].package}" holds other rows when a '
                "step begins than just before, time and again. Either another program writes to it "
                "all the time, or it holds a row twice or is no table: see what is there. Nothing "
                "was changed since.",
            ) from None

    def _tell_of_end(self, run: Run, error: BaseException | None) -> None:
        """Tell subscribers of the step that failed, and of the end of the run."""
        if not self.started:
            return
        ended = MigrationRunEnded(run, error, tuple(sorted(self.packages)))
        if error is None:
            self.hooks.notify(ended)
            return
        failed = [] if self._running is None else [MigrationStepFailed(self._running, error)]
        for event in (*failed, ended):
            try:
                self.hooks.notify(event)
            except Exception:
                log.exception("A subscriber to %s failed", type(event).__name__)

    def _plan(self, steps: StepRunner) -> Plan:
        """Read the histories under the lock, and refuse to go on after a half done step."""
        connection = self.connection
        applied, has_ledger = self.runner.read(connection)
        marked = self.runner.ledger.interrupted(connection) if has_ledger else ()
        if any(entry.id not in self.options.marks for entry in marked):
            connection.rollback()
            self.runner.refuse_interrupted(connection)
        connection.rollback()
        plan = self.make_plan(applied)
        if has_ledger and plan.steps and not self.started:
            recorded = self.runner.ledger.recorded(connection, plan)
            connection.rollback()
            refuse_contradictions(plan, recorded)
            self._expected = {
                (one.package, one.revision): one.seconds
                for one in recorded
                if (one.direction, one.outcome) == (plan.direction, DONE)
            }
        environments = self.runner.environments
        # The scripts are imported or known by now, and run as they are.
        self.context.checksums = {
            step.revision.path: environments[step.package].reader.digest(step.revision)
            for step in plan.steps
        }
        if has_ledger and plan.steps:
            wanted = {*self.context.checksums.values()}
            self.context.kept = kept_checksums(connection, self.runner.ledger.table, wanted)
            connection.rollback()
        if plan.steps and not self.started:
            self.runner.refuse(connection, applied, plan)
            connection.rollback()
        # What is run again after it ended half done was checked before.
        if self.direction == "upgrade" and not self.options.marks:
            self.context.due = run_prechecks(connection, plan.steps, environments)
        if plan.steps and not self.started:
            self._start(steps, plan)
        self.packages.update(plan.packages)
        self._first = plan.steps[0] if plan.steps else self._first
        return plan

    def _start(self, steps: StepRunner, plan: Plan) -> None:
        """Say that the run begins, to those who wait for it and to subscribers."""
        context, connection = self.context, self.connection
        if context.atomic:
            what, without, instead = "An atomic run (--atomic)", "without it", MARKED
            if self.options.dry_run:
                what, instead = "A dry run", SHOWN
            elif given_state(connection) == "in transaction":
                what = "A run in the transaction of the connection given"
                without = "on a connection that is in no transaction"
            environments = self.runner.environments
            require_atomic(context.server, plan.steps, environments, what, without, instead)
        if self.runner.settings.pipeline is not None:
            self.runner.tell(
                'The setting "websauna_migrate.pipeline" has no effect any more: remove it.'
            )
        self._distrust(plan)
        connection.execution_options(**{WRITES: True})
        if not self.options.dry_run:
            first = plan.steps[0]
            table = self.runner.environments[first.package].package.history_table

            def write() -> str:
                self.runner.ledger.create(connection)
                return self.runner.ledger.plan(
                    connection,
                    run=context.run_id,
                    step=first,
                    steps=len(plan.steps),
                    history_table=table,
                    session=context.lock.session,
                )

            context.planned = self._written(steps, first, write)
            self.started = True
            self.packages.update(plan.packages)
            self.hooks.notify(MigrationRunStarted(context.run_id, plan, self.look))

    def _distrust(self, plan: Plan) -> None:
        """Warn of scripts that others may change."""
        for name in plan.packages:
            package = self.runner.environments[name].package
            files = sorted({step.revision.path for step in plan.steps if step.package == name})
            folders = {str(package.script_directory), *map(os.path.dirname, files)}
            env = str(package.script_directory / "env.py")
            for warning in distrusted(name, [*sorted(folders), env, *files]):
                self.runner.tell(f"Warning: {warning}")
        setting = self.runner.settings.cache
        folder = Cache.of(setting).folder
        if setting is not None and folder is not None:
            for warning in distrusted_cache(folder):
                self.runner.tell(f"Warning: {warning}")

    def _written(self, steps: StepRunner, step: Step, write: Callable[[], T]) -> T:
        """Write in a transaction of its own, again while a lock is taken, as for a step.

        :param step: the one that has to wait
        """
        timeouts = steps.timeouts_of(step)
        waiting = Waiting(timeouts.lock_budget)
        attempt = Attempt(0, step, {}, timeouts, waiting)
        while True:
            try:
                steps.guard.begin_step(timeouts, waiting.seconds)
                settings = steps.guard.local_settings(waiting.seconds)
                if self.context.server.kind == "postgresql" and settings:
                    self.connection.exec_driver_sql(settings)
                found = write()
                self.connection.commit()
                return found
            except DBAPIError as exc:
                clean(self.connection)
                if not is_lock_failure(exc, self.context.server.kind):
                    problem = said_by(exc, self.connection.engine.url)
                    self._refuse_denied(exc, step, problem)
                    raise self._failed(step, f"the ledger cannot be written: {problem}") from exc
                waiting.attempts += 1
                if not steps.waits.wait(attempt):
                    raise self._failed(step, lock_problem(waiting)) from exc

    def _refuse_denied(self, exc: DBAPIError, step: Step, problem: str) -> None:
        """Say which right this user lacks for the ledger: that is no fault of the script.

        :raises RecordsBroken: with the statement that gives it, if it is one
        """
        schema = self.runner.schema
        if remedy := remedy_for_rights(exc, self.connection, LEDGER_TABLE, schema):
            raise RecordsBroken(
                "ledger",
                f'The table "{LEDGER_TABLE}" cannot be written: {problem} '
                f'"{step.package}@{step.revision.id}" was not run. {remedy}',
            ) from exc

    def _failed(self, step: Step, problem: str) -> StepFailed:
        """Return the error of a step that was not begun."""
        return StepFailed(step, step.revision.path, problem, half_done=False, done=len(self.done))

    def _run_steps(self, steps: StepRunner, plan: Plan) -> None:
        """Run each step in a transaction of its own."""
        total = len(self.done) + len(plan.steps)

        def before(number: int, step: Step) -> None:
            if self.runner.stopping():
                self._stop(steps, step, number, total)
            self._begin(step, number, total)

        def after(done: Attempt) -> None:
            self._running = None
            applied = applied_step(done)
            self.done.append(applied)
            self._tell(MigrationStepApplied(self.context.run_id, applied, done.number, total))

        for _, stretch in itertools.groupby(plan.steps, key=attrgetter("package")):
            steps.run(len(self.done) + 1, total, stretch, before, after)

    def _stop(self, steps: StepRunner, step: Step, number: int, total: int) -> None:
        """End the run before a step.

        :raises RunStopped: always
        """
        values = steps.values(number, step)
        planned = self.context.planned
        if self.context.atomic and planned is not None:
            values["id"] = planned
        if not self.options.dry_run:
            values["note"] = NOT_BEGUN
            steps.aftermath.record(values, STOPPED, exists=values["id"] == planned)
        raise run_stopped(
            step,
            done=number - 1 if not self.context.atomic else 0,
            total=total,
            running=False,
            exit_code=self.runner.stopping.exit_code,
        )

    def _run_atomic(self, steps: StepRunner, plan: Plan) -> None:
        """Run all steps in one transaction; all of them again while a lock is taken."""
        total = len(plan.steps)
        limits = [steps.timeouts_of(step) for step in plan.steps]
        waiting = Waiting(max(limit.lock_budget for limit in limits))

        def attempt_at(number: int, step: Step) -> Attempt:
            return Attempt(number, step, steps.values(number, step), limits[number - 1], waiting)

        while True:
            steps.require_lock(0)
            steps.current = None
            clean(self.connection)
            try:
                steps.guard.begin_step(limits[0], waiting.seconds)
                applied = self._try_atomic(steps, plan, attempt_at)
                break
            except (HistoryMoved, RunStopped):
                clean(self.connection)
                raise
            except BaseException as exc:
                clean(self.connection)
                if steps.foreign_keys.give_way():
                    continue
                attempt = steps.current or attempt_at(1, plan.steps[0])
                # It comes back only if the run is to be tried again.
                steps.aftermath.after_failure(exc, attempt, total, dry_run=self.options.dry_run)
        self._running = None
        self.done.extend(applied)
        if not self.options.dry_run:
            for number, one in enumerate(applied, 1):
                self._tell(MigrationStepApplied(self.context.run_id, one, number, total))

    def _try_atomic(
        self, steps: StepRunner, plan: Plan, attempt_at: Callable[[int, Step], Attempt]
    ) -> list[AppliedStep]:
        """Run all steps in one transaction, once, and return them.

        :param attempt_at: returns the attempt at a step, from its place in the run
        """
        left = deque(enumerate(plan.steps, 1))
        applied: list[AppliedStep] = []

        def begin() -> Attempt:
            number, step = left[0]
            self._begin(step, number, len(plan.steps))
            return attempt_at(number, step)

        def following(done: Attempt) -> Attempt | None:
            require_same(self.connection, transaction)
            applied.append(applied_step(done))
            left.popleft()
            # Who looks at each step, or stops between two, does so outside of env.py.
            if self.options.observe is not None or self.runner.stopping() or not left:
                return None
            return begin() if left[0][1].package == done.step.package else None

        steps.foreign_keys.begin_run(plan.steps)
        self.connection.begin()
        if self.options.dry_run:
            self.runner.ledger.create(self.connection)
        self._adopt(plan.adopted)
        self._observe(0)
        transaction = transaction_of(self.connection)
        while left:
            if self.runner.stopping():
                self._running = None
                clean(self.connection)
                self._stop(steps, left[0][1], left[0][0], len(plan.steps))
            steps.attempt(begin(), following)
            self._observe(len(applied))
        if self.options.dry_run:
            steps.foreign_keys.require_whole()
            self.connection.rollback()
        else:
            self.connection.commit()
        return applied

    def _adopt_apart(self, adopted: Sequence[Adopted]) -> None:
        """Take squashes as applied, in a transaction of its own unless the caller has one open."""
        self._adopt(adopted)
        if adopted and given_state(self.connection) != "in transaction":
            self.connection.commit()

    def _adopt(self, adopted: Sequence[Adopted]) -> None:
        """Take squashes as applied, in the current transaction; the ledger has a row for each."""
        if not adopted:
            return
        connection, ledger = self.connection, self.runner.ledger
        connection.execution_options(**{WRITES: True})
        ledger.create(connection)
        for one in adopted:
            table = self.runner.environments[one.package].package.history_table
            rows = tuple(sorted(one.rows_after))
            write_rows(connection, table, ledger.table.schema, rows)
            ledger.stamp(connection, one.package, table, rows, one.note)

    def _begin(self, step: Step, number: int, total: int) -> None:
        """Tell that a step begins; not again where it is tried again."""
        running = self._running
        if not self.started or (running is not None and running.step is step):
            return
        event = MigrationStepStarted(
            *(self.context.run_id, step, number, total),
            started=datetime.now(timezone.utc),
            expected=self._expected.get((step.package, step.revision.id)),
        )
        self._running = None
        self.hooks.notify(event)
        self._running = event

    def _observe(self, done: int) -> None:
        """Let the caller of the run look at what the transaction has so far."""
        if self.options.observe is not None:
            self.options.observe(self.connection, done)

    def _tell(self, event: MigrationStepApplied) -> None:
        """Tell of a step that was applied."""
        if self.hooks.on_step is not None:
            self.hooks.on_step(event)
        self.hooks.notify(event)

    def _keep_facts(self) -> None:
        """Keep what the database is now, so that what changes it later can be told from runs."""
        if self.done and not self.options.dry_run and not given_state(self.connection):
            applied = self.runner.read(self.connection)[0]
            self.connection.rollback()
            keep_facts(self.connection, self.runner.ledger.table, applied, self.context.run_id)

    def _forget_planned(self, steps: StepRunner) -> None:
        """Take the row of the first step away if in the end there was no step."""
        entry, first = self.context.planned, self._first
        if entry is not None and first is not None and not self.done:
            self._written(steps, first, lambda: self.runner.ledger.remove(self.connection, entry))


def applied_step(done: Attempt) -> AppliedStep:
    """Return a step that is done."""
    step = done.step
    return AppliedStep(
        package=step.package,
        revision=step.revision.id,
        message=step.revision.message,
        direction=step.direction,
        started=done.began,
        seconds=done.seconds,
        reason=step.reason,
    )
