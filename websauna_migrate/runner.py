"""Running a plan: the only part that changes the database.

Each step is one transaction of its own, on the one connection that also holds the run's lock. It
is opened by Alembic, so that ``autocommit_block`` works, and contains everything: the ledger's
marker, the script's work, the history table's new rows and the ledger's final word.
"""

from __future__ import annotations

import functools
import hashlib
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationStep
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from zope.interface import implementer

from websauna_migrate.database import connect, hide_password, one_line
from websauna_migrate.environment import PackageEnvironment
from websauna_migrate.errors import MigrationError
from websauna_migrate.histories import list_history_tables, read_rows
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
)
from websauna_migrate.ledger import DONE, FAILED, LEDGER_TABLE, Ledger, LedgerEntry
from websauna_migrate.locks import require_primary, run_lock
from websauna_migrate.plan import Plan, Step
from websauna_migrate.results import AppliedStep, Run
from websauna_migrate.sessions import held_connections
from websauna_migrate.settings import Settings

__all__ = ["InterruptedSteps", "Runner", "StepFailed"]

#: Alembic's ``context`` and ``op`` are module globals: one run at a time in a process, too.
ALEMBIC = threading.Lock()

#: Attempts after which a lock that the calling thread itself holds is believed to be the cause.
OWN_LOCK_ATTEMPTS = 3

Applied = Mapping[str, tuple[str, ...]]


class StepFailed(MigrationError, RuntimeError):
    """A script failed; ``half_done`` tells whether parts of it may have been committed."""

    def __init__(
        self, step: Step, place: str, problem: str, *, half_done: bool, done: int
    ) -> None:
        self.package = step.package
        self.revision = step.revision.id
        self.half_done = half_done
        if half_done:
            state = (
                "It was not one transaction, so parts of it may have been applied; see what is "
                "there, then tell with: ws-alembic repair"
            )
            self.exit_code = InterruptedSteps.exit_code
        else:
            state = "Nothing of it was applied."
        earlier = ""
        if done:
            stay = "step of this run stays" if done == 1 else "steps of this run stay"
            earlier = f" {done} earlier {stay} applied."
        super().__init__(
            f'The {step.direction} of revision "{self.revision}" of package "{self.package}" '
            f"failed ({place}): {problem}\n{state}{earlier}"
        )


class InterruptedSteps(MigrationError, RuntimeError):
    """An earlier run ended in the middle of a step that was not one transaction."""

    exit_code = 3

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries = tuple(entries)
        lines = [
            f'  {entry.direction} of revision "{entry.revision}" of package "{entry.package}", '
            f"started {entry.started:%Y-%m-%d %H:%M:%S} UTC by process {entry.process} on "
            f"{entry.host}"
            for entry in entries
        ]
        super().__init__(
            "An earlier run ended in the middle of a step, parts of which may have been applied:\n"
            + "\n".join(lines)
            + "\nNothing was changed now. See what is there, then tell with: ws-alembic repair"
        )


class BlockedByCaller(MigrationError, RuntimeError):
    """The calling thread's own open transaction is in the way of its ``upgrade()``."""

    def __init__(self, step: Step, holders: str) -> None:
        self.package = step.package
        self.revision = step.revision.id
        super().__init__(
            f'The {step.direction} of revision "{step.revision.id}" of package "{step.package}" '
            f"waits for a lock that the calling thread's own connection holds ({holders}). Commit "
            "or roll back the open transaction (request.tm) before the call, or run ws-alembic. "
            "Nothing of the step was applied."
        )


