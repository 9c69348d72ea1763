"""The known failures of websauna_migrate.

Every class derives from :class:`MigrationError` and from the builtin that fits, keeps what it was
given as attributes, and builds its own message: a sentence that names the package, revision, table,
setting or file in quotes, then the remedy. A message never carries a password.
"""

from __future__ import annotations

from enum import IntEnum

#: What the addresses of messages begin with: where the documentation is. Nothing until it has a
#: public address; ``ws-alembic help NAME`` needs none.
DOCUMENTATION = ""


def address_of(topic: str) -> str:
    """Return the address of a failure in the documentation."""
    return f"{DOCUMENTATION}messages.html#term-{topic}"


class ExitCode(IntEnum):
    """What a console script exits with: one meaning has one code."""

    DONE = 0
    #: It could not be done, for a reason that has no code of its own.
    FAILED = 1
    #: The command line, or a method's argument, cannot be meant.
    USAGE = 2
    #: A step is half done, and a person has to look.
    HALF_DONE = 3
    #: Another run, or a table's lock, was in the way; nothing was changed by the step that waited.
    BUSY = 4
    #: The database cannot be reached, or the connection was lost.
    UNREACHABLE = 5
    #: A script failed, and nothing of it was applied.
    SCRIPT_FAILED = 6
    #: Revisions are pending, and that was what was asked.
    PENDING = 7
    #: Models, scripts, histories and the database differ otherwise.
    DRIFT = 8
    #: More rows or values would be lost than was allowed; nothing was changed.
    LOSS = 9


class MigrationError(Exception):
    """Base of every known failure; ``exit_code`` is what a console script exits with."""

    exit_code: int = ExitCode.FAILED

    @property
    def topic(self) -> str | None:
        """What ``ws-alembic help`` and the documentation call the failure.

        ``None`` for one without a class of its own: its message says all.
        """
        for one in type(self).__mro__:
            if one in (MigrationError, UsageError):
                return None
            if one.__module__.startswith("websauna_migrate."):
                return one.__name__
        return None

    @property
    def address(self) -> str | None:
        """Where the documentation has causes and remedies of the failure; see :attr:`topic`."""
        topic = self.topic
        return None if topic is None else address_of(topic)


class UsageError(MigrationError, ValueError):
    """A command or method was asked for something that cannot be meant."""

    exit_code = ExitCode.USAGE
