"""Ownership: which package a table, enum type or sequence of the models belongs to.

The rules for a table, the first that applies wins:

1. ``info``: the package named in ``Table.info["package"]``;
2. ``class``: the package with the longest dotted name that contains the module of the table's
   mapped class, on a dot boundary. The class that counts is the one that brought the table: a
   single-table subclass, wherever it lives, changes nothing, a joined subclass owns its own table;
3. ``metadata``: the only package that registered the table's ``MetaData``;
4. ``secondary``: the package of the class whose relationship names the table as ``secondary``.

An index belongs to the package of its table. For types and sequences see
:meth:`Ownership.enum_owner` and :meth:`Ownership.sequence_owner`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias

from pyramid.exceptions import ConfigurationError
from sqlalchemy import ARRAY, MetaData, Sequence, Table
from sqlalchemy.dialects import postgresql, registry
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.schema import ForeignKeyConstraint
from sqlalchemy.types import TypeDecorator, TypeEngine

from websauna_migrate.errors import MigrationError
from websauna_migrate.sqlalchemy_internals import declared_classes

__all__ = [
    "Claim",
    "Key",
    "OwnerConflict",
    "OwnerNotRegistered",
    "OwnerUnknown",
    "Ownership",
    "OwnershipError",
    "PackageModels",
    "RelationshipsBroken",
    "Unsettled",
    "package_of_module",
]

#: How a table, type or sequence is named everywhere: its schema (``None``: the default) and name.
Key: TypeAlias = tuple[str | None, str]


class PackageModels(Protocol):
    """What ownership asks of a registered package; ``MigrationPackage`` has all of it."""

    @property
    def name(self) -> str:
        """Dotted name."""

    @property
    def metadata(self) -> tuple[MetaData, ...]:
        """The ``MetaData`` that the package registered; several packages may share one."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Packages that this one requires, each perhaps with ``@revision``."""


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


