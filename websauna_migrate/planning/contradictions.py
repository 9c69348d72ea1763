"""Histories that contradict the scripts, the ledger, or another version table."""

from __future__ import annotations

from collections.abc import Iterable

from websauna_migrate.base_errors import MigrationError

__all__ = ["HistoryContradicted"]


class HistoryContradicted(MigrationError, RuntimeError):
    """What the history tables say cannot be so; found before anything runs.

    :ivar kind: ``requirements`` where applied revisions lack what they require, ``unknown`` for
        rows that no script defines, ``ledger`` where the ledger says the opposite, ``elsewhere``
        where revisions that would be applied are recorded in another version table
    :ivar packages: the packages whose histories they are, sorted
    :ivar revisions: the revisions, as ``package@revision``, in the order of the message
    """

    def __init__(self, kind: str, message: str, revisions: Iterable[tuple[str, str]]) -> None:
        """Keep the revisions, each given as package and identifier."""
        found = tuple(revisions)
        self.kind = kind
        self.packages = tuple(sorted({package for package, _ in found}))
        self.revisions = tuple(f"{package}@{revision}" for package, revision in found)
        super().__init__(message)
