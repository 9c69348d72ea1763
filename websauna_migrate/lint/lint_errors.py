"""Refusals around unsafe changes, in words."""

from __future__ import annotations

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.plain_text import counted
from websauna_migrate.results import LintReport


class LintNotPossible(MigrationError, RuntimeError):
    """Nothing can be checked.

    :ivar kind: ``database`` for one that squawk does not know, ``missing`` where squawk is not
        installed, ``failed`` where it gave no answer
    :ivar about: SQLAlchemy's name of the database, or squawk's path
    """

    def __init__(self, kind: str, about: str, problem: str = "") -> None:
        self.kind = kind
        self.about = about
        if kind == "database":
            self.exit_code = UsageError.exit_code
            message = (
                "Unsafe changes are found on PostgreSQL alone: the linter, squawk, does not know "
                f'"{about}".'
            )
        elif kind == "missing":
            message = (
                'Unsafe changes are found by "squawk", which is not installed. Install it: '
                "pip install websauna_migrate[lint]"
            )
        else:
            message = (
                f'The linter "{about}" failed: {problem}\n'
                "Nothing was checked, and nothing was changed. Try it by hand, or install a newer "
                "one: pip install --upgrade squawk-cli"
            )
        super().__init__(message)


class UnsafeChanges(MigrationError, RuntimeError):
    """A plan has unsafe changes, and was to have none; ``report`` says which."""

    def __init__(self, report: LintReport, *, listed: bool = False) -> None:
        """Build the message.

        :param listed: the user has seen the findings already
        """
        self.report = report
        found = report.findings
        some = counted(len(found), "unsafe change")
        lines = "".join(
            f'\n  "{one.package}" revision "{one.revision}" ({one.path}:{one.line}): {one.rule}'
            for one in found
        )
        super().__init__(
            f"The plan has {some}; nothing was run."
            + ("" if listed else lines)
            + "\nChange the script, or accept the change by a comment on its line: "
            f"# squawk-ignore {found[0].rule}"
        )