class Ownership:
    """The owner of each table, enum type and sequence of the registered packages' models.

    Everything is found at the first question and kept: ask after all models are imported. The
    answers depend on the models and names alone, never on the order of registration or import.
    """

    def __init__(self, packages: Iterable[PackageModels]) -> None:
        """Keep the packages; nothing is looked at yet."""
        self._packages = {package.name: package for package in packages}
        self._names = tuple(sorted(self._packages))
        self._registrants: dict[MetaData, list[str]] = {}
        for name in self._names:
            for metadata in self._packages[name].metadata:
                names = self._registrants.setdefault(metadata, [])
                if name not in names:
                    names.append(name)

    def owner_of(self, table: Table) -> str:
        """Return the package that owns a table.

        A table of no registered ``MetaData`` (a reflected one, a copy) is looked up by its schema
        and name.

        :raises OwnerUnknown: if no rule settles it: write ``info={"package": ...}``
        :raises OwnerConflict: if two packages claim it: rename one, or write ``info``
        :raises OwnerNotRegistered: if its ``info`` names an unknown package
        :raises RelationshipsBroken: if only relationships could tell, and they are broken
        """
        return self.claim_of(table).package

    def claim_of(self, table: Table) -> Claim:
        """Return the owner of a table with the reason; raises as :meth:`owner_of`."""
        definitions = self._definitions.get(key_of(table))
        return self._settle(definitions)[1] if definitions else self._claim(table)

    def tables_of(self, package: str) -> tuple[Table, ...]:
        """Return the tables that a package owns: referenced ones first, then by name.

        That is the order of ``MetaData.sorted_tables``, over all registered ``MetaData`` at once.

        :raises OwnershipError: as :meth:`owner_of`, for any table of the models
        """
        return self._tables_by_owner.get(package, ())

    @cached_property
    def owners(self) -> Mapping[Key, str]:
        """The owner of every table by schema and name, ordered as in :meth:`tables_of`.

        :raises OwnershipError: as :meth:`owner_of`; an :exc:`OwnerUnknown` names all unsettled
            tables at once
        """
        return MappingProxyType({key: claim.package for key, (_, claim) in self._settled.items()})

    @cached_property
    def enum_owners(self) -> Mapping[Key, str]:
        """The owner of every named type in use by schema and name; see :meth:`enum_owner`."""
        dialect = registry.load("postgresql")()
        users: dict[Key, dict[str, set[str]]] = {}
        for table, claim in self._settled.values():
            for column in table.columns:
                for key, modules in named_types(column.type, dialect):
                    users.setdefault(key, {}).setdefault(claim.package, set()).update(modules)
        return self._shared_owners(users)

    def enum_owner(self, schema: str | None, name: str) -> str | None:
        """Return the package that owns a named type: an enum, or a PostgreSQL domain.

        Only a package whose own tables use the type can own it, because only its scripts can have
        created it. Of several such packages the owner is the one that contains the module of the
        Python enum class, else the one on which all the others depend (by ``depends_on`` or a
        foreign key), else the first by name. Types inside arrays, domains, variants and type
        decorators count, as PostgreSQL would see them; an enum kept as a string
        (``native_enum=False``) is no type.

        :returns: ``None`` if no table of the models uses such a type
        """
        return self.enum_owners.get((schema, name))

    @cached_property
    def sequence_owners(self) -> Mapping[Key, str]:
        """The owner of every sequence in use by schema and name; see :meth:`sequence_owner`."""
        users: dict[Key, dict[str, set[str]]] = {}
        for table, claim in self._settled.values():
            for column in table.columns:
                if isinstance(column.default, Sequence):
                    key = (column.default.schema, str(column.default.name))
                    users.setdefault(key, {}).setdefault(claim.package, set())
        return self._shared_owners(users)

    def sequence_owner(self, schema: str | None, name: str) -> str | None:
        """Return the package with a column that takes its values from a sequence.

        Of several packages the owner is chosen as for types.

        :returns: ``None`` if no column of the models uses such a sequence
        """
        return self.sequence_owners.get((schema, name))

    # Rules

    def _claim(self, table: Table) -> Claim:
        """Apply the four rules to one definition of a table."""
        named = table.info.get("package")
        if named is not None:
            if not isinstance(named, str) or named not in self._packages:
                raise OwnerNotRegistered(table, named, self._names)
            return Claim(named, "info", f'info={{"package": "{named}"}}')
        claims = self._class_claims.get(table, ())
        if claims:
            if len({claim.package for claim in claims}) > 1:
                raise OwnerConflict(table, claims, 1)
            return claims[0]
        registered = tuple(
            Claim(name, "metadata", "registered its MetaData")
            for name in self._registrants.get(table.metadata, ())
        )
        if len(registered) == 1:
            return registered[0]
        uses = self._secondary_claims.get(table, ())
        if len({claim.package for claim in uses}) == 1:
            return uses[0]
        strangers = tuple(f'class "{one.dotted}"' for one in self._classes if one.brought is table)
        raise OwnerUnknown((Unsettled(table, uses or registered, strangers),))

    def _settle(self, definitions: list[Table]) -> tuple[Table, Claim]:
        """Return the true definition among tables of one schema and name, with its claim.

        Another ``MetaData`` may describe the same table, to have a foreign key's target; the one
        that counts is in a ``MetaData`` of the owner and has a class of the owner.
        """
        found = [(table, self._claim(table)) for table in definitions]
        if len(found) == 1:
            return found[0]
        owner = found[0][1].package
        if any(claim.package != owner for _, claim in found):
            raise OwnerConflict(definitions[0], by_place(c for _, c in found), len(found))

        def rank(pair: tuple[Table, Claim]) -> tuple[bool, bool]:
            table, _ = pair
            classes = self._class_claims.get(table, ())
            return (
                owner in self._registrants[table.metadata],
                any(claim.package == owner for claim in classes),
            )

        best = max(map(rank, found))
        winners = [pair for pair in found if rank(pair) == best]
        if len(winners) > 1:
            raise OwnerConflict(definitions[0], by_place(c for _, c in winners), len(winners))
        return winners[0]

    def _shared_owners(self, users: Mapping[Key, dict[str, set[str]]]) -> Mapping[Key, str]:
        """Choose the owner of each type or sequence among its users; see :meth:`enum_owner`.

        :param users: the using packages, each with the modules that define its enum classes
        """
        return MappingProxyType(
            {key: self._shared_owner(users[key]) for key in sorted(users, key=sort_key)}
        )

    def _shared_owner(self, users: dict[str, set[str]]) -> str:
        modules = set().union(*users.values())
        homes = {package_of_module(module, self._packages) for module in modules} & set(users)
        needed = {
            name
            for name in users
            if all(name in self._requirements(other) for other in users if other != name)
        }
        for candidates in (homes, needed):
            if len(candidates) == 1:
                return str(*candidates)
        return min(users)

    # What the rules look at

    @cached_property
    def _definitions(self) -> dict[Key, list[Table]]:
        """All tables of all registered ``MetaData``, by schema and name."""
        definitions: dict[Key, list[Table]] = {}
        for metadata in self._registrants:
            for table in metadata.tables.values():
                definitions.setdefault(key_of(table), []).append(table)
        return definitions

    @cached_property
    def _ordered(self) -> tuple[Key, ...]:
        """All keys in canonical order: by depth below the tables referenced, then by name.

        A foreign key to a table that no model has counts for nothing. In a circle of foreign keys
        the one that closes it, seen from the first table by name, counts for nothing either.
        """
        depths = depths_of({key: sorted(self._parents(key), key=sort_key) for key in self._sorted})
        return tuple(sorted(depths, key=lambda key: (depths[key], sort_key(key))))

    @cached_property
    def _sorted(self) -> tuple[Key, ...]:
        return tuple(sorted(self._definitions, key=sort_key))

    def _parents(self, key: Key) -> set[Key]:
        """Return the tables of the models that a table's foreign keys reference."""
        targets = (
            referenced_key(constraint)
            for table in self._definitions[key]
            for constraint in table.foreign_key_constraints
            if not constraint.use_alter
        )
        return {target for target in targets if target in self._definitions} - {key}

    @cached_property
    def _settled(self) -> Mapping[Key, tuple[Table, Claim]]:
        """The true definition and the claim of every table, in canonical order."""
        settled: dict[Key, tuple[Table, Claim]] = {}
        unsettled: list[Unsettled] = []
        for key in self._ordered:
            try:
                settled[key] = self._settle(self._definitions[key])
            except OwnerUnknown as exc:
                unsettled += exc.unsettled
        if unsettled:
            raise OwnerUnknown(tuple(unsettled))
        return settled

    @cached_property
    def _tables_by_owner(self) -> dict[str, tuple[Table, ...]]:
        tables: dict[str, list[Table]] = {}
        for table, claim in self._settled.values():
            tables.setdefault(claim.package, []).append(table)
        return {name: tuple(owned) for name, owned in tables.items()}

    @cached_property
    def _direct_requirements(self) -> dict[str, set[str]]:
        """The packages that each package needs by itself: by ``depends_on`` or a foreign key."""
        needs = {
            name: {needed.partition("@")[0] for needed in package.depends_on}
            for name, package in self._packages.items()
        }
        for key, (_, claim) in self._settled.items():
            needs[claim.package].update(self._settled[p][1].package for p in self._parents(key))
        return needs

    def _requirements(self, package: str) -> set[str]:
        """Return all packages that a package needs, through others too."""
        found: set[str] = set()
        waiting = [package]
        while waiting:
            new = self._direct_requirements.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    @cached_property
    def _classes(self) -> list[DeclaredClass]:
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
    def _class_claims(self) -> dict[Table, tuple[Claim, ...]]:
        claims: dict[Table, tuple[Claim, ...]] = {}
        for one in self._classes:
            if one.package is not None and one.brought is not None:
                claim = Claim(one.package, "class", f'class "{one.dotted}"')
                claims[one.brought] = (*claims.get(one.brought, ()), claim)
        return claims

    @cached_property
    def _secondary_claims(self) -> dict[Table, tuple[Claim, ...]]:
        """The relationships that use a table as ``secondary``, where packages declared them.

        This configures the mappers, since ``secondary`` may be a string or a callable until then;
        therefore it is asked only for tables that nothing else settles. A relationship that
        SQLAlchemy derived from a ``backref`` does not count, and a ``viewonly`` one, which only
        reads the table, counts only if there is no other.
        """
        relationships: list[tuple[DeclaredClass, RelationshipProperty[Any]]] = []
        derived: set[tuple[Mapper[Any], str]] = set()
        for one in self._classes:
            if one.mapper is None:
                continue
            try:
                inherited_too = list(one.mapper.relationships)
            except Exception as exc:
                raise RelationshipsBroken(exc) from exc
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


