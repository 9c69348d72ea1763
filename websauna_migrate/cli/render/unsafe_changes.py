"""Unsafe changes, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from websauna_migrate.cli.render.text import one_line, shortened
from websauna_migrate.plain_text import counted
from websauna_migrate.results import LintFinding, LintReport, UncheckedScript

#: What of a statement is shown: enough to tell it from its neighbours.
STATEMENT_LENGTH = 120


def render_lint(report: LintReport) -> Iterator[str]:
    """Yield the unsafe changes, statement by statement, and what was not checked."""
    if not report.steps:
        yield "Nothing to check: no step is pending."
        return
    for (package, revision, message), of_step in groupby(report.findings, key=step_of):
        yield f"{package} {revision}  {one_line(message)}".rstrip()
        for (place, statement), found in groupby(of_step, key=statement_of):
            yield f"  {place}"
            yield f"    {shortened(one_line(statement), STATEMENT_LENGTH)}"
            for one in found:
                yield f"    {one.rule}: {one_line(one.text)}"
                if one.help:
                    yield f"      {one_line(one.help)}"
        yield ""
    for unchecked in report.unchecked:
        yield render_unchecked(unchecked)
    if report.unchecked:
        yield ""
    yield summary(report)


def step_of(one: LintFinding) -> tuple[str, str, str]:
    """Return what the heading of a finding's step says."""
    return one.package, one.revision, one.message


def statement_of(one: LintFinding) -> tuple[str, str]:
    """Return where a finding's statement is, and the statement."""
    return f"{one.path}:{one.line}", one.statement


def render_unchecked(one: UncheckedScript) -> str:
    """Return the line about what was not checked."""
    place = one.path if one.line is None else f"{one.path}:{one.line}"
    return f"{one.package} {one.revision}  not checked: {place}: {one_line(one.reason)}"


def summary(report: LintReport) -> str:
    """Return the line that sums up a report."""
    number = len(report.findings)
    text = counted(number, "unsafe change") if number else "No unsafe changes"
    text += f" in {counted(report.steps, 'pending step')}"
    if report.accepted:
        text += f", {len(report.accepted)} accepted"
    if report.unchecked:
        names = {(one.package, one.revision) for one in report.unchecked}
        text += f", {counted(len(names), 'step')} not checked to the end"
    return text + "."
