"""What can be wrong within the revisions of one package, and with its history."""

from __future__ import annotations

from collections.abc import Iterable

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.planning.revisions import Revision

#: How several heads of a package become one; with its name for ``{package}``.
JOIN_HEADS = (
    "Join them by a script: ws-alembic -x packages={package} merge heads. Or put your own "
    "revisions behind the other ones: ws-alembic -x packages={package} rebase"
)


class HistoryContradicted(MigrationError, RuntimeError):
    """What the history tables say cannot be so; found before anything runs.

    :ivar kind: ``requirements`` where applied revisions lack what they require, ``unknown`` for
        rows that no script defines, ``ledger`` where the ledger says the opposite, ``elsewhere``
        where revisions that would be applied are recorded in another version table
    :ivar packages: the packages whose histories they are, sorted
    :ivar revisions: the revisions, as ``package@revision``, in the order of the message
    """

    def __init__(self, kind: str, message: str, revisions: Iterable[tuple[str, str]]) -> None:
        """Keep the revisions, each given as package and identifier."""
        found = tuple(revisions)
        self.kind = kind
        self.packages = tuple(sorted({package for package, _ in found}))
        self.revisions = tuple(f"{package}@{revision}" for package, revision in found)
        super().__init__(message)


class HistoryError(MigrationError, ValueError, LookupError):
    """The revisions of a package do not fit together.

    :ivar kind: ``duplicate_revision``, ``duplicate_label``, ``illegal_identifier``,
        ``missing_revision`` or ``replaced_twice``
    :ivar revision: the revision whose script is at fault
    :ivar other: the one that has the identifier or the label already; else ``None``
    :ivar name: the identifier or label that occurs twice, is not legal, or is not there
    """

    def __init__(
        self, kind: str, revision: Revision, name: str, message: str, other: Revision | None = None
    ) -> None:
        self.kind, self.revision, self.name, self.other = kind, revision, name, other
        super().__init__(message)


def duplicate_revision(first: Revision, second: Revision) -> HistoryError:
    """Return the error of two scripts that have the same identifier."""
    message = (
        f'Package "{first.package}" has the revision "{first.id}" twice: in "{first.path}" '
        f'and in "{second.path}". Remove one of the files, or give it another identifier.'
    )
    return HistoryError("duplicate_revision", second, second.id, message, first)


def duplicate_label(label: str, first: Revision, second: Revision) -> HistoryError:
    """Return the error of a branch label that another revision has as label or identifier."""
    message = (
        f'The branch label "{label}" of revision "{second.id}" of "{second.package}" '
        f'("{second.path}") is already used by revision "{first.id}" ("{first.path}"). '
        "Labels are unique within a package: rename one of the two."
    )
    return HistoryError("duplicate_label", second, label, message, first)


def illegal_identifier(revision: Revision) -> HistoryError:
    """Return the error of a character that means something in a target or in SQL."""
    message = (
        f'The identifier of revision "{revision.id}" of "{revision.package}" '
        f'("{revision.path}") has one of the characters @ - + : \' \\ in it, or one that '
        "cannot be printed. Take another identifier."
    )
    return HistoryError("illegal_identifier", revision, revision.id, message)


def missing_revision(revision: Revision, attribute: str, missing: str) -> HistoryError:
    """Return the error of a parent or dependency that the package does not have.

    :param attribute: ``down_revision`` or ``depends_on``
    """
    where, elsewhere = "the package has no such revision", ""
    if attribute == "depends_on":
        where = "no package has such a revision or branch label"
        elsewhere = (
            " One of another package is named without its package; if that is not registered, "
            "register it."
        )
    message = (
        f'Revision "{revision.id}" of "{revision.package}" ("{revision.path}") has '
        f'{attribute} = "{missing}", but {where}. Restore the '
        f"missing script, or correct {attribute}.{elsewhere}"
    )
    return HistoryError("missing_revision", revision, missing, message)


def replaced_twice(former: str, first: Revision, second: Revision) -> HistoryError:
    """Return the error of two squashes that stand for the same revision."""
    message = (
        f'Of package "{first.package}" both "{first.id}" ("{first.path}") and "{second.id}" '
        f'("{second.path}") have "{former}" in replaces, and neither replaces the other. Remove '
        "one of the files, or let the newer one replace the other: add its identifier to replaces."
    )
    return HistoryError("replaced_twice", second, former, message, first)
