"""Commands that ask where a database stands."""

from __future__ import annotations

from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.render.location import render_location
from websauna_migrate.errors import ExitCode

__all__ = ["locate"]


def locate(call: Call) -> int:
    """Show where the packages stand."""
    found = call.service.locate(packages=call.packages)
    call.show(render_location(found), found)
    return ExitCode.DONE if found.ok else ExitCode.DRIFT
