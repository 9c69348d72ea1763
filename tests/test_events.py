"""The events of runs, what subscribers can choose, and OpenTelemetry from the events alone."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from webtest import TestApp

from apps import Workshop
from websauna_migrate import IMigrationService, MigrationError
from websauna_migrate.events import (
    MigrationRunEnded,
    MigrationRunStarted,
    MigrationStepApplied,
    MigrationStepFailed,
    MigrationStepStarted,
)
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationStepApplied,
    IMigrationStepFailed,
    IMigrationStepStarted,
)

EVENTS = {
    MigrationRunStarted: IMigrationRunStarted,
    MigrationStepStarted: IMigrationStepStarted,
    MigrationStepApplied: IMigrationStepApplied,
    MigrationStepFailed: IMigrationStepFailed,
    MigrationRunEnded: IMigrationRunEnded,
}


@pytest.fixture
def packages(workshop: Workshop) -> Workshop:
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a1")
    workshop.script("bbb", "b1")
    workshop.script("bbb", "b2", "b1")
    return workshop


def told(workshop: Workshop, url: str, **predicates: Any) -> tuple[Any, list[Any]]:
    """Return the service, and the list that gets the events."""
    config = workshop.configure(url)
    events: list[Any] = []
    for interface in EVENTS.values():
        config.add_subscriber(events.append, interface, **predicates)
    config.commit()
    return config.registry.getUtility(IMigrationService), events


def words(events: list[Any]) -> list[str]:
    names = []
    for event in events:
        name = type(event).__name__.removeprefix("Migration")
        names.append(f"{name} {event.revision}" if hasattr(event, "revision") else name)
    return names


def test_all_events_in_order_with_every_attribute(packages: Workshop, database_url: str) -> None:
    service, events = told(packages, database_url)
    run = service.upgrade()
    assert words(events) == [
        "RunStarted",
        "StepStarted a1",
        "StepApplied a1",
        "StepStarted b1",
        "StepApplied b1",
        "StepStarted b2",
        "StepApplied b2",
        "RunEnded",
    ]
    for event in events:
        interface = EVENTS[type(event)]
        assert interface.providedBy(event)
        assert set(vars(event)) == set(interface.names(all=True))
        assert event.direction == "upgrade"
    assert {getattr(event, "run_id", run.id) for event in events} == {run.id}
    assert events[0].packages == events[-1].packages == ("aaa", "bbb")
    assert [(event.number, event.total) for event in events[1:-1]] == [
        (1, 3), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3),
    ]  # fmt: skip
    events.clear()
    service.upgrade()
    assert events == []


@pytest.mark.parametrize("atomic", [False, True])
def test_a_failure(packages: Workshop, transactional_database_url: str, atomic: bool) -> None:
    packages.script("bbb", "b3", "b2", upgrade='raise ValueError("broken")')
    service, events = told(packages, transactional_database_url)
    with pytest.raises(MigrationError) as caught:
        service.upgrade(atomic=atomic)
    assert words(events)[-2:] == ["StepFailed b3", "RunEnded"]
    failed, ended = events[-2:]
    assert set(vars(failed)) == set(IMigrationStepFailed.names(all=True))
    assert failed.error is ended.error is caught.value
    assert (failed.package, failed.number, failed.total) == ("bbb", 4, 4)
    assert ("StepApplied b2" in words(events)) is not atomic


def test_predicates(packages: Workshop, database_url: str) -> None:
    service, events = told(
        packages, database_url, migration_package="bbb", migration_direction="downgrade"
    )
    service.upgrade()
    assert events == []
    service.downgrade("base", packages="aaa")
    assert events == []
    service.downgrade("-1", packages="bbb")
    assert words(events) == ["RunStarted", "StepStarted b2", "StepApplied b2", "RunEnded"]
    service, events = told(packages, database_url, migration_package=("aaa", "other"))
    service.upgrade()
    assert words(events) == ["RunStarted", "StepStarted a1", "StepApplied a1", "RunEnded"]


def test_a_direction_that_does_not_exist(packages: Workshop, database_url: str) -> None:
    with pytest.raises(ConfigurationError, match='write "upgrade" or "downgrade"'):
        told(packages, database_url, migration_direction="up")


def test_subscribers_that_raise(
    packages: Workshop, transactional_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before a step it ends the run; behind a failure it hides nothing."""
    config = packages.configure(transactional_database_url)

    def raises(event: Any) -> None:
        raise KeyError(type(event).__name__)

    def refuses(event: Any) -> None:
        if event.revision == "b2":
            raise LookupError("not on a Friday")

    config.add_subscriber(refuses, MigrationStepStarted)
    config.add_subscriber(raises, MigrationRunEnded)
    config.add_subscriber(raises, MigrationStepFailed)
    config.commit()
    service = config.registry.getUtility(IMigrationService)
    with caplog.at_level(logging.ERROR), pytest.raises(LookupError, match="Friday"):
        service.upgrade()
    assert [state.rows for state in service.current()] == [("a1",), ("b1",)]
    assert "A subscriber to MigrationRunEnded failed" in caplog.text
    # The step that a subscriber refused did not fail.
    assert "MigrationStepFailed" not in caplog.text


