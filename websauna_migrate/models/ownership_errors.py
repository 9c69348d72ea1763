"""What can be wrong with the owners of tables."""

from __future__ import annotations

from pyramid.exceptions import ConfigurationError
from sqlalchemy import Table

from websauna_migrate.errors import MigrationError
from websauna_migrate.models.claims import Claim, Unsettled

__all__ = [
    "OwnerConflict",
    "OwnerNotRegistered",
    "OwnerUnknown",
    "OwnershipError",
    "RelationshipsBroken",
]


class OwnershipError(MigrationError, ConfigurationError):  # type: ignore[misc]  # Pyramid is untyped
    """The models do not say, or say twice, which package a table belongs to."""


class OwnerUnknown(OwnershipError):
    """No rule settles the owner of some tables; ``unsettled`` has them all."""

    def __init__(self, unsettled: tuple[Unsettled, ...]) -> None:
        """Name every unsettled table with its candidates."""
        self.unsettled = unsettled
        example = unsettled[0]
        package = example.claims[0].package if example.claims else "..."
        lines = "".join(f"\n  {one}" for one in unsettled)
        super().__init__(
            f"No rule settles which package owns these tables; the candidates are:{lines}\n"
            f'Name the owner where the table is defined: Table("{example.table.name}", ..., '
            f'info={{"package": "{package}"}}){in_class(bool(example.strangers))}.'
        )


class OwnerConflict(OwnershipError):
    """A table is claimed by two packages, or defined twice in one; ``claims`` names the places."""

    def __init__(self, table: Table, claims: tuple[Claim, ...], definitions: int) -> None:
        """Name the place of each claim; ``definitions`` counts the ``Table`` objects at odds."""
        self.table = table
        self.claims = claims
        packages = sorted({claim.package for claim in claims})
        problem = (
            "is claimed by more than one package"
            if len(packages) > 1
            else f'of package "{packages[0]}" is defined more than once'
        )
        lines = "".join(f'\n  "{claim.package}": {claim.place}' for claim in claims)
        info = f'info={{"package": "{packages[0]}"}}'
        remedy = (
            f"Name its owner: Table(..., {info}){in_class(True)}."
            if definitions == 1
            else f"Rename one of the tables; one that only describes the other is marked by {info}."
            if len(packages) > 1
            else "Keep one definition."
        )
        super().__init__(f'Table "{table.fullname}" {problem}:{lines}\n{remedy}')


class OwnerNotRegistered(OwnershipError):
    """``Table.info["package"]`` names no registered package; ``known`` lists the registered."""

    def __init__(self, table: Table, package: object, known: tuple[str, ...]) -> None:
        """Name the table, what it says, and what it could say."""
        self.table = table
        self.package = package
        self.known = known
        super().__init__(
            f'Table "{table.fullname}" names its owner by info={{"package": {package!r}}}, but no '
            "such package is registered for migrations. Correct the name or register the package. "
            "Registered: "
            f"{', '.join(known) or 'none'}."
        )


class RelationshipsBroken(OwnershipError):
    """SQLAlchemy cannot configure the models, which the ``secondary`` rule needs."""

    def __init__(self, problem: Exception) -> None:
        """Quote what SQLAlchemy says."""
        self.problem = problem
        super().__init__(
            "The relationships of the models cannot be set up, and only they can tell who owns the "
            f"association tables. SQLAlchemy says: {type(problem).__name__}: {problem}\n"
            "Correct the model that this names."
        )


def in_class(mapped: bool) -> str:
    """Return how ``info`` is written in a mapped class, to complete a remedy."""
    return ', or __table_args__ = {"info": {...}} in its class' if mapped else ""
