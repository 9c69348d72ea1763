"""``ws-alembic``: Alembic's command line, for an application made of many packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from websauna_migrate.cli.collecting import collecting_seldom

if TYPE_CHECKING:
    from websauna_migrate.cli.command_line import CommandLine

__all__ = ["CommandLine", "main"]


def __getattr__(name: str) -> Any:
    # Alembic is imported by whoever asks for the whole command line.
    if name == "CommandLine":
        from websauna_migrate.cli.command_line import CommandLine

        return CommandLine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run ``ws-alembic``; the exit status is returned."""
    arguments = sys.argv[1:] if argv is None else argv
    with collecting_seldom():
        return run(arguments)


def run(arguments: Sequence[str]) -> int | None:
    """Run a command line."""
    # Here, because imports make objects that the collector would look through.
    from websauna_migrate.cli.invocation import bootstrap, execute, run_options
    from websauna_migrate.cli.quick import quick_options

    options = quick_options(arguments)
    if options is not None:
        return run_options(options, lambda parsed, output: execute(parsed, output, bootstrap))
    from websauna_migrate.cli.command_line import CommandLine

    return CommandLine().run(arguments)
