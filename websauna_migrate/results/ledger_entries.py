"""What the ledger says of runs and their steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LedgerStatement:
    """A statement that ended, of a step that is not one transaction.

    :ivar number: its place in the step, from 1; several of one kind at one line count once here
    :ivar kind: what it does, to what, such as ``CREATE TABLE half``
    :ivar line: of the script, 0 if none of its lines gave it
    :ivar ended: UTC
    """

    number: int
    kind: str
    line: int
    ended: datetime


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row of the ledger.

    :ivar id: 32 hexadecimal digits
    :ivar run: identifier of the run, 32 hexadecimal digits
    :ivar number: the step's place in its run, from 1
    :ivar direction: ``upgrade``, ``downgrade``, or ``stamp``, whose revision is the rows of the
        history table
    :ivar started: UTC
    :ivar ended: UTC, ``None`` while running; of a half done step, when it was settled
    :ivar outcome: ``planned``, ``running``, ``done``, ``failed``, ``stopped``, or ``undone`` for a
        half done step that was settled with ``repair``
    :ivar checksum: SHA-256 of the script as it was run, hexadecimal
    :ivar session: number of the server's session that held the run's lock, 0 where there is none
    :ivar note: who settled a half done step, and how; empty otherwise
    :ivar installed_by: who ran it: a person if one is known, the system's and the database's user;
        in the first row of each run
    :ivar error: why the step failed, in the database's words without values
    :ivar line: the script's line that failed
    :ivar statement: the number of the statement that failed, from 1
    :ivar kind: what that does, to what, such as ``CREATE TABLE half``
    :ivar statements: of a step that is not one transaction, those that ended, until the step has
    """

    id: str
    run: str
    package: str
    revision: str
    direction: str
    started: datetime
    outcome: str
    number: int = 0
    history_table: str = ""
    ended: datetime | None = None
    host: str = ""
    process: int = 0
    version: str = ""
    checksum: str = ""
    session: int = 0
    note: str = ""
    installed_by: str = ""
    error: str = ""
    line: int | None = None
    statement: int | None = None
    kind: str = ""
    statements: tuple[LedgerStatement, ...] = ()

    @property
    def settled_by(self) -> str:
        """The command that settled a half done step, such as ``repair --rerun``; else empty."""
        return self.note.partition(" by ")[0] if self.note.startswith("repair --") else ""

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` if it has no end, or was settled afterwards."""
        if self.ended is None or self.settled_by:
            return None
        return (self.ended - self.started).total_seconds()

    def __str__(self) -> str:
        """Return the words that name the step and its run."""
        return (
            f'{self.direction} of revision "{self.revision}" of package "{self.package}", '
            f"started {self.started:%Y-%m-%d %H:%M:%S} UTC by process {self.process} on "
            f"{self.host}"
        )


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which runs of the ledger are meant; ``None`` is all.

    :ivar packages: those that have a step of one of these packages
    :ivar since: those with a step that started then or later; without a zone it is UTC
    :ivar until: those with a step that started before
    :ivar outcome: how they ended: ``done``, ``failed``, ``stopped``, ``half-done``, ``undone``
    :ivar host: where they ran
    :ivar person: a part of what :attr:`LedgerRun.installed_by` says, in any case
    :ivar run: the beginning of their identifiers
    :ivar limit: how many, the newest
    """

    packages: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    host: str | None = None
    person: str | None = None
    run: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerRun:
    """A run as the ledger has it.

    :ivar direction: ``upgrade``, ``downgrade`` or ``stamp``
    :ivar outcome: the worst of its steps': ``half-done``, ``running``, ``failed``, ``stopped``,
        ``undone`` or ``done``
    :ivar started: aware, UTC
    :ivar ended: aware, UTC; ``None`` if a step has no end
    :ivar installed_by: who ran it, empty where an earlier release did
    :ivar steps: in the order in which they ran
    """

    id: str
    direction: str
    outcome: str
    started: datetime
    ended: datetime | None
    host: str
    process: int
    version: str
    installed_by: str
    steps: tuple[LedgerEntry, ...]

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` if it has no end, or a step of it was settled afterwards."""
        if self.ended is None or any(step.settled_by for step in self.steps):
            return None
        return (self.ended - self.started).total_seconds()
