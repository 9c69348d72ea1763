"""What becomes of a step that did not go well: another try, or an error that says what is true."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import ModuleType

from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, ObjectNotExecutableError, SQLAlchemyError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import (
    connect,
    driver_words,
    hide_password,
    one_line,
    said_by,
)
from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.database.lock_errors import is_lock_failure, says_already_there, sqlstate
from websauna_migrate.database.own_connections import as_sqlalchemy_raises_it
from websauna_migrate.database.stopping import RunStopped, StopNow
from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.locks.run_lock import LockLost, RunBlocked
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import full_name
from websauna_migrate.planning.steps import Step
from websauna_migrate.results import LedgerEntry
from websauna_migrate.revision_scripts.script_error import ScriptRefused, place_of
from websauna_migrate.runs.failures import NotAtomic, StepFailed, connection_lost, run_stopped
from websauna_migrate.runs.ledger import FAILED, STOPPED
from websauna_migrate.runs.run_access import RunContext
from websauna_migrate.runs.run_context import clean, is_gone
from websauna_migrate.runs.sqlite_foreign_keys import TEMPORARY
from websauna_migrate.runs.statement_guard import StatementGuard
from websauna_migrate.runs.statement_log import StatementLog, kind_of, plain
from websauna_migrate.runs.waiting import Attempt, LockWaits, lock_problem

#: What PostgreSQL says to a user who may not create in a schema, or not look into it.
NO_SCHEMA_RIGHT = re.compile(r"permission denied for schema (\S+)")

#: What databases, and batches on SQLite, say of a constraint that is not there.
NO_CONSTRAINT = re.compile(
    r"Can't DROP (?:FOREIGN KEY|CONSTRAINT|INDEX) `|No such constraint: '|"
    r'constraint "[^"]+" of relation "[^"]+" does not exist'
)

#: What shows the names of a table's constraints.
SHOWN_BY = {"postgresql": "\\d TABLE", "mysql": "SHOW CREATE TABLE", "sqlite": ".schema TABLE"}

#: SQLite's word, or SQLAlchemy's, on a table that is not there.
NO_TABLE = re.compile(r"(?:no such table: (?:main\.)?)?(\w+)")

#: SQLite's word on a temporary table of Alembic's batch that is there already.
#: PostgreSQL's code of what may not run in a transaction.
ACTIVE_TRANSACTION = "25001"

LEFT_BY_BATCH = re.compile(r'table "?(_alembic_tmp_(\w+))"? already exists')

#: For what is nice to have written, but no reason to wait.
BRIEF = Timeouts(lock_timeout_ms=1000)


class Aftermath:
    """Finds out, after the rollback, what a failed attempt left behind."""

    def __init__(self, run: RunContext, guard: StatementGuard, waits: LockWaits) -> None:
        self.run = run
        self.access = run.access
        self.connection = run.connection
        self.server = run.server
        self.guard = guard
        self.waits = waits

    def after_failure(
        self, exc: BaseException, attempt: Attempt, total: int, *, dry_run: bool = False
    ) -> None:
        """Wait for another try, of the step or of an atomic run, or raise what is to be told.

        :param total: how many steps the run has
        :param dry_run: whether nothing of the run is told in the ledger
        """
        run, step = self.run, attempt.step
        exc = as_sqlalchemy_raises_it(exc, self.connection)
        done = attempt.number - 1
        # What stays applied.
        kept = 0 if run.atomic else done
        place = self.place_of(exc, step.revision.path)
        failure = failure_of(exc, self.guard.log, place, self.connection.engine.url)
        lost = self._is_lost()
        visible = self._marker_is_visible(attempt.entry, lost=lost)
        committed = isinstance(exc, ScriptRefused) and exc.kind == "committed"
        if committed and not visible:
            raise went_well_apart(step, exc) from exc
        half_done = visible and not self.guard.mysql.untouched
        if half_done:
            self.write(
                lambda one: self.access.ledger.change(one, attempt.entry, failure), lost=lost
            )
            tell: Callable[[str], None] = told_already
        elif dry_run:
            tell = told_already
        else:
            values, exists = self._row_of(attempt, failure, visible=visible)
            tell = partial(self.record, values, exists=exists, lost=lost)
        stopped = isinstance(exc, StopNow) or self.access.stopping.at_once
        if stopped or is_interrupt(exc):
            tell(STOPPED)
            if not stopped:
                raise exc
            raise self._stopped(step, kept, total, half_done=half_done) from exc
        if isinstance(exc, LockLost) and not half_done:
            raise connection_lost(str(exc), kept) from exc
        problem = ""
        if is_lock_failure(exc, self.server.kind) and not lost:
            attempt.waiting.attempts += 1
            if not half_done and self._may_try_again(exc, attempt, kept, total, tell):
                return
            problem = lock_problem(attempt.waiting)
        if not lost:
            tell(FAILED)
        if isinstance(exc, MigrationError) and not half_done:
            raise exc
        raise StepFailed(
            step,
            place,
            problem or self.describe(exc) + self.hint(exc, step),
            half_done=half_done,
            unknown=lost and not half_done,
            done=done,
            atomic=run.atomic and not committed,
            busy=bool(problem),
            marked=bool(run.marks),
        ) from exc

    def _row_of(
        self, attempt: Attempt, failure: Mapping[str, object], *, visible: bool
    ) -> tuple[dict[str, object], bool]:
        """Return the ledger's row that tells of a step, and whether it is there already.

        :param visible: whether the step's own row is there
        """
        run = self.run
        values = {**attempt.values, **failure}
        if run.atomic and run.planned is not None and not visible:
            # The row of the first step is the only one that is there, so it tells of this one.
            return {**values, "id": run.planned}, True
        return values, visible or attempt.entry == run.planned

    def _may_try_again(
        self,
        exc: BaseException,
        attempt: Attempt,
        done: int,
        total: int,
        tell: Callable[[str], None],
    ) -> bool:
        """Wait for the lock that a step needs, and tell whether to try the step again.

        :param tell: writes the outcome into the ledger where waiting ends in an error
        :raises RunBlocked: if waiting does not help
        :raises RunStopped: if asked to stop meanwhile
        """
        try:
            if self.waits.wait(attempt):
                return True
        except RunBlocked as error:
            tell(FAILED)
            raise error from exc
        except RunStopped as error:
            tell(STOPPED)
            raise error from exc
        if self.access.stopping():
            tell(STOPPED)
            raise self._stopped(attempt.step, done, total) from exc
        return False

    def _stopped(self, step: Step, done: int, total: int, *, half_done: bool = False) -> RunStopped:
        """Return the error of a run that was stopped in the middle of a step."""
        code = self.access.stopping.exit_code
        return run_stopped(
            step, done=done, total=total, running=True, half_done=half_done, exit_code=code
        )

    def _is_lost(self) -> bool:
        """Tell whether the connection, and with it the lock, is not what it was."""
        if is_gone(self.connection):
            return True
        try:
            self.run.lock.check()
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
            with self._working(lost=lost) as connection:
                marks = self.access.ledger.interrupted(connection)
                connection.rollback()
        except (SQLAlchemyError, MigrationError):
            # The next run looks again, under the lock.
            clean(self.connection)
            return False
        return any(mark.id == entry for mark in marks)

    def record(
        self, values: dict[str, object], outcome: str, *, exists: bool, lost: bool = False
    ) -> None:
        """Write that a step left nothing behind; if that fails, it must not hide why.

        :param exists: whether the step has its row in the ledger already
        :param lost: whether the run's own connection is of no use any more
        """
        ledger = self.access.ledger
        self.write(lambda one: ledger.record(one, values, outcome, planned=exists), lost=lost)

    def write(self, change: Callable[[Connection], None], *, lost: bool) -> None:
        """Change the ledger in a transaction of its own, or leave it.

        :param lost: whether the run's own connection is of no use any more
        """
        with (
            suppress(SQLAlchemyError, MigrationError),
            self._working(lost=lost) as connection,
        ):
            try:
                if self.server.kind == "postgresql":
                    # A script may have left its row behind in a transaction that it only prepared.
                    connection.exec_driver_sql(self.guard.settings_of(BRIEF, 0.0))
                change(connection)
                connection.commit()
            finally:
                clean(connection)

    def _working(self, *, lost: bool) -> AbstractContextManager[Connection]:
        """Give the run's own connection, or another one where that is lost."""
        return connect(self.access.make_engine()) if lost else nullcontext(self.connection)

    def hint(self, exc: BaseException, step: Step) -> str:
        """Return what else is to be said of a step that failed, behind its problem."""
        if isinstance(exc, ObjectNotExecutableError) and isinstance(exc.target, str):
            return " SQLAlchemy 2 executes no plain string: write sa.text(...) around it."
        if sqlstate(exc) == ACTIVE_TRANSACTION:
            return (
                " A step is a transaction, also where env.py says AUTOCOMMIT: put the statement "
                "into a block with op.get_context().autocommit_block():"
            )
        left = LEFT_BY_BATCH.search(str(getattr(exc, "orig", "")))
        if left is not None:
            temporary, table = left.groups()
            return (
                f' An earlier batch that was cut off left it. If the table "{table}" is there, '
                f'drop it: DROP TABLE "{temporary}". If it is not, its rows are in the other: '
                f'ALTER TABLE "{temporary}" RENAME TO "{table}".'
            )
        if done := self.done_before(exc, step):
            return done
        denied = NO_SCHEMA_RIGHT.search(str(getattr(exc, "orig", "")))
        if denied is not None and self.server.kind == "postgresql":
            user = self.connection.dialect.identifier_preparer.quote(
                str(self.connection.engine.url.username)
            )
            return (
                " The user lacks a right. Let the schema's owner run: "
                f"GRANT USAGE, CREATE ON SCHEMA {denied[1]} TO {user};"
            )
        if NO_CONSTRAINT.search(str(getattr(exc, "orig", exc))):
            return (
                " Where the models give none, each database has a name of its own for it: let the "
                f"script say the one that it has here ({SHOWN_BY[self.server.kind]} "
                "shows it), and give the MetaData a naming convention for those to come."
            )
        if lost := self.lost_by_batch(exc):
            return lost
        if (
            step.direction == "upgrade"
            and says_already_there(exc, self.server.kind)
            and self.access.environments[step.package].reader.make_nothing(step.rows_before)
        ):
            if moved := self.made_by_others(step):
                return moved
            reason = "history of package {} is empty"
            if step.rows_before:
                reason = "applied scripts of package {} make nothing"
            return (
                f" The {reason.format(in_quotes([step.package]))}, so this was made without its "
                'scripts. What "ws-alembic check" says of the package leads on; where the database '
                f"equals the models: ws-alembic -x packages={step.package} adopt"
            )
        return ""

    def done_before(self, exc: BaseException, step: Step) -> str:
        """Return what to do about the statement that failed, if an earlier attempt has done it."""
        statement = getattr(exc, "statement", None)
        if not self.run.marks or not statement:
            return ""
        kind, place = plain(kind_of(statement)), self.place_of(exc, step.revision.path)
        marks: tuple[LedgerEntry, ...] = ()
        with (
            suppress(SQLAlchemyError, MigrationError),
            connect(self.access.make_engine()) as connection,
        ):
            marks = self.access.ledger.interrupted(connection)
        for one in (one for mark in marks if mark.id in self.run.marks for one in mark.statements):
            # An ALTER TABLE may be another one of the same table.
            same = place.endswith(f", line {one.line}") and kind.startswith("ALTER ")
            if one.kind == kind and (same or kind.startswith(("CREATE ", "DROP "))):
                return (
                    f" An earlier attempt at this step did that already ({kind}, line {one.line}): "
                    "let the script look first whether it is there."
                )
        return ""

    def lost_by_batch(self, exc: BaseException) -> str:
        """Return what to do about a table that a batch of SQLite left under another name."""
        gone = NO_TABLE.fullmatch(str(getattr(exc, "orig", exc)))
        if gone is not None and self.server.kind == "sqlite":
            temporary = f"{TEMPORARY}{gone[1]}"
            with connect(self.access.make_engine()) as connection:
                if temporary in list_tables(connection, None):
                    return (
                        f' An earlier batch that was cut off left "{temporary}" in its place, as '
                        f'changed and with its rows: ALTER TABLE "{temporary}" RENAME TO '
                        f'"{gone[1]}", and run the command again. Its indexes and triggers are '
                        "lost: ws-alembic drift"
                    )
        return ""

    def made_by_others(self, step: Step) -> str:
        """Return what to do about a table that a script of another package makes as well."""
        made = {
            name: {
                effect.key: revision
                for revision in one.reader.history
                for effect in one.reader.index.upgrade(revision.path)
                if effect.kind == "create_table"
            }
            for name, one in self.access.environments.items()
            if one.exists
        }
        mine = [key for key, revision in made[step.package].items() if revision == step.revision]
        for name, keys in made.items():
            for key in mine if name != step.package else ():
                if key in keys:
                    table = full_name(*key)
                    return (
                        f' Revision "{keys[key]}" makes the table "{table}" as well. If it is the '
                        "same table, take it out of this script and hand it over: ws-alembic "
                        f"move-table {table} {name} {step.package}"
                    )
        return ""

    def place_of(self, exc: BaseException, path: str) -> str:
        """Return the script's file and the line in it that an error is of."""
        queue = self.guard.queue
        line = None if queue is None else queue.line_of(exc)
        if line is None:
            return place_of(exc, path)
        return f"{path}, line {line}" if line else path

    def describe(self, exc: BaseException) -> str:
        """Return what went wrong in one sentence, without a password or bound values."""
        url = self.connection.engine.url
        if isinstance(exc, DBAPIError):
            return said_by(exc, url)
        if isinstance(exc, ScriptRefused):
            return str(exc)
        if (
            isinstance(exc, AttributeError)
            and isinstance(exc.obj, ModuleType)
            and exc.name in ("upgrade", "downgrade")
        ):
            return f"the script has no function {exc.name}()."
        if isinstance(exc, SystemExit):
            return f"the script ends the process ({type(exc).__name__}: {exc})."
        words = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        if "run_async" in words:
            # Whatever env.py connects by, all statements are the service's.
            words += " Its connection is the service's: say op.execute(...) in place of it."
        return hide_password(one_line(words), url)