class HistoryMoved(Exception):
    """Another run changed a history table since the plan was made; plan again."""


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
        engine: Engine,
        environments: Mapping[str, PackageEnvironment],
        ledger: Ledger,
        settings: Settings,
        notify: Callable[[object], None],
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.engine = engine
        self.environments = environments
        self.ledger = ledger
        self.settings = settings
        self.notify = notify
        self.on_wait = on_wait
        self.schema = settings.version_table_schema

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

    def run(
        self, direction: str, make_plan: Callable[[Applied], Plan], *, tag: str | None = None
    ) -> Run:
        """Make the plan under the lock and run it.

        :param make_plan: gets the applied rows of every package and returns the plan; called again
            whenever the history may have changed meanwhile
        """
        run_id = uuid.uuid4().hex
        with ALEMBIC, connect(self.engine, writes=True) as connection:
            require_primary(connection)
            if not self._anything_to_do(connection, make_plan):
                return Run(run_id, direction)
            with run_lock(
                connection,
                self.settings.lock_wait,
                scope=self.schema or "",
                on_wait=self.on_wait,
            ) as spans_steps:
                return self._run_locked(connection, run_id, direction, make_plan, tag, spans_steps)

    @contextmanager
    def locked(self) -> Iterator[tuple[Connection, Callable[[], Applied]]]:
        """Hold the run's lock for a change of the history tables alone.

        :returns: the connection, and what reads the histories in its current transaction
        :raises InterruptedSteps: if an earlier run ended in the middle of a step
        """
        with ALEMBIC, connect(self.engine, writes=True) as connection:
            require_primary(connection)
            with run_lock(
                connection,
                self.settings.lock_wait,
                scope=self.schema or "",
                on_wait=self.on_wait,
            ):
                self._read_locked(connection)
                yield connection, lambda: self.read(connection)[0]

    def _anything_to_do(
        self, connection: Connection, make_plan: Callable[[Applied], Plan]
    ) -> bool:
        """Look without the lock: most runs find nothing to do and need none."""
        applied, has_ledger = self.read(connection)
        marked = has_ledger and self.ledger.interrupted(connection)
        connection.rollback()
        return bool(marked) or bool(make_plan(applied).steps)

    def _run_locked(
        self,
        connection: Connection,
        run_id: str,
        direction: str,
        make_plan: Callable[[Applied], Plan],
        tag: str | None,
        spans_steps: bool,
    ) -> Run:
        done: list[AppliedStep] = []
        started = False
        error: BaseException | None = None
        try:
            while True:
                applied = self._read_locked(connection)
                plan = make_plan(applied)
                if not plan.steps:
                    break
                if not started:
                    self.ledger.create(connection)
                    connection.commit()
                    self.notify(RunStarted(run_id, plan))
                    started = True
                try:
                    self._run_steps(connection, run_id, plan, tag, spans_steps, done)
                except HistoryMoved:
                    connection.rollback()
                    continue
                break
        except BaseException as exc:
            error = exc
            raise
        finally:
            run = Run(run_id, direction, tuple(done))
            if started:
                self.notify(RunEnded(run, error))
        return run

    def _read_locked(self, connection: Connection) -> Applied:
        """Read the histories under the lock, and refuse to go on after a half done step."""
        applied, has_ledger = self.read(connection)
        interrupted = self.ledger.interrupted(connection) if has_ledger else ()
        connection.rollback()
        if interrupted:
            raise InterruptedSteps(interrupted)
        return applied

    def _run_steps(
        self,
        connection: Connection,
        run_id: str,
        plan: Plan,
        tag: str | None,
        spans_steps: bool,
        done: list[AppliedStep],
    ) -> None:
        total = len(done) + len(plan.steps)
        for step in plan.steps:
            number = len(done) + 1
            began = datetime.now(timezone.utc)
            clock = time.perf_counter()
            self._run_step(connection, run_id, number, step, tag, spans_steps)
            applied = AppliedStep(
                package=step.package,
                revision=step.revision.id,
                message=step.revision.message,
                direction=step.direction,
                started=began,
                seconds=time.perf_counter() - clock,
                reason=step.reason,
            )
            done.append(applied)
            self.notify(StepApplied(run_id, applied, number, total))

    def _run_step(
        self,
        connection: Connection,
        run_id: str,
        number: int,
        step: Step,
        tag: str | None,
        spans_steps: bool,
    ) -> None:
        """Run one step, again and again while a table's lock is taken, up to the budget."""
        deadline = time.monotonic() + self.settings.lock_budget
        timeout_ms = self.settings.lock_timeout_ms
        attempt = 0
        while True:
            attempt += 1
            try:
                self._attempt(connection, run_id, number, step, tag, spans_steps, timeout_ms)
                return
            except (HistoryMoved, MigrationError):
                clean(connection)
                raise
            except Exception as exc:
                clean(connection)
                half_done = self._marker_is_visible(connection, run_id, number)
                if not half_done and is_lock_timeout(exc):
                    own = self._own_holders(connection)
                    if own and attempt >= OWN_LOCK_ATTEMPTS:
                        raise BlockedByCaller(step, own) from exc
                    if time.monotonic() < deadline:
                        time.sleep(random.uniform(0.5, 1.5) * timeout_ms / 1000)
                        timeout_ms = min(timeout_ms * 2, self.settings.lock_timeout_max_ms)
                        continue
                if not half_done:
                    self._record_failure(connection, run_id, number, step)
                raise StepFailed(
                    step,
                    place_of(exc, step.revision.path),
                    self._describe(exc),
                    half_done=half_done,
                    done=number - 1,
                ) from exc
            except BaseException:
                # Interrupted from outside: what the transaction held is rolled back.
                clean(connection)
                raise

    def _attempt(
        self,
        connection: Connection,
        run_id: str,
        number: int,
        step: Step,
        tag: str | None,
        spans_steps: bool,
        timeout_ms: int,
    ) -> None:
        environment = self.environments[step.package]
        scripts = environment.scripts
        script = scripts.get_revision(step.revision.id)
        entry = ""

        def steps(rows: Any, context: MigrationContext) -> Sequence[Any]:
            if frozenset(rows) != step.rows_before:
                raise HistoryMoved
            make = (
                MigrationStep.upgrade_from_script
                if step.direction == "upgrade"
                else MigrationStep.downgrade_from_script
            )
            revision_step = make(scripts.revision_map, script)
            function = revision_step.migration_fn

            @functools.wraps(function)
            def marked(**arguments: Any) -> None:
                nonlocal entry
                assert context.connection is not None
                set_timeouts(context.connection, timeout_ms, self.settings.statement_timeout_ms)
                entry = self.ledger.start(
                    context.connection,
                    run=run_id,
                    number=number,
                    package=step.package,
                    revision=step.revision.id,
                    direction=step.direction,
                    history_table=environment.package.history_table,
                    checksum=checksum(step.revision.path),
                )
                function(**arguments)

            revision_step.migration_fn = marked
            return [revision_step]

        def on_version_apply(*, ctx: MigrationContext, **_: Any) -> None:
            assert ctx.connection is not None
            self.ledger.end(ctx.connection, entry, DONE)

        if connection.in_transaction():
            connection.rollback()
        environment.run(
            steps,
            connection=connection,
            rows=tuple(sorted(step.rows_before)) if spans_steps else None,
            configure={"on_version_apply": on_version_apply},
            tag=tag,
        )
        if connection.in_transaction():
            connection.commit()

    def _marker_is_visible(self, connection: Connection, run_id: str, number: int) -> bool:
        """Tell, after the rollback, if the step's marker was published all the same."""
        try:
            marks = self.ledger.interrupted(connection)
            connection.rollback()
        except DBAPIError:
            # The connection is gone: the next run looks again, under the lock.
            clean(connection)
            return False
        return any(mark.run == run_id and mark.number == number for mark in marks)

    def _record_failure(
        self, connection: Connection, run_id: str, number: int, step: Step
    ) -> None:
        """Write that a step failed; a failure to do so must not hide the first one."""
        environment = self.environments[step.package]
        try:
            self.ledger.start(
                connection,
                run=run_id,
                number=number,
                package=step.package,
                revision=step.revision.id,
                direction=step.direction,
                history_table=environment.package.history_table,
                checksum=checksum(step.revision.path),
                outcome=FAILED,
            )
            connection.commit()
        except DBAPIError:
            clean(connection)

    def _describe(self, exc: BaseException) -> str:
        """Return what went wrong in one sentence, without a password or bound values."""
        if isinstance(exc, DBAPIError):
            return hide_password(one_line(str(exc.orig)), self.engine.url)
        words = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        return hide_password(one_line(words), self.engine.url)

    def _own_holders(self, connection: Connection) -> str:
        """Return which open transactions the calling thread itself holds, in words, or ``""``."""
        own = held_connections.of_this_thread(but=connection.connection.dbapi_connection)
        backend = connection.dialect.name
        if backend == "sqlite":
            return "an open SQLite transaction" if any(in_transaction(c) for c in own) else ""
        identifiers = [number for number in map(server_process, own) if number is not None]
        if not identifiers:
            return ""
        if backend == "postgresql":
            query = text(
                "SELECT pid FROM pg_stat_activity WHERE pid = ANY(:own) "
                "AND datname = current_database() AND xact_start IS NOT NULL"
            )
            parameters: dict[str, Any] = {"own": identifiers}
        else:
            listed = ", ".join(str(int(number)) for number in identifiers)
            query = text(
                "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx "
                f"WHERE trx_mysql_thread_id IN ({listed})"
            )
            parameters = {}
        try:
            found = sorted(connection.scalars(query, parameters))
        except DBAPIError:
            # It takes a right that a migration does not need; without it nobody can tell.
            found = []
        clean(connection)
        return ", ".join(f"server process {number}" for number in found)


