"""Unsafe changes: ``lint``, and what ``plan`` says of them."""

from __future__ import annotations

import sys

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.render.text import shown
from websauna_migrate.cli.render.unsafe_changes import render_lint
from websauna_migrate.results import LintReport, Plan


def lint(call: Call) -> None:
    """Print the unsafe changes of an upgrade."""
    report = call.service.lint(call.options.revision, packages=call.packages)
    call.show(render_lint(report), report)
    conclude(call, report)


def lint_of_plan(call: Call, plan: Plan) -> LintReport | None:
    """Return the unsafe changes for the command ``plan``; ``None`` where they are not looked for.

    They are not where there is nothing to do, and where the database or the missing linter does
    not allow it, unless the exit status is to depend on them.
    """
    options, service = call.options, call.service
    if options.fail_on_lint:
        found: LintReport = service.lint(plan=plan)
        return found
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
        found = service.lint(plan=plan)
    except MigrationError as exc:
        # It was the plan that was asked for, and that is known.
        print(f"WARNING: {shown(str(exc))}", file=sys.stderr)
        return None
    return found


def conclude(call: Call, report: LintReport) -> None:
    """Print what has no effect, and fail if that was asked for.

    :raises UnsafeChanges: with ``--fail-on-lint``, if there are any
    """
    for warning in report.warnings:
        print(f"WARNING: {shown(warning)}", file=sys.stderr)
    if call.options.fail_on_lint and not report.ok:
        from websauna_migrate.lint.lint_errors import UnsafeChanges

        raise UnsafeChanges(report, listed=True)
