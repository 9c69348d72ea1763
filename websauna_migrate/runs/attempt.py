"""One attempt at a step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.planning.steps import Step
from websauna_migrate.runs.waiting import Waiting

__all__ = ["Attempt"]


@dataclass
class Attempt:
    """A step that is being run.

    :ivar number: the step's place in the run, from 1
    :ivar values: the step's row in the ledger
    :ivar waiting: what this attempt and those before have waited for locks
    :ivar began: when the first attempt at the step began, in UTC
    :ivar clock: and by ``time.perf_counter``
    """

    number: int
    step: Step
    values: dict[str, object]
    timeouts: Timeouts
    waiting: Waiting
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    clock: float = field(default_factory=time.perf_counter)

    @property
    def entry(self) -> str:
        """The id of the step's row in the ledger."""
        return str(self.values["id"])

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.clock
