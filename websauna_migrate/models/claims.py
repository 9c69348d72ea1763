"""Claims on tables: why a table is said to belong to a package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Table

__all__ = ["Claim", "Unsettled", "by_place"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Why a table belongs to a package.

    :ivar package: dotted name of the package
    :ivar rule: the rule that says so
    :ivar place: where that is written, for a message: ``class "fooapp.models.Offer"``
    """

    package: str
    rule: Literal["info", "class", "metadata", "secondary"]
    place: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A table that no rule settles, with the packages that come into question.

    :ivar table: the table
    :ivar claims: a claim for each candidate package and reason; none of them decides alone
    :ivar strangers: mapped classes of the table that lie in no registered package
    """

    table: Table
    claims: tuple[Claim, ...]
    strangers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line that names the table, what maps it and the candidates."""
        reasons: dict[str, list[str]] = {}
        for claim in self.claims:
            reasons.setdefault(claim.package, []).append(claim.place)
        candidates = ", ".join(f'"{name}" ({"; ".join(why)})' for name, why in reasons.items())
        mapped = "".join(f", mapped by {name} outside of all packages" for name in self.strangers)
        return (
            f'"{self.table.fullname}"{mapped}: {candidates or "no package registered its MetaData"}'
        )


def by_place(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return claims ordered by package, then by place."""
    return tuple(sorted(claims, key=lambda claim: (claim.package, claim.place)))
