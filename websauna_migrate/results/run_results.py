"""Runs: what was applied, and what was stamped, undone or looked at instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from websauna_migrate.results.checks import Loss


@dataclass(frozen=True, slots=True)
class AppliedStep:
    """A step that was committed.

    :ivar direction: ``"upgrade"`` or ``"downgrade"``
    :ivar started: aware, UTC
    :ivar seconds: how long it took, its commit included
    :ivar reason: why it was in the plan, as a sentence fragment
    """

    package: str
    revision: str
    message: str
    direction: str
    started: datetime
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a plan.

    :ivar id: the run's identifier in the ledger
    :ivar steps: what was committed, in order; empty if there was nothing to do
    :ivar dry_run: whether it was all rolled back at the end: the steps are what would be committed
    :ivar adopted: packages of which squashes were taken as applied
    """

    id: str
    direction: str
    steps: tuple[AppliedStep, ...] = ()
    dry_run: bool = False
    adopted: tuple[StampedPackage, ...] = ()


@dataclass(frozen=True, slots=True)
class StampedPackage:
    """A history table that a stamp changed: its rows before and after."""

    package: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoredScript:
    """A script of an applied revision that this checkout has not.

    :ivar source: ``git`` and the branch or commit that has it, or ``ledger``
    :ivar checksum: SHA-256 of its text, hexadecimal
    """

    package: str
    revision: str
    source: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Switched:
    """Revisions taken down that this checkout has not, or that would be.

    :ivar scripts: by which
    :ivar losses: the rows and values that are lost
    :ivar run: ``None`` if nothing was run
    """

    scripts: tuple[RestoredScript, ...] = ()
    losses: tuple[Loss, ...] = ()
    run: Run | None = None
