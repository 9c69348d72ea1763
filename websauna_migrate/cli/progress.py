"""What a run does while it does it."""

from __future__ import annotations

import contextlib
from typing import Any, TextIO

from websauna_migrate.cli.render import render_step
from websauna_migrate.interfaces import IMigrationRunStarted, IMigrationStepApplied

__all__ = ["Progress"]


class Progress:
    """Writes a line for each step of a run that was committed.

    :ivar stream: standard error, because results alone go to standard output
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.width = 0

    def subscribe(self, registry: Any, service: Any) -> None:
        """Ask for the events of runs, and to be told when a run has to wait."""
        service.on_wait = self.write
        # One that hands on what is read of it may keep what is set.
        if "on_step" in vars(service):
            service.on_step = self.step_applied
        else:
            registry.registerHandler(self.step_applied, (IMigrationStepApplied,))
        registry.registerHandler(self.run_started, (IMigrationRunStarted,))

    def run_started(self, event: Any) -> None:
        """Learn how long the names of the packages are."""
        self.width = max((len(step.package) for step in event.plan.steps), default=0)

    def step_applied(self, event: Any) -> None:
        """Write the line of a step."""
        self.write(render_step(event.step, event.number, event.total, self.width))

    def write(self, line: str) -> None:
        """Write a line; a run must not stop half way because nobody reads about it any more."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()
