"""The arguments of the commands of ``ws-alembic`` that rework histories."""

from __future__ import annotations

from websauna_migrate.cli.arguments import argument, flag, one_of

__all__ = ["ADOPTED", "FROM_LEDGER", "MINE", "ONTO", "SHOWN_ALONE", "SQUASHED", "TAKE_DOWN"]

MINE = argument(
    "revision",
    nargs="?",
    help="one of the revisions that go behind; default: those that git's main branch does not have",
)
ONTO = argument(
    "--onto", metavar="HEAD", help="The head behind which they go; needed where there are three"
)
TAKE_DOWN = flag("--downgrade", help="First take back those that are applied here")

SQUASHED = argument(
    "rev_range",
    metavar="START:END",
    nargs="?",
    help="the first and the last revision that become one; default: all of the package",
)

#: How an existing project is taken over.
ADOPTED = (
    one_of(
        flag("--dry-run", help="Change nothing; show what would be done"),
        flag("--undo", help="Take back what was adopted: histories and files are as before"),
    ),
    flag("--keep", help="Leave the version table its name, and share it with plain Alembic"),
    argument(
        "--table",
        metavar="TABLE",
        help="the version table, where several have revisions of a package",
    ),
    flag("--replace-env", help="Replace env.py by the template, where that loses nothing"),
)

SHOWN_ALONE = flag("--dry-run", help="Run nothing; show what would be taken down, and by what")
FROM_LEDGER = flag(
    "--from-ledger",
    help="By the texts that the ledger keeps, take down what no script defines any more; with a "
    "revision, go on to it",
)
