"""The commands of ``ws-alembic``: each makes one call of the service and renders what it returns.

:data:`VERBS` is the one place where a command is made known.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websauna_migrate.database import safe_url
from websauna_migrate.errors import MigrationError, UsageError
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.results import CreatedScript, Run
from websauna_migrate.runs.failures import INTERRUPTED
from websauna_migrate.scripts import linting, render, render_history, render_runs
from websauna_migrate.scripts.collecting import keep_until_exit
from websauna_migrate.scripts.output import Output
from websauna_migrate.scripts.signals import stop_signals

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

__all__ = ["VERBS", "Call", "NoSuchRevision", "Verb"]


@dataclass(frozen=True)
class Call:
    """A command line, parsed, in a started application.

    :ivar packages: those that the command works on; ``None`` for all, also those that are no
        longer installed
    """

    options: Namespace
    service: IMigrationService
    packages: tuple[str, ...] | None
    output: Output

    @property
    def several(self) -> bool:
        """Whether lines must say of which package they tell."""
        return self.packages is None or len(self.packages) > 1


@dataclass(frozen=True)
class Verb:
    """A command.

    :ivar run: does it, and returns the exit status if that is not 0
    :ivar help: for a command of ours; Alembic's have their own
    :ivar arguments: adds arguments to those of Alembic's; one that is there already is replaced
    :ivar positionals: what differs from Alembic's declaration of a positional argument
    :ivar everywhere: without ``-x packages=`` the command works on all packages, not on the
        current one
    :ivar unasked: the command names its package itself: ``-x packages=`` has no meaning
    """

    run: Callable[[Call], int | None]
    help: str = ""
    arguments: Callable[[ArgumentGroup], object] | None = None
    positionals: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    everywhere: bool = False
    unasked: bool = False


class NoSuchRevision(MigrationError, LookupError):
    """A symbol stands for no revision at all, such as ``current`` in an empty database."""

    def __init__(self, symbol: str, packages: Iterable[str] | None) -> None:
        self.symbol = symbol
        self.packages = tuple(packages or ())
        of = f" of package {', '.join(self.packages)}" if self.packages else ""
        super().__init__(
            f'"{symbol}" indicates no revision{of}. "ws-alembic history" lists what there is.'
        )


# Looking


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


# Running


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
    if not run.steps:
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


def sum_up(call: Call, *lines: str) -> None:
    """Print what was done, unless the user wants to hear errors only."""
    if not call.options.quiet:
        call.output.lines(lines)


# Writing scripts


def edit(call: Call) -> None:
    """Open the scripts of the revisions that a symbol stands for in an editor."""
    from alembic.util import open_in_editor

    entries = call.service.show(call.options.rev, packages=call.packages)
    if not entries:
        raise NoSuchRevision(call.options.rev, call.packages)
    for entry in entries:
        with call.output.lent():
            open_in_editor(entry.revision.path)


def merge(call: Call) -> None:
    """Write a script that joins heads."""
    options = call.options
    created = call.service.merge(
        options.revisions,
        packages=call.packages,
        message=options.message,
        branch_label=options.branch_label,
        rev_id=options.rev_id,
        splice=options.splice,
    )
    write_created(call, created)


def move_table(call: Call) -> None:
    """Write the two scripts that hand a table over, and say what is left to do."""
    options = call.options
    created = call.service.move_table(options.table, options.source, options.target)
    write_created(call, created)
    schema, _, name = options.table.rpartition(".")
    for package in call.service.packages:
        for metadata in package.metadata:
            for table in metadata.tables.values():
                if (table.schema or "", table.name) != (schema, name) or call.options.quiet:
                    continue
                if call.service.owner_of(table) != options.target:
                    print(
                        f'The models have table "{options.table}" in "{options.source}". Move its '
                        f'class to "{options.target}", or name the owner there: Table(..., '
                        f'info={{"package": "{options.target}"}}), in a class __table_args__ = '
                        f'{{"info": {{"package": "{options.target}"}}}}.',
                        file=sys.stderr,
                    )
                    return


def revision(call: Call) -> None:
    """Write new revision scripts."""
    options = call.options
    if options.sql:
        raise UsageError(
            '"revision --sql" has no meaning: a revision is a Python script. Use "upgrade --sql" '
            "for the SQL of revisions that are there."
        )
    created = call.service.revision(
        options.message,
        packages=call.packages,
        autogenerate=options.autogenerate,
        head=options.head or "head",
        splice=options.splice,
        branch_label=options.branch_label,
        version_path=options.version_path,
        rev_id=options.rev_id,
        depends_on=options.depends_on,
        requires=tuple(options.requires or ()),
        rename_tables=tuple(options.rename_table or ()),
        rename_columns=tuple(options.rename_column or ()),
        full=options.full,
        ask=ask_about_rename if sys.stdin.isatty() and sys.stderr.isatty() else None,
    )
    write_created(call, created)
    for script in created:
        for warning in script.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)


def ask_about_rename(suspect: Any) -> bool:
    """Ask on the terminal if a drop beside an addition is a rename."""
    while True:
        print(f"{suspect.question} [y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            return False
        if answer.strip().lower() in ("y", "yes", "n", "no"):
            return answer.strip().lower().startswith("y")


def write_created(call: Call, created: Iterable[CreatedScript]) -> None:
    """Print the paths of new scripts."""
    call.output.lines(render.render_created(created))


# What rendering needs besides


def applied_rows(call: Call) -> dict[str, frozenset[str]]:
    """Return the rows of the history tables, by package."""
    states = call.service.current(packages=call.packages)
    return {state.package: frozenset(state.rows) for state in states}


# Arguments besides Alembic's


def add_json(group: ArgumentGroup) -> None:
    """Add ``--json``."""
    group.add_argument("--json", action="store_true", help="Print JSON, for programs")


def add_cascade(group: ArgumentGroup) -> None:
    """Add ``--cascade``."""
    group.add_argument(
        "--cascade",
        action="store_true",
        help="First take back the revisions of other packages that require what goes",
    )


def add_current(group: ArgumentGroup) -> None:
    """Add the arguments of ``current`` that not every Alembic has."""
    add_json(group)
    group.add_argument(
        "-c",
        "--check-heads",
        action="store_true",
        help="Check if all head revisions are applied to the database. "
        "Exit with an error code if this is not the case.",
    )


def add_merge(group: ArgumentGroup) -> None:
    """Add the arguments of ``merge`` that not every Alembic has."""
    group.add_argument(
        "--splice",
        action="store_true",
        help="Allow a non-head revision as the 'head' to splice onto",
    )


def add_plan(group: ArgumentGroup) -> None:
    """Add the arguments of ``plan``."""
    group.add_argument("revision", nargs="?", default="heads", help="the target; default: heads")
    group.add_argument("--downgrade", action="store_true", help="Show the plan of a downgrade")
    add_cascade(group)
    add_json(group)
    group.add_argument(
        "--no-lint",
        action="store_true",
        help="Do not look for unsafe changes, which is done on PostgreSQL if squawk is installed",
    )
    linting.add_fail_on_lint(group)


def add_revision(group: ArgumentGroup) -> None:
    """Add ``--requires``, the renames and ``--full``."""
    group.add_argument(
        "--requires",
        action="append",
        metavar="PACKAGE@REVISION",
        help="Specify one or more revisions of other packages which this revision requires.",
    )
    group.add_argument(
        "--rename-table",
        action="append",
        metavar="OLD:NEW",
        help="Rename a table instead of dropping it and making a new one; with --autogenerate.",
    )
    group.add_argument(
        "--rename-column",
        action="append",
        metavar="TABLE.OLD:NEW",
        help="Rename a column instead of dropping it and adding a new one; with --autogenerate.",
    )
    add_full(group)


def add_check(group: ArgumentGroup) -> None:
    """Add the arguments of ``check``."""
    add_json(group)
    add_full(group)


def add_full(group: ArgumentGroup) -> None:
    """Add ``--full``."""
    group.add_argument(
        "--full",
        action="store_true",
        help="Compare tables too that an earlier comparison found equal to their models",
    )


def add_repair(group: ArgumentGroup) -> None:
    """Add the arguments of ``repair``."""
    group.add_argument(
        "step",
        nargs="?",
        metavar="PACKAGE@REVISION",
        help="the step that is meant, where several ended half done",
    )
    for action, words in (
        ("rerun", "Run the step again"),
        ("done", "Take the step as done, and write it into the history"),
        ("undone", "Take the step as not done; the next upgrade runs it"),
    ):
        group.add_argument(
            f"--{action}", dest="action", action="store_const", const=action, help=words
        )


def add_run(group: ArgumentGroup) -> None:
    """Add the arguments of commands that run scripts."""
    group.add_argument(
        "--atomic",
        action="store_true",
        help="Make the whole run one transaction, where the database can",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="Execute everything in one transaction and roll it back",
    )
    for name, metavar, words in (
        ("lock-wait", "SECONDS", "How long to wait for another run; 0 fails at once"),
        ("lock-timeout-ms", "MS", "How long a statement first waits for a table's lock"),
        ("lock-budget", "SECONDS", "For how long a step is tried again when a lock is taken"),
        ("statement-timeout-ms", "MS", "How long a statement may run; 0 for no limit"),
    ):
        group.add_argument(f"--{name}", type=not_negative, metavar=metavar, help=words)


def not_negative(text: str) -> float:
    """Return a number from the command line.

    :raises ValueError: if it is none, or below 0
    """
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def add_downgrade(group: ArgumentGroup) -> None:
    """Add the arguments of ``downgrade``."""
    add_cascade(group)
    add_run(group)


def add_upgrade(group: ArgumentGroup) -> None:
    """Add the arguments of ``upgrade``."""
    add_run(group)
    linting.add_fail_on_lint(group)


def add_lint(group: ArgumentGroup) -> None:
    """Add the arguments of ``lint``."""
    group.add_argument("revision", nargs="?", default="heads", help="the target; default: heads")
    add_json(group)
    linting.add_fail_on_lint(group)


def add_uninstall(group: ArgumentGroup) -> None:
    """Add the arguments of ``uninstall``."""
    group.add_argument("package", metavar="PACKAGE", help="dotted name of the package")
    group.add_argument(
        "--forget",
        action="store_true",
        help="Of a package that is not installed any more, drop the history table alone",
    )
    add_cascade(group)


def add_move_table(group: ArgumentGroup) -> None:
    """Add the arguments of ``move-table``."""
    group.add_argument("table", metavar="TABLE", help="the table, or SCHEMA.TABLE")
    group.add_argument("source", metavar="FROM", help="the package whose scripts create it")
    group.add_argument("target", metavar="TO", help="the package that gets it")


def add_with_requirements(group: ArgumentGroup) -> None:
    """Add ``--with-requirements``."""
    group.add_argument(
        "--with-requirements",
        action="store_true",
        help="Stamp what the revisions require of other packages too",
    )


VERBS: Mapping[str, Verb] = {
    "branches": Verb(branches),
    "check": Verb(check, arguments=add_check),
    "current": Verb(current, arguments=add_current),
    "downgrade": Verb(downgrade, arguments=add_downgrade),
    "edit": Verb(edit),
    "ensure_version": Verb(ensure_version),
    "heads": Verb(heads, arguments=add_json),
    "history": Verb(history, arguments=add_json),
    "lint": Verb(
        linting.lint,
        help="Show the unsafe changes of an upgrade on PostgreSQL, found by squawk.",
        arguments=add_lint,
    ),
    "merge": Verb(merge, arguments=add_merge),
    "move-table": Verb(
        move_table,
        help="Write the two revisions that hand a table over to another package.",
        arguments=add_move_table,
        unasked=True,
    ),
    "plan": Verb(
        plan,
        help="Show what an upgrade would do, step by step, and why.",
        arguments=add_plan,
    ),
    "repair": Verb(
        repair,
        help="Show steps that ended half done, or settle one.",
        arguments=add_repair,
        unasked=True,
    ),
    "revision": Verb(revision, arguments=add_revision),
    "show": Verb(show),
    "stamp": Verb(stamp, arguments=add_with_requirements),
    "status": Verb(
        status,
        help="Show where all packages stand: applied, newest and pending revisions.",
        arguments=add_json,
        everywhere=True,
    ),
    "uninstall": Verb(
        uninstall,
        help="Downgrade a package to base, then drop its history table.",
        arguments=add_uninstall,
        unasked=True,
    ),
    "upgrade": Verb(
        upgrade,
        arguments=add_upgrade,
        positionals={
            "revision": {
                "nargs": "?",
                "default": "heads",
                "help": "revision identifier; default: heads",
            }
        },
    ),
}
