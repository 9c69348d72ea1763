"""The packages that a command works on: ``-x packages=``, else the current one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from websauna_migrate.base_errors import UsageError
from websauna_migrate.cli.command_table import Command
from websauna_migrate.config.selection import parse_packages_argument, select_packages
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.plain_text import counted
from websauna_migrate.results import PackageState

Scope = Sequence[str] | str | None

#: How much like "packages" an unknown key is that is taken for it, from 0 to 1.
ALIKE = 0.8

#: Of how many packages a line tells by name.
NAMED = 3


def read_scope(x_arguments: Sequence[str]) -> Scope:
    """Return what ``-x packages=`` says: names, ``"all"``, or ``None`` without it.

    Other keys are for ``env.py``.

    :raises UsageError: if a key is almost ``packages``
    """
    for argument in x_arguments:
        key = argument.partition("=")[0].strip()
        if key != "packages" and difflib.get_close_matches(key.lower(), ["packages"], 1, ALIKE):
            value = argument.partition("=")[2] or "all"
            raise UsageError(f'"-x {argument}" is not understood. Write "-x packages={value}".')
    return parse_packages_argument(x_arguments)


def find_packages(
    command: Command, asked: Scope, service: IMigrationService
) -> tuple[str, ...] | None:
    """Return the packages that a command works on, ``None`` for all."""
    if asked == "all" or (asked is None and (command.everywhere or command.names_its_package)):
        return None
    if command.names_its_package:
        raise UsageError("This command names its package itself: leave out -x packages=.")
    names = tuple(package.name for package in service.packages)
    return select_packages(asked, names, service.application, Path.cwd())


def pending_elsewhere(states: Iterable[PackageState], packages: Sequence[str] | None) -> str:
    """Return a line about the pending steps of packages that a command does not work on.

    :param packages: those on which it works
    :returns: an empty text if there are none
    """
    if packages is None:
        return ""
    # Where rows are not understood, an upgrade is not what helps.
    others = [
        one for one in states if one.pending and not one.unknown and one.package not in packages
    ]
    said = [f"{one.package} has {counted(one.pending, 'pending step')}" for one in others[:NAMED]]
    if len(others) > NAMED:
        said.append(f"so have {counted(len(others) - NAMED, 'other package')}")
    return f"{', '.join(said)}: -x packages=all" if said else ""
