"""The command lines that look or find nothing to do, understood without Alembic's slow import.

What is not exactly one of them is left to the whole parser: abbreviations, help, mistakes. A test
compares the two.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

from websauna_migrate.cli.invocation import add_global_arguments, group_of
from websauna_migrate.cli.verbs import VERBS

__all__ = ["QUICK", "quick_options"]

VERBOSE: tuple[tuple[str, ...], dict[str, Any]] = (("-v", "--verbose"), {"action": "store_true"})

#: Alembic's own arguments of the commands that are understood here.
QUICK: dict[str, Sequence[tuple[tuple[str, ...], dict[str, Any]]]] = {
    "current": (VERBOSE,),
    "heads": (VERBOSE, (("--resolve-dependencies",), {"action": "store_true"})),
    "history": (
        VERBOSE,
        (("-r", "--rev-range"), {}),
        (("-i", "--indicate-current"), {"action": "store_true"}),
    ),
    "lint": (),
    "plan": (),
    "status": (),
    "upgrade": (
        (("revision",), dict(VERBS["upgrade"].positionals["revision"])),
        (("--sql",), {"action": "store_true"}),
        (("--tag",), {}),
    ),
}


class NotQuick(Exception):
    """The command line is for the whole parser."""


class Parser(ArgumentParser):
    """A parser that gives up where another one would end the program."""

    def error(self, message: str) -> NoReturn:
        """Give up."""
        raise NotQuick(message)


def quick_options(argv: Sequence[str]) -> Namespace | None:
    """Return the options of a command line, or ``None`` if the whole parser has to read it."""
    # A word that is not there cannot be the command: its parser need not be made.
    named = {name: arguments for name, arguments in QUICK.items() if name in argv}
    if not named or "--version" in argv:
        return None
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--raiseerr", action="store_true")
    add_global_arguments(group_of(parser))
    subparsers = parser.add_subparsers()
    for name, arguments in named.items():
        subparser = subparsers.add_parser(name, add_help=False, allow_abbrev=False)
        for flags, options in arguments:
            subparser.add_argument(*flags, **options)
        subparser.set_defaults(verb=name)
        if (add := VERBS[name].arguments) is not None:
            add(group_of(subparser))
    try:
        options_ = parser.parse_args(argv)
    except NotQuick:
        return None
    return options_ if hasattr(options_, "verb") else None
