"""What a run does while it does it: lines on standard error, and on a terminal some that live."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from websauna_migrate.cli.render.runs import render_running, render_step
from websauna_migrate.cli.render.text import shown
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
    IMigrationStepStarted,
)

if TYPE_CHECKING:
    from pyramid.registry import Registry
    from rich.console import Group
    from rich.live import Live

    from websauna_migrate.events import (
        MigrationRunEnded,
        MigrationRunStarted,
        MigrationStepApplied,
        MigrationStepStarted,
    )
    from websauna_migrate.results import Activity
    from websauna_migrate.service import MigrationService

#: After how many seconds of silence a line says that a step is still running.
SILENCE_SECONDS = 30.0

#: On a terminal: seconds between two looks at what the run does, and before the first.
LOOK_SECONDS = 1.0


class StillRunning:
    """Calls a function in a thread while a step is running.

    :ivar step: the event of its start; ``None`` between two steps
    """

    def __init__(self, look: Callable[[], Activity], tell: Callable[[Activity], None]) -> None:
        """Prepare.

        :param look: tells what the run does now
        :param tell: gets it
        """
        self.step: MigrationStepStarted | None = None
        self.began = self._told = time.monotonic()
        self._look, self._tell = look, tell
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def seconds(self) -> float:
        """How long the step has been running."""
        return time.monotonic() - self.began

    def start(self, event: MigrationStepStarted, seconds: float) -> None:
        """Say that a step has begun.

        :param seconds: after how many seconds of silence the function is called
        """
        self.step, self.began = event, time.monotonic()
        self.told()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, args=(seconds,), daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Say that the step has ended."""
        self.step = None

    def told(self) -> None:
        """Say that something was told just now."""
        self._told = time.monotonic()

    def stop(self) -> None:
        """Call the function no more."""
        self.step = None
        self._over.set()
        if self._thread is not None:
            self._thread.join(LOOK_SECONDS)

    def _watch(self, seconds: float) -> None:
        while not self._over.wait(max(0.0, self._told + seconds - time.monotonic())):
            if self.step is not None and time.monotonic() >= self._told + seconds:
                activity = self._look()
                if self.step is not None:
                    self._tell(activity)
                self.told()
            elif self.step is None:
                self.told()


class Progress:
    """Writes a line for each step of a run that was committed, to standard error.

    On a terminal the step that is running stands below them from its start on; elsewhere a line is
    written after each half minute of silence.
    """

    def __init__(self) -> None:
        self.width = 0
        self._running: StillRunning | None = None
        self._live: Live | None = None
        self._activity: Activity | None = None

    def subscribe(self, registry: Registry, service: MigrationService) -> None:
        """Ask for the events of runs, and to be told when a run has to wait."""
        service.on_wait = self.write
        # A service of the application's own may not have it.
        if "on_step" in vars(service):
            service.on_step = self.step_applied
        else:
            registry.registerHandler(self.step_applied, (IMigrationStepApplied,))
        registry.registerHandler(self.run_started, (IMigrationRunStarted,))
        registry.registerHandler(self.step_started, (IMigrationStepStarted,))
        registry.registerHandler(self.run_ended, (IMigrationRunEnded,))

    def run_started(self, event: MigrationRunStarted) -> None:
        """Learn how long the names of the packages are."""
        self.width = max((len(step.package) for step in event.plan.steps), default=0)
        self._running = StillRunning(event.look, self.still_running)

    def step_started(self, event: MigrationStepStarted) -> None:
        """Show the step that begins."""
        self._activity = None
        if self._running is None:
            return
        on_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._running.start(event, LOOK_SECONDS if on_terminal else SILENCE_SECONDS)
        if on_terminal and self._live is None:
            self._live = live_lines(self.lines)
        if self._live is not None:
            self._live.refresh()

    def step_applied(self, event: MigrationStepApplied) -> None:
        """Write the line of a step."""
        if self._running is not None:
            self._running.rest()
        self.write(render_step(event.step, event.number, event.total, self.width))

    def still_running(self, activity: Activity) -> None:
        """Tell what the running step does."""
        self._activity = activity
        if self._live is None:
            self.write(", ".join(self.running_lines()))

    def running_lines(self) -> tuple[str, ...]:
        """Return the lines of the step that is running."""
        running = self._running
        step = None if running is None else running.step
        if running is None or step is None:
            return ()
        return render_running(step, running.seconds, self._activity, self.width)

    def lines(self) -> Group:
        """Return the lines of the step that is running, each cut to the terminal's width."""
        from rich.console import Group
        from rich.text import Text

        lines = map(shown, self.running_lines())
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def run_ended(self, event: MigrationRunEnded) -> None:
        """Take the lines of the running step away."""
        if self._running is not None:
            self._running.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def write(self, line: str) -> None:
        """Write a line."""
        if self._running is not None:
            self._running.told()
        print(shown(line), file=sys.stderr)


def live_lines(lines: Callable[[], Group]) -> Live:
    """Return the last lines of the terminal, which are written anew four times a second.

    What is printed meanwhile stands above them; standard output was led to standard error before.
    """
    from rich.console import Console
    from rich.live import Live

    live = Live(
        console=Console(file=sys.stderr, highlight=False, soft_wrap=False),
        get_renderable=lines,
        transient=True,
    )
    live.start()
    return live
