"""What the commands say: pure functions from results to text."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import (
    AppliedStep,
    CheckReport,
    CreatedScript,
    PackageState,
    Run,
    StampedPackage,
)

__all__ = [
    "Table",
    "plan_table",
    "render_check",
    "render_created",
    "render_not_at_head",
    "render_run",
    "render_stamped",
    "render_step",
    "render_table",
    "status_table",
    "to_json",
]

#: Stands where there is nothing to say.
NOTHING = "-"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below their headings; ``emphasised`` are the numbers of the rows that matter."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()


def render_table(table: Table) -> Iterator[str]:
    """Yield a table as lines of plain text; none is ever cut."""
    columns = zip(table.headings, *table.rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    for row in (table.headings, *table.rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def status_table(states: Iterable[PackageState]) -> Table:
    """Return where the packages stand: applied and newest revisions, and how many are pending."""
    states = tuple(states)
    rows = tuple(
        (
            state.package,
            joined(state.rows),
            joined((one_line(revision.message) for revision in state.applied), "; "),
            joined(revision.id for revision in state.heads) if state.installed else NOTHING,
            pending(state),
        )
        for state in states
    )
    behind = frozenset(
        number for number, state in enumerate(states) if state.pending or state.unknown
    )
    return Table(("PACKAGE", "APPLIED", "MESSAGE", "NEWEST", "PENDING"), rows, behind)


def pending(state: PackageState) -> str:
    """Return how many revisions of a package are pending, or why that cannot be said."""
    if not state.installed:
        return "not installed"
    if state.unknown:
        return f"{state.pending} (no script defines {joined(state.unknown)})"
    return str(state.pending)


def plan_table(plan: Plan) -> Table:
    """Return the steps of a plan, numbered from 1, each with the reason why it is in it."""
    rows = tuple(
        (
            str(number),
            step.package,
            step.revision.id,
            one_line(step.revision.message),
            step.reason,
        )
        for number, step in enumerate(plan.steps, 1)
    )
    return Table((plan.direction.upper(), "PACKAGE", "REVISION", "MESSAGE", "REASON"), rows)


def render_step(step: AppliedStep, number: int, total: int, width: int = 0) -> str:
    """Return the line that tells of a step of a run once it is committed.

    :param number: its place in the run, from 1
    :param total: how many steps the run has
    :param width: of the longest package name, so that lines stand below each other
    """
    direction = "" if step.direction == "upgrade" else f"{step.direction} "
    return (
        f"[{number:>{len(str(total))}}/{total}] {direction}{step.package:<{width}}  "
        f"{step.revision}  {one_line(step.message)} ({step.seconds:.2f} s)"
    )


def render_run(run: Run, packages: Sequence[str] | None, *, newest: bool = False) -> str:
    """Return the line that sums up a run.

    :param packages: what the run was asked for, ``None`` for all
    :param newest: its target was the newest revision of them
    """
    if run.steps:
        seconds = sum(step.seconds for step in run.steps)
        done = "applied" if run.direction == "upgrade" else "taken back"
        return f"{counted(len(run.steps), 'step')} {done} in {seconds:.2f} s."
    if not newest:
        return "Nothing to do: the database is at that revision already."
    if packages is None:
        return "Nothing to do: all packages are at their newest revision."
    if len(packages) == 1:
        return f"Nothing to do: {packages[0]} is at its newest revision."
    return f"Nothing to do: {joined(packages)} are at their newest revision."


def render_created(scripts: Iterable[CreatedScript]) -> Iterator[str]:
    """Yield the path of each script that was written."""
    paths = [script.path for script in scripts]
    yield from paths or ["No changes: no script was written."]


def render_stamped(stamped: Iterable[StampedPackage]) -> Iterator[str]:
    """Yield what a stamp changed in each history table."""
    stamped = tuple(stamped)
    if not stamped:
        yield "Nothing to do: the history tables say so already."
    for package in stamped:
        before, after = (joined(rows, nothing="<base>") for rows in (package.before, package.after))
        yield f"{package.package}  {before} -> {after}"


def render_check(report: CheckReport) -> Iterator[str]:
    """Yield what a check found, what is only worth knowing last."""
    for problem in sorted(report.problems, key=lambda problem: not problem.fatal):
        text = problem.message
        if problem.package is not None and problem.package not in text:
            text = f"{problem.package}: {text}"
        yield text if problem.fatal else f"note: {text}"
    if report.ok:
        yield "No new upgrade operations detected."


def render_not_at_head(states: Iterable[PackageState]) -> Iterator[str]:
    """Yield a line for each package that is not at its heads, for ``current --check-heads``."""
    for state in states:
        heads = joined((revision.id for revision in state.heads), nothing="<base>")
        rows = joined(state.rows, nothing="<base>")
        if state.installed and (state.pending or state.unknown):
            yield f'Package "{state.package}" is at {rows}, not on all head revisions: {heads}.'


def to_json(value: object) -> str:
    """Return results as JSON: the fields of their classes, and a revision's message."""
    return json.dumps(value, indent=2, default=plain)


def plain(value: object) -> Any:
    """Return what JSON knows for something that it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return fields | {"message": value.message} if isinstance(value, Revision) else fields
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    return repr(value)


def joined(words: Iterable[str], separator: str = ", ", nothing: str = NOTHING) -> str:
    """Return words on one line, or what stands for none."""
    return separator.join(words) or nothing


def one_line(message: str) -> str:
    """Return a message without its line breaks."""
    return " ".join(message.split())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
