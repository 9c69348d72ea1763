"""Commands that change the database, or write down how."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websauna_migrate.base_errors import ExitCode, MigrationError, UsageError
from websauna_migrate.cli.commands.call import Call, ask, refuse_together, require_unprotected
from websauna_migrate.cli.commands.rework import take_down
from websauna_migrate.cli.for_programs import run_data
from websauna_migrate.cli.render.runs import (
    render_dry_run,
    render_interrupted,
    render_run,
    render_stamped,
)
from websauna_migrate.cli.render.states import plan_table
from websauna_migrate.cli.render.text import render_table, shown
from websauna_migrate.cli.signals import stop_signals
from websauna_migrate.plain_text import counted
from websauna_migrate.results import Loss, RecordedPlan, Run

if TYPE_CHECKING:
    from websauna_migrate.interfaces import Targets

#: What has no meaning with ``--sql``.
NOT_OF_SQL = (
    *("atomic", "dry_run", "fail_on_lint", "ignore_order", "plan", "max_loss"),
    *("json", "log_json"),
)

RUNS_NOTHING = ", which runs nothing"

#: What a run is asked for besides its target.
RUN_OPTIONS = (
    *("tag", "atomic", "dry_run"),
    *("lock_wait", "lock_timeout_ms", "lock_budget", "statement_timeout_ms"),
)


def asked_of_run(options: Namespace) -> dict[str, Any]:
    """Return what a run is asked for besides its target, as keywords of the service."""
    return {name: getattr(options, name) for name in RUN_OPTIONS}


def upgrade(call: Call) -> None:
    """Apply revisions."""
    options = call.options
    check_sql(call)
    if options.sql:
        write_sql(call, options.revision, direction="upgrade", tag=options.tag)
        return
    plan, losses = None, None
    if options.plan:
        if options.revision != "heads" or options.ignore_order or call.asked:
            raise UsageError(
                "--plan FILE says what is run: leave out the revision, --ignore-order and -x."
            )
        try:
            # What is no text is no plan either.
            text = Path(options.plan).read_text(encoding="utf-8", errors="replace")
        except OSError as exc:
            raise UsageError(
                f'The plan "{options.plan}" cannot be read: {exc.strerror}. '
                "Write one with: ws-alembic plan --out FILE"
            ) from exc
        plan = RecordedPlan.of_json(text)
    elif options.dry_run:
        pending = call.service.plan(
            options.revision, packages=call.packages, ignore_order=options.ignore_order
        )
        losses = call.tell_losses(pending)
    with stop_signals() as stop:
        run = call.service.upgrade(
            options.revision,
            packages=call.packages,
            stop=stop,
            fail_on_lint=options.fail_on_lint,
            ignore_order=options.ignore_order,
            plan=plan,
            max_loss=options.max_loss,
            **asked_of_run(options),
        )
    sum_up_run(call, run, losses, newest=options.revision in ("head", "heads"))
    call.tell_pending_elsewhere()


def downgrade(call: Call) -> None:
    """Take revisions back."""
    options = call.options
    if options.from_ledger:
        if options.run is not None or options.sql:
            raise UsageError("--from-ledger goes with a revision or none, not with --run or --sql.")
        take_down(
            call,
            "downgrade --from-ledger",
            revision=options.revision,
            from_ledger=True,
            **{name: one for name, one in asked_of_run(options).items() if name != "dry_run"},
        )
        return
    if (options.revision is None) == (options.run is None):
        raise UsageError("Name the revision to end at, or a run to take back with --run.")
    if options.run is not None:
        undo(call)
        return
    check_sql(call)
    if options.sql:
        if ":" not in options.revision:
            raise UsageError(
                '"downgrade --sql" needs a range, START:END: where it begins and ends.'
            )
        write_sql(call, options.revision, direction="downgrade", tag=options.tag)
        return
    if not options.dry_run:
        require_unprotected(call, "downgrade")
    plan = call.service.plan(
        options.revision, packages=call.packages, direction="downgrade", cascade=options.cascade
    )
    losses = call.tell_losses(plan)
    with stop_signals() as stop:
        run = call.service.downgrade(
            options.revision,
            packages=call.packages,
            cascade=options.cascade,
            stop=stop,
            **asked_of_run(options),
        )
    sum_up_run(call, run, losses)


def undo(call: Call) -> None:
    """Take back what one run applied."""
    options = call.options
    if options.sql:
        raise UsageError('--run has no meaning with --sql: "plan --downgrade" shows what is taken.')
    if not options.dry_run:
        require_unprotected(call, "downgrade --run")
    plan = call.service.plan_undo(options.run, cascade=options.cascade)
    losses = call.tell_losses(plan)
    if plan.steps and not options.dry_run:
        steps = counted(len(plan.steps), "step")
        ask(call, render_table(plan_table(plan)), f"Take {steps} back?")
    with stop_signals() as stop:
        run = call.service.undo(
            options.run,
            cascade=options.cascade,
            stop=stop,
            **asked_of_run(options),
        )
    if run.steps or run.dry_run or options.json:
        sum_up_run(call, run, losses)
    else:
        call.sum_up("Nothing to do: what that run applied is taken back already.")


def sum_up_run(
    call: Call, run: Run, losses: tuple[Loss, ...] | None, *, newest: bool = False
) -> None:
    """Print what a run did; of a dry run that is the result itself.

    :param losses: what its plan would lose, ``None`` if that was not counted
    """
    data = {**run_data(run), "losses": losses}
    if run.dry_run:
        call.show(render_dry_run(run), data)
    else:
        nothing = newest and not run.steps and not run.adopted
        without = without_revisions(call) if nothing else []
        packages = call.packages
        if packages is None and len(without) == len(call.service.packages):
            packages = tuple(without)
        call.sum_up(render_run(run, packages, newest=newest, without=without), data=data)


def without_revisions(call: Call) -> list[str]:
    """Return the packages of a command that have no revision."""
    selected = [
        package
        for package in call.service.packages
        if call.packages is None or package.name in call.packages
    ]
    # Where there are scripts they need not be read once more.
    if all(any(one.script_directory.glob("versions/*.py")) for one in selected):
        return []
    having = {one.package for one in call.service.heads(packages=call.packages)}
    return [package.name for package in selected if package.name not in having]


def repair(call: Call) -> int:
    """Show steps that ended half done, or settle one."""
    action = call.options.action
    if action is not None:
        require_unprotected(call, f"repair --{action}")
    with stop_signals() as stop:
        found = call.service.repair(action, call.options.step, stop=stop)
    lines = render_interrupted(found)
    if action is not None and not call.options.json:
        call.output.done(lines)
        return 0
    call.show(lines, found)
    if action is not None:
        return 0
    half_done = any(one.running is None for one in found)
    return ExitCode.HALF_DONE if half_done else ExitCode.DONE


def stamp(call: Call) -> None:
    """Write history tables without running a script."""
    options = call.options
    if options.verified and (options.sql or options.purge or options.with_requirements):
        raise UsageError(
            "stamp --verified looks at the database and takes what it finds: it goes with no "
            "--sql, --purge or --with-requirements."
        )
    if options.sql:
        if options.purge:
            raise UsageError(
                '"stamp --sql --purge" cannot be written: it depends on what the history tables '
                "hold. Leave one of the two out."
            )
        refuse_together(options, "sql", "json", why=RUNS_NOTHING)
        write_sql(call, options.revisions, direction="stamp")
        return
    if options.purge:
        require_unprotected(call, "stamp --purge")
    if not options.revisions and not options.verified:
        raise UsageError("Name the revisions to stamp, or let --verified find them.")
    stamped = call.service.stamp(
        options.revisions,
        packages=call.packages,
        purge=options.purge,
        with_requirements=options.with_requirements,
        verified=options.verified,
        tag=options.tag,
    )
    call.sum_up(*render_stamped(stamped), data=stamped)


def ensure_version(call: Call) -> None:
    """Create the history tables that are missing."""
    if call.options.sql:
        write_sql(call, "base", direction="ensure_version")
    else:
        call.service.ensure_version(packages=call.packages)


def uninstall(call: Call) -> None:
    """Take back all that a package did."""
    options = call.options
    require_unprotected(call, "uninstall")
    name, losses = options.package, None
    registered = name in {package.name for package in call.service.packages}
    if options.forget and not registered:
        refuse_unknown(call, name)
        ask(call, (), f"Drop the history table of {name}? Its tables stay, without a package.")
    elif registered and not options.forget:
        plan = call.service.plan(
            "base", packages=name, direction="downgrade", cascade=options.cascade
        )
        losses = call.tell_losses(plan)
        steps = counted(len(plan.steps), "step")
        shown = render_table(plan_table(plan)) if plan.steps else ()
        ask(call, shown, f"Take {steps} back, and drop the history table of {name}?")
    with stop_signals() as stop:
        run = call.service.uninstall(
            options.package, cascade=options.cascade, forget=options.forget, stop=stop
        )
    steps = counted(len(run.steps), "step")
    words = f"{options.package} is uninstalled: {steps} taken back, history table dropped."
    if options.forget:
        words = f"{options.package} is forgotten: history table dropped, its tables left."
    call.sum_up(words, data={**run_data(run), "losses": losses})


def refuse_unknown(call: Call, name: str) -> None:
    """Refuse a package that is not registered and left no history table, before anyone is asked.

    :raises UsageError: naming the known ones
    """
    try:
        # What is not registered is not taken down: the error says why.
        call.service.uninstall(name)
    except UsageError:
        raise
    except MigrationError:
        return


def check_sql(call: Call) -> None:
    """Refuse what has a meaning with ``--sql`` alone, and what has none with it."""
    options = call.options
    if ":" in options.revision and not options.sql:
        raise UsageError(
            f'Range revision not allowed: "{options.revision}" has a meaning with --sql only. '
            "Name the revision to end at."
        )
    refuse_together(options, "sql", *NOT_OF_SQL, why=RUNS_NOTHING)


def write_sql(call: Call, revision: Targets, *, direction: str, tag: str | None = None) -> None:
    """Write the script that a run would be; standard error has what it begins at, too."""
    script = call.service.sql(revision, packages=call.packages, direction=direction, tag=tag)
    if direction in ("upgrade", "downgrade") and not call.options.quiet:
        for line in script.partition("\n\n")[0].splitlines():
            print(shown(line.removeprefix("-- ")), file=sys.stderr)
    call.output.raw(script)
