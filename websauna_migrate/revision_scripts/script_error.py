"""What can be wrong with a revision script."""

from __future__ import annotations

from websauna_migrate.errors import MigrationError

__all__ = ["ScriptError"]


class ScriptError(MigrationError, ValueError):
    """A revision script cannot be used.

    :ivar kind: ``syntax`` for one that is no valid Python, ``broken`` for one that cannot be
        imported or says something impossible of itself, ``changed`` for one that says something
        else when it is imported than when it was read, ``limit`` for a limit that is no number,
        ``offline`` for one that does what cannot be written down as SQL
    :ivar path: the script's file
    :ivar package: whose script it is; ``None`` if it cannot be told
    :ivar line: where, counted from 1; ``None`` if it cannot be told
    """

    def __init__(
        self,
        kind: str,
        path: str,
        message: str,
        *,
        line: int | None = None,
        package: str | None = None,
    ) -> None:
        self.kind, self.path, self.line, self.package = kind, path, line, package
        super().__init__(message)
