"""One attempt at a step, its wait for locks, and the limits that the step's script sets for it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

from websauna_migrate.database.timeouts import NAMES, Timeouts
from websauna_migrate.planning.steps import Step
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.runs.blockers import Blocker


class Waiting:
    """The time that one step, or one run that is one transaction, spends waiting for locks."""

    def __init__(self, budget: float) -> None:
        self.began = time.monotonic()
        self.budget = budget
        self.attempts = 0
        self.told = 0.0
        self.named = False
        self.blockers: tuple[Blocker, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it has been waiting; 0 before the first failure."""
        return time.monotonic() - self.began if self.attempts else 0.0


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


def timeouts_of_script(module: object, path: str) -> dict[str, float]:
    """Return the limits that a revision script sets for itself, by name.

    :raises ScriptError: if one is not a number, or below 0
    """
    found: dict[str, float] = {}
    for name in NAMES:
        value = getattr(module, name, None)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise ScriptError(
                "limit",
                path,
                f'Revision script "{path}" has {name} = {value!r}: it must be a number, 0 or more. '
                "Correct the script. Nothing of it was applied.",
            )
        found[name] = value
    return found
