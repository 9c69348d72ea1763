"""Commands that rework histories and their scripts."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.cli.commands.call import Call, ask, require_unprotected
from websauna_migrate.cli.render.reworked import (
    render_adoption,
    render_rebased,
    render_redone,
    render_restored,
    render_squashed,
    render_switched,
)
from websauna_migrate.cli.signals import stop_signals
from websauna_migrate.plain_text import counted


def adopt(call: Call) -> int:
    """Take an existing project over, or show what that would do, or take it back."""
    options = call.options
    arguments = {name: getattr(options, name) for name in ("table", "keep", "replace_env")}
    if options.undo:
        require_unprotected(call, "adopt --undo")
        ask(call, (), "Take the adoption back?")
        done = call.service.adopt(packages=call.packages, undo=True)
        call.show(render_adoption(done), done)
        return ExitCode.DONE
    would = call.service.adopt(packages=call.packages, dry_run=True, **arguments)
    if options.dry_run or not would.actions:
        call.show(render_adoption(would), would)
        return ExitCode.FAILED if would.problems else ExitCode.DONE
    ask(call, render_adoption(would), "Take this over?")
    done = call.service.adopt(packages=call.packages, **arguments)
    names = call.asked if isinstance(call.asked, str) else ",".join(call.asked or ())
    call.show(render_adoption(done, f"-x packages={names} " if names else ""), done)
    return ExitCode.FAILED if done.problems else ExitCode.DONE


def redo(call: Call) -> None:
    """Take the newest revision back, write it anew, and apply it."""
    # An upgrade imports this module, and does without that one.
    from websauna_migrate.cli.commands.write import warn_of

    require_unprotected(call, "redo")
    options = call.options
    done = call.service.redo(
        options.message,
        packages=call.packages,
        rename_tables=tuple(options.rename_table or ()),
        rename_columns=tuple(options.rename_column or ()),
        allow_drops=options.allow_drops,
    )
    if done.script.proof is not None and not options.quiet:
        print(done.script.proof, file=sys.stderr)
    warn_of([done.script])
    call.show(render_redone(done), done)


def rebase(call: Call) -> None:
    """Put own revisions behind the other head."""
    options = call.options
    if options.downgrade:
        require_unprotected(call, "rebase --downgrade")
    done = call.service.rebase(
        options.revision, packages=call.packages, onto=options.onto, downgrade=options.downgrade
    )
    call.show(render_rebased(done), done)


def squash(call: Call) -> None:
    """Write one script in place of those of a range."""
    options = call.options
    done = call.service.squash(
        options.rev_range,
        packages=call.packages,
        message=options.message,
        rev_id=options.rev_id,
    )
    call.show(render_squashed(done), done)


def switch(call: Call) -> None:
    """Take down what this checkout does not have."""
    take_down(call, "switch")


def take_down(call: Call, doing: str, **arguments: Any) -> None:
    """Take down revisions by texts that git or the ledger keeps.

    :param doing: the command, as it was written
    """
    options = call.options
    if not options.dry_run:
        require_unprotected(call, doing)
    arguments["cascade"] = options.cascade
    would = call.service.switch(packages=call.packages, dry_run=True, **arguments)
    if options.dry_run or not (would.scripts or arguments.get("revision")):
        call.show(render_switched(would), would)
        return
    many = counted(len(would.scripts), "script")
    ask(call, render_restored(would), f"Take this down by {many} that are not of this checkout?")
    with stop_signals() as stop:
        done = call.service.switch(packages=call.packages, stop=stop, **arguments)
    pending: list[str] = []
    # What was done is done: where no state can be told, nothing is said of it.
    with contextlib.suppress(MigrationError):
        states = call.service.status(packages=call.packages)
        pending = [one.package for one in states if one.pending and not one.unknown]
    call.show(render_switched(done, pending), done)
