"""What claims tables for packages, and what can be wrong with that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pyramid.exceptions import ConfigurationError
from sqlalchemy import ForeignKey, Table

from websauna_migrate.base_errors import MigrationError


class OwnershipError(MigrationError, ConfigurationError):  # type: ignore[misc]  # Pyramid is untyped
    """The models do not say, or say twice, which package a table belongs to.

    :ivar kind: ``conflict`` for a table that two packages claim or that is defined twice,
        ``not registered`` for a ``Table.info["package"]`` that is no registered package,
        ``relationships`` for models that SQLAlchemy cannot configure, ``unknown`` where no rule
        settles it, ``no target`` for a foreign key whose table or column no package has
    :ivar table: the table, ``None`` where it is about several
    :ivar claims: what the packages say, in the order of the message
    :ivar unsettled: for ``unknown`` the tables, each with its candidates
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        table: Table | None = None,
        claims: tuple[Claim, ...] = (),
        unsettled: tuple[Unsettled, ...] = (),
    ) -> None:
        self.kind = kind
        self.table = table
        self.claims = claims
        self.unsettled = unsettled
        super().__init__(message)


def owner_unknown(unsettled: tuple[Unsettled, ...]) -> OwnershipError:
    """Return the error of tables whose owner no rule settles; it names each with its candidates."""
    example = unsettled[0]
    package = example.claims[0].package if example.claims else "..."
    # Where many packages register one MetaData, many tables have the same candidates.
    alike: dict[str, list[Unsettled]] = {}
    for one in unsettled:
        alike.setdefault(one.candidates, []).append(one)
    lines = "".join(
        "".join(f"\n  {one}" for one in several) + f"\n    {candidates}"
        for candidates, several in alike.items()
    )
    return OwnershipError(
        "unknown",
        f"No rule settles which package owns these tables; the candidates are:{lines}\n"
        f'Name the owner where the table is defined: Table("{example.table.name}", ..., '
        f'info={{"package": "{package}"}}){in_class(bool(example.strangers))}. '
        "Where it is not yours to change, say it in the application: "
        f'metadata.tables["{example.table.fullname}"].info["package"] = "{package}".',
        unsettled=unsettled,
    )


def owner_conflict(table: Table, claims: tuple[Claim, ...], definitions: int) -> OwnershipError:
    """Return the error of a table that two packages claim, or that one package defines twice.

    :param definitions: number of the ``Table`` objects that contradict each other
    """
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
    message = f'Table "{table.fullname}" {problem}:{lines}\n{remedy}'
    return OwnershipError("conflict", message, table=table, claims=claims)


def in_class(mapped: bool) -> str:
    """Return how ``info`` is written in a mapped class, to complete a remedy."""
    return ', or __table_args__ = {"info": {...}} in its class' if mapped else ""


def no_target(foreign_key: ForeignKey, package: str, known: Iterable[Table]) -> OwnershipError:
    """Return the error of a foreign key whose table or column is in no package's models.

    :param package: that of the key's own table
    :param known: all tables of all packages
    """
    named = foreign_key.target_fullname
    table_name, _, column = named.rpartition(".")
    tables = {table.fullname: table for table in known}
    remedy = "Correct the name."
    if table_name in tables:
        problem = f'table "{table_name}" has no column "{column}"'
        close = get_close_matches(column, tables[table_name].columns.keys())
    else:
        problem = f'no registered package has a table "{table_name}"'
        others = [name for name in tables if name != foreign_key.parent.table.fullname]
        close = get_close_matches(table_name, others)
        remedy = (
            "Correct the name, remove the key, or include the package that has the table: "
            "config.include(...)."
        )
    nearest = f' Did you mean "{close[0]}"?' if close else ""
    return OwnershipError(
        "no target",
        f'The foreign key of column "{foreign_key.parent}" of package "{package}" names '
        f'"{named}", but {problem}.{nearest} {remedy}',
        table=foreign_key.parent.table,
    )


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
        """Return one line that names the table, and what maps it."""
        mapped = "".join(f", mapped by {name} outside of all packages" for name in self.strangers)
        return f'"{self.table.fullname}"{mapped}'

    @property
    def candidates(self) -> str:
        """One line that names the candidates, each with the reason."""
        reasons: dict[str, list[str]] = {}
        for claim in self.claims:
            reasons.setdefault(claim.package, []).append(claim.place)
        packages: dict[str, list[str]] = {}
        for name, why in reasons.items():
            packages.setdefault("; ".join(why), []).append(f'"{name}"')
        found = ", ".join(f"{', '.join(names)} ({why})" for why, names in packages.items())
        return found or "no package registered its MetaData"


def by_place(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return claims ordered by package, then by place."""
    return tuple(sorted(claims, key=lambda claim: (claim.package, claim.place)))
