"""The arguments of the commands of ``ws-alembic`` that rework histories."""

from __future__ import annotations

from websauna_migrate.cli.arguments import argument, flag

__all__ = ["MINE", "ONTO", "TAKE_DOWN"]

MINE = argument(
    "revision",
    nargs="?",
    help="one of the revisions that go behind; default: those that git's main branch does not have",
)
ONTO = argument(
    "--onto", metavar="HEAD", help="The head behind which they go; needed where there are three"
)
TAKE_DOWN = flag("--downgrade", help="First take back those that are applied here")
