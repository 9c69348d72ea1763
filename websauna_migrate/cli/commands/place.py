"""Commands that ask where a database stands."""

from __future__ import annotations

import sys

from websauna_migrate.base_errors import ExitCode
from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.render.location import render_drift, render_location, render_mending


def locate(call: Call) -> int:
    """Show where the packages stand."""
    found = call.service.locate(packages=call.packages)
    call.show(render_location(found), found)
    return ExitCode.DONE if found.ok else ExitCode.DRIFT


def drift(call: Call) -> int:
    """Show what is not as it should be, or accept it; or let the database record who changes it."""
    if call.options.record_who or call.options.forget_who:
        call.service.record_who(stop=call.options.forget_who)
        recorded = "is recorded no more" if call.options.forget_who else "is recorded from now on"
        print(f"Who changes the schema by hand {recorded}.", file=sys.stderr)
        return ExitCode.DONE
    found = call.service.drift(packages=call.packages, accept=call.options.accept)
    call.show(render_mending(found) if call.options.sql else render_drift(found), found)
    if call.options.accept:
        print("Accepted: the ledger keeps what there is now.", file=sys.stderr)
        return ExitCode.DONE
    return ExitCode.DONE if found.ok else ExitCode.DRIFT
