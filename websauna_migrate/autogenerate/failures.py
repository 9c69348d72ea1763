"""Why a revision script could not be made, in words."""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.errors import MigrationError

__all__ = [
    "CannotRender",
    "NotUpToDate",
    "RevisionFailed",
    "RevisionsInCircle",
    "TableNotCreated",
    "TypeNotCreated",
]


class RevisionFailed(MigrationError, ValueError):
    """A revision script could not be made; ``package`` is the one that it was for."""

    def __init__(self, package: str, problem: str) -> None:
        self.package = package
        self.problem = problem
        super().__init__(f'No revision of package "{package}" was written: {one_sentence(problem)}')


class CannotRender(RevisionFailed):
    """Something of a model cannot be written into a script so that it works there.

    :ivar place: model, table and column in words
    """

    def __init__(self, package: str, place: str, problem: str, remedy: str) -> None:
        self.place = place
        super().__init__(package, f"{place} {one_sentence(problem)} {remedy}")


class NotUpToDate(MigrationError, ValueError):
    """A package cannot be compared while revisions of it are not applied."""

    def __init__(self, package: str, pending: Sequence[str]) -> None:
        self.package = package
        self.pending = tuple(pending)
        super().__init__(
            f'The database is not up to date for package "{package}": {len(pending)} of its '
            f'revisions are not applied, the next one is "{pending[0]}". Nothing was written. Run '
            f"first: ws-alembic -x packages={package} upgrade"
        )


class TableNotCreated(MigrationError, LookupError):
    """A model refers to another package's table that no revision creates yet."""

    def __init__(self, package: str, table: str, owner: str) -> None:
        self.package = package
        self.table = table
        self.owner = owner
        super().__init__(
            f'A model of package "{package}" has a foreign key to table "{table}" of package '
            f'"{owner}", but no revision of "{owner}" creates it. Nothing was written. Write that '
            f"revision first, or both at once: ws-alembic -x packages={owner},{package} revision "
            "--autogenerate"
        )


class TypeNotCreated(MigrationError, LookupError):
    """A model has a column of another package's enum type that no revision creates yet."""

    def __init__(self, package: str, type_: str, owner: str) -> None:
        self.package = package
        self.type = type_
        self.owner = owner
        super().__init__(
            f'A model of package "{package}" has a column of the type "{type_}" of package '
            f'"{owner}", but no revision of "{owner}" creates it. Nothing was written. Write that '
            f"revision first, or both at once: ws-alembic -x packages={owner},{package} revision "
            "--autogenerate"
        )


class RevisionsInCircle(MigrationError, ValueError):
    """New scripts of several packages would wait for each other."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = tuple(packages)
        listed = ", ".join(f'"{name}"' for name in packages)
        super().__init__(
            f"The changes of the packages {listed} depend on each other in a circle: one drops "
            "what another still refers to, and has something new that the other needs. Nothing was "
            "written. Make the changes in two steps: keep the models that are to go, make and "
            "apply the revisions, then remove the models and make the revisions for that."
        )


def one_sentence(text: str) -> str:
    """Return a text that ends in a full stop."""
    return text if text.endswith((".", "!", "?")) else text + "."
