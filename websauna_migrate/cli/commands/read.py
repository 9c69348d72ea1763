"""Commands that look and change nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from websauna_migrate.base_errors import ExitCode, MigrationError, UsageError
from websauna_migrate.cli.commands.call import Call, refuse_together
from websauna_migrate.cli.console_script import CANNOT_TELL
from websauna_migrate.cli.render import history as lines
from websauna_migrate.cli.render.history import render_log, render_logged_run, run_data
from websauna_migrate.cli.render.location import render_drift, render_location, render_mending
from websauna_migrate.cli.render.states import (
    plan_table,
    render_check,
    render_elsewhere,
    render_lint,
    render_losses,
    render_not_at_head,
    render_verifications,
    status_table,
)
from websauna_migrate.cli.render.text import shown
from websauna_migrate.database.engines import safe_url
from websauna_migrate.plain_text import to_json
from websauna_migrate.results import LintReport, LogFilter, PackageState, Plan

#: The exit status of ``status`` and ``wait``, besides 0, that of a half done step, and 2.
PENDING = 1

#: From which exit status on ``status`` has one, by ``--fail-on``.
LEVELS = {
    "pending": PENDING,
    "unknown": CANNOT_TELL,
    "half-done": ExitCode.HALF_DONE,
    "never": ExitCode.HALF_DONE + 1,
}


def branches(call: Call) -> None:
    """Print where branches part."""
    entries = call.service.history(packages=call.packages)
    verbose = call.options.verbose
    call.show(lines.render_branches(entries, verbose=verbose, several=call.several))


def check(call: Call) -> int:
    """Print what is wrong with scripts, histories, models and database."""
    report = call.service.check(packages=call.packages, fresh=call.options.fresh)
    call.show(render_check(report), {"ok": report.ok, "problems": report.problems})
    call.tell_pending_elsewhere()
    if report.ok:
        return ExitCode.DONE
    kinds = {problem.kind for problem in report.problems if problem.fatal}
    if "half-done" in kinds:
        return ExitCode.HALF_DONE
    if "heads" in kinds:
        return ExitCode.FAILED
    return ExitCode.PENDING if kinds == {"pending"} else ExitCode.DRIFT


def current(call: Call) -> int:
    """Print what is applied."""
    selected = call.packages
    every = None if selected is None else [package.name for package in call.service.packages]
    all_states = call.service.status(packages=every)
    states = [one for one in all_states if selected is None or one.package in selected]
    entries = call.service.entries(
        revision for state in states for revision in (*state.applied, *state.implied)
    )
    call.show(
        lines.render_current(
            states,
            entries,
            url=safe_url(call.service.url),
            verbose=call.options.verbose,
            several=call.several,
        ),
        states,
    )
    if not call.options.json:
        call.output.lines(render_elsewhere(states))
    call.tell_at_work()
    call.tell_pending_elsewhere(all_states)
    if call.options.check_heads and (behind := list(render_not_at_head(states))):
        print(*map(shown, behind), sep="\n", file=sys.stderr)
        return ExitCode.PENDING
    return ExitCode.DONE


def graph(call: Call) -> None:
    """Draw the graph of revisions."""
    from websauna_migrate.pictures import FORMATS

    options = call.options
    view = call.service.graph(
        packages=call.packages,
        around=options.around,
        distance=options.distance,
        table=options.table,
        fold=not options.whole,
    )
    if options.format == "png":
        from websauna_migrate.pictures.svg import to_png

        call.output.data(to_png(view))
    else:
        call.output.lines(FORMATS[options.format](view).splitlines())


def heads(call: Call) -> None:
    """Print the newest revisions of the scripts."""
    resolve = call.options.resolve_dependencies
    entries = [
        entry
        for entry in call.service.entries(call.service.heads(packages=call.packages))
        if (entry.is_effective_head if resolve else entry.is_head)
    ]
    verbose = call.options.verbose
    call.show(lines.render_heads(entries, verbose=verbose, several=call.several), entries)


def history(call: Call) -> None:
    """Print revisions as one timeline, newest first."""
    options, packages = call.options, call.packages
    if options.rev_range is not None and ":" not in options.rev_range:
        raise UsageError("History range requires [start]:[end], [start]:, or :[end].")
    entries = call.service.history(options.rev_range, packages=packages)
    states = call.service.status(packages=packages) if options.indicate_current else ()
    call.show(
        lines.render_history(
            entries,
            verbose=options.verbose,
            applied={(state.package, row) for state in states for row in state.rows},
            several=call.several,
        ),
        entries,
    )


def log(call: Call) -> None:
    """Print runs of the ledger, or one with the errors and durations of its steps."""
    options = call.options
    if options.run is not None:
        run = call.service.find_run(options.run)
        call.show(render_logged_run(run), run_data(run))
        return
    wanted = LogFilter(
        packages=call.packages,
        since=options.since,
        until=options.until,
        outcome=options.outcome,
        host=options.host,
        person=options.by,
        limit=options.number or None,
    )
    runs = call.service.log(wanted)
    call.show(render_log(runs), [run_data(run) for run in runs])


NOTHING_RUNS = "No {} runs anything before this is settled: {} ended half done."


def plan(call: Call) -> int:
    """Print what an upgrade or downgrade would do; behind a half done step it would do nothing."""
    options = call.options
    direction = "downgrade" if options.downgrade else "upgrade"
    refuse_together(options, "downgrade", "fail_on_lint", "ignore_order", "out")
    refuse_together(options, "no_lint", "fail_on_lint")
    refuse_together(options, "sql", "json", "fail_on_lint", "out")
    found = call.service.plan(
        options.revision,
        packages=call.packages,
        direction=direction,
        cascade=options.cascade,
        ignore_order=options.ignore_order,
    )
    if found.steps and not options.downgrade:
        call.warn_of_races()
    if options.sql:
        call.output.raw(call.service.sql(plan=found))
        return ExitCode.DONE
    if options.out:
        recorded = call.service.record_plan(
            options.revision, packages=call.packages, ignore_order=options.ignore_order
        )
        write_plan(Path(options.out), to_json(recorded.as_data()) + "\n")
    at_work = call.tell_at_work()
    half_done = sorted({f"{one.package}@{one.revision}" for one in at_work.half_done})
    report = lint_of_plan(call, found)
    losses = call.service.losses(found)
    told = {} if report is None else {"lint": report}
    if options.json:
        data = found.as_data() | {"running": at_work.running, "half_done": at_work.half_done}
        call.show((), data | {"losses": losses} | told)
    elif half_done and not found.steps:
        call.show([NOTHING_RUNS.format(direction, ", ".join(half_done))])
    elif found.steps:
        if half_done:
            call.show([NOTHING_RUNS.format(direction, ", ".join(half_done))])
        call.output.table(plan_table(found))
        if losses:
            call.show(["", *render_losses(losses)])
        if report is not None and (report.findings or report.unchecked):
            call.show(["", *render_lint(report)])
    else:
        call.show(["Nothing to do."])
    if not options.downgrade:
        call.tell_pending_elsewhere(planned=found)
    if report is not None:
        conclude(call, report)
    return ExitCode.HALF_DONE if half_done else ExitCode.DONE


def write_plan(path: Path, text: str) -> None:
    """Write a plan to a file, or leave none that was only begun.

    :raises MigrationError: naming the file
    """
    begun = False
    try:
        with path.open("w", encoding="utf-8") as file:
            begun = True
            file.write(text)
    except OSError as exc:
        # One that could not be opened is as it was.
        if begun and path.is_file():
            path.unlink()
        raise MigrationError(
            f'The plan cannot be written to "{path}": {exc.strerror}. Nothing was changed in the '
            "database. Make room, or name another file with --out."
        ) from exc


def show(call: Call) -> None:
    """Print the revisions that a symbol stands for."""
    entries = call.service.show(call.options.rev, packages=call.packages)
    call.show(lines.render_show(entries, several=call.several))


def status(call: Call) -> int:
    """Print where each package stands; the exit status says it too."""
    states = call.service.status(packages=call.packages)
    half_done = call.tell_at_work().half_done
    if call.options.json:
        call.show((), states)
    else:
        call.output.table(status_table(states))
        call.output.lines(render_elsewhere(states))
    level = (
        ExitCode.HALF_DONE
        if half_done
        else CANNOT_TELL
        if any(map(cannot_tell, states))
        else PENDING
        if any(state.pending for state in states)
        else ExitCode.DONE
    )
    return level if level >= LEVELS[call.options.fail_on] else 0


def cannot_tell(state: PackageState) -> bool:
    """True if it is not known how many revisions of a package are pending."""
    scripts_elsewhere = bool(state.elsewhere) and not state.heads
    return state.installed and (bool(state.unknown) or scripts_elsewhere)


def verify(call: Call) -> int:
    """Print which checks of applied revisions do not hold."""
    found = call.service.verify(packages=call.packages)
    call.show(render_verifications(found), found)
    return ExitCode.DRIFT if any(one.outcome == "fails" for one in found) else ExitCode.DONE


def wait(call: Call) -> int:
    """Wait until all revisions are applied; say on standard error what it waits for."""
    deadline = time.monotonic() + call.options.timeout
    told: tuple[str, ...] | None = None
    words: tuple[str, ...]
    while True:
        try:
            found = call.service.readiness()
        except MigrationError as exc:
            # The server may be starting, too.
            words, level = (str(exc),), CANNOT_TELL
        else:
            if found.is_ready:
                call.output.lines(found.lines())
                return ExitCode.DONE
            words, level = found.lines(), ExitCode.HALF_DONE if found.half_done else PENDING
        if words != told:
            print("\n".join(map(shown, words)), file=sys.stderr)
            told = words
        if time.monotonic() >= deadline or level == ExitCode.HALF_DONE:
            return level
        time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))


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


def locate(call: Call) -> int:
    """Show where the packages stand."""
    found = call.service.locate(packages=call.packages)
    call.show(render_location(found), found)
    return ExitCode.DONE if found.ok else ExitCode.DRIFT


def drift(call: Call) -> int:
    """Show what is not as it should be, or accept it; or let the database record who changes it."""
    if call.options.record_who or call.options.forget_who:
        call.service.record_who(stop=call.options.forget_who)
        recorded = "is recorded no more" if call.options.forget_who else "is recorded from now on"
        print(f"Who changes the schema by hand {recorded}.", file=sys.stderr)
        return ExitCode.DONE
    found = call.service.drift(packages=call.packages, accept=call.options.accept)
    call.show(render_mending(found) if call.options.sql else render_drift(found), found)
    if call.options.accept:
        print("Accepted: the ledger keeps what there is now.", file=sys.stderr)
        return ExitCode.DONE
    return ExitCode.DONE if found.ok else ExitCode.DRIFT
