"""A command line of ``ws-alembic``, parsed, in a started application."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from websauna_migrate.cli.output import Output
from websauna_migrate.interfaces import IMigrationService

__all__ = ["Call", "applied_rows", "sum_up"]


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


def sum_up(call: Call, *lines: str) -> None:
    """Print what was done, unless the user wants to hear errors only."""
    if not call.options.quiet:
        call.output.lines(lines)


def applied_rows(call: Call) -> dict[str, frozenset[str]]:
    """Return the rows of the history tables, by package."""
    states = call.service.current(packages=call.packages)
    return {state.package: frozenset(state.rows) for state in states}
