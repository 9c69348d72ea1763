"""Steps in a row without a pause: one is on its way to the database while the next are prepared.

A step whose script only gives statements (:mod:`.plain_scripts`) is run without the
database: its statements are collected, put into one batch with all that a step writes besides
(:mod:`.batches`), and sent from a thread of its own (:mod:`.sender`) when the one before is
committed. Meanwhile the next scripts are run in the same way.

Whoever asked to be told of each step, or to be asked, is told before the next one begins: only one
is on its way then.

Nothing is handled here that does not go smoothly. The batch of a script that wants something of the
database is dropped, and that of a statement which fails was rolled back by the server: the step is
run anew by itself, where a failure finds its script's line. A lock that is taken, and what a second
time does not make better, is a failure of the step as any other.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from websauna_migrate.database.engines import BATCHED, connect
from websauna_migrate.database.history_tables import version_table
from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.errors import MigrationError
from websauna_migrate.locks.locks import LockLost
from websauna_migrate.models.sqlalchemy_internals import Compilation
from websauna_migrate.reading.plain_scripts import OPERATIONS
from websauna_migrate.runs.attempts import Attempt, Stretch
from websauna_migrate.runs.batches import Batch, Batches, Message, batches_for
from websauna_migrate.runs.direct_sql import wrapped
from websauna_migrate.runs.run_context import RunContext, clean
from websauna_migrate.runs.sender import Sender
from websauna_migrate.runs.statement_guard import StatementGuard

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["Pipeline"]

#: An attempt, the message to send, and whether it is on the disk when it is committed.
Sent: TypeAlias = "tuple[Attempt, Message, bool]"

#: PostgreSQL's code for a statement that somebody canceled.
QUERY_CANCELED = "57014"

#: Seconds after which a thread that runs gives way to one that waits: a script takes less than
#: Python's own 5 ms, and the sender would begin when it is over.
TURN_SECONDS = 0.0001

#: How many steps are on their way at most: one that is sent, and those that wait for it.
AHEAD = 32

#: Seconds after which a step that failed is not run anew only to learn more of it.
AGAIN_SECONDS = 1.0


class Pipeline:
    """Runs steps as long as they go smoothly."""

    def __init__(
        self,
        run: RunContext,
        guard: StatementGuard,
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
        self.guard = guard
        self.at = at
        self.cancel = cancel
        #: Whether the steps of this run can go this way at all.
        self.possible = run.settings.pipeline and run.lock.allows_batches and not run.atomic
        #: Makes the history table of the package, if it is not there.
        self._make_history: Callable[[], None] | None = None
        #: Whether somebody who was asked at a boundary wanted the run to stop there.
        self.stopped = False
        #: What has a say in the statements of a script; ``None`` if somebody else has.
        self._database: str | None = None
        #: The ledger's row of the newest step that may not be on the disk yet.
        self._unwritten: str | None = None

    def run(self, stretch: Stretch, context: MigrationContext) -> Attempt | None:
        """Run steps; a transaction that is open has changed nothing.

        :returns: an attempt that is to be made again by itself, at the first step that is left now;
            ``None`` if that step was not tried, or no step is left
        :raises LockLost: if the run has lost its lock
        :raises DBAPIError: if a step failed for good, lost its connection, or waits for a lock
        """
        from websauna_migrate.alembic_adapter.internals import has_history

        self.stopped = False
        attempt = stretch.look_ahead(0)
        if attempt is None or not self.possible or not self._is_plain(attempt):
            return None
        environment = self.run_context.environments[attempt.step.package]
        remembers = environment.prepared.remembers
        self._database = database_of(context, self._compilation) if remembers else None
        history = version_table(environment.package.history_table, environment.schema)
        sending = batches_for(self.connection, self.run_context.ledger.table, history)
        if sending is None:
            return None
        # What was read in it is what a batch makes sure of.
        clean(self.connection)
        self._make_history = self._maker(context) if attempt.step.begins_history else None
        with self._opened(sending) as opened:
            again = self._run(sending, stretch, attempt, context) if opened else None
        if attempt.is_done and attempt.step.begins_history:
            has_history(context)
        self._write_out()
        return again

    def _maker(self, context: MigrationContext) -> Callable[[], None] | None:
        """Return what makes the package's history table; ``None`` if it is there."""
        from websauna_migrate.alembic_adapter.internals import history_maker

        try:
            return history_maker(context)
        finally:
            clean(self.connection)

    def _run(
        self, sending: Batches, stretch: Stretch, first: Attempt, context: MigrationContext
    ) -> Attempt | None:
        def send(sent: Sent) -> None:
            self._send(sending, sent[0], sent[1])

        run = self.run_context
        ahead = AHEAD if run.stopping.in_any_thread and not run.watched() else 1
        attempt: Attempt | None = first
        with Sender(send, ahead=ahead, stop=run.stopping.stop) as sender:
            try:
                while attempt is not None:
                    lasting = not sending.defers or len(stretch) == len(sender) + 1
                    message = self._message(attempt, context, sending, lasting=lasting)
                    again = self._land(sender, stretch, wait_for_all=message is None)
                    if again is not None or message is None:
                        return again
                    self.stopped = self._stops(stretch)
                    if self.stopped:
                        # The sender begins no more either, but may be in the middle of one.
                        break
                    sender.put((attempt, message, lasting))
                    # What is wrong with a step is told when it is begun.
                    with suppress(MigrationError):
                        attempt = None
                        attempt = stretch.look_ahead(len(sender))
                return self._land(sender, stretch, wait_for_all=True)
            except BaseException:
                self._land_rest(sender, stretch)
                raise

    @cached_property
    def _compilation(self) -> Compilation:
        return Compilation(self.connection)

    def close(self) -> None:
        """See that what was committed is on the disk."""
        self._write_out()

    def _write_out(self) -> None:
        """Wait until all that was committed is on the disk."""
        entry, self._unwritten = self._unwritten, None
        if entry is None:
            return
        # A commit that is waited for writes all that was committed before.
        try:
            clean(self.connection)
            self.run_context.lock.check()
            self.run_context.ledger.touch(self.connection, entry)
            self.connection.commit()
        except (SQLAlchemyError, LockLost):
            clean(self.connection)
            with (
                suppress(SQLAlchemyError, MigrationError),
                connect(self.run_context.make_engine()) as connection,
            ):
                self.run_context.ledger.touch(connection, entry)
                connection.commit()

    def _stops(self, stretch: Stretch) -> bool:
        """Ask whether to stop, at a boundary."""
        with stretch:
            return bool(self.run_context.stopping)

    def _is_plain(self, attempt: Attempt) -> bool:
        """Tell whether a step can be one batch."""
        step = attempt.step
        prepared = self.run_context.environments[step.package].prepared
        return (
            (step.replaces_row or step.begins_history)
            # The row of the run's first step is there already.
            and attempt.entry != self.run_context.planned
            # Older servers would measure the whole message.
            and not attempt.timeouts.statement_timeout_ms
            and (
                prepared.is_known(step.revision, step.direction)
                or prepared.plain_function(step.revision, step.direction) is not None
            )
        )

    def _message(
        self, attempt: Attempt, context: MigrationContext, sending: Batches, *, lasting: bool
    ) -> Message | None:
        """Return a step's batch; ``None`` if it has to be run by itself."""
        statements = self._statements(attempt, context) if self._is_plain(attempt) else None
        if statements is None:
            return None
        try:
            if attempt.step.begins_history and self._make_history is not None:
                with self.guard.collecting() as made:
                    self._make_history()
                statements = [*made, *statements]
        except Exception:
            # Somebody who listens to all tables wants something besides.
            return None
        batch = Batch(
            attempt.step,
            attempt.values,
            settings=self.guard.settings_of(attempt.timeouts, attempt.waiting.seconds),
            lasting=lasting,
            statements=statements,
        )
        try:
            return sending.message(batch)
        except Exception:
            return None

    def _statements(
        self, attempt: Attempt, context: MigrationContext
    ) -> list[tuple[str, Any]] | None:
        """Return what a plain script gives, run or not; ``None`` if it wants something besides."""
        step = attempt.step
        environment = self.run_context.environments[step.package]
        prepared = environment.prepared
        key = step.revision, step.direction, self._database
        known = prepared.statements(*key)
        if known is not None:
            return [(sql, {}) for sql in known]
        function = prepared.plain_function(step.revision, step.direction)
        memo = context.impl.memo
        before = named_types(memo)
        statements: list[tuple[str, Any]] | None
        try:
            assert function is not None
            with self.guard.collecting() as statements:
                function()
        except Exception:
            statements = None
        if statements is None or named_types(memo) != before:
            # It is remembered of a step that is done which types it created.
            environment.types.reset(memo, self.connection)
            return None
        prepared.remember(*key, statements)
        return statements

    def _send(self, sending: Batches, attempt: Attempt, message: Message) -> None:
        """Send a batch; called in the sender's thread."""
        attempt.start()
        self.run_context.lock.check()
        self._announce(attempt)
        sending.send(message.at(attempt.values["started"]))
        attempt.end()

    def _announce(self, attempt: Attempt) -> None:
        """Write the line into Alembic's log that it writes before each step."""
        from websauna_migrate.alembic_adapter.internals import announce

        announce(self.run_context.environments[attempt.step.package].scripts, attempt.step)

    def _land(
        self, sender: Sender[Sent], stretch: Stretch, *, wait_for_all: bool
    ) -> Attempt | None:
        """Take notice of what was sent; return an attempt that is to be made again.

        :param wait_for_all: whether nothing is to be on its way afterwards; else there is room for
            one more, and no wait if there is already
        :raises LockLost: if the run has lost its lock
        :raises DBAPIError: if nothing is gained by another attempt
        """
        left = sender.ahead // 2 if len(sender) == sender.ahead else sender.ahead - 1
        for sent in sender.over(0 if wait_for_all else left):
            if not self._passed(sent, stretch):
                return self._failed(sent[0], sender.error)
        return None

    def _land_rest(self, sender: Sender[Sent], stretch: Stretch) -> None:
        """Take notice of what was sent, where the run ends for another reason."""
        error = stretch.error
        try:
            # What is on its way is done all the same, and the connection in use.
            sender.close()
        finally:
            for sent in sender.over(0):
                with suppress(Exception):
                    if not self._passed(sent, stretch):
                        self._failed(sent[0], sender.error)
            # What is raised of the rest is not what the run ends for.
            stretch.error = error

    def _passed(self, sent: Sent, stretch: Stretch) -> bool:
        """Take notice of one that was sent; tell whether it went well."""
        attempt, _, lasting = sent
        if attempt.is_done:
            # Whoever was told of it raised something.
            return True
        self.at(attempt)
        if not attempt.is_sent:
            return False
        self._unwritten = None if lasting else attempt.entry
        stretch.done(attempt)
        return True

    def _failed(self, attempt: Attempt, error: BaseException | None) -> Attempt:
        """Return an attempt that failed if it is to be made again, else raise its error."""
        assert error is not None
        if not isinstance(error, Exception) or isinstance(error, LockLost):
            raise error
        driver: Any = self.connection.dialect.dbapi
        if isinstance(error, driver.Error):
            known = wrapped(error, self.connection, None)
            if self._is_final(known, attempt):
                raise known from error
        return attempt

    def _is_final(self, error: DBAPIError, attempt: Attempt) -> bool:
        """Tell whether a step's error is to be dealt with as it is.

        Made again, the step tells at which line of its script it fails. That is not worth a long
        time with locks held, and whoever canceled it wants it to end.
        """
        run = self.run_context
        return (
            error.connection_invalidated
            or is_lock_failure(error, run.server.kind)
            or getattr(error.orig, "pgcode", None) == QUERY_CANCELED
            or run.stopping.at_once
            or attempt.seconds > AGAIN_SECONDS
        )

    @contextmanager
    def _opened(self, sending: Batches) -> Iterator[bool]:
        """Let SQLAlchemy take it that one transaction is open, in which nothing is executed.

        :returns: whether the driver has none
        """
        connection = self.connection.execution_options(**{BATCHED: True})
        try:
            connection.begin()
            if sending.in_transaction:
                # A listener of the application's executes something in every transaction.
                self.possible = False
                yield False
                return
            with ExitStack() as stack:
                try:
                    stack.enter_context(sending.opened())
                except sending.error:
                    yield False
                    return
                stack.enter_context(quick_turns())
                stopping = self.run_context.stopping
                stack.enter_context(stopping.running(self.cancel, interruptible=False))
                yield True
        finally:
            clean(connection)
            connection.execution_options(**{BATCHED: False})


@contextmanager
def quick_turns() -> Iterator[None]:
    """Let a thread that waits have its turn soon, as the one does that sends."""
    seconds = sys.getswitchinterval()
    sys.setswitchinterval(min(seconds, TURN_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(seconds)


def named_types(memo: dict[str, Any]) -> dict[str, set[Any]]:
    """Return the named types that Alembic took down as created, by kind."""
    return {kind: set(found) for kind, found in memo.items() if isinstance(found, set)}


def database_of(context: MigrationContext, compilation: Compilation) -> str | None:
    """Return what has a say in the statements of a plain script; ``None`` if somebody else has."""
    from websauna_migrate.alembic_adapter.internals import describe_operations

    parts = compilation.describe(), describe_operations(context, OPERATIONS)
    if None in parts:
        return None
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
