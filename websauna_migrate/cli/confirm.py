"""Questions before something is taken back, and the guard of a production database."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.render.text import shown

__all__ = ["ask", "require_unprotected"]


def require_unprotected(call: Call, doing: str) -> None:
    """Refuse a command on a database that is protected, unless the command line says to go on.

    :param doing: the command, as it was written
    :raises UsageError: if it does not
    """
    if call.service.is_protected and not call.options.yes_on_production:
        raise UsageError(
            f'"{doing}" was not begun: this database is protected by the setting '
            '"websauna_migrate.protected". If it is meant all the same, add --yes-on-production.'
        )


def ask(call: Call, lines: Iterable[str], question: str) -> None:
    """Show what is going to happen, and ask on the terminal if that is meant.

    :raises UsageError: if there is no terminal to ask on, and no ``--yes``
    :raises MigrationError: if the answer is not yes
    """
    if call.options.yes:
        return
    for line in lines:
        print(shown(line), file=sys.stderr)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "Nothing was changed: there is no terminal to ask on. If this is meant, add --yes."
        )
    print(f"{shown(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MigrationError("Nothing was changed.")
