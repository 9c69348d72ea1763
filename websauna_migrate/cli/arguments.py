"""The arguments of the commands of ``ws-alembic``: Alembic's, in Alembic's words, and ours."""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import _ActionsContainer as Parser

Argument = Callable[["Parser"], object]
"""Adds itself to the parser of a command."""


def argument(*names: str, **options: Any) -> Argument:
    """Return an argument as ``ArgumentParser.add_argument`` takes it."""
    return lambda parser: parser.add_argument(*names, **options)


def flag(*names: str, help: str) -> Argument:
    """Return an argument without a value."""
    return argument(*names, action="store_true", help=help)


class NoMeaning(Action):
    """A flag that does nothing any more and says so."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Say it."""
        print(
            f"{option_string} has no meaning any more: every comparison looks at all tables.",
            file=sys.stderr,
        )


def one_of(*arguments: Argument) -> Argument:
    """Return arguments of which only one may be given."""

    def add(parser: Parser) -> None:
        group = parser.add_mutually_exclusive_group()
        for add_argument in arguments:
            add_argument(group)

    return add


def number(read: Callable[[str], float], what: str) -> Callable[[str], float]:
    """Return what reads a number of the command line, at least 0.

    :param what: what it is called in the message
    """

    def read_number(text: str) -> float:
        try:
            found = read(text)
        except ValueError:
            found = -1
        if not 0 <= found < float("inf"):
            raise ArgumentTypeError(f'"{text}" is not {what}, 0 or more.')
        return found

    return read_number


not_negative = number(float, "a number")
count = number(int, "a whole number")


# Alembic's own

DIRECTORY = argument(
    "directory", nargs="?", help="location of scripts directory; default: where each package's is"
)
REV = argument("rev")
REVISION_OR_HEADS = argument(
    "revision", nargs="?", default="heads", help="revision identifier; default: heads"
)
REVISIONS = argument("revisions", nargs="+", help="one or more revisions, or 'heads' for all heads")
AUTOGENERATE = flag(
    "--autogenerate",
    help="Populate revision script with candidate migration operations, based on comparison of "
    "database to model.",
)
BRANCH_LABEL = argument(
    "--branch-label", help="Specify a branch label to apply to the new revision"
)
CHECK_HEADS = flag(
    "-c",
    "--check-heads",
    help="Check if all head revisions are applied to the database. Exit with an error code if "
    "this is not the case.",
)
DEPENDS_ON = argument(
    "--depends-on",
    action="append",
    help="Specify one or more revision identifiers which this revision should depend on.",
)
HEAD = argument(
    "--head", help="Specify head revision or <branchname>@head to base new revision on."
)
INDICATE_CURRENT = flag("-i", "--indicate-current", help="Indicate the current revision")
MESSAGE = argument("-m", "--message", help="Message string to use with 'revision'")
PACKAGE_FILES = flag(
    "--package", help="Write empty __init__.py files to the environment and version locations"
)
PURGE = flag("--purge", help="Unconditionally erase the version table before stamping")
RESOLVE_DEPENDENCIES = flag(
    "--resolve-dependencies", help="Treat dependency versions as down revisions"
)
REV_ID = argument("--rev-id", help="Specify a hardcoded revision id instead of generating one")
REV_RANGE = argument("-r", "--rev-range", help="Specify a revision range; format is [start]:[end]")
SPLICE = flag("--splice", help="Allow a non-head revision as the 'head' to splice onto")
SQL = flag(
    "--sql",
    help="Don't emit SQL to database - dump to standard output/file instead. See docs on offline "
    "mode.",
)
TAG = argument("--tag", help="Arbitrary 'tag' name - can be used by custom env.py scripts.")
TEMPLATE = argument(
    "-t", "--template", help="Make plain Alembic's environment, from a template of its own"
)
VERBOSE = flag("-v", "--verbose", help="Use more verbose output")
VERSION_PATH = argument("--version-path", help="Specify specific path from config for version file")

# Ours

TOPIC = argument(
    "topic",
    nargs="?",
    metavar="NAME",
    help="a command, or a failure as its message names it; default: all commands",
)
TARGET = argument("revision", nargs="?", default="heads", help="the target; default: heads")
CASCADE = flag(
    "--cascade", help="First take back the revisions of other packages that require what goes"
)
DOWNGRADE = flag("--downgrade", help="Show the plan of a downgrade")
FAIL_ON_LINT = flag(
    "--fail-on-lint", help="Fail, and run nothing, if there are unsafe changes (PostgreSQL)"
)
FAIL_ON = argument(
    "--fail-on",
    choices=("pending", "unknown", "half-done", "never"),
    default="pending",
    help="The least that gives an exit status other than 0: pending revisions (1), packages of "
    "which it cannot be told (2), a half done step (3); default: pending",
)
IGNORE_ORDER = flag(
    "--ignore-order",
    help="Also run a step that conflicts with a pending revision of another package that was "
    "written before it; that revision may then fail, or miss data",
)
SHELL = argument("shell", choices=("bash", "fish", "zsh"), help="whose completion it is")
TIMEOUT = argument(
    "--timeout",
    type=not_negative,
    default=300.0,
    metavar="SECONDS",
    help="how long to wait; default: 300",
)

