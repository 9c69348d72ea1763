"""What programs read in place of a person's lines: failures with ``--json``, and ``--log-json``."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

from websauna_migrate.cli.console_script import as_known

if TYPE_CHECKING:
    from argparse import Namespace

    from pyramid.registry import Registry

    from websauna_migrate.cli.output import Output
    from websauna_migrate.cli.progress import StillRunning
    from websauna_migrate.events import (
        MigrationRunEnded,
        MigrationRunStarted,
        MigrationStepApplied,
        MigrationStepFailed,
        MigrationStepStarted,
    )
    from websauna_migrate.results import Activity, Run
    from websauna_migrate.service import MigrationService

    StepEvent = MigrationStepStarted | MigrationStepApplied | MigrationStepFailed

#: What an error says of itself besides its message, where it does.
ATTRIBUTES = ("kind", "package", "revision", "direction", "path", "line", "half_done")


def error_data(error: BaseException) -> dict[str, object]:
    """Return a failure as what JSON knows."""
    about = {name: getattr(error, name, None) for name in ATTRIBUTES}
    return {
        "type": type(error).__name__,
        "message": str(error),
        "exit_code": int(getattr(error, "exit_code", 1)),
        "see": getattr(error, "address", None),
        **{name: one if isinstance(one, str | int) else None for name, one in about.items()},
    }


class EventStream(io.TextIOBase):
    """Standard error while it has events: what is printed becomes one, with the words in it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._held = ""

    def write(self, text: str) -> int:
        """Write text; an event ends where what was printed does."""
        self._held += text
        if self._held.endswith("\n"):
            held, self._held = self._held.rstrip("\n"), ""
            self.event("message", message=held)
        return len(text)

    def event(self, name: str, **data: object) -> None:
        """Write an event, on a line of its own."""
        from websauna_migrate.plain_text import plain

        now = datetime.now(timezone.utc)
        line = json.dumps({"event": name, "time": now, **data}, default=plain)
        self.stream.write(line + "\n")
        self.stream.flush()

    def isatty(self) -> bool:
        """Tell whether a person may be asked here."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self.stream.fileno()


class ForPrograms:
    """A command's ``--json`` and ``--log-json``.

    :ivar events: where events go; ``None`` without ``--log-json``
    """

    def __init__(self, options: Namespace, output: Output) -> None:
        self.as_json: bool = getattr(options, "json", False)
        self.output = output
        self.events: EventStream | None = None
        if getattr(options, "log_json", False):
            self.events = EventStream(sys.stderr)
        self._ended: MigrationRunEnded | None = None
        self._running: StillRunning | None = None

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Let what is printed to standard error be events, and a failure be JSON, within a block.

        A failure that was told as an event is raised as ``SystemExit``.
        """
        stream = contextlib.redirect_stderr(self.events) if self.events else None
        try:
            with stream or contextlib.nullcontext():
                yield
        except Exception as exc:
            known = as_known(exc)
            if known is None:
                raise
            if self.as_json and not self.output.is_used:
                self._write_failure(known)
            if self.events is None:
                raise
            self.events.event("failed", error=error_data(known))
            raise SystemExit(int(known.exit_code)) from exc

    def _write_failure(self, error: BaseException) -> None:
        """Write the result of a command that failed; of a run with what was committed."""
        from websauna_migrate.plain_text import to_json

        ended = self._ended
        run = {} if ended is None else run_data(ended.run)
        self.output.lines([to_json({**run, "error": error_data(error)})])

    def subscribe(self, registry: Registry, service: MigrationService) -> None:
        """Ask for the events of runs."""
        from websauna_migrate.interfaces import (
            IMigrationRunEnded,
            IMigrationRunStarted,
            IMigrationStepApplied,
            IMigrationStepFailed,
            IMigrationStepStarted,
        )

        registry.registerHandler(self._run_ended, (IMigrationRunEnded,))
        if self.events is None:
            return
        service.on_wait = lambda words: print(words, file=sys.stderr)
        registry.registerHandler(self._run_started, (IMigrationRunStarted,))
        registry.registerHandler(self._step_started, (IMigrationStepStarted,))
        registry.registerHandler(self._step_applied, (IMigrationStepApplied,))
        registry.registerHandler(self._step_failed, (IMigrationStepFailed,))

    def _tell(self, name: str, event: StepEvent, **data: object) -> None:
        """Write an event of a step."""
        assert self.events is not None
        names = ("package", "revision", "direction", "number", "total")
        about = {name: getattr(event, name) for name in names}
        self.events.event(name, run=event.run_id, **about, **data)

    def _run_started(self, event: MigrationRunStarted) -> None:
        from websauna_migrate.cli.progress import StillRunning

        assert self.events is not None
        self._running = StillRunning(event.look, self._still_running)
        about = {"direction": event.direction, "packages": event.packages, "total": len(event.plan)}
        self.events.event("run-started", run=event.run_id, **about)

    def _step_started(self, event: MigrationStepStarted) -> None:
        from websauna_migrate.cli.progress import SILENCE_SECONDS

        message, expected = event.step.revision.message, event.expected
        self._tell("step-started", event, message=message, expected=expected)
        if self._running is not None:
            self._running.start(event, SILENCE_SECONDS)

    def _still_running(self, activity: Activity) -> None:
        running = self._running
        if running is not None and (step := running.step) is not None:
            about = {name: getattr(activity, name) for name in ("statement", "waits_for", "done")}
            self._tell("step-running", step, seconds=running.seconds, **about)

    def _step_applied(self, event: MigrationStepApplied) -> None:
        if self._running is not None:
            self._running.rest()
        self._tell("step-applied", event, seconds=event.step.seconds)

    def _step_failed(self, event: MigrationStepFailed) -> None:
        self._tell("step-failed", event, error=error_data(event.error))

    def _run_ended(self, event: MigrationRunEnded) -> None:
        self._ended = event
        if self._running is not None:
            self._running.stop()
        if self.events is not None:
            error = None if event.error is None else error_data(event.error)
            about = {"direction": event.direction, "applied": len(event.run.steps), "error": error}
            self.events.event("run-ended", run=event.run.id, **about)


def run_data(run: Run) -> dict[str, object]:
    """Return a run as what JSON knows, without an error."""
    return {
        "id": run.id,
        "direction": run.direction,
        "dry_run": run.dry_run,
        "steps": run.steps,
        "adopted": run.adopted,
        "losses": None,
        "error": None,
    }
