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


class StepEvent:
    """What the events of a step have in common."""

    def __init__(
        self, run_id: str, step: Step | AppliedStep, revision: str, number: int, total: int
    ) -> None:
        self.run_id = run_id
        self.package = step.package
        self.revision = revision
        self.direction: str = step.direction
        self.number = number
        self.total = total


@implementer(IMigrationStepStarted)
class MigrationStepStarted(StepEvent):
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
        super().__init__(run_id, step, step.revision.id, number, total)
        self.step = step
        self.started = started
        self.expected = expected


@implementer(IMigrationStepApplied)
class MigrationStepApplied(StepEvent):
    """See :class:`.IMigrationStepApplied`."""

    def __init__(self, run_id: str, step: AppliedStep, number: int, total: int) -> None:
        super().__init__(run_id, step, step.revision, number, total)
        self.step = step


@implementer(IMigrationStepFailed)
class MigrationStepFailed(StepEvent):
    """See :class:`.IMigrationStepFailed`."""

    def __init__(self, started: MigrationStepStarted, error: BaseException) -> None:
        step = started.step
        super().__init__(started.run_id, step, started.revision, started.number, started.total)
        self.step = step
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