#: What a picture of the graph shows, and how.
PICTURE = (
    argument(
        "--format",
        choices=("text", "svg", "png", "mermaid", "dot"),
        default="text",
        help="how to draw it; default: text",
    ),
    argument("--around", metavar="PACKAGE@REVISION", help="Show what is near to a revision alone"),
    argument(
        "--distance",
        type=count,
        default=4,
        metavar="EDGES",
        help="with --around: how many edges away, at most; default: 4",
    ),
    argument(
        "--table",
        help="Mark the scripts that touch a table, [SCHEMA.]TABLE; leave packages without one out",
    ),
    flag("--whole", help="Draw each revision; else a chain without other edges is drawn as one"),
)


def moment(text: str) -> datetime:
    """Return a time from the command line, in UTC unless it has a zone.

    :raises ArgumentTypeError: if it is none
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f'"{text}" is no time such as 2026-11-30T08:00.') from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


#: Which runs ``log`` shows.
LOGGED = (
    argument(
        "run", nargs="?", metavar="RUN", help="show one run: its id, the beginning of it, or 'last'"
    ),
    argument("--since", type=moment, metavar="TIME", help="from 2026-11-30 or 2026-11-30T08:00 on"),
    argument("--until", type=moment, metavar="TIME", help="before that time, in UTC as --since"),
    argument(
        "--outcome",
        choices=(
            *("done", "failed", "stopped", "half-done", "unfinished", "undone", "running"),
            "planned",
        ),
        help="how it ended",
    ),
    argument("--host", help="where it ran"),
    argument("--by", metavar="NAME", help="who ran it: a part of the name"),
    argument(
        "-n",
        "--number",
        type=count,
        default=20,
        metavar="RUNS",
        help="how many, the newest; default: 20; 0 for all",
    ),
)

YES = flag("-y", "--yes", help="Do not ask")
YES_ON_PRODUCTION = flag(
    "--yes-on-production", help='Needed where the setting "websauna_migrate.protected" is on'
)
UNDO_RUN = argument(
    "--run",
    metavar="RUN",
    help="Take back what one run applied: its id in 'log', the beginning of it, or 'last'",
)
REVISION_OR_RUN = argument("revision", nargs="?", help="revision identifier; none with --run")

FORGET = flag(
    "--forget", help="Of a package that is not installed any more, drop the history table alone"
)
FRESH = flag(
    "--fresh",
    help="Run all scripts on an empty scratch database instead, and compare it with the models",
)
FULL = argument(
    "--full",
    action=NoMeaning,
    nargs=0,
    help="No meaning any more: every comparison looks at all tables",
)
JSON = flag("--json", help="Print JSON, for programs")
LOG_JSON = flag(
    "--log-json", help="Write events to standard error as JSON, one a line, in place of progress"
)
NO_LINT = flag(
    "--no-lint",
    help="Do not look for unsafe changes, which is done on PostgreSQL if squawk is installed",
)
OUT = argument(
    "--out", metavar="FILE", help="Write the plan into a file as JSON, for 'upgrade --plan FILE'"
)
PLAN = argument(
    "--plan",
    metavar="FILE",
    help="Run what 'plan --out FILE' wrote, if it is still what would run; fail otherwise",
)
MAX_LOSS = argument(
    "--max-loss",
    type=count,
    metavar="ROWS",
    help="Run nothing if more rows and values would be lost than this and what scripts accept",
)
PLAN_SQL = flag("--sql", help="Print the SQL of the steps, from what is applied on")
STAMPED = argument("revisions", nargs="*", help="one or more revisions, or 'heads' for all heads")
ACCEPT = flag("--accept", help="Take what differs now as accepted; the ledger keeps that")
MENDING_SQL = flag(
    "--sql", help="Print the SQL that brings back what was changed by hand, for you to run"
)
RECORD_WHO = flag(
    "--record-who",
    help="On PostgreSQL: install an event trigger that records who changes the schema by hand",
)
FORGET_WHO = flag("--forget-who", help="Remove the event trigger, and what it recorded")
VERIFIED = flag(
    "--verified",
    help="Stamp what locate proves, all packages in one transaction; with a revision: only if the "
    "tables are those that it has",
)
WITH_REQUIREMENTS = flag(
    "--with-requirements", help="Stamp what the revisions require of other packages too"
)
UNINSTALLED = argument("package", metavar="PACKAGE", help="dotted name of the package")

#: What a new project is.
NEW_PACKAGE = (
    argument("package", metavar="NAME", help="dotted name of the package, such as acme.shop"),
    argument("directory", nargs="?", metavar="FOLDER", help="the project's; default: NAME"),
    flag("--addon", help="An add-on, which applications include, rather than an application"),
)

MOVED_TABLE = (
    argument("table", metavar="TABLE", help="the table, or SCHEMA.TABLE"),
    argument("source", metavar="FROM", help="the package whose scripts create it"),
    argument("target", metavar="TO", help="the package that gets it"),
)


def compared(when: str) -> tuple[Argument, Argument, Argument]:
    """Return what a comparison of models and database is told.

    :param when: when it has a meaning, at the end of the help
    """
    return (
        flag("--allow-drops", help=f"Let a script drop half of a package's tables or more{when}."),
        argument(
            "--rename-table",
            action="append",
            metavar="OLD:NEW",
            help=f"Rename a table instead of dropping it and making a new one{when}.",
        ),
        argument(
            "--rename-column",
            action="append",
            metavar="TABLE.OLD:NEW",
            help=f"Rename a column instead of dropping it and adding a new one{when}.",
        ),
    )


#: What a script that is written anew is told.
REDONE = compared("")

ALLOW_DROPS, *RENAMES = compared("; with --autogenerate")

#: What a new script is told besides what Alembic asks.
NEW_SCRIPT = (
    ALLOW_DROPS,
    argument(
        "--requires",
        action="append",
        metavar="PACKAGE@REVISION",
        help="Specify one or more revisions of other packages which this revision requires.",
    ),
    *RENAMES,
)

#: How the scripts of an autogenerate are proven.
PROOF = (
    flag("--keep", help="Keep a script whose proof fails, marked as not proven"),
    one_of(
        argument(
            "--no-prove",
            dest="prove",
            action="store_const",
            const="off",
            help="Do not prove the script by an upgrade, a downgrade and an upgrade",
        ),
        argument(
            "--scratch",
            dest="prove",
            action="store_const",
            const="scratch",
            help="Prove the script in a scratch database, not in a transaction on the "
            "application's own",
        ),
    ),
)

HALF_DONE = (
    argument(
        "step",
        nargs="?",
        metavar="PACKAGE@REVISION",
        help="the step that is meant, where several ended half done",
    ),
    one_of(
        *(
            argument(f"--{action}", dest="action", action="store_const", const=action, help=words)
            for action, words in (
                ("rerun", "Run the step again"),
                ("done", "Take the step as done, and write it into the history"),
                ("undone", "Take the step as not done; the next upgrade runs it"),
            )
        )
    ),
)

#: Those of the commands that run scripts.
RUN = (
    flag("--atomic", help="Make the whole run one transaction, where the database can"),
    flag("--dry-run", help="Execute everything in one transaction and roll it back"),
    *(
        argument(f"--{name}", type=not_negative, metavar=metavar, help=words)
        for name, metavar, words in (
            ("lock-wait", "SECONDS", "How long to wait for another run; 0 fails at once"),
            ("lock-timeout-ms", "MS", "How long a statement first waits for a table's lock"),
            ("lock-budget", "SECONDS", "For how long a step is tried again when a lock is taken"),
            ("statement-timeout-ms", "MS", "How long a statement may run; 0 for no limit"),
        )
    ),
)


MINE = argument(
    "revision",
    nargs="?",
    help="one of the revisions that go behind; default: those that git's main branch does not have",
)
ONTO = argument(
    "--onto", metavar="HEAD", help="The head behind which they go; needed where there are three"
)
TAKE_DOWN = flag("--downgrade", help="First take back those that are applied here")

SQUASHED = argument(
    "rev_range",
    metavar="START:END",
    nargs="?",
    help="the first and the last revision that become one; default: all of the package",
)

#: How an existing project is taken over.
ADOPTED = (
    one_of(
        flag("--dry-run", help="Change nothing; show what would be done"),
        flag("--undo", help="Take back what was adopted: histories and files are as before"),
    ),
    flag("--keep", help="Leave the version table its name, and share it with plain Alembic"),
    argument(
        "--table",
        metavar="TABLE",
        help="the version table, where several have revisions of a package",
    ),
    flag("--replace-env", help="Replace env.py by the template, where that loses nothing"),
)

SHOWN_ALONE = flag("--dry-run", help="Run nothing; show what would be taken down, and by what")
FROM_LEDGER = flag(
    "--from-ledger",
    help="By the texts that the ledger keeps, take down what no script defines any more; with a "
    "revision, go on to it",
)
