"""Why a new script is not kept."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from typing import Literal

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.lock_errors import sqlstate
from websauna_migrate.facts.differences import Difference, listed
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.runs.failures import StepFailed

#: Characters of a statement that are shown.
SHOWN = 500

KEEP = "To keep the script and edit it by hand: --keep."

REMEDY_BUSY = (
    "End what holds it and try again; or prove the script in a scratch database: --scratch; or "
    "write it without a proof: --no-prove."
)
REMEDY_FAILS = f"Mend the models, or what makes the script (template, hooks of env.py). {KEEP}"
REMEDY_ROWS = (
    "A row has what it may not have then: change such rows before, in the database or above it in "
    f"the script. {KEEP}"
)
#: By PostgreSQL's codes.
REMEDIES = {
    # A type, a collation, an operator class; a function.
    **dict.fromkeys(
        ("42704", "42883"),
        "What DDL beside the models creates, as a listener of theirs, stands in no script: write "
        f'op.execute("CREATE ...") into a revision before, or above it in the script. {KEEP}',
    ),
    "42846": (
        "Where PostgreSQL has no cast, say how values are converted: postgresql_using=... in the "
        f"script; or give the column another name, and a new one comes. {KEEP}"
    ),
}
REMEDY_SQUASH = "End the range before the step that makes the difference."
REMEDY_DIFFERS = (
    "Name in include_object what the package's scripts are to leave alone, or mend the hook or "
    f"template that leaves it out. {KEEP}"
)


class NotProven(MigrationError, RuntimeError):
    """New scripts, or a squash, did not stand their proof; the database is as it was.

    :ivar kind: ``fails``: a step fails; ``differs``: it leaves a difference; ``busy``: a lock was
        not free; ``impossible``: it could not be tried; ``squash``: a squash does not do what the
        scripts do that it replaces
    :ivar revision: the new revision, ``package@id``; ``None`` where no single one is meant
    :ivar problem: what is wrong, as sentences
    :ivar remedy: what to do
    :ivar differences: what differs behind the upgrade of a squash
    :ivar failed_in: the steps of a squash of which an operation that was written anew fails
    :ivar not_back: the number of a squash whose downgrade does not lead back
    """

    def __init__(
        self,
        kind: Literal["fails", "differs", "busy", "impossible", "squash"],
        problem: str,
        remedy: str,
        *,
        revision: str | None = None,
        exit_code: int = ExitCode.FAILED,
        found: Sequence[Difference] = (),
        failed_in: Sequence[str] = (),
        not_back: int | None = None,
    ) -> None:
        self.kind = kind
        self.problem = problem
        self.remedy = remedy
        self.revision = revision
        self.exit_code = exit_code
        self.differences = tuple(found)
        self.failed_in = tuple(failed_in)
        self.not_back = not_back
        kept = "squash" if kind == "squash" else "script"
        super().__init__(
            f"No {kept} was kept: {problem}\nNothing was changed in the database. {remedy}"
        )


def fails(exc: StepFailed, busy: bool) -> NotProven:
    """Return the error of a step that failed, with the script's line and the statement."""
    whose = f'revision "{exc.revision}" of package "{exc.package}"'
    where = f" ({exc.path})"
    if exc.line is not None:
        text = linecache.getline(exc.path, exc.line).strip().rstrip(":")
        where = f" (line {exc.line} of {exc.path}: {text})" if text else where
    problem = f"the {exc.direction} of {whose} fails{where}: {exc.problem}"
    cause = exc.__cause__
    if isinstance(cause, DBAPIError) and cause.statement and not busy:
        problem += f"\nIn: {' '.join(str(cause.statement).split())[:SHOWN]}"
    remedy = REMEDIES.get(sqlstate(cause) or "", REMEDY_FAILS)
    if isinstance(cause, (DataError, IntegrityError)):
        remedy = REMEDY_ROWS
    return NotProven(
        "busy" if busy else "fails",
        problem,
        REMEDY_BUSY if busy else remedy,
        revision=f"{exc.package}@{exc.revision}",
        exit_code=exc.exit_code,
    )


def differs(
    found: Sequence[Difference], revisions: Sequence[Revision], words: str, left: str, right: str
) -> NotProven:
    """Return the error of scripts that leave a difference.

    :param words: what the scripts do, such as ``leaves a difference between ...``
    :param left: the words for the left side of each difference, and ``right`` for the other
    """
    names = ", ".join(f'revision "{one.id}" of package "{one.package}"' for one in revisions)
    return NotProven(
        "differs",
        f"{names} {words}:{listed(found, left, right)}",
        REMEDY_DIFFERS,
        revision=str(revisions[0]) if len(revisions) == 1 else None,
        exit_code=ExitCode.DRIFT,
    )


def impossible(problem: str, exit_code: int = ExitCode.FAILED) -> NotProven:
    """Return the error of scripts that could not be tried."""
    return NotProven(
        "impossible",
        f"it could not be proven. {problem}",
        "To write it without a proof: --no-prove.",
        exit_code=exit_code,
    )


def squash_differs(
    problem: str,
    found: Sequence[Difference] = (),
    failed_in: Sequence[str] = (),
    not_back: int | None = None,
) -> NotProven:
    """Return the error of a squash that does not do what the scripts do that it replaces.

    :param found: what differs behind the upgrade
    :param failed_in: the steps of which an operation that was written anew fails
    :param not_back: the number of the squash whose downgrade does not lead back
    """
    return NotProven(
        "squash",
        problem,
        REMEDY_SQUASH,
        exit_code=ExitCode.DRIFT,
        found=found,
        failed_in=failed_in,
        not_back=not_back,
    )