# OpenTelemetry


@pytest.fixture(scope="module")
def providers() -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer = TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracer)
    metrics.set_meter_provider(MeterProvider([reader]))
    return spans, reader


@pytest.fixture
def spans(providers: Any) -> Iterator[InMemorySpanExporter]:
    providers[0].clear()
    yield providers[0]
    assert trace.get_current_span() is trace.INVALID_SPAN


def traced(workshop: Workshop, url: str) -> Any:
    config = workshop.configure(url)
    config.include("websauna_migrate.telemetry")
    config.commit()
    return config.registry.getUtility(IMigrationService)


def test_spans_and_metrics(
    packages: Workshop, transactional_database_url: str, spans: Any, providers: Any
) -> None:
    packages.script("bbb", "b3", "b2", upgrade='raise ValueError("broken")')
    before = steps_measured(providers[1])
    with pytest.raises(MigrationError):
        traced(packages, transactional_database_url).upgrade()
    *steps, run = spans.get_finished_spans()
    assert [span.name for span in steps] == [
        "migrate upgrade aaa", "migrate upgrade bbb", "migrate upgrade bbb", "migrate upgrade bbb",
    ]  # fmt: skip
    assert run.name == "migrate upgrade" and run.attributes["websauna_migrate.steps_applied"] == 3
    for span in steps:
        assert span.parent.span_id == run.context.span_id
        assert run.start_time <= span.start_time <= span.end_time
    assert [span.attributes["websauna_migrate.revision"] for span in steps] == [
        "a1", "b1", "b2", "b3",
    ]  # fmt: skip
    assert [span.status.status_code for span in steps] == [StatusCode.UNSET] * 3 + [
        StatusCode.ERROR
    ]
    assert steps[-1].attributes["error.type"] == run.attributes["error.type"] == "StepFailed"
    assert "broken" in steps[-1].events[0].attributes["exception.message"]
    assert steps_measured(providers[1]) == before + 3


def steps_measured(reader: InMemoryMetricReader) -> int:
    """Return of how many steps that went well the duration was measured."""
    data = reader.get_metrics_data()
    if data is None:
        return 0
    found = {one.name: one for one in data.resource_metrics[0].scope_metrics[0].metrics}
    assert found["websauna_migrate.run.duration"].unit == "s"
    points: Any = found["websauna_migrate.step.duration"].data.data_points
    return sum(point.count for point in points if "error.type" not in point.attributes)


def test_many_steps_are_events_of_one_span(
    workshop: Workshop, tmp_path: Any, spans: Any, providers: Any
) -> None:
    workshop.package("aaa")
    for number in range(101):
        workshop.script("aaa", f"r{number}", f"r{number - 1}" if number else None)
    traced(workshop, f"sqlite:///{tmp_path / 'many.sqlite'}").upgrade()
    (run,) = spans.get_finished_spans()
    assert run.attributes["websauna_migrate.steps"] == 101
    assert len(run.events) == 101


def test_nothing_is_imported_without_it(packages: Workshop) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from pyramid.config import Configurator\n"
        "config = Configurator(settings={})\n"
        "config.include('websauna_migrate')\n"
        "import websauna_migrate.runs.locked_run\n"
        "assert 'websauna_migrate.telemetry' not in sys.modules\n"
        "config.include('websauna_migrate.telemetry')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(
        'which is not installed: pip install "websauna_migrate[otel]".'
    )


def test_the_maintenance_mode_of_the_docs(packages: Workshop, tmp_path: Any) -> None:
    """Requests are answered with 503 while a run goes on, and as always behind it."""
    page = (Path(__file__).parent.parent / "docs" / "web.rst").read_text()
    block = page.partition("**Maintenance mode.**")[2].partition(".. code-block:: python\n")[2]
    lines = itertools.takewhile(lambda line: not line or line.startswith("    "), block.split("\n"))
    (packages.root / "fooapp").mkdir()
    (packages.root / "fooapp" / "__init__.py").touch()
    source = textwrap.dedent("\n".join(lines))
    (packages.root / "fooapp" / "maintenance.py").write_text(source)
    config = packages.configure(f"sqlite:///{tmp_path / 'db.sqlite'}")
    config.registry.settings["maintenance_file"] = str(tmp_path / "maintenance")
    config.include("fooapp.maintenance")
    config.include("websauna_migrate.web")
    config.add_route("home", "/")
    config.add_view(lambda request: Response("home"), route_name="home")
    seen: list[int] = []

    def ask(event: Any) -> None:
        seen.append(app.get("/", status="*").status_int)
        app.get("/migrations/ready", status=503)

    config.add_subscriber(ask, MigrationStepStarted)
    app = TestApp(config.make_wsgi_app())
    app.get("/", status=200)
    config.registry.getUtility(IMigrationService).upgrade()
    app.get("/", status=200)
    assert seen == [503, 503, 503]
    sys.modules.pop("fooapp.maintenance", None)
    sys.modules.pop("fooapp", None)
