"""The events of a run."""

from __future__ import annotations

from zope.interface import implementer

from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
)
from websauna_migrate.planning.plan import Plan
from websauna_migrate.results import AppliedStep, Run

__all__ = ["RunEnded", "RunStarted", "StepApplied"]


@implementer(IMigrationRunStarted)
class RunStarted:
    """See :class:`.IMigrationRunStarted`."""

    def __init__(self, run_id: str, plan: Plan) -> None:
        self.run_id = run_id
        self.plan = plan


@implementer(IMigrationStepApplied)
class StepApplied:
    """See :class:`.IMigrationStepApplied`."""

    def __init__(self, run_id: str, step: AppliedStep, number: int, total: int) -> None:
        self.run_id = run_id
        self.step = step
        self.number = number
        self.total = total


@implementer(IMigrationRunEnded)
class RunEnded:
    """See :class:`.IMigrationRunEnded`."""

    def __init__(self, run: Run, error: BaseException | None) -> None:
        self.run = run
        self.error = error
