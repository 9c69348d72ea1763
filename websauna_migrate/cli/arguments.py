"""The arguments that commands of ``ws-alembic`` have besides Alembic's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from websauna_migrate.cli.commands import lint as linting

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

__all__ = [
    "add_cascade",
    "add_check",
    "add_current",
    "add_downgrade",
    "add_full",
    "add_json",
    "add_lint",
    "add_merge",
    "add_move_table",
    "add_plan",
    "add_repair",
    "add_revision",
    "add_run",
    "add_uninstall",
    "add_upgrade",
    "add_with_requirements",
    "not_negative",
]


def add_json(group: ArgumentGroup) -> None:
    """Add ``--json``."""
    group.add_argument("--json", action="store_true", help="Print JSON, for programs")


def add_cascade(group: ArgumentGroup) -> None:
    """Add ``--cascade``."""
    group.add_argument(
        "--cascade",
        action="store_true",
        help="First take back the revisions of other packages that require what goes",
    )


def add_current(group: ArgumentGroup) -> None:
    """Add the arguments of ``current`` that not every Alembic has."""
    add_json(group)
    group.add_argument(
        "-c",
        "--check-heads",
        action="store_true",
        help="Check if all head revisions are applied to the database. "
        "Exit with an error code if this is not the case.",
    )


def add_merge(group: ArgumentGroup) -> None:
    """Add the arguments of ``merge`` that not every Alembic has."""
    group.add_argument(
        "--splice",
        action="store_true",
        help="Allow a non-head revision as the 'head' to splice onto",
    )


def add_plan(group: ArgumentGroup) -> None:
    """Add the arguments of ``plan``."""
    group.add_argument("revision", nargs="?", default="heads", help="the target; default: heads")
    group.add_argument("--downgrade", action="store_true", help="Show the plan of a downgrade")
    add_cascade(group)
    add_json(group)
    group.add_argument(
        "--no-lint",
        action="store_true",
        help="Do not look for unsafe changes, which is done on PostgreSQL if squawk is installed",
    )
    linting.add_fail_on_lint(group)


def add_revision(group: ArgumentGroup) -> None:
    """Add ``--requires``, the renames and ``--full``."""
    group.add_argument(
        "--requires",
        action="append",
        metavar="PACKAGE@REVISION",
        help="Specify one or more revisions of other packages which this revision requires.",
    )
    group.add_argument(
        "--rename-table",
        action="append",
        metavar="OLD:NEW",
        help="Rename a table instead of dropping it and making a new one; with --autogenerate.",
    )
    group.add_argument(
        "--rename-column",
        action="append",
        metavar="TABLE.OLD:NEW",
        help="Rename a column instead of dropping it and adding a new one; with --autogenerate.",
    )
    add_full(group)


def add_check(group: ArgumentGroup) -> None:
    """Add the arguments of ``check``."""
    add_json(group)
    add_full(group)


def add_full(group: ArgumentGroup) -> None:
    """Add ``--full``."""
    group.add_argument(
        "--full",
        action="store_true",
        help="Compare tables too that an earlier comparison found equal to their models",
    )


def add_repair(group: ArgumentGroup) -> None:
    """Add the arguments of ``repair``."""
    group.add_argument(
        "step",
        nargs="?",
        metavar="PACKAGE@REVISION",
        help="the step that is meant, where several ended half done",
    )
    for action, words in (
        ("rerun", "Run the step again"),
        ("done", "Take the step as done, and write it into the history"),
        ("undone", "Take the step as not done; the next upgrade runs it"),
    ):
        group.add_argument(
            f"--{action}", dest="action", action="store_const", const=action, help=words
        )


def add_run(group: ArgumentGroup) -> None:
    """Add the arguments of commands that run scripts."""
    group.add_argument(
        "--atomic",
        action="store_true",
        help="Make the whole run one transaction, where the database can",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="Execute everything in one transaction and roll it back",
    )
    for name, metavar, words in (
        ("lock-wait", "SECONDS", "How long to wait for another run; 0 fails at once"),
        ("lock-timeout-ms", "MS", "How long a statement first waits for a table's lock"),
        ("lock-budget", "SECONDS", "For how long a step is tried again when a lock is taken"),
        ("statement-timeout-ms", "MS", "How long a statement may run; 0 for no limit"),
    ):
        group.add_argument(f"--{name}", type=not_negative, metavar=metavar, help=words)


def not_negative(text: str) -> float:
    """Return a number from the command line.

    :raises ValueError: if it is none, or below 0
    """
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def add_downgrade(group: ArgumentGroup) -> None:
    """Add the arguments of ``downgrade``."""
    add_cascade(group)
    add_run(group)


def add_upgrade(group: ArgumentGroup) -> None:
    """Add the arguments of ``upgrade``."""
    add_run(group)
    linting.add_fail_on_lint(group)


def add_lint(group: ArgumentGroup) -> None:
    """Add the arguments of ``lint``."""
    group.add_argument("revision", nargs="?", default="heads", help="the target; default: heads")
    add_json(group)
    linting.add_fail_on_lint(group)


def add_uninstall(group: ArgumentGroup) -> None:
    """Add the arguments of ``uninstall``."""
    group.add_argument("package", metavar="PACKAGE", help="dotted name of the package")
    group.add_argument(
        "--forget",
        action="store_true",
        help="Of a package that is not installed any more, drop the history table alone",
    )
    add_cascade(group)


def add_move_table(group: ArgumentGroup) -> None:
    """Add the arguments of ``move-table``."""
    group.add_argument("table", metavar="TABLE", help="the table, or SCHEMA.TABLE")
    group.add_argument("source", metavar="FROM", help="the package whose scripts create it")
    group.add_argument("target", metavar="TO", help="the package that gets it")


def add_with_requirements(group: ArgumentGroup) -> None:
    """Add ``--with-requirements``."""
    group.add_argument(
        "--with-requirements",
        action="store_true",
        help="Stamp what the revisions require of other packages too",
    )
