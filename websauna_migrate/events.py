"""The events of a run, for ``config.add_subscriber`` and ``@subscriber``.

Their contracts, with every attribute, are the interfaces of the same names; subscribe to either.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from zope.interface import implementer

from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
    IMigrationStepFailed,
    IMigrationStepStarted,
)
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import Activity, AppliedStep, Run

__all__ = [
    "MigrationRunEnded",
    "MigrationRunStarted",
    "MigrationStepApplied",
    "MigrationStepFailed",
    "MigrationStepStarted",
]


@implementer(IMigrationRunStarted)
class MigrationRunStarted:
    """See :class:`.IMigrationRunStarted`."""

    def __init__(self, run_id: str, plan: Plan, look: Callable[[], Activity]) -> None:
        self.run_id = run_id
        self.plan = plan
        self.look = look
        self.direction: str = plan.direction
        self.packages = plan.packages


@implementer(IMigrationStepStarted)
class MigrationStepStarted:
    """See :class:`.IMigrationStepStarted`."""

    def __init__(
        self,
        run_id: str,
        step: Step,
        number: int,
        total: int,
        *,
        started: datetime,
        expected: float | None = None,
    ) -> None:
        self.run_id = run_id
        self.step = step
        self.package = step.package
        self.revision = step.revision.id
        self.direction: str = step.direction
        self.number = number
        self.total = total
        self.started = started
        self.expected = expected


@implementer(IMigrationStepApplied)
class MigrationStepApplied:
    """See :class:`.IMigrationStepApplied`."""

    def __init__(self, run_id: str, step: AppliedStep, number: int, total: int) -> None:
        self.run_id = run_id
        self.step = step
        self.package = step.package
        self.revision = step.revision
        self.direction = step.direction
        self.number = number
        self.total = total


@implementer(IMigrationStepFailed)
class MigrationStepFailed:
    """See :class:`.IMigrationStepFailed`."""

    def __init__(self, started: MigrationStepStarted, error: BaseException) -> None:
        self.run_id = started.run_id
        self.step = started.step
        self.package = started.package
        self.revision = started.revision
        self.direction = started.direction
        self.number = started.number
        self.total = started.total
        self.started = started.started
        self.error = error


@implementer(IMigrationRunEnded)
class MigrationRunEnded:
    """See :class:`.IMigrationRunEnded`."""

    def __init__(self, run: Run, error: BaseException | None, packages: tuple[str, ...]) -> None:
        self.run = run
        self.error = error
        self.direction = run.direction
        self.packages = packages
