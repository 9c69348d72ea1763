"""What the ledger says of runs and their steps, and which of them are at work or half done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from websauna_migrate.plain_text import counted


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
    :ivar outcome: ``planned``, ``running``, ``done``, ``failed``, ``stopped``, ``undone`` for a
        half done step that was settled with ``repair``, or ``unfinished`` for the first step of a
        run that was killed in it, and left nothing of it
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
    :ivar steps: how many steps the run was to have, in its first row; ``None`` in the others, and
        where an earlier release wrote it
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
    steps: int | None = None

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

    @property
    def failed_at(self) -> str:
        """The line and the statement that failed, in brackets behind a space; empty if unknown."""
        place = [] if self.line is None else [f"line {self.line}"]
        if self.statement is not None:
            place.append(f"statement {self.statement}: {self.kind}")
        return f" ({', '.join(place)})" if place else ""

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
    :ivar outcome: how they ended: ``done``, ``failed``, ``stopped``, ``half-done``, ``undone``,
        ``unfinished``
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
        ``unfinished``, ``undone`` or ``done``; ``unfinished`` also where it ended before the last
        of its steps, as when its process was killed or asked to stop between two
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
    def count(self) -> str:
        """How many steps it has in words, as ``1 of 2 steps`` where it did not get to all."""
        number, wanted = len(self.steps), self.steps[0].steps
        if self.outcome == "unfinished" and wanted is not None:
            done = sum(step.outcome == "done" for step in self.steps)
            return f"{done} of {counted(wanted, 'step')}"
        return counted(number, "step")

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` if it has no end, or a step of it was settled afterwards."""
        if self.ended is None or any(step.settled_by for step in self.steps):
            return None
        return (self.ended - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class InterruptedStep:
    """A step that ended half done.

    :ivar entry: its row in the ledger
    :ivar known: what can be said of it, a sentence
    :ivar action: how it was settled, ``rerun``, ``done`` or ``undone``; ``None`` after a look
    :ivar running: the run that is at work on it now, so that it did not end at all
    :ivar failure: why and where it failed; empty if its process was killed
    :ivar not_run: what else the script of an upgrade does, as far as it can be read
    :ivar objects: what the catalogue has of the tables that both name
    :ivar script: what became of its script since; empty if it is as it was
    :ivar choices: what each action would do, a sentence by action
    """

    entry: LedgerEntry
    known: str
    action: str | None = None
    running: RunInProgress | None = None
    failure: str = ""
    not_run: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    script: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The step as ``package@revision``."""
        return f"{self.entry.package}@{self.entry.revision}"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a run's session does now; each is empty where it cannot be told.

    :ivar statement: such as ``CREATE INDEX ix_title``
    :ivar waits_for: who holds the lock that it waits for, in words
    :ivar done: how far it is, such as ``building index: scanning table, 42 %``
    """

    statement: str = ""
    waits_for: str = ""
    done: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        waits = f"waits for {self.waits_for}" if self.waits_for else ""
        return ", ".join(filter(None, (self.statement, self.done, waits)))


@dataclass(frozen=True, slots=True)
class RunInProgress:
    """The run that holds the database's lock now.

    :ivar holder: who holds it, in words, as the server or the lock's file says
    :ivar step: the newest row of the run in the ledger; ``None`` if it has none yet
    :ivar statement: what its session executes, such as ``CREATE INDEX ix_title``; empty where that
        cannot be told
    :ivar waits_for: who holds the lock that it waits for, in words
    :ivar done: how far the statement is
    """

    holder: str
    step: LedgerEntry | None = None
    statement: str = ""
    waits_for: str = ""
    done: str = ""

    def __str__(self) -> str:
        """Return the run in words."""
        activity = str(Activity(self.statement, self.waits_for, self.done))
        statement = f", {activity}" if activity else ""
        if self.step is None:
            return f"a run is in progress ({self.holder}{statement})"
        where = f'revision "{self.step.revision}" of package "{self.step.package}"'
        at = "at" if self.step.ended is None else "past"
        return (
            f"{self.step.direction} in progress, {at} {where} since "
            f"{self.step.started:%Y-%m-%d %H:%M:%S} UTC on {self.step.host} "
            f"({self.holder}{statement})"
        )


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether an application may serve: what its database is to its scripts.

    :ivar packages: where each registered package stands: ``current``, ``behind``, ``ahead`` if the
        history has revisions that no script defines, as after a release was rolled back, or
        ``unknown`` while a history table or the ledger is locked
    :ivar running: the run in progress
    :ivar half_done: steps that ended half done, which ``ws-alembic repair`` settles
    """

    packages: Mapping[str, str]
    running: RunInProgress | None = None
    half_done: tuple[LedgerEntry, ...] = ()

    @property
    def is_ready(self) -> bool:
        """True if nothing is pending, in progress or half done; *ahead* is ready."""
        standing = set(self.packages.values())
        return standing <= {"current", "ahead"} and self.running is None and not self.half_done

    def lines(self) -> tuple[str, ...]:
        """Return a line for each package, and for what is in progress or half done."""
        lines = [f"{name} {standing}" for name, standing in self.packages.items()]
        if "unknown" in self.packages.values():
            lines.append("locked: a history table or the ledger cannot be read")
        if self.running is not None:
            lines.append(f"running: {self.running}")
        lines += [f"half done: {entry}" for entry in self.half_done]
        return tuple(lines)
