"""Unsafe changes, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from websauna_migrate.cli.render.text import one_line, shortened
from websauna_migrate.plain_text import counted
from websauna_migrate.results import LintReport

#: What of a statement is shown: enough to tell it from its neighbours.
STATEMENT_LENGTH = 120


def render_lint(report: LintReport) -> Iterator[str]:
    """Yield the unsafe changes, statement by statement, and what was not checked."""
    if not report.steps:
        yield "Nothing to check: no step is pending."
        return
    of_steps = groupby(report.findings, key=attrgetter("package", "revision", "message"))
    for (package, revision, message), of_step in of_steps:
        yield f"{package} {revision}  {one_line(message)}".rstrip()
        of_statements = groupby(of_step, key=attrgetter("path", "line", "statement"))
        for (path, line, statement), found in of_statements:
            yield f"  {path}:{line}"
            yield f"    {shortened(one_line(statement), STATEMENT_LENGTH)}"
            for one in found:
                yield f"    {one.rule}: {one_line(one.text)}"
                if one.help:
                    yield f"      {one_line(one.help)}"
        yield ""
    for left in report.unchecked:
        place = left.path if left.line is None else f"{left.path}:{left.line}"
        yield f"{left.package} {left.revision}  not checked: {place}: {one_line(left.reason)}"
    if report.unchecked:
        yield ""
    yield summary(report)


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
