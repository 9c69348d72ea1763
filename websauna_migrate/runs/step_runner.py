"""Running one step of a plan: its marker, its script, its rows, and another try if need be."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NoReturn

from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.env_run import run_env
from websauna_migrate.alembic_adapter.internals import execute_operations_by, planned_step
from websauna_migrate.database.engines import driver_of
from websauna_migrate.database.history_tables import list_tables, read_rows
from websauna_migrate.database.own_connections import running_script
from websauna_migrate.database.timeouts import Timeouts, env_limited
from websauna_migrate.locks.run_lock import LockLost
from websauna_migrate.planning.steps import Step, is_transactional
from websauna_migrate.revision_scripts.script_error import ScriptRefused, cut_off
from websauna_migrate.runs.failed_step import Aftermath
from websauna_migrate.runs.failures import HistoryMoved, connection_lost
from websauna_migrate.runs.kept_scripts import pack
from websauna_migrate.runs.ledger import DONE, UNDONE
from websauna_migrate.runs.run_access import RunContext
from websauna_migrate.runs.run_context import clean
from websauna_migrate.runs.script_checks import run_check
from websauna_migrate.runs.sqlite_foreign_keys import ForeignKeys
from websauna_migrate.runs.statement_guard import StatementGuard
from websauna_migrate.runs.statement_log import Statement, StatementLog
from websauna_migrate.runs.step_data import data_of_step
from websauna_migrate.runs.step_queue import queue_of
from websauna_migrate.runs.waiting import Attempt, LockWaits, Waiting, timeouts_of_script


class StepRunner:
    """Runs steps, one at a time, in a run's context.

    :ivar current: the attempt at work; ``None`` between two steps
    """

    current: Attempt | None

    def __init__(self, run: RunContext) -> None:
        self.run_context = run
        self.access = access = run.access
        self.connection = run.connection
        self.server = run.server
        self.waits = LockWaits(run)
        self.guard = StatementGuard(
            run.connection,
            run.server,
            run.lock,
            access.stopping,
            self.waits.wait_in_step,
            access.tell,
        )
        self.guard.atomic = run.atomic
        if not run.atomic:
            self.guard.log = StatementLog(run.connection, access.ledger.table, access.ledger.now)
            self.waits.changed_table = self.guard.log.changed_table
        # The end of a step that settles marks is more than one statement.
        if run.server.kind == "postgresql" and not run.atomic and not run.marks:
            self.guard.queue = queue_of(run.connection, access.stopping)
        self.guard.watch(run.connection.engine)
        self.foreign_keys = ForeignKeys(run.connection)
        self.foreign_keys.watch()
        self.aftermath = Aftermath(run, self.guard, self.waits)
        #: The target of each package's steps, as ``env.py`` may ask for it.
        self.destinations: dict[str, str] = {}
        #: What SQLite called the file's state when a history was last known.
        self._data_version: int | None = None
        self.current = None

    def close(self) -> None:
        """Let go of what was opened besides the run's connection."""
        self.foreign_keys.close()
        if self.guard.queue is not None:
            self.guard.queue.close()
        self.waits.blockers.close()

    def running_statement(self) -> Statement | None:
        """Return the statement that is being executed, as far as this process knows."""
        return None if self.guard.log is None or self.current is None else self.guard.log.running

    def timeouts_of(self, step: Step) -> Timeouts:
        """Return a step's limits: the run's, else the script's, ``env.py``'s, the settings'."""
        module = self.access.environments[step.package].reader.imported(step.revision)
        own = timeouts_of_script(module, step.revision.path)
        general = env_limited(self.access.settings.timeouts_of(step.package), self.connection)
        return general.changed(own).changed(self.access.options.limits)

    def run(
        self,
        number: int,
        total: int,
        steps: Iterable[Step],
        before: Callable[[int, Step], None],
        after: Callable[[Attempt], None],
    ) -> None:
        """Run steps of one package, each in a transaction of its own.

        A step is run again and again while a lock is taken. The package's environment is set up
        once for all that go well.

        :param number: the first step's place in the run, from 1
        :param total: how many steps the run has
        :param before: called at the boundary before a step with its place; what it raises is not
            the step's failure
        :param after: called at the boundary after each step, in the same way
        :raises HistoryMoved: when the plan does not fit any more
        :raises MigrationError: when a step failed, was stopped, or could not get a lock
        """
        left = deque(enumerate(steps, number))

        def begin(again: Attempt | None = None) -> Attempt | None:
            if not left:
                return None
            before(*left[0])
            return self.prepare(*left[0], again)

        def following(done: Attempt) -> Attempt | None:
            self.current = None
            left.popleft()
            after(done)
            return begin()

        again: Attempt | None = None
        while (attempt := begin(again)) is not None:
            try:
                self.attempt(attempt, following)
                again = None
            except HistoryMoved:
                clean(self.connection)
                raise
            except BaseException as exc:
                clean(self.connection)
                if self.current is None:
                    raise
                again, self.current = self.current, None
                if not self.foreign_keys.give_way():
                    # It comes back only if the step is to be tried again.
                    self.aftermath.after_failure(exc, again, total)

    def prepare(self, number: int, step: Step, again: Attempt | None = None) -> Attempt:
        """Get ready for a step.

        :param again: the attempt at the same step that had to give way to others
        :raises DatabaseFailure: if the run has lost its lock
        """
        self.require_lock(number - 1)
        values = self.values(number, step)
        if again is not None:
            return replace(again, values=values)
        timeouts = self.timeouts_of(step)
        return Attempt(number, step, values, timeouts, Waiting(timeouts.lock_budget))

    def values(self, number: int, step: Step) -> dict[str, object]:
        """Return the ledger's row of a step that is about to run."""
        run, environment = self.run_context, self.access.environments[step.package]
        digest, script = run.checksums.get(step.revision.path), None
        if digest and digest not in run.kept:
            script = pack(environment.reader.text(step.revision), digest)
        return self.access.ledger.values(
            run=run.run_id,
            number=number,
            step=step,
            history_table=environment.package.history_table,
            session=run.lock.session,
            entry=run.planned if number == 1 else None,
            digest=digest,
            script=script,
        )

    def require_lock(self, done: int) -> None:
        """Make sure that this run may go on.

        :raises DatabaseFailure: if it has lost its lock
        """
        try:
            self.run_context.lock.check()
        except LockLost as exc:
            raise connection_lost(str(exc), done) from exc

    def attempt(self, first: Attempt, following: Callable[[Attempt], Attempt | None]) -> None:
        """Run a step once. In an atomic run the caller's transaction is open, and stays so.

        :param following: called behind a step that went well; returns the next of the same package
        """
        self.current = first
        run = self.run_context
        environment = self.access.environments[first.step.package]

        def steps(rows: Iterable[str], context: MigrationContext) -> Iterator[RevisionStep]:
            if frozenset(rows) != first.step.rows_before:
                raise HistoryMoved
            if run.atomic:
                context.autocommit_block = refuse_autocommit  # type: ignore[method-assign]
            if self.guard.queue is not None:
                execute_operations_by(context, self.guard.queue.operations)
            attempt: Attempt | None = first
            while attempt is not None:
                if not run.lock.spans_steps:
                    # What Alembic has just read was in the first step's transaction.
                    self._read_again(attempt.step, known=attempt is first and is_begun())
                yield self._planned(attempt, context)
                self._end()
                environment.types.renew(context.impl.memo, self.connection)
                attempt = following(attempt)
                if attempt is not None:
                    self._begin(attempt)

        is_begun = self.connection.in_transaction

        if not run.atomic and self.connection.in_transaction():
            self.connection.rollback()
        self._begin(first)
        try:
            run_env(
                environment,
                steps,
                connection=self.connection,
                rows=tuple(sorted(first.step.rows_before)) if run.lock.spans_steps else None,
                configure={"on_version_apply": self._end_in_ledger},
                starting_rev=None,
                destination_rev=self.destinations[first.step.package],
                tag=self.access.options.tag,
            )
        finally:
            self.waits.stop_watching()
        if not run.atomic and self.connection.in_transaction():
            self.connection.commit()

    def _end_in_ledger(self, *, ctx: MigrationContext, **_: object) -> None:
        """Write the end of a step into the ledger: Alembic's ``on_version_apply``."""
        run = self.run_context
        assert ctx.connection is not None and self.current is not None
        # Where a script ended the transaction, a run may be killed between these: a mark is left.
        for mark, note in run.marks.items():
            self.access.ledger.end(ctx.connection, mark, UNDONE, note)
        if not self.guard.ended:
            self.access.ledger.end(ctx.connection, self.current.entry, DONE)
        if self.guard.log is not None and self.guard.log.is_published:
            # All ended.
            self.access.ledger.change(ctx.connection, self.current.entry, {"statements": None})
        # The last moment at which a run that lost its lock can keep from committing.
        run.lock.check()

    def _begin(self, attempt: Attempt) -> None:
        """Say that a step's statements come now."""
        self.current = attempt
        self.waits.current = attempt
        self.foreign_keys.begin_step(attempt.step)
        self.guard.begin_step(attempt.timeouts, attempt.waiting.seconds)
        if self.guard.log is not None:
            self.guard.log.begin_step(attempt.entry, attempt.step.revision.path)

    def _read_again(self, step: Step, *, known: bool) -> None:
        """Make sure, in the step's transaction, that no other run came between the steps.

        :param known: whether the history was read in this transaction
        :raises HistoryMoved: if one did
        """
        if not self.connection.in_transaction():
            self.connection.begin()
        environment = self.access.environments[step.package]
        if self.server.kind == "sqlite" and environment.schema is None:
            # SQLite tells whether another connection has committed anything to the main file.
            driver = driver_of(self.connection)
            (version,) = driver.execute("PRAGMA data_version").fetchone()
            known, self._data_version = known or version == self._data_version, version
        if known:
            return
        table = environment.package.history_table
        # The first step of a package makes the table.
        found = step.rows_before or table in list_tables(self.connection, environment.schema)
        rows = read_rows(self.connection, [table], environment.schema)[table] if found else ()
        if frozenset(rows) != step.rows_before:
            raise HistoryMoved

    def _end(self) -> None:
        """Commit what Alembic has not, where it knows no transactions."""
        self.waits.stop_watching()
        if not self.run_context.atomic and self.connection.in_transaction():
            self.connection.commit()

    def _planned(self, attempt: Attempt, context: MigrationContext) -> RevisionStep:
        """Return a step as Alembic runs it, with the marker in front of its script's function."""
        run = self.run_context
        step, waiting = attempt.step, attempt.waiting
        environment = self.access.environments[step.package]
        planned = planned_step(environment.scripts, step)
        function = planned.migration_fn
        module = environment.reader.imported(step.revision)
        transactional = is_transactional(module)

        @functools.wraps(function)
        def marked(**arguments: object) -> None:
            connection = context.connection
            assert connection is not None
            run.lock.join(connection)
            self._mark(attempt, connection, queued=transactional)
            if waiting.attempts:
                self.waits.watch(connection)
            with (
                self.guard.looking(),
                self.access.stopping.running(self._cancel),
                running_script(connection),
            ):
                if (step.package, step.revision.id) in run.due:
                    run_check(module, "precheck", connection)
                if transactional:
                    with data_of_step(connection):
                        function(**arguments)
                else:
                    # It commits the marker first.
                    with context.autocommit_block(), data_of_step(connection):
                        function(**arguments)
                if step.direction == "upgrade":
                    run_check(module, "verify", connection)
            if self.access.stopping.at_once:
                raise cut_off()
            self._expect_end(attempt, connection)

        planned.migration_fn = marked
        return planned

    def _mark(self, attempt: Attempt, connection: Connection, *, queued: bool) -> None:
        """Write a step's row, which marks it, and let the transaction have its limits.

        :param queued: whether that may wait for the script's first statements
        """
        run, values = self.run_context, attempt.values
        planned = attempt.entry == run.planned
        settings = ""
        if self.server.kind == "postgresql":
            settings = self.guard.local_settings(attempt.waiting.seconds)
        queue = self.guard.queue
        if queue is not None:
            queue.drop()
        # A further attempt sends each statement by itself, so that an error is at its line.
        if (
            queue is None
            or not queued
            or planned
            or attempt.waiting.attempts
            or not queue.open(
                attempt.step.revision.path,
                settings,
                lambda: self.access.ledger.marker(connection, values),
            )
        ):
            if settings:
                connection.exec_driver_sql(settings)
            self.access.ledger.start(connection, values, planned=planned)

    def _expect_end(self, attempt: Attempt, connection: Connection) -> None:
        """Let what is left of a step go out with the change of its history."""
        queue, ledger = self.guard.queue, self.access.ledger
        if queue is None:
            return
        queue.stop()
        if not attempt.step.replaces_row or connection.in_nested_transaction():
            return

        def end_with(change: str) -> str:
            marked = not queue.forget_marker()
            return ledger.end_with(connection, attempt.values, change, marked=marked)

        queue.expect_end()
        self.guard.end_with = end_with

    def _cancel(self) -> None:
        """Cancel what the server does for this run; called from another thread."""
        driver = driver_of(self.connection)
        if self.server.kind == "sqlite":
            driver.interrupt()
        elif self.server.kind == "mysql":
            with self.access.make_engine().connect() as connection:
                connection.exec_driver_sql(f"KILL QUERY {int(self.server.process or 0)}")
        elif hasattr(driver, "cancel"):
            driver.cancel()


def target_of(step: Step) -> str:
    """Return where the history is behind a step, as a target of Alembic's commands."""
    if step.direction == "upgrade":
        return step.revision.id
    return min(step.rows_after, default="base")


def refuse_autocommit() -> NoReturn:
    """Stand in for ``autocommit_block`` in a run that is one transaction."""
    words = '"autocommit_block()" would end the transaction that the whole run is.'
    raise ScriptRefused("transaction", words)
