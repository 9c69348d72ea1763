"""The packages that a command works on: ``-x packages=``, else the current one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from websauna_migrate.cli.parser import Command
from websauna_migrate.config.selection import parse_packages_argument, select_packages
from websauna_migrate.errors import UsageError

__all__ = ["find_packages", "read_scope"]

Scope = Sequence[str] | str | None


def read_scope(x_arguments: Sequence[str]) -> Scope:
    """Return what ``-x packages=`` says: names, ``"all"``, or ``None`` without it."""
    return parse_packages_argument(x_arguments)


def find_packages(command: Command, asked: Scope, service: Any) -> tuple[str, ...] | None:
    """Return the packages that a command works on, ``None`` for all."""
    if command.names_its_package and asked is not None:
        raise UsageError("This command names its package itself: leave out -x packages=.")
    if asked == "all" or (asked is None and (command.everywhere or command.names_its_package)):
        return None
    names = tuple(package.name for package in service.packages)
    return select_packages(asked, names, service.application, Path.cwd())
