"""Commands that rework histories and their scripts."""

from __future__ import annotations

import sys

from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.confirm import require_unprotected
from websauna_migrate.cli.render.rework import render_rebased, render_redone

__all__ = ["rebase", "redo"]


def redo(call: Call) -> None:
    """Take the newest revision back, write it anew, and apply it."""
    require_unprotected(call, "redo")
    done = call.service.redo(call.options.message, packages=call.packages)
    if done.script.proof is not None and not call.options.quiet:
        print(done.script.proof, file=sys.stderr)
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