def clean(connection: Connection) -> None:
    """Leave no transaction open, whatever state the connection is in."""
    try:
        if not connection.closed and connection.in_transaction():
            connection.rollback()
    except DBAPIError:
        connection.invalidate()


def set_timeouts(connection: Connection, lock_ms: int, statement_ms: int) -> None:
    """Bound how long the step's statements wait for a table's lock, for this transaction alone.

    Behind an ``autocommit_block`` or a literal COMMIT the limits are gone with the transaction, so
    they never cut off a CREATE INDEX CONCURRENTLY.
    """
    if connection.dialect.name == "postgresql":
        if lock_ms:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(lock_ms)}ms'")
        if statement_ms:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{int(statement_ms)}ms'")
    elif connection.dialect.name in ("mysql", "mariadb") and lock_ms:
        # Whole seconds only; the server's own default is a day.
        seconds = max(1, round(lock_ms / 1000))
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {seconds}")


def is_lock_timeout(exc: BaseException) -> bool:
    """Tell whether a step failed only since a lock was taken."""
    if not isinstance(exc, DBAPIError):
        return False
    original: Any = exc.orig
    if getattr(original, "pgcode", None) == "55P03" or getattr(original, "sqlstate", None) == "55P03":
        return True
    arguments = getattr(original, "args", ())
    if type(original).__module__.split(".")[0] == "sqlite3":
        return "locked" in str(original)
    return bool(arguments) and arguments[0] == 1205


def in_transaction(dbapi_connection: Any) -> bool:
    """Tell whether a ``sqlite3`` connection has an open transaction of this very thread."""
    return bool(getattr(dbapi_connection, "in_transaction", False))


def server_process(dbapi_connection: Any) -> int | None:
    """Return the number by which the server knows a connection, if the driver tells it."""
    info = getattr(dbapi_connection, "info", None)
    number = getattr(info, "backend_pid", None)
    if number is None:
        thread_id = getattr(dbapi_connection, "thread_id", None)
        number = thread_id() if callable(thread_id) else None
    return number


def checksum(path: str) -> str:
    """Return the SHA-256 of a script's file, hexadecimal; empty if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def place_of(exc: BaseException, path: str) -> str:
    """Return the script's file and the line in it that was running when ``exc`` arose."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(exc.__traceback__)
        if frame.filename == path
    ]
    return f"{path}, line {lines[-1]}" if lines else path
