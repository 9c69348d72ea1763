"""What can be wrong with a revision script and where, and what it may not do."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import FrameType

from websauna_migrate.base_errors import MigrationError

ROLLED_BACK = (
    "the script rolls its transaction back by itself. To take back a part, use a savepoint or "
    "websauna_migrate.data.session()."
)


class ScriptError(MigrationError, ValueError):
    """A revision script cannot be used.

    :ivar kind: ``syntax`` for one that is no valid Python, ``broken`` for one that cannot be
        imported or says something impossible of itself, ``changed`` for one that says something
        else when it is imported than when it was read, ``limit`` for a limit that is no number,
        ``offline`` for one that does what cannot be written down as SQL, ``unproven`` for a squash
        whose command was ended before its proof
    :ivar path: the script's file
    :ivar package: whose script it is; ``None`` if it cannot be told
    :ivar line: where, counted from 1; ``None`` if it cannot be told
    :ivar problem: of a ``broken`` one what is wrong, a clause whose subject is the script
    """

    def __init__(
        self,
        kind: str,
        path: str,
        message: str,
        *,
        line: int | None = None,
        package: str | None = None,
        problem: str = "",
    ) -> None:
        self.kind, self.path, self.line, self.package = kind, path, line, package
        self.problem = problem
        super().__init__(message)


class ScriptRefused(Exception):
    """A script cannot go on; its step fails with the words. A run never raises it.

    :ivar kind: ``transaction`` where it would end the transaction that a whole run is,
        ``committed`` where it did, ``rollback`` where it takes its step's own back, and the
        ledger's marker with it, ``keys`` where foreign keys are in the way, ``batch`` where a batch
        on SQLite would lose something of its table, ``check`` where a check of the script does not
        hold, ``early`` where that asks for what an earlier step of the plan does, ``hook`` where
        one of ``env.py`` fails, ``stop`` where the run shall end now
    """

    def __init__(self, kind: str, words: str = ROLLED_BACK) -> None:
        self.kind = kind
        super().__init__(words)


def cut_off() -> ScriptRefused:
    """Return the error of a statement that is not executed because the run shall end now."""
    return ScriptRefused("stop", "the run shall end now.")


def line_of(exc: BaseException, path: str) -> int | None:
    """Return the line of a script that was running when ``exc`` arose; ``None`` if none was."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == path
    ]
    return lines[-1] if lines else None


def running_lines(path: str) -> Iterator[int]:
    """Yield the lines of a script that are being executed, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == path:
            yield frame.f_lineno
        frame = frame.f_back


def running_line(path: str) -> int | None:
    """Return the line of a script that is being executed; ``None`` if none is."""
    return next(running_lines(path), None)


def place_of(exc: BaseException, path: str) -> str:
    """Return the script's file and the line in it that was running when ``exc`` arose."""
    line = line_of(exc, path)
    return f"{path}, line {line}" if line else path
