"""What can be wrong within the revisions of one package."""

from __future__ import annotations

from websauna_migrate.errors import MigrationError
from websauna_migrate.planning.revisions import Revision

__all__ = ["DuplicateLabel", "DuplicateRevision", "IllegalRevisionId", "MissingRevision"]


class DuplicateRevision(MigrationError, ValueError):
    """Two scripts of one package have the same identifier."""

    def __init__(self, first: Revision, second: Revision) -> None:
        self.first, self.second = first, second
        super().__init__(
            f'Package "{first.package}" has the revision "{first.id}" twice: in "{first.path}" '
            f'and in "{second.path}". Remove one of the files, or give it another identifier.'
        )


class DuplicateLabel(MigrationError, ValueError):
    """A branch label is the label, or the identifier, of another revision too."""

    def __init__(self, label: str, first: Revision, second: Revision) -> None:
        self.label, self.first, self.second = label, first, second
        super().__init__(
            f'The branch label "{label}" of revision "{second.id}" of "{second.package}" '
            f'("{second.path}") is already used by revision "{first.id}" ("{first.path}"). '
            "Labels are unique within a package: rename one of the two."
        )


class IllegalRevisionId(MigrationError, ValueError):
    """A revision identifier has a character that means something in a target or in SQL."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        super().__init__(
            f'The identifier of revision "{revision.id}" of "{revision.package}" '
            f'("{revision.path}") has one of the characters @ - + : \' \\ in it, or one that '
            "cannot be printed. Take another identifier."
        )


class MissingRevision(MigrationError, LookupError):
    """A script names a parent or dependency that its package does not have.

    :ivar attribute: ``down_revision`` or ``depends_on``
    :ivar missing: what is not there
    """

    def __init__(self, revision: Revision, attribute: str, missing: str) -> None:
        self.revision, self.attribute, self.missing = revision, attribute, missing
        elsewhere = ""
        if attribute == "depends_on":
            elsewhere = ' A revision of another package is named with "requires".'
        super().__init__(
            f'Revision "{revision.id}" of "{revision.package}" ("{revision.path}") has '
            f'{attribute} = "{missing}", but the package has no such revision. Restore the '
            f"missing script, or correct {attribute}.{elsewhere}"
        )
