"""Attempts at steps, and the steps of one package that are run in a row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.planning.steps import Step
from websauna_migrate.runs.waiting import Waiting

__all__ = ["Attempt", "Stretch"]


@dataclass
class Attempt:
    """A step that is being run.

    :ivar number: the step's place in the run, from 1
    :ivar values: the step's row in the ledger
    :ivar waiting: what this attempt and those before have waited for locks
    :ivar began: when the first attempt at the step began, in UTC
    :ivar clock: and by ``time.perf_counter``
    :ivar ended: when the attempt ended, by the same clock; ``None`` while it is being made
    :ivar is_done: whether it went well
    """

    number: int
    step: Step
    values: dict[str, Any]
    timeouts: Timeouts
    waiting: Waiting
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    clock: float = field(default_factory=time.perf_counter)
    ended: float | None = None
    is_done: bool = False

    def start(self) -> None:
        """Begin to count from now: the attempt was prepared while another step ran."""
        self.began = datetime.now(timezone.utc)
        self.clock = time.perf_counter()
        self.values["started"] = self.began.replace(tzinfo=None)
        self.waiting.began = time.monotonic()

    def end(self) -> None:
        """Count no further: the step was applied, and its turn to be told of comes later."""
        self.ended = time.perf_counter()

    @property
    def is_sent(self) -> bool:
        """Whether the step was applied by being sent in one piece."""
        return self.ended is not None

    @property
    def entry(self) -> str:
        """The id of the step's row in the ledger."""
        return str(self.values["id"])

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (self.ended or time.perf_counter()) - self.clock


class Stretch:
    """Steps of one package in a row.

    :ivar total: how many steps the run has
    :ivar error: what was raised where no step is being run; it is not a step's failure
    """

    def __init__(
        self,
        steps: Iterable[Step],
        number: int,
        total: int,
        *,
        attempt: Callable[[int, Step, Attempt | None], Attempt],
        before: Callable[[int, Step], None],
        after: Callable[[Attempt], None],
    ) -> None:
        """Prepare to run steps.

        :param number: the first step's place in the run, from 1
        :param attempt: makes an attempt at a step, in place of the one before it if there was one
        :param before: called at the boundary before a step that is run by itself
        :param after: called at the boundary after each step
        """
        self.total = total
        self.error: BaseException | None = None
        self._left = deque(enumerate(steps, number))
        self._attempt = attempt
        self._before = before
        self._after = after

    def __len__(self) -> int:
        """Return how many steps are left."""
        return len(self._left)

    def begin(self, again: Attempt | None = None) -> Attempt | None:
        """Come to the first step that is left; ``None`` if there is none.

        :param again: the attempt at it that had to give way
        """
        if not self._left:
            return None
        with self:
            self._before(*self._left[0])
            return self._attempt(*self._left[0], again)

    def look_ahead(self, ahead: int) -> Attempt | None:
        """Return an attempt at a step that is left; nothing is told of it yet.

        :param ahead: 0 for the first one
        """
        if ahead >= len(self._left):
            return None
        return self._attempt(*self._left[ahead], None)

    def done(self, attempt: Attempt) -> None:
        """Leave the first step that is left behind: it went well."""
        attempt.is_done = True
        with self:
            self._left.popleft()
            self._after(attempt)

    def __enter__(self) -> None:
        """Come to a boundary, where no step is being run."""

    def __exit__(self, kind: object, error: BaseException | None, place: object) -> None:
        """Leave it, and keep what was raised there."""
        self.error = error
