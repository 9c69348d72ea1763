"""The commands of ``ws-alembic``: each makes one call of the service and renders what it returns.

:data:`VERBS` is the one place where a command is made known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websauna_migrate.cli.arguments import (
    add_check,
    add_current,
    add_downgrade,
    add_json,
    add_lint,
    add_merge,
    add_move_table,
    add_plan,
    add_repair,
    add_revision,
    add_uninstall,
    add_upgrade,
    add_with_requirements,
)
from websauna_migrate.cli.commands import lint as linting
from websauna_migrate.cli.commands import read as looking
from websauna_migrate.cli.commands import run as running
from websauna_migrate.cli.commands import write as writing
from websauna_migrate.cli.commands.call import Call

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

__all__ = ["VERBS", "Verb"]


@dataclass(frozen=True)
class Verb:
    """A command.

    :ivar run: does it, and returns the exit status if that is not 0
    :ivar help: for a command of ours; Alembic's have their own
    :ivar arguments: adds arguments to those of Alembic's; one that is there already is replaced
    :ivar positionals: what differs from Alembic's declaration of a positional argument
    :ivar everywhere: without ``-x packages=`` the command works on all packages, not on the
        current one
    :ivar unasked: the command names its package itself: ``-x packages=`` has no meaning
    """

    run: Callable[[Call], int | None]
    help: str = ""
    arguments: Callable[[ArgumentGroup], object] | None = None
    positionals: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    everywhere: bool = False
    unasked: bool = False


VERBS: Mapping[str, Verb] = {
    "branches": Verb(looking.branches),
    "check": Verb(looking.check, arguments=add_check),
    "current": Verb(looking.current, arguments=add_current),
    "downgrade": Verb(running.downgrade, arguments=add_downgrade),
    "edit": Verb(writing.edit),
    "ensure_version": Verb(running.ensure_version),
    "heads": Verb(looking.heads, arguments=add_json),
    "history": Verb(looking.history, arguments=add_json),
    "lint": Verb(
        linting.lint,
        help="Show the unsafe changes of an upgrade on PostgreSQL, found by squawk.",
        arguments=add_lint,
    ),
    "merge": Verb(writing.merge, arguments=add_merge),
    "move-table": Verb(
        writing.move_table,
        help="Write the two revisions that hand a table over to another package.",
        arguments=add_move_table,
        unasked=True,
    ),
    "plan": Verb(
        looking.plan,
        help="Show what an upgrade would do, step by step, and why.",
        arguments=add_plan,
    ),
    "repair": Verb(
        running.repair,
        help="Show steps that ended half done, or settle one.",
        arguments=add_repair,
        unasked=True,
    ),
    "revision": Verb(writing.revision, arguments=add_revision),
    "show": Verb(looking.show),
    "stamp": Verb(running.stamp, arguments=add_with_requirements),
    "status": Verb(
        looking.status,
        help="Show where all packages stand: applied, newest and pending revisions.",
        arguments=add_json,
        everywhere=True,
    ),
    "uninstall": Verb(
        running.uninstall,
        help="Downgrade a package to base, then drop its history table.",
        arguments=add_uninstall,
        unasked=True,
    ),
    "upgrade": Verb(
        running.upgrade,
        arguments=add_upgrade,
        positionals={
            "revision": {
                "nargs": "?",
                "default": "heads",
                "help": "revision identifier; default: heads",
            }
        },
    ),
}
