"""The mapped classes of the packages' models, and what they say about owners of tables."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table

from websauna_migrate.models.ownership_errors import Claim, OwnershipError, by_place
from websauna_migrate.models.sqlalchemy_internals import declared_classes

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper, RelationshipProperty


@dataclass(frozen=True, slots=True)
class DeclaredClass:
    """A mapped class: its package, and the table that it brought, if it brought one."""

    dotted: str
    package: str | None
    brought: Table | None
    mapper: Mapper[Any] | None


def package_of_module(module: str, packages: Container[str]) -> str | None:
    """Return the longest of the package names that contains a module, on a dot boundary.

    >>> package_of_module("company.app_extra.models", {"company.app"}) is None
    True
    """
    name = module
    while name:
        if name in packages:
            return name
        name = name.rpartition(".")[0]
    return None


class DeclaredModels:
    """The classes that are mapped to some packages' ``MetaData``; found at the first question."""

    def __init__(self, packages: Collection[str], metadata: Container[MetaData]) -> None:
        """Keep the names of the packages and the ``MetaData`` that they registered."""
        self._packages = packages
        self._registrants = metadata

    @cached_property
    def classes(self) -> list[DeclaredClass]:
        """The classes that are mapped to the registered ``MetaData``, by dotted name."""
        found: list[DeclaredClass] = []
        for cls, mapper in declared_classes():
            if mapper is None:
                # The class waits for reflection; its table is already there.
                table = vars(cls).get("__table__")
                tables = [table]
            else:
                table = mapper.local_table
                if mapper.inherits is not None and mapper.inherits.local_table is table:
                    table = None
                tables = list(mapper.tables)
            if not any(isinstance(t, Table) and t.metadata in self._registrants for t in tables):
                continue
            found.append(
                DeclaredClass(
                    dotted=f"{cls.__module__}.{cls.__qualname__}",
                    package=package_of_module(cls.__module__, self._packages),
                    brought=table if isinstance(table, Table) else None,
                    mapper=mapper,
                )
            )
        return sorted(found, key=lambda one: one.dotted)

    @cached_property
    def class_claims(self) -> dict[Table, tuple[Claim, ...]]:
        """The classes that brought a table, each of them a claim of its package."""
        claims: dict[Table, tuple[Claim, ...]] = {}
        for one in self.classes:
            if one.package is not None and one.brought is not None:
                claim = Claim(one.package, "class", f'class "{one.dotted}"')
                claims[one.brought] = (*claims.get(one.brought, ()), claim)
        return claims

    @cached_property
    def secondary_claims(self) -> dict[Table, tuple[Claim, ...]]:
        """The relationships that use a table as ``secondary``, where packages declared them.

        This configures the mappers, since ``secondary`` may be a string or a callable until then;
        therefore it is asked only for tables that nothing else settles. A relationship that
        SQLAlchemy derived from a ``backref`` does not count, and a ``viewonly`` one, which only
        reads the table, counts only if there is no other.
        """
        relationships: list[tuple[DeclaredClass, RelationshipProperty[Any]]] = []
        derived: set[tuple[Mapper[Any], str]] = set()
        for one in self.classes:
            if one.mapper is None:
                continue
            try:
                inherited_too = list(one.mapper.relationships)
            except Exception as exc:
                raise OwnershipError(
                    "relationships",
                    "The relationships of the models cannot be set up, and only they can tell who "
                    "owns the association tables. SQLAlchemy says: "
                    f"{type(exc).__name__}: {exc}\nCorrect the model that this names.",
                ) from exc
            for relationship in inherited_too:
                if relationship.parent is one.mapper and relationship.secondary is not None:
                    relationships.append((one, relationship))
                    if relationship.backref is not None:
                        backref = relationship.backref
                        key = backref if isinstance(backref, str) else backref[0]
                        derived.add((relationship.mapper, key))
        written: dict[Table, list[Claim]] = {}
        only_read: dict[Table, list[Claim]] = {}
        for one, relationship in relationships:
            table = relationship.secondary
            if one.package is None or not isinstance(table, Table):
                continue
            if (relationship.parent, relationship.key) not in derived:
                place = f'relationship "{one.dotted}.{relationship.key}"'
                uses = only_read if relationship.viewonly else written
                uses.setdefault(table, []).append(Claim(one.package, "secondary", place))
        return {table: by_place(claims) for table, claims in {**only_read, **written}.items()}
