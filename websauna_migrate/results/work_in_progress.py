"""What is running or ended half done, and whether a site may serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from websauna_migrate.results.ledger_entries import LedgerEntry


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
