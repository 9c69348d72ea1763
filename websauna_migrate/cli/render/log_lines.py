"""The runs of the ledger, newest first, and one of them in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from websauna_migrate.cli.render.text import counted, one_line
from websauna_migrate.results import LedgerEntry, LedgerRun

__all__ = ["render_log", "render_logged_run", "run_data"]

#: How many digits of a run's identifier a list shows, and how many of its steps.
SHORT, STEPS = 8, 10


def render_log(runs: Sequence[LedgerRun]) -> Iterator[str]:
    """Yield a line for each run, and below it one for each of its steps, newest first."""
    if not runs:
        yield "The ledger has no such run."
    for run in runs:
        yield headline(run, run.id[:SHORT])
        newest = run.steps[::-1]
        yield from (f"  {step_line(step)}" for step in newest[:STEPS])
        if len(newest) > STEPS:
            rest = counted(len(newest) - STEPS, "earlier step")
            yield f"  {rest}: ws-alembic log {run.id[:SHORT]}"


def render_logged_run(run: LedgerRun) -> Iterator[str]:
    """Yield all that the ledger has of a run, its steps in the order in which they ran."""
    yield headline(run, run.id)
    yield f"process {run.process}, websauna_migrate {run.version}"
    for step in run.steps:
        yield f"  {step.number}  {step_line(step)}"
        if step.error:
            place = [] if step.line is None else [f"line {step.line}"]
            if step.statement is not None:
                place.append(f"statement {step.statement}: {step.kind}")
            where = f" ({', '.join(place)})" if place else ""
            yield f"     {one_line(step.error)}{where}"
        if step.note:
            yield f"     {one_line(step.note)}"
        for statement in step.statements:
            yield f"     ended: {statement.number}  {statement.kind}  (line {statement.line})"


def headline(run: LedgerRun, name: str) -> str:
    """Return the line of a run."""
    took = "" if run.seconds is None else f"  {run.seconds:.2f} s"
    by = f" by {run.installed_by}" if run.installed_by else ""
    return (
        f"{name}  {run.started:%Y-%m-%d %H:%M:%S} UTC  {run.direction}  {run.outcome}  "
        f"{counted(len(run.steps), 'step')}{took}  on {run.host}{by}"
    )


def step_line(step: LedgerEntry) -> str:
    """Return the line of a step."""
    duration = "" if step.seconds is None else f"  {step.seconds:.2f} s"
    by = f" by {step.settled_by}" if step.settled_by else ""
    return f"{step.package}  {step.revision}  {step.direction}  {step.outcome}{by}{duration}"


def run_data(run: LedgerRun) -> dict[str, object]:
    """Return a run as what JSON knows, with the seconds that it and its steps took."""
    names = ("id", "direction", "outcome", "started", "ended", "seconds", "host", "process")
    steps = ("number", "package", "revision", "direction", "outcome", "started", "ended")
    about = ("error", "line", "statement", "kind", "note", "checksum", "statements")
    return {
        **{name: getattr(run, name) for name in (*names, "version", "installed_by")},
        "steps": [
            {
                **{name: getattr(step, name) for name in steps},
                "seconds": step.seconds,
                **{name: getattr(step, name) for name in about},
            }
            for step in run.steps
        ],
    }
