"""The one parser of ``ws-alembic``: every command and flag of Alembic's, and ours.

It imports neither Alembic nor what the commands need, because that takes longer than many a
command. A test compares it to Alembic's own.
"""

from __future__ import annotations

import argparse
import functools
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import version
from textwrap import fill
from typing import NoReturn

from websauna_migrate.cli.command_table import COMMANDS, GROUPS

#: The INI file where the user names none.
DEFAULT_CONFIG = "development.ini"

#: Its section with Alembic's own options, which need not be there.
DEFAULT_SECTION = "alembic"

DESCRIPTION = """\
Migrate the databases of applications made of many packages. All commands and
arguments of Alembic's are there. A command works on the package in whose
project it is typed, else on the application's own; -x packages= names others.

  ws-alembic revision --autogenerate -m "Adding offers"
  ws-alembic -x packages=all upgrade
  ws-alembic -c production.ini plan
  ws-alembic COMMAND --help
"""

EPILOG = """\
Results go to standard output, everything else to standard error.

exit status:
  0  done
  1  not done, for another reason; check: a package has two heads
  2  the command line cannot be meant
  3  a step is half done: repair
  4  another run or a lock is in the way
  5  the database cannot be reached
  6  a script failed; nothing of it was applied
  7  check, current -c: revisions are pending
  8  check: models and database differ, or the like;
     upgrade --plan: something else would run;
     verify: what a script checks does not hold
  9  upgrade --max-loss, redo, rebase: too much would be lost
  129, 130, 143  stopped by SIGHUP, Ctrl-C, SIGTERM
status: 0 all is applied, 1 revisions are pending, 2 that cannot be told,
  3 a step is half done
"""


class VersionAction(argparse.Action):
    """Print the versions and exit."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print the versions of websauna_migrate and of Alembic."""
        print(f"{parser.prog} {version('websauna_migrate')} (Alembic {version('alembic')})")
        parser.exit()


class Parser(ArgumentParser):
    """A parser that names what was meant where a command or an option is mistyped."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with status 2."""
        found = re.match(
            r"argument COMMAND: invalid choice: '(?P<command>[^']*)'"
            r"|unrecognized arguments: (?P<option>-[^\s=]+)",
            message,
        )
        if found:
            whole = make_parser()
            commands = commands_of(whole)
            if word := found["command"]:
                message = f'there is no command "{word}"{meant(word, commands)}'
                message += "\n`ws-alembic --help` lists the commands."
            elif (word := found["option"]) in whole._option_string_actions:
                message += f". It stands before the command: {whole.prog} {word} ... COMMAND"
            else:
                options = {name: one._option_string_actions for name, one in commands.items()}
                having = [name for name, its in options.items() if word in its]
                known = {one for its in options.values() for one in its}
                of_others = f". It is an option of {', '.join(having)}"
                message += of_others if having else meant(word, sorted(known))
        super().error(message)


def meant(word: str, known: Iterable[str]) -> str:
    """Return the question for the word that is most like another, empty if none is like it."""
    close = get_close_matches(word, [*known], n=1)
    return f'. Did you mean "{close[0]}"?' if close else ""


def listed_commands() -> str:
    """Return the commands with what they do, group by group."""
    lines = []
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        for name, command in commands.items():
            words = fill(
                command.help,
                80,
                initial_indent=f"  {name:<14}  ",
                subsequent_indent=" " * 18,
                fix_sentence_endings=False,
                break_on_hyphens=False,
            )
            lines.append(words)
    return "\n".join(lines)


@functools.cache
def make_parser() -> ArgumentParser:
    """Return the parser of ``ws-alembic``; the command is in ``verb``."""
    parser = Parser(
        prog="ws-alembic",
        usage="%(prog)s [options] COMMAND [arguments]",
        description=f"{DESCRIPTION}{listed_commands()}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action=VersionAction,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="Show the versions of websauna_migrate and Alembic and exit",
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        metavar="INI",
        help="The application's own INI file: a path, ws://PATH or any plaster URI; defaults to "
        f'value of ALEMBIC_CONFIG environment variable, or "{DEFAULT_CONFIG}"',
    )
    parser.add_argument(
        "-n",
        "--name",
        default=DEFAULT_SECTION,
        help="Name of section in .ini file to use for Alembic config",
    )
    parser.add_argument(
        "-x",
        action="append",
        metavar="ARGUMENT",
        help="packages=all or packages=fooapp,fooapp.blog: the packages to work on; anything "
        "else is consumed by custom env.py scripts, e.g. -x setting1=somesetting",
    )
    parser.add_argument("--raiseerr", action="store_true", help="Raise a full stack trace on error")
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="No progress, no summary, no log lines below a warning on the terminal; "
        "what a command was asked to show, and errors, are printed all the same",
    )
    parser.add_argument(
        "--no-index",
        action="store_true",
        help="Import every revision script, rather than read what it says of itself from its text "
        "and from the index in the user's cache folder",
    )
    # The description lists them.
    subparsers = parser.add_subparsers(prog=parser.prog, metavar="COMMAND", help=argparse.SUPPRESS)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        subparser.set_defaults(verb=name)
        for add in command.arguments:
            add(subparser)
    return parser


def commands_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the parsers of the commands, by their names."""
    return {
        name: found
        for one in parser._actions
        if isinstance(one, argparse._SubParsersAction)
        for name, found in one.choices.items()
    }
