"""Unsafe changes on the command line: ``lint``, and what ``plan`` and ``upgrade`` say of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from websauna_migrate.cli.render import counted, one_line, to_json
from websauna_migrate.errors import MigrationError
from websauna_migrate.lint.lint_errors import UnsafeChanges
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import LintFinding, LintReport, UncheckedScript

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

    from websauna_migrate.cli.commands.call import Call

__all__ = ["add_fail_on_lint", "conclude", "lint", "lint_of_plan", "render_lint"]

#: What of a statement is shown: enough to tell it from its neighbours.
STATEMENT_LENGTH = 120


def lint(call: Call) -> None:
    """Print the unsafe changes of an upgrade."""
    report = call.service.lint(call.options.revision, packages=call.packages)
    if call.options.json:
        call.output.lines([to_json(report)])
    else:
        call.output.lines(render_lint(report))
    conclude(call, report)


def lint_of_plan(call: Call, plan: Plan) -> LintReport | None:
    """Return the unsafe changes for the command ``plan``; ``None`` where nobody looked for them.

    Nobody does where there is nothing to do, and where neither the database nor an installed
    linter allows it, unless the exit status is to depend on it.
    """
    options, service = call.options, call.service
    if options.fail_on_lint:
        return service.lint(plan=plan)
    if (
        options.no_lint
        or options.downgrade
        or not plan.steps
        or service.url.get_backend_name() != "postgresql"
    ):
        return None
    from websauna_migrate.lint.squawk import is_installed

    if not is_installed():
        return None
    try:
        return service.lint(plan=plan)
    except MigrationError as exc:
        # It was the plan that was asked for, and that is known.
        print(f"WARNING: {exc}", file=sys.stderr)
        return None


def conclude(call: Call, report: LintReport) -> None:
    """Print what has no effect, and fail if that was asked for.

    :raises UnsafeChanges: with ``--fail-on-lint``, if there are any
    """
    for warning in report.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    if call.options.fail_on_lint and not report.ok:
        raise UnsafeChanges(report, listed=True)


def render_lint(report: LintReport) -> Iterator[str]:
    """Yield the unsafe changes, statement by statement, and what was not checked."""
    if not report.steps:
        yield "Nothing to check: no step is pending."
        return
    for (package, revision, message), of_step in groupby(report.findings, key=step_of):
        yield f"{package} {revision}  {one_line(message)}".rstrip()
        for (place, statement), found in groupby(of_step, key=statement_of):
            yield f"  {place}"
            yield f"    {shortened(one_line(statement))}"
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


def shortened(text: str) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= STATEMENT_LENGTH else text[: STATEMENT_LENGTH - 3] + "..."


def add_fail_on_lint(group: ArgumentGroup) -> None:
    """Add ``--fail-on-lint``."""
    group.add_argument(
        "--fail-on-lint",
        action="store_true",
        help="Fail, and run nothing, if there are unsafe changes (PostgreSQL)",
    )
