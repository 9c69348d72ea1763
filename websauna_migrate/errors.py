"""The known failures of websauna_migrate.

Every class derives from :class:`MigrationError` and from the builtin that fits, keeps what it was
given as attributes, and builds its own message: a sentence that names the package, revision, table,
setting or file in quotes, then the remedy. A message never carries a password.
"""

from __future__ import annotations

__all__ = ["MigrationError", "UsageError"]


class MigrationError(Exception):
    """Base of every known failure; ``exit_code`` is what a console script exits with."""

    exit_code = 1


class UsageError(MigrationError, ValueError):
    """A command or method was asked for something that cannot be meant."""

    exit_code = 2
