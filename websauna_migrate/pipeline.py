"""Steps in a row without a pause: one is on its way to the database while the next is prepared.

A step whose script only gives statements (:mod:`websauna_migrate.plain_scripts`) is run without the
database: its statements are collected, put into one batch with all that a step writes besides, and
sent from a thread of its own (:mod:`websauna_migrate.batches`). Meanwhile the next script is run
in the same way; its batch is sent when the one before is committed.

Nothing is handled here that does not go smoothly. A script that wants something of the database, a
statement that fails, a lock that is taken: the batch is dropped, or was rolled back by the server,
and the step is run anew by itself, where every failure finds its script's line, its retries and
its message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.attempts import Attempt, Stretch
from websauna_migrate.batches import Batch, Batches, batches_for
from websauna_migrate.database import BATCHED
from websauna_migrate.direct_sql import wrapped
from websauna_migrate.failures import BlockedByCaller
from websauna_migrate.histories import version_table
from websauna_migrate.lock_failures import is_lock_failure
from websauna_migrate.plain_scripts import is_plain_script
from websauna_migrate.run_context import RunContext, clean
from websauna_migrate.statements import Supervisor
from websauna_migrate.steps import is_transactional
from websauna_migrate.waiting import LockWaits

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["Pipeline"]


class Pipeline:
    """Runs steps as long as they go smoothly."""

    def __init__(
        self,
        run: RunContext,
        supervisor: Supervisor,
        waits: LockWaits,
        *,
        at: Callable[[Attempt], None],
        cancel: Callable[[], None],
    ) -> None:
        """Prepare; nothing is opened yet.

        :param at: told which attempt the run is at, whenever that changes
        :param cancel: cancels what the server does for the run
        """
        self.run_context = run
        self.connection = run.connection
        self.supervisor = supervisor
        self.waits = waits
        self.at = at
        self.cancel = cancel
        self._in_flight: tuple[Attempt, Future[None]] | None = None
        self._sender: ThreadPoolExecutor | None = None
        #: Whether the steps of this run can go this way at all.
        self.possible = run.settings.pipeline and run.lock.allows_batches and not run.atomic
        #: Whether the newest commit may not be on the disk yet.
        self._unwritten = False

    def run(self, stretch: Stretch, context: MigrationContext) -> Attempt | None:
        """Run steps; no transaction is open.

        :returns: the attempt that did not go smoothly, at the first step that is left now;
            ``None`` if that step was not tried, or no step is left
        :raises LockLost: if the run has lost its lock
        :raises DBAPIError: if it has lost its connection
        """
        attempt = stretch.look_ahead(0)
        if attempt is None or not self.possible or not self._is_plain(attempt):
            return None
        environment = self.run_context.environments[attempt.step.package]
        history = version_table(environment.package.history_table, environment.schema)
        sending = batches_for(self.connection, self.run_context.ledger.table, history)
        if sending is None:
            return None
        with self._opened(sending, stretch):
            while attempt is not None:
                lasting = not sending.defers or attempt.number == stretch.total
                batch = self._batch(attempt, context, lasting=lasting)
                failed = self._land(stretch)
                if failed is not None or batch is None or self.run_context.stopping:
                    return failed
                self._send(sending, attempt, batch)
                attempt = stretch.look_ahead(1)
            return self._land(stretch)

    def close(self) -> None:
        """End the thread, and see that what was committed is on the disk."""
        if self._sender is not None:
            self._sender.shutdown()
            self._sender = None
        if self._unwritten:
            self._unwritten = False
            # Committing a transaction that has a number writes all that was committed before.
            with suppress(SQLAlchemyError):
                clean(self.connection)
                self.connection.exec_driver_sql("SELECT txid_current()")
                self.connection.commit()

    def _is_plain(self, attempt: Attempt) -> bool:
        """Tell whether a step can be one batch."""
        step = attempt.step
        module = (
            self.run_context.environments[step.package]
            .scripts.get_revision(step.revision.id)
            .module
        )
        return (
            step.replaces_row
            and is_transactional(module)
            and is_plain_script(getattr(module, step.direction, None))
        )

    def _batch(self, attempt: Attempt, context: MigrationContext, *, lasting: bool) -> Batch | None:
        """Run a step's script and return its batch; ``None`` if it has to be run by itself."""
        if not self._is_plain(attempt):
            return None
        environment = self.run_context.environments[attempt.step.package]
        script = environment.scripts.get_revision(attempt.step.revision.id)
        function = getattr(script.module, attempt.step.direction)
        memo = context.impl.memo
        before = named_types(memo)
        statements: list[tuple[str, Any]] | None
        try:
            with self.supervisor.collecting() as statements:
                function()
        except Exception:
            statements = None
        if statements is None or named_types(memo) != before:
            # It is remembered of a step that is done which types it created.
            environment.types.renew_after_failure(memo, self.connection)
            return None
        return Batch(
            attempt.step,
            attempt.values,
            settings=self.supervisor.settings_of(attempt.timeouts, attempt.waiting.seconds),
            lasting=lasting,
            statements=statements,
        )

    def _send(self, sending: Batches, attempt: Attempt, batch: Batch) -> None:
        """Send a batch while nothing is in flight."""
        from websauna_migrate.alembic_internals import announce

        self.at(attempt)
        self.run_context.lock.check()
        announce(self.run_context.environments[attempt.step.package].scripts, attempt.step)
        if self._sender is None:
            self._sender = ThreadPoolExecutor(1, thread_name_prefix="websauna_migrate")
        self._in_flight = attempt, self._sender.submit(sending.sending(batch))
        self._unwritten = not batch.lasting

    def _land(self, stretch: Stretch) -> Attempt | None:
        """Wait for the answer to what was sent; return its attempt if that did not go well.

        :raises DBAPIError: if the connection was lost meanwhile, and with it the answer
        """
        if self._in_flight is None:
            return None
        attempt, answer = self._in_flight
        error = answer.exception()
        self._in_flight = None
        if error is None:
            stretch.done(attempt)
            return None
        driver: Any = self.connection.dialect.dbapi
        if isinstance(error, driver.Error):
            known = wrapped(error, self.connection, None)
            if known.connection_invalidated:
                raise known from error
        elif not isinstance(error, Exception):
            raise error
        if is_lock_failure(error, self.run_context.server.kind):
            # The others go first, as between any two attempts.
            attempt.waiting.attempts += 1
            with suppress(BlockedByCaller):
                self.waits.wait(attempt.step, attempt.waiting, attempt.timeouts)
        return attempt

    @contextmanager
    def _opened(self, sending: Batches, stretch: Stretch) -> Iterator[None]:
        """Let SQLAlchemy take it that one transaction is open, in which nothing is executed."""
        connection = self.connection.execution_options(**{BATCHED: True})
        try:
            connection.begin()
            with (
                sending.opened(),
                self.run_context.stopping.running(self.cancel, interruptible=False),
            ):
                try:
                    yield
                except BaseException:
                    # What was sent is on its way all the same, and the connection in use.
                    with suppress(Exception):
                        self._land(stretch)
                    raise
                finally:
                    clean(connection)
        finally:
            connection.execution_options(**{BATCHED: False})


def named_types(memo: dict[str, Any]) -> dict[str, set[Any]]:
    """Return the named types that Alembic took down as created, by kind."""
    return {kind: set(found) for kind, found in memo.items() if isinstance(found, set)}
