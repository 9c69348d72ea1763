"""What the console scripts share: how they begin and end."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Sequence

# All else is imported once Ctrl-C is understood, and not before it is needed.
from websauna_migrate.base_errors import ExitCode, MigrationError, UsageError

Main = Callable[[Sequence[str]], "int | None"]

#: The exit status of commands that answer a question by theirs, where there is no answer.
CANNOT_TELL = 2


def console_script(function: Main) -> Callable[[Sequence[str] | None], int]:
    """Make a function of the arguments into the ``main(argv=None)`` of a console script.

    A known failure is one message on standard error, and its ``exit_code`` is the exit status.
    Ctrl-C ends the script with status 130. A reader that has gone, such as ``head``, ends it
    quietly with status 1. Any other exception keeps its traceback, and a known one has it with
    ``--raiseerr``.
    """

    @functools.wraps(function)
    def main(argv: Sequence[str] | None = None) -> int:
        words = sys.argv[1:] if argv is None else argv
        try:
            from websauna_migrate.cli.output import finish_stdout, repair_streams

            repair_streams()
            status = status_of(function, words)
            finish_stdout()
            return status
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 128 + signal.SIGINT
        except BrokenPipeError:
            close_quietly()
            return ExitCode.FAILED
        except Exception as exc:
            close_quietly()
            known = as_known(exc)
            if known is None:
                raise
            if "--raiseerr" in words:
                import traceback

                traceback.print_exc()
            else:
                tell(known)
            return known.exit_code

    return main


def status_of(function: Main, words: Sequence[str]) -> int:
    """Return the exit status of a function that may also exit, as a parser does."""
    try:
        return function(words) or 0
    except SystemExit as exc:
        if exc.code is None or isinstance(exc.code, int):
            return exc.code or 0
        raise


def close_quietly() -> None:
    """Give up what standard output still holds, if it cannot be written."""
    from websauna_migrate.cli.output import finish_stdout

    with contextlib.suppress(OSError):
        finish_stdout()


def tell(failure: MigrationError) -> None:
    """Write the message of a failure to standard error, and on a terminal how to read more."""
    from websauna_migrate.cli.render.text import shown

    print(shown(str(failure)), file=sys.stderr)
    if failure.topic is not None and sys.stderr.isatty():
        print(f"More: ws-alembic help {failure.topic}", file=sys.stderr)


def as_known(error: Exception) -> MigrationError | None:
    """Return a failure with a message; other libraries raise their own at a user's mistake."""
    if isinstance(error, MigrationError):
        return error
    if isinstance(error, OSError):
        return MigrationError(str(error))
    # Imported here, because a script that succeeds needs none of them.
    from plaster.exceptions import PlasterError
    from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
    from sqlalchemy.exc import DBAPIError

    from websauna_migrate.database.engines import driver_words

    if isinstance(error, ConfigurationExecutionError):
        # Pyramid wraps what an action raises, and adds the place of its directive.
        error = error.evalue
        if isinstance(error, MigrationError):
            return error
    if isinstance(error, PlasterError):
        return UsageError(f"The INI file cannot be read: {error}")
    if isinstance(error, DBAPIError):
        return MigrationError(f"The database answered with an error: {driver_words(error.orig)}")
    from alembic.util.exc import CommandError

    known = isinstance(error, ConfigurationError | CommandError)
    return MigrationError(str(error)) if known else None
