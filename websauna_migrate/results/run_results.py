"""Runs, and plans that are kept: what would be applied, was applied, stamped or undone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from websauna_migrate.base_errors import UsageError
from websauna_migrate.planning.steps import Step
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


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step of a plan that is kept.

    :ivar rows_before: of the package's history table, sorted
    :ivar rows_after: likewise
    :ivar path: the script's, where the plan was made; another machine may have it elsewhere
    :ivar script: SHA-256 of the script's file, hexadecimal
    :ivar sql: SHA-256 of its SQL; ``None`` where that is only known when it runs
    """

    package: str
    revision: str
    rows_before: tuple[str, ...]
    rows_after: tuple[str, ...]
    path: str
    script: str
    sql: str | None


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """The plan of an upgrade, kept so that it, and nothing else, is run later.

    :ivar database: the database that it is for: product, server, port and name
    :ivar targets: as they were asked for
    :ivar packages: that the targets are meant for
    :ivar ignore_order: as in :meth:`.IMigrationService.upgrade`
    :ivar versions: of the programs that made it, by name
    """

    database: str
    targets: tuple[str, ...]
    packages: tuple[str, ...]
    ignore_order: bool
    versions: Mapping[str, str]
    steps: tuple[RecordedStep, ...]

    def as_data(self) -> dict[str, object]:
        """Return the plan as what JSON knows, with a SHA-256 over all of it as ``hash``."""
        data = {"format": 1, **asdict(self)}
        body = json.dumps(data, sort_keys=True)
        return {**data, "hash": hashlib.sha256(body.encode()).hexdigest()}

    @classmethod
    def of_json(cls, text: str) -> RecordedPlan:
        """Return the plan that JSON has.

        :raises UsageError: if it has none, or was changed since it was written
        """
        try:
            data: Any = json.loads(text)
            steps = []
            for one in data["steps"]:
                values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}
                steps.append(RecordedStep(**values))
            found = cls(
                data["database"],
                tuple(data["targets"]),
                tuple(data["packages"]),
                data["ignore_order"],
                data["versions"],
                tuple(steps),
            )
            is_whole = data["format"] == 1 and found.as_data()["hash"] == data["hash"]
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise UsageError(
                "The file holds no plan: write one with ws-alembic plan --out FILE"
            ) from exc
        if not is_whole:
            raise UsageError(
                "The plan was changed since it was written, or is of another version: its hash "
                "does not fit. Write it anew with ws-alembic plan --out FILE"
            )
        return found


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """A statement of a step.

    :ivar line: of the script that gives it, from 1; ``None`` for what the service adds
    """

    sql: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class StepSql:
    """The SQL of a step of a plan, as far as it is known without running it.

    :ivar problem: why the rest is only known when it runs, ``None`` if all of it is here
    :ivar line: the script's line from which on it is not known
    """

    step: Step
    statements: tuple[SqlStatement, ...]
    problem: str | None = None
    line: int | None = None
