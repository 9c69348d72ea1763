"""Why a revision script could not be made, in words."""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.errors import MigrationError

__all__ = ["CannotRender", "NotUpToDate", "RevisionFailed", "TableNotCreated"]


class RevisionFailed(MigrationError, ValueError):
    """A revision script could not be made; ``package`` is the one that it was for."""

    def __init__(self, package: str, problem: str) -> None:
        self.package = package
        self.problem = problem
        super().__init__(
            f'No revision of package "{package}" was written: {one_sentence(problem)}'
        )


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
            f'revisions are not applied, the next is "{pending[0]}". Run first: '
            f"ws-alembic -x packages={package} upgrade"
        )


class TableNotCreated(MigrationError, LookupError):
    """A new foreign key points at a table that no script creates yet."""

    def __init__(self, package: str, table: str, owner: str) -> None:
        self.package = package
        self.table = table
        self.owner = owner
        super().__init__(
            f'A new foreign key of package "{package}" points at the table "{table}" of package '
            f'"{owner}", which no revision of that package creates yet. Write that package\'s '
            f"revision first, or both at once: ws-alembic -x packages={owner},{package} revision "
            "--autogenerate"
        )


def one_sentence(text: str) -> str:
    """Return a text that ends in a full stop."""
    return text if text.endswith((".", "!", "?")) else text + "."
