"""The commands of ``ws-alembic``: what each is called, takes and needs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from websauna_migrate.cli import arguments as a


@dataclass(frozen=True)
class Command:
    """A command of ``ws-alembic``.

    :ivar function: does it: a function in a module of :mod:`websauna_migrate.cli.commands`
    :ivar help: for Alembic's commands in Alembic's words, where they are true
    :ivar arguments: in the order in which the help shows them
    :ivar needs_database: True for options with which it runs, changes or looks at the database
    :ivar needs_application: False for options with which it is done by ``plain``, without an
        application
    :ivar plain: the function that does it then
    :ivar everywhere: without ``-x packages=`` the command works on all packages, not on the
        current one
    :ivar names_its_package: ``-x packages=`` has no meaning
    :ivar answers: its exit statuses are the answer to a question, and 2 says that there is none:
        every failure ends it so
    """

    function: str
    help: str
    arguments: tuple[a.Argument, ...] = ()
    needs_database: Callable[[Namespace], bool] = lambda options: True
    needs_application: Callable[[Namespace], bool] = lambda options: True
    plain: str = ""
    everywhere: bool = False
    names_its_package: bool = False
    answers: bool = False


def run_command(path: str, *arguments: object) -> int:
    """Call the function of a command, and return its exit status.

    :param path: its module in the folder of commands, and its name
    """
    module, _, name = path.partition(".")
    function = getattr(import_module(f"websauna_migrate.cli.commands.{module}"), name)
    return function(*arguments) or 0


def never(options: Namespace) -> bool:
    """Return False: a command needs no application, or no database."""
    return False


def unless_sql(options: Namespace) -> bool:
    """Return True if a command runs, rather than write a SQL script."""
    return not options.sql


def for_current(options: Namespace) -> bool:
    """Return True if a revision is named by what is applied."""
    return "current" in options.rev


EVERY_DAY: Mapping[str, Command] = {
    "revision": Command(
        "write.revision",
        "Create a new revision file.",
        (
            *(a.MESSAGE, a.AUTOGENERATE, a.SQL, a.HEAD, a.SPLICE, a.BRANCH_LABEL),
            *(a.VERSION_PATH, a.REV_ID, a.DEPENDS_ON, *a.NEW_SCRIPT, *a.PROOF),
            a.FULL,
        ),
        needs_database=lambda options: options.autogenerate,
    ),
    "upgrade": Command(
        "run.upgrade",
        "Upgrade to a later version.",
        (
            a.SQL,
            a.TAG,
            a.REVISION_OR_HEADS,
            *a.RUN,
            a.IGNORE_ORDER,
            a.FAIL_ON_LINT,
            a.PLAN,
            a.MAX_LOSS,
            a.JSON,
            a.LOG_JSON,
        ),
        needs_database=unless_sql,
    ),
    "downgrade": Command(
        "run.downgrade",
        "Revert to a previous version.",
        (
            *(a.SQL, a.TAG, a.REVISION_OR_RUN, a.UNDO_RUN, a.FROM_LEDGER, a.CASCADE, *a.RUN),
            *(a.YES, a.YES_ON_PRODUCTION, a.JSON, a.LOG_JSON),
        ),
        needs_database=unless_sql,
    ),
    "redo": Command(
        "rework.redo",
        "Take the newest revision back, write it anew from the models, and apply it.",
        (a.MESSAGE, *a.REDONE, a.JSON, a.YES_ON_PRODUCTION),
    ),
    "rebase": Command(
        "rework.rebase",
        "Put your own revisions behind the other head of a package; their scripts are rewritten.",
        (a.MINE, a.ONTO, a.TAKE_DOWN, a.JSON, a.YES_ON_PRODUCTION),
    ),
    "squash": Command(
        "rework.squash",
        "Write one script in place of those of a range, proven by a replay of both.",
        (a.SQUASHED, a.MESSAGE, a.REV_ID, a.JSON),
    ),
    "switch": Command(
        "rework.switch",
        "Take down the revisions that this checkout has no script for, as after git switch.",
        (a.CASCADE, a.SHOWN_ALONE, a.JSON, a.YES, a.YES_ON_PRODUCTION),
        everywhere=True,
    ),
    "new-package": Command(
        "",
        "Write a new application or add-on: a project with models, settings, a first script and a "
        "test.",
        a.NEW_PACKAGE,
        needs_application=never,
        plain="plain.new_package",
    ),
    "adopt": Command(
        "rework.adopt",
        "Take over an existing project: its version table, scripts, env.py and settings.",
        (*a.ADOPTED, a.JSON, a.YES, a.YES_ON_PRODUCTION),
        everywhere=True,
        needs_database=never,
    ),
    "move-table": Command(
        "write.move_table",
        "Write the two revisions that hand a table over to another package.",
        a.MOVED_TABLE,
        names_its_package=True,
        needs_database=never,
    ),
}

LOOKING: Mapping[str, Command] = {
    "status": Command(
        "read.status",
        "Show where all packages stand: applied, newest and pending revisions.",
        (a.JSON, a.FAIL_ON),
        everywhere=True,
        answers=True,
    ),
    "plan": Command(
        "read.plan",
        "Show what an upgrade would do, step by step, and why.",
        (
            *(a.TARGET, a.DOWNGRADE, a.CASCADE, a.IGNORE_ORDER, a.JSON, a.NO_LINT, a.FAIL_ON_LINT),
            *(a.PLAN_SQL, a.OUT),
        ),
    ),
    "check": Command(
        "read.check",
        "Tell what is pending, what conflicts, and what differs between models and database.",
        (a.JSON, a.FRESH, a.FULL),
    ),
    "drift": Command(
        "read.drift",
        "Show what was changed by hand and since when, and what only models have.",
        (a.ACCEPT, a.MENDING_SQL, a.RECORD_WHO, a.FORGET_WHO, a.JSON),
    ),
    "graph": Command(
        "read.graph",
        "Draw the graph of revisions: requirements, heads, what is applied and what is pending.",
        a.PICTURE,
        everywhere=True,
    ),
    "log": Command(
        "read.log",
        "Show the runs that the ledger has, newest first.",
        (*a.LOGGED, a.JSON),
        everywhere=True,
    ),
    "lint": Command(
        "read.lint",
        "Show the unsafe changes of an upgrade on PostgreSQL, found by squawk.",
        (a.TARGET, a.JSON, a.FAIL_ON_LINT),
        needs_database=never,
    ),
    "verify": Command(
        "read.verify",
        "Run the verify() of the scripts of applied revisions again; nothing is written.",
        (a.JSON,),
    ),
    "wait": Command(
        "read.wait",
        "Wait until another process has applied all revisions; exits as 'status' does.",
        (a.TIMEOUT,),
        everywhere=True,
        answers=True,
    ),
    "help": Command(
        "",
        "Tell what a command does, or what a failure means and what to do: help StepFailed.",
        (a.TOPIC,),
        needs_application=never,
        plain="plain.help_on",
    ),
}

RECOVERING: Mapping[str, Command] = {
    "repair": Command(
        "run.repair",
        "Show steps that ended half done, or settle one.",
        (*a.HALF_DONE, a.YES_ON_PRODUCTION, a.JSON, a.LOG_JSON),
        names_its_package=True,
    ),
    "locate": Command(
        "read.locate",
        "Find at which revision the database stands, by its tables, whatever the histories say.",
        (a.JSON,),
    ),
    "stamp": Command(
        "run.stamp",
        "'stamp' the revision table with the given revision; don't run any migrations.",
        (
            *(a.SQL, a.TAG, a.PURGE, a.STAMPED, a.WITH_REQUIREMENTS, a.VERIFIED),
            *(a.YES_ON_PRODUCTION, a.JSON),
        ),
        needs_database=unless_sql,
    ),
    "uninstall": Command(
        "run.uninstall",
        "Downgrade a package to base, then drop its history table.",
        (
            *(a.UNINSTALLED, a.FORGET, a.CASCADE, a.YES, a.YES_ON_PRODUCTION),
            *(a.JSON, a.LOG_JSON),
        ),
        names_its_package=True,
    ),
}

OTHERS: Mapping[str, Command] = {
    "branches": Command(
        "read.branches", "Show current branch points.", (a.VERBOSE,), needs_database=never
    ),
    "current": Command(
        "read.current",
        "Display the current revision for a database.",
        (a.CHECK_HEADS, a.VERBOSE, a.JSON),
    ),
    "edit": Command(
        "write.edit",
        "Edit revision script(s) using $EDITOR.",
        (a.REV,),
        needs_database=for_current,
    ),
    "ensure_version": Command(
        "run.ensure_version",
        "Create the alembic version table if it doesn't exist already.",
        (a.SQL,),
        needs_database=unless_sql,
    ),
    "heads": Command(
        "read.heads",
        "Show current available heads in the script directory.",
        (a.VERBOSE, a.RESOLVE_DEPENDENCIES, a.JSON),
        needs_database=never,
    ),
    "history": Command(
        "read.history",
        "List changeset scripts in chronological order.",
        (a.REV_RANGE, a.VERBOSE, a.INDICATE_CURRENT, a.JSON),
        needs_database=lambda options: (
            options.indicate_current or "current" in (options.rev_range or "")
        ),
    ),
    "init": Command(
        "write.init",
        "Make the script directory that the first 'revision' of a package makes by itself.",
        (a.TEMPLATE, a.PACKAGE_FILES, a.DIRECTORY),
        needs_application=lambda options: options.directory is None,
        plain="plain.init",
        needs_database=never,
    ),
    "list_templates": Command(
        "",
        "List the templates of 'init --template', Alembic's own.",
        needs_application=never,
        plain="plain.list_templates",
    ),
    "merge": Command(
        "write.merge",
        "Merge two revisions together.  Creates a new migration file.",
        (a.MESSAGE, a.BRANCH_LABEL, a.REV_ID, a.SPLICE, a.REVISIONS),
        needs_database=never,
    ),
    "show": Command(
        "read.show",
        "Show the revision(s) denoted by the given symbol.",
        (a.REV,),
        needs_database=for_current,
    ),
    "completion": Command(
        "",
        "Print what makes a shell complete ws-alembic's commands, options, packages and revisions.",
        (a.SHELL,),
        needs_application=never,
        plain="plain.completion",
    ),
}

#: The commands by groups, as the help shows them.
GROUPS: Mapping[str, Mapping[str, Command]] = {
    "every day": EVERY_DAY,
    "looking": LOOKING,
    "recovering": RECOVERING,
    "Alembic's, and the shell's": OTHERS,
}

COMMANDS: Mapping[str, Command] = {
    name: command for group in GROUPS.values() for name, command in group.items()
}
