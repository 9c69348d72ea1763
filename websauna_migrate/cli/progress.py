"""What a run does while it does it."""

from __future__ import annotations

import sys
from typing import Any

from websauna_migrate.cli.render.runs import render_step
from websauna_migrate.cli.render.text import visible
from websauna_migrate.interfaces import IMigrationRunStarted, IMigrationStepApplied

__all__ = ["Progress"]


class Progress:
    """Writes a line for each step of a run that was committed, to standard error."""

    def __init__(self) -> None:
        self.width = 0

    def subscribe(self, registry: Any, service: Any) -> None:
        """Ask for the events of runs, and to be told when a run has to wait."""
        service.on_wait = self.write
        # A service of the application's own may not have it.
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
        """Write a line."""
        print(visible(line), file=sys.stderr)
