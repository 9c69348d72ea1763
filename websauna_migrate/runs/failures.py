"""How a run can end without having done everything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.engines import DatabaseFailure
from websauna_migrate.database.stopping import RunStopped
from websauna_migrate.locks.run_lock import RunBlocked
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.steps import Step
from websauna_migrate.results import LedgerEntry

#: The exit code that says: a step is half done, and a person has to look.
INTERRUPTED = ExitCode.HALF_DONE

ROLLED_BACK = "Nothing of it was applied."
HALF_DONE = (
    'It was not one transaction, so parts of it may have been applied: "ws-alembic repair" shows '
    "what is there, and settles it."
)
STILL_MARKED = (
    "This attempt was rolled back. The step is half done as before, and stays marked so: "
    '"ws-alembic repair" shows what is there, and settles it.'
)
UNKNOWN = (
    "The connection was lost, so this run cannot tell whether the step was applied. Run the "
    "command again: it looks first."
)


def revision_of(step: Step) -> str:
    """Return the words for a step: its direction, revision and package."""
    return f'{step.direction} of revision "{step.revision.id}" of package "{step.package}"'


def earlier_steps(done: int, *, atomic: bool = False) -> str:
    """Return a sentence about the steps before, with a space in front; empty if there are none."""
    if not done:
        return ""
    if atomic:
        return " The earlier steps of this run were rolled back with it."
    return " " + counted(
        done, "earlier step of this run stays applied.", "earlier steps of this run stay applied."
    )


class StepFailed(MigrationError, RuntimeError):
    """A script failed, or a lock that it waits for was not to be had.

    :ivar direction: ``upgrade`` or ``downgrade``
    :ivar path: the script's file
    :ivar line: the line in it that was running; ``None`` if that is not known
    :ivar problem: a sentence
    :ivar half_done: whether parts of it may have been committed; then the exit code is 3
    :ivar unknown: whether the connection was lost, so that this run cannot tell
    :param place: the path, or ``path, line N``
    :ivar busy: whether a lock was in the way
    :param marked: whether the step was half done before, and was run again
    """

    def __init__(
        self,
        step: Step,
        place: str,
        problem: str,
        *,
        half_done: bool,
        done: int,
        unknown: bool = False,
        atomic: bool = False,
        busy: bool = False,
        marked: bool = False,
    ) -> None:
        self.package = step.package
        self.revision = step.revision.id
        self.direction = step.direction
        numbered = re.fullmatch(r"(.*), line (\d+)", place, re.DOTALL)
        self.path = numbered[1] if numbered else place
        self.line = int(numbered[2]) if numbered else None
        self.problem = problem
        self.busy = busy
        self.half_done = half_done or (marked and not unknown)
        self.unknown = unknown
        state = (
            HALF_DONE
            if half_done
            else UNKNOWN
            if unknown
            else STILL_MARKED
            if marked
            else ROLLED_BACK
        )
        self.exit_code = (
            ExitCode.HALF_DONE
            if self.half_done
            else ExitCode.UNREACHABLE
            if unknown
            else ExitCode.BUSY
            if busy
            else ExitCode.SCRIPT_FAILED
        )
        super().__init__(
            f"The {revision_of(step)} failed ({place}): {problem}\n"
            f"{state}{earlier_steps(done, atomic=atomic)}"
        )


class InterruptedSteps(MigrationError, RuntimeError):
    """An earlier run ended in the middle of a step that was not one transaction.

    :ivar entries: the ledger's rows of these steps
    :ivar known: what more can be said of each, a sentence by the row's id
    """

    exit_code = INTERRUPTED

    def __init__(
        self, entries: Sequence[LedgerEntry], known: Mapping[str, str] | None = None
    ) -> None:
        self.entries = tuple(entries)
        self.known = dict(known or {})
        lines = []
        # One that was run again, half way, has a row for each attempt.
        for entry in {(one.package, one.revision): one for one in self.entries}.values():
            lines.append(f"  {entry}")
            if self.known.get(entry.id):
                lines.append(f"    {self.known[entry.id]}")
        super().__init__(
            "An earlier run ended in the middle of a step, parts of which may have been applied:\n"
            + "\n".join(lines)
            + "\nNothing was changed now. See what is there, and settle it: ws-alembic repair"
        )


def blocked_by_caller(step: Step, holders: str) -> RunBlocked:
    """Return the error of a step that waits for the calling thread's own open transaction."""
    return RunBlocked(
        "caller",
        f"The {revision_of(step)} waits for a lock that the calling thread's own connection "
        f"holds ({holders}). Commit or roll back the open transaction before: that of the "
        "caller (request.tm; or run ws-alembic), or of the package's env.py. Nothing of the "
        "step was applied.",
        holders,
    )


def run_stopped(
    step: Step, *, done: int, total: int, running: bool, half_done: bool = False, exit_code: int
) -> RunStopped:
    """Return the error of a run that was asked to stop.

    :param step: the one that was running, or would have come next
    :param exit_code: the process's, unless a step is half done
    """
    if half_done:
        state = f"The {revision_of(step)} was cut off. {HALF_DONE}"
    elif running:
        state = f"The {revision_of(step)} was rolled back."
    else:
        state = f"The {revision_of(step)} was not begun."
    remedy = "" if half_done else " Run the command again to go on."
    return RunStopped(
        f"Stopped as asked, with {done} of {counted(total, 'step')} applied. {state}{remedy}",
        exit_code=INTERRUPTED if half_done else exit_code,
        done=done,
        half_done=half_done,
    )


def connection_lost(problem: str, done: int) -> DatabaseFailure:
    """Return the error of a run whose connection, or lock, was lost between two steps."""
    return DatabaseFailure(
        "lost",
        f"{problem} The run ends here, so that no step is applied twice."
        f"{earlier_steps(done)} Run the command again to go on.",
    )


class NotAtomic(MigrationError, ValueError):
    """Steps, or the database, cannot be part of one transaction as was asked.

    :ivar reasons: why, by ``package@revision``; empty where the database is the reason
    """

    def __init__(self, what: str, reasons: Mapping[str, str], remedy: str) -> None:
        self.reasons = dict(reasons)
        lines = "".join(f"\n  {name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(f"{what}{lines}\n{remedy}")


class HistoryMoved(Exception):
    """Another run changed a history table since the plan was made; plan again."""
