"""Commands of ``ws-alembic`` that change the database, or write down how."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from websauna_migrate.cli import render, render_runs
from websauna_migrate.cli.collecting import collect_once_more, keep_until_exit
from websauna_migrate.cli.commands.call import Call, sum_up
from websauna_migrate.cli.signals import stop_signals
from websauna_migrate.errors import UsageError
from websauna_migrate.results import Run
from websauna_migrate.runs.failures import INTERRUPTED

__all__ = [
    "check_range",
    "downgrade",
    "ensure_version",
    "refuse_with_sql",
    "repair",
    "run_options",
    "stamp",
    "sum_up_run",
    "uninstall",
    "upgrade",
    "write_sql",
]


def downgrade(call: Call) -> None:
    """Take revisions back."""
    options = call.options
    check_range(options)
    refuse_with_sql(options)
    if options.sql:
        if ":" not in options.revision:
            raise UsageError(
                '"downgrade --sql" needs a range, START:END: where it begins and ends.'
            )
        write_sql(call, options.revision, direction="downgrade", tag=options.tag)
        return
    with stop_signals() as stop:
        run = call.service.downgrade(
            options.revision,
            packages=call.packages,
            cascade=options.cascade,
            tag=options.tag,
            stop=stop,
            **run_options(options),
        )
    collect_once_more()
    sum_up_run(call, run, render.render_run(run, call.packages))


def ensure_version(call: Call) -> None:
    """Create the history tables that are missing."""
    if call.options.sql:
        write_sql(call, "base", direction="ensure_version")
        return
    call.service.ensure_version(packages=call.packages)


def stamp(call: Call) -> None:
    """Write history tables without running a script."""
    options = call.options
    if options.sql:
        if options.purge:
            raise UsageError(
                '"stamp --sql --purge" cannot be written: it depends on what the history tables '
                "hold. Leave one of the two out."
            )
        write_sql(call, options.revisions, direction="stamp")
        return
    stamped = call.service.stamp(
        options.revisions,
        packages=call.packages,
        purge=options.purge,
        with_requirements=options.with_requirements,
        tag=options.tag,
    )
    sum_up(call, *render.render_stamped(stamped))


def uninstall(call: Call) -> None:
    """Take back all that a package did."""
    options = call.options
    run = call.service.uninstall(options.package, cascade=options.cascade, forget=options.forget)
    if options.forget:
        sum_up(call, f"{options.package} is forgotten: history table dropped, its tables left.")
        return
    steps = render.counted(len(run.steps), "step")
    sum_up(call, f"{options.package} is uninstalled: {steps} taken back, history table dropped.")


def upgrade(call: Call) -> None:
    """Apply revisions."""
    options = call.options
    check_range(options)
    refuse_with_sql(options)
    if options.sql:
        write_sql(call, options.revision, direction="upgrade", tag=options.tag)
        return
    with stop_signals() as stop:
        run = call.service.upgrade(
            options.revision,
            packages=call.packages,
            tag=options.tag,
            stop=stop,
            fail_on_lint=options.fail_on_lint,
            **run_options(options),
        )
    if run.steps:
        collect_once_more()
    else:
        keep_until_exit()
    newest = options.revision in ("head", "heads")
    sum_up_run(call, run, render.render_run(run, call.packages, newest=newest))


def repair(call: Call) -> int:
    """Show steps that ended half done, or settle one."""
    options = call.options
    with stop_signals() as stop:
        found = call.service.repair(options.action, options.step, stop=stop)
    call.output.lines(render_runs.render_interrupted(found))
    return INTERRUPTED if found and options.action is None else 0


def run_options(options: Namespace) -> dict[str, Any]:
    """Return what a run is asked for besides its target."""
    return {
        name: getattr(options, name)
        for name in (
            "atomic",
            "dry_run",
            "lock_wait",
            "lock_timeout_ms",
            "lock_budget",
            "statement_timeout_ms",
        )
    }


def sum_up_run(call: Call, run: Run, line: str) -> None:
    """Print what a run did; of a dry run that is the result itself."""
    if run.dry_run:
        call.output.lines(render_runs.render_dry_run(run))
    else:
        sum_up(call, line)


def check_range(options: Namespace) -> None:
    """Refuse a range of revisions where there is no SQL script to write."""
    if ":" in options.revision and not options.sql:
        raise UsageError(
            f'Range revision not allowed: "{options.revision}" has a meaning with --sql only. '
            "Name the revision to end at."
        )


def refuse_with_sql(options: Namespace) -> None:
    """Refuse what has no meaning where a SQL script is written and nothing runs."""
    for name in ("atomic", "dry_run", "fail_on_lint"):
        if options.sql and getattr(options, name, False):
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} has no meaning with --sql, which runs nothing.")


def write_sql(call: Call, revision: Any, **arguments: Any) -> None:
    """Write the script that a run would be, and nothing else."""
    script = call.service.sql(revision, packages=call.packages, **arguments)
    call.output.stream.write(script)