def went_well_apart(step: Step, exc: BaseException) -> NotAtomic:
    """Return the error of a run that was to be one transaction, in which a step has committed.

    It was done for all that: on SQLite there is no transaction behind the driver's commit.
    """
    return NotAtomic(
        "The run was not one transaction.",
        {f"{step.package}@{step.revision.id}": str(exc)},
        "It and the steps before it are applied, as ws-alembic status shows. Take the commit out "
        "of the script.",
    )


def told_already(outcome: str) -> None:
    """Write no outcome: the ledger has it, or is to know nothing of a dry run."""


def is_interrupt(exc: BaseException) -> bool:
    """True if an exception means the whole program: Ctrl-C where no handler of a run listens.

    A script may raise ``SystemExit`` (``sys.exit``, argparse), ``GeneratorExit`` or anything else:
    that is a failure of its step.
    """
    return (
        isinstance(exc, KeyboardInterrupt)
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


#: Codes of PostgreSQL whose message may quote data or a script's text: data exceptions, syntax
#: errors, and what a function raises.
QUOTES_VALUES = ("22", "42601", "P0")

#: Where messages of MariaDB and SQLite quote values, and what a piece of the statement's text.
VALUES = (
    re.compile(r"(?P<before>Duplicate entry )'.*'(?= for key)", re.DOTALL),
    re.compile(r"(?P<before>\bvalue:? )'.*?'(?= for |\s*$|\.$)", re.DOTALL),
    re.compile(r"(?P<before>\bnear )(?:'.*'|\".*\")", re.DOTALL),
    re.compile(r"(?P<before>\bunrecognized token: )\".*\"", re.DOTALL),
)

#: MariaDB's number of an error that a script's own SIGNAL raises.
SIGNAL = 1644


def failure_of(
    exc: BaseException, log: StatementLog | None, place: str, url: URL
) -> dict[str, object]:
    """Return the ledger's columns about a failure.

    :param log: of the step's statements
    :param place: the script's path and line, as messages have it
    """
    line = re.search(r", line (\d+)$", place)
    failed = None
    if isinstance(exc, DBAPIError):
        words = without_values(exc)
        if log is not None and exc.statement:
            failed = log.find(exc.statement)
    else:
        words = str(exc) if isinstance(exc, MigrationError) else type(exc).__name__
    return {
        "error": hide_password(one_line(words), url),
        "line": int(line[1]) if line else None,
        "statement": failed and failed.number,
        "kind": failed and failed.kind,
    }


def without_values(exc: DBAPIError) -> str:
    """Return the database's words without what they quote of rows, parameters and statements."""
    original = exc.orig
    diagnosis = getattr(original, "diag", None)
    if diagnosis is not None and diagnosis.message_primary:
        words = str(diagnosis.message_primary)
        if (sqlstate(exc) or "").startswith(QUOTES_VALUES):
            words = re.sub(r"\".*\"|'.*'", '"..."', words, flags=re.DOTALL)
        return words
    words = driver_words(original)
    if getattr(original, "args", ())[:1] == (SIGNAL,):
        words = re.sub(r"'.*'", '"..."', words, flags=re.DOTALL)
    for pattern in VALUES:
        words = pattern.sub(r'\g<before>"..."', words)
    return words
