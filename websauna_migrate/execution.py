"""Running one step of a plan: its marker, its script, its rows, and another try if need be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from websauna_migrate.aftermath import Aftermath
from websauna_migrate.failures import (
    ConnectionLost,
    HistoryMoved,
)
from websauna_migrate.ledger import DONE
from websauna_migrate.locks import LockLost
from websauna_migrate.run_context import RunContext, clean
from websauna_migrate.statements import (
    EndsTransaction,
    Supervisor,
)
from websauna_migrate.steps import Step
from websauna_migrate.stopping import CutOff
from websauna_migrate.timeouts import Timeouts, timeouts_of_script
from websauna_migrate.waiting import LockWaits, Waiting

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["StepRunner", "is_transactional"]


class StepRunner:
    """Runs steps, one at a time, in a run's context."""

    def __init__(self, run: RunContext) -> None:
        self.run_context = run
        self.connection = run.connection
        self.server = run.server
        self.waits = LockWaits(run)
        self.supervisor = Supervisor(
            run.connection, run.server, run.lock, run.stopping, self.waits.wait_in_step, run.tell
        )
        self.supervisor.atomic = run.atomic
        self.supervisor.watch(run.connection.engine)
        self.aftermath = Aftermath(run, self.supervisor, self.waits)

    def close(self) -> None:
        """Let go of what was opened besides the run's connection."""
        self.waits.close()

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
                self.aftermath.after_failure(exc, number, total, step, values, waiting, timeouts)

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
        self.waits.current = (step, waiting, timeouts)

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
            self.waits.stop_watching(waiting)
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
                self.waits.watch(connection)
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


def refuse_autocommit() -> Any:
    """Stand in for ``autocommit_block`` in a run that is one transaction."""
    raise EndsTransaction("autocommit_block()")


def is_transactional(module: Any) -> bool:
    """Tell whether a script lets its step be one transaction: not if ``transactional = False``."""
    return getattr(module, "transactional", True) is not False


def is_plain(step: Step) -> bool:
    """Tell whether a step replaces one row of its history table and does nothing else to it."""
    return len(step.rows_before - step.rows_after) == len(step.rows_after - step.rows_before) == 1
