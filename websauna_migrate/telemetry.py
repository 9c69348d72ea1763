"""OpenTelemetry from the events of runs: ``config.include("websauna_migrate.telemetry")``."""

from __future__ import annotations

from contextvars import Token
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pyramid.exceptions import ConfigurationError

from websauna_migrate.events import (
    MigrationRunEnded,
    MigrationRunStarted,
    MigrationStepApplied,
    MigrationStepFailed,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue
    from pyramid.config import Configurator

__all__ = ["SPAN_LIMIT", "Telemetry", "includeme"]

#: The steps of a run with more of them are events of the run's span, not spans.
SPAN_LIMIT = 100


def includeme(config: Configurator) -> None:
    """Make spans and metrics of the runs of an application that includes ``websauna_migrate``.

    They go to the global providers of OpenTelemetry, which the application or
    ``opentelemetry-instrument`` sets up.

    :raises ConfigurationError: if OpenTelemetry's API is not installed
    """
    try:
        telemetry = Telemetry()
    except ImportError as exc:
        raise ConfigurationError(
            "websauna_migrate.telemetry needs OpenTelemetry's API, which is not installed: "
            'pip install "websauna_migrate[otel]".'
        ) from exc
    config.add_subscriber(telemetry.run_started, MigrationRunStarted)
    config.add_subscriber(telemetry.step_applied, MigrationStepApplied)
    config.add_subscriber(telemetry.step_failed, MigrationStepFailed)
    config.add_subscriber(telemetry.run_ended, MigrationRunEnded)


@dataclass
class TracedRun:
    """A run that goes on.

    :ivar token: with which the run's span stops being the current one
    :ivar has_spans: true if its steps are spans
    """

    span: Span
    token: Token[Context]
    started: datetime
    has_spans: bool


class Telemetry:
    """Subscribers that make spans and metrics.

    :raises ImportError: if OpenTelemetry's API is not installed
    """

    def __init__(self) -> None:
        from opentelemetry import metrics, trace

        self._tracer = trace.get_tracer("websauna_migrate")
        meter = metrics.get_meter("websauna_migrate")
        self._run_seconds = meter.create_histogram(
            "websauna_migrate.run.duration", unit="s", description="Duration of migration runs"
        )
        self._step_seconds = meter.create_histogram(
            "websauna_migrate.step.duration", unit="s", description="Duration of migration steps"
        )
        self._runs: dict[str, TracedRun] = {}

    def run_started(self, event: MigrationRunStarted) -> None:
        """Start the run's span, and make it current: spans of its statements are below it."""
        from opentelemetry import context, trace

        attributes: dict[str, AttributeValue] = {
            "websauna_migrate.run": event.run_id,
            "websauna_migrate.direction": event.direction,
            "websauna_migrate.packages": event.packages,
            "websauna_migrate.steps": len(event.plan),
        }
        span = self._tracer.start_span(f"migrate {event.direction}", attributes=attributes)
        token = context.attach(trace.set_span_in_context(span))
        few = len(event.plan) <= SPAN_LIMIT
        self._runs[event.run_id] = TracedRun(span, token, now(), few)

    def step_applied(self, event: MigrationStepApplied) -> None:
        """Tell of a step that was committed."""
        self._step(event, event.step.started, event.step.seconds)

    def step_failed(self, event: MigrationStepFailed) -> None:
        """Tell of a step that failed."""
        self._step(event, event.started, (now() - event.started).total_seconds(), event.error)

    def _step(
        self,
        event: MigrationStepApplied | MigrationStepFailed,
        started: datetime,
        seconds: float,
        error: BaseException | None = None,
    ) -> None:
        kind: dict[str, AttributeValue] = {
            "websauna_migrate.direction": event.direction,
            "websauna_migrate.package": event.package,
            **error_attributes(error),
        }
        self._step_seconds.record(seconds, kind)
        run = self._runs.get(event.run_id)
        if run is None:
            return
        attributes = {
            **kind,
            "websauna_migrate.revision": event.revision,
            "websauna_migrate.number": event.number,
        }
        end = nanoseconds(started) + int(seconds * 1e9)
        name = f"migrate {event.direction} {event.package}"
        if not run.has_spans:
            run.span.add_event(name, {**attributes, "duration": seconds}, timestamp=end)
            return
        span = self._tracer.start_span(name, attributes=attributes, start_time=nanoseconds(started))
        set_error(span, error)
        span.end(end_time=end)

    def run_ended(self, event: MigrationRunEnded) -> None:
        """End the run's span."""
        from opentelemetry import context

        run = self._runs.pop(event.run.id, None)
        if run is None:
            return
        kind = {"websauna_migrate.direction": event.direction, **error_attributes(event.error)}
        self._run_seconds.record((now() - run.started).total_seconds(), kind)
        set_error(run.span, event.error)
        run.span.set_attributes(error_attributes(event.error))
        run.span.set_attribute("websauna_migrate.steps_applied", len(event.run.steps))
        context.detach(run.token)
        run.span.end()


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)


def nanoseconds(moment: datetime) -> int:
    """Return a time as OpenTelemetry has it, nanoseconds since 1970."""
    return int(moment.timestamp() * 1e9)


def error_attributes(error: BaseException | None) -> dict[str, AttributeValue]:
    """Return the attribute of the semantic conventions that names what failed."""
    return {} if error is None else {"error.type": type(error).__qualname__}


def set_error(span: Span, error: BaseException | None) -> None:
    """Give a span the failure: its message, which has no password, and no traceback."""
    from opentelemetry.trace import Status, StatusCode

    if error is None:
        return
    span.set_status(Status(StatusCode.ERROR, str(error)))
    span.add_event(
        "exception",
        {"exception.type": type(error).__qualname__, "exception.message": str(error)},
    )