def key_of(table: Table) -> Key:
    """Return the schema and name of a table."""
    return (table.schema, str(table.name))


def sort_key(key: Key) -> str:
    """Return what ``MetaData`` sorts its tables by: ``schema.name``, or the name alone."""
    schema, name = key
    return name if schema is None else f"{schema}.{name}"


def by_place(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return claims ordered by package, then by place."""
    return tuple(sorted(claims, key=lambda claim: (claim.package, claim.place)))


def in_class(mapped: bool) -> str:
    """Return how ``info`` is written in a mapped class, to complete a remedy."""
    return ', or __table_args__ = {"info": {...}} in its class' if mapped else ""


def referenced_key(constraint: ForeignKeyConstraint) -> Key | None:
    """Return the schema and name of the table that a foreign key references, as far as known.

    The table may be in another ``MetaData`` than the one that names it by a string.
    """
    try:
        return key_of(constraint.referred_table)
    except NoReferenceError:
        *schema, name, _ = constraint.elements[0].target_fullname.split(".")
        return (".".join(schema) or None, name)


def depths_of(parents: Mapping[Key, Iterable[Key]]) -> dict[Key, int]:
    """Return for each key the length of the longest chain of parents above it.

    The walk is depth first without recursion, in the given order; an edge that closes a circle
    is skipped.
    """
    depths: dict[Key, int] = {}
    for start in parents:
        if start in depths:
            continue
        entered = {start}
        trail: list[tuple[Key, Iterator[Key]]] = [(start, iter(parents[start]))]
        while trail:
            key, remaining = trail[-1]
            parent = next((p for p in remaining if p not in depths and p not in entered), None)
            if parent is not None:
                entered.add(parent)
                trail.append((parent, iter(parents[parent])))
            else:
                above = (depths[parent] + 1 for parent in parents[key] if parent in depths)
                depths[key] = max(above, default=0)
                trail.pop()
    return depths


def named_types(declared: TypeEngine[Any], dialect: Dialect) -> Iterator[tuple[Key, set[str]]]:
    """Yield the named types inside a column's type, with the modules of their enum classes.

    :param dialect: PostgreSQL's: only there are types objects of a schema
    """
    try:
        actual: object = declared.dialect_impl(dialect)
    except Exception:
        # A type made for another database may refuse this one; then it is no type of this one.
        return
    while isinstance(actual, TypeDecorator):
        actual = actual.impl_instance
    if isinstance(actual, ARRAY):
        yield from named_types(actual.item_type, dialect)
    elif isinstance(actual, postgresql.DOMAIN):
        yield (actual.schema, str(actual.name)), set()
        yield from named_types(actual.data_type, dialect)
    elif isinstance(actual, postgresql.ENUM) and actual.name is not None:
        modules = {actual.enum_class.__module__} if actual.enum_class is not None else set()
        yield (actual.schema, str(actual.name)), modules
