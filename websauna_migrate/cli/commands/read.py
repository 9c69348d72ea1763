"""Commands of ``ws-alembic`` that look and change nothing."""

from __future__ import annotations

from collections.abc import Iterable

from websauna_migrate.cli import render, render_history
from websauna_migrate.cli.commands import lint as linting
from websauna_migrate.cli.commands.call import Call, applied_rows
from websauna_migrate.database.engines import safe_url
from websauna_migrate.errors import MigrationError, UsageError

__all__ = [
    "NoSuchRevision",
    "NotAtHead",
    "branches",
    "check",
    "current",
    "heads",
    "history",
    "plan",
    "show",
    "status",
]


class NoSuchRevision(MigrationError, LookupError):
    """A symbol stands for no revision at all, such as ``current`` in an empty database."""

    def __init__(self, symbol: str, packages: Iterable[str] | None) -> None:
        self.symbol = symbol
        self.packages = tuple(packages or ())
        of = f" of package {', '.join(self.packages)}" if self.packages else ""
        super().__init__(
            f'"{symbol}" indicates no revision{of}. "ws-alembic history" lists what there is.'
        )


def branches(call: Call) -> None:
    """Print where branches part."""
    entries = call.service.history(packages=call.packages)
    call.output.lines(
        render_history.render_branches(entries, verbose=call.options.verbose, several=call.several)
    )


def check(call: Call) -> int:
    """Print what is wrong with scripts, histories, models and database."""
    report = call.service.check(packages=call.packages, full=call.options.full)
    if call.options.json:
        call.output.lines([render.to_json({"ok": report.ok, "problems": report.problems})])
    else:
        call.output.lines(render.render_check(report))
    return 0 if report.ok else 1


def current(call: Call) -> int:
    """Print what is applied."""
    states = call.service.current(packages=call.packages)
    if call.options.json:
        call.output.lines([render.to_json(states)])
    else:
        call.output.lines(
            render_history.render_current(
                states,
                call.service.entries(
                    revision for state in states for revision in (*state.applied, *state.implied)
                ),
                url=safe_url(call.service.url),
                verbose=call.options.verbose,
                several=call.several,
            )
        )
    if call.options.check_heads and (behind := list(render.render_not_at_head(states))):
        raise NotAtHead(behind)
    return 0


class NotAtHead(MigrationError):
    """The answer of ``current --check-heads``: a sentence for each package that is behind."""

    def __init__(self, behind: Iterable[str]) -> None:
        self.behind = tuple(behind)
        super().__init__("\n".join([*self.behind, 'Run "ws-alembic upgrade".']))


def heads(call: Call) -> None:
    """Print the newest revisions of the scripts."""
    service = call.service
    resolve = call.options.resolve_dependencies
    entries = service.entries(service.heads(packages=call.packages))
    if call.options.json:
        newest = [e for e in entries if (e.is_effective_head if resolve else e.is_head)]
        call.output.lines([render.to_json(newest)])
        return
    call.output.lines(
        render_history.render_heads(
            entries,
            verbose=call.options.verbose,
            resolve_dependencies=resolve,
            several=call.several,
        )
    )


def history(call: Call) -> None:
    """Print revisions as one timeline, newest first."""
    options = call.options
    if options.rev_range is not None and ":" not in options.rev_range:
        raise UsageError("History range requires [start]:[end], [start]:, or :[end].")
    entries = call.service.history(options.rev_range, packages=call.packages)
    if options.json:
        call.output.lines([render.to_json(entries)])
        return
    call.output.lines(
        render_history.render_history(
            entries,
            verbose=options.verbose,
            applied=applied_rows(call) if options.indicate_current else None,
            several=call.several,
        )
    )


def plan(call: Call) -> None:
    """Print what an upgrade or downgrade would do."""
    options = call.options
    direction = "downgrade" if options.downgrade else "upgrade"
    if options.fail_on_lint and (options.downgrade or options.no_lint):
        flag = "--downgrade" if options.downgrade else "--no-lint"
        raise UsageError(f"--fail-on-lint has no meaning with {flag}.")
    found = call.service.plan(
        options.revision, packages=call.packages, direction=direction, cascade=options.cascade
    )
    report = linting.lint_of_plan(call, found)
    if options.json:
        data = found.as_data() | ({} if report is None else {"lint": report})
        call.output.lines([render.to_json(data)])
    elif found.steps:
        call.output.table(render.plan_table(found))
        if report is not None and (report.findings or report.unchecked):
            call.output.lines(["", *linting.render_lint(report)])
    else:
        call.output.lines(["Nothing to do."])
    if report is not None:
        linting.conclude(call, report)


def show(call: Call) -> None:
    """Print the revisions that a symbol stands for."""
    entries = call.service.show(call.options.rev, packages=call.packages)
    call.output.lines(render_history.render_show(entries, several=call.several))


def status(call: Call) -> None:
    """Print where each package stands."""
    states = call.service.current(packages=call.packages)
    if call.options.json:
        call.output.lines([render.to_json(states)])
    else:
        call.output.table(render.status_table(states))
