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

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Protocol

from sqlalchemy import MetaData, Sequence, Table

from websauna_migrate.models.declared_classes import DeclaredModels, package_of_module
from websauna_migrate.models.named_types import NamedType, named_types, type_key
from websauna_migrate.models.ownership_errors import (
    Claim,
    OwnershipError,
    Unsettled,
    by_place,
    no_target,
    owner_conflict,
    owner_unknown,
)
from websauna_migrate.models.sqlalchemy_internals import lonely_sequences, types_of_metadata
from websauna_migrate.models.table_order import (
    Key,
    depths_of,
    inherited_keys,
    is_dangling,
    key_of,
    link_foreign_keys,
    referenced_key,
    sort_key,
)


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

    @property
    def history_table(self) -> str:
        """Name of the table with its applied revisions."""


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
        self._models = DeclaredModels(self._packages, self._registrants)
        #: The names of the packages' history tables.
        self.histories = frozenset(one.history_table for one in self._packages.values())

    def owner_of(self, table: Table) -> str:
        """Return the package that owns a table.

        A table of no registered ``MetaData`` (a reflected one, a copy) is looked up by its schema
        and name.

        :raises OwnershipError: if no rule settles it: write ``info={"package": ...}``; if
            two packages claim it (rename one, or write ``info``); if its ``info`` names an unknown
            package; or if only relationships could tell, and SQLAlchemy cannot configure them
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

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of all packages, each once.

        :raises OwnershipError: as :meth:`owner_of`, for any table of the models
        """
        return tuple(table for name in self._names for table in self.tables_of(name))

    @cached_property
    def owners(self) -> Mapping[Key, str]:
        """The owner of every table by schema and name, ordered as in :meth:`tables_of`.

        :raises OwnershipError: as :meth:`owner_of`; that of kind ``unknown`` names all unsettled
            tables at once
        """
        return MappingProxyType({key: claim.package for key, (_, claim) in self._settled.items()})

    @cached_property
    def enum_owners(self) -> Mapping[Key, str]:
        """The owner of every named type in use by schema and name; see :meth:`enum_owner`."""
        users: dict[Key, dict[str, set[str]]] = {}
        for table, claim in self._settled.values():
            for column in table.columns:
                for named in named_types(column.type):
                    packages = users.setdefault(type_key(named), {})
                    packages.setdefault(claim.package, set()).update(modules_of(named))
        for metadata, names in self._registrants.items():
            for type_ in types_of_metadata(metadata):
                for named in named_types(type_):
                    users.setdefault(type_key(named), dict.fromkeys(names, modules_of(named)))
        return self._shared_owners(users)

    def enum_owner(self, schema: str | None, name: str, default: str | None = None) -> str | None:
        """Return the package that owns a named type: an enum, or a PostgreSQL domain.

        Only a package whose own tables use the type can own it, because only its scripts can have
        created it. Of several such packages the owner is the one that contains the module of the
        Python enum class, else the one on which all the others depend (by ``depends_on`` or a
        foreign key), else the first by name. Types inside arrays, domains, variants and type
        decorators count, as PostgreSQL would see them; an enum kept as a string
        (``native_enum=False``) is no type. One that no column uses belongs to the package that
        registered its ``MetaData``.

        :param default: the schema that ``None`` means, which models may name
        :returns: ``None`` if the models have no such type
        """
        return owner_in(self.enum_owners, schema, name, default)

    @cached_property
    def sequence_owners(self) -> Mapping[Key, str]:
        """The owner of every sequence in use by schema and name; see :meth:`sequence_owner`."""
        users: dict[Key, dict[str, set[str]]] = {}
        for table, claim in self._settled.values():
            for column in table.columns:
                called = getattr(getattr(column.server_default, "arg", None), "sequence", None)
                for sequence in (column.default, called):
                    if isinstance(sequence, Sequence):
                        key = (sequence.schema, str(sequence.name))
                        users.setdefault(key, {}).setdefault(claim.package, set())
        for metadata, names in self._registrants.items():
            for sequence in lonely_sequences(metadata):
                key = (sequence.schema, str(sequence.name))
                users.setdefault(key, {name: set() for name in names})
        return self._shared_owners(users)

    def sequence_owner(
        self, schema: str | None, name: str, default: str | None = None
    ) -> str | None:
        """Return the package with a column that takes its values from a sequence.

        A sequence that no column uses belongs to the package that registered its ``MetaData``. Of
        several packages the owner is chosen as for types.

        :param default: the schema that ``None`` means, which models may name
        :returns: ``None`` if the models have no such sequence
        """
        return owner_in(self.sequence_owners, schema, name, default)

    def true_definition(self, definitions: list[Table]) -> Table:
        """Return the one of several tables of a name that counts; the first if they contradict."""
        try:
            return self._settle(definitions)[0]
        except OwnershipError:
            # The question for the owner tells it.
            return definitions[0]

    def require_targets(self, packages: Iterable[str]) -> None:
        """Check that every foreign key of packages names a column that there is.

        :raises OwnershipError: naming the key, its package and the nearest names
        """
        for table in chain.from_iterable(map(self.tables_of, sorted(packages))):
            for foreign_key in sorted(table.foreign_keys, key=lambda one: str(one.parent.name)):
                if is_dangling(foreign_key):
                    known = [one for found in self._definitions.values() for one in found]
                    raise no_target(foreign_key, self.owner_of(table), known)

    # Rules

    def _claim(self, table: Table) -> Claim:
        """Apply the four rules to one definition of a table."""
        named = table.info.get("package")
        if named is not None:
            if not isinstance(named, str) or named not in self._packages:
                raise OwnershipError(
                    "not registered",
                    f'Table "{table.fullname}" names its owner by info={{"package": {named!r}}}, '
                    "but no such package is registered for migrations. Correct the name or "
                    f"register the package. Registered: {', '.join(self._names) or 'none'}.",
                    table=table,
                )
            return Claim(named, "info", f'info={{"package": "{named}"}}')
        claims = self._models.class_claims.get(table, ())
        if claims:
            if len({claim.package for claim in claims}) > 1:
                raise owner_conflict(table, claims, 1)
            return claims[0]
        registered = tuple(
            Claim(name, "metadata", "registered its MetaData")
            for name in self._registrants.get(table.metadata, ())
        )
        if len(registered) == 1:
            return registered[0]
        uses = self._models.secondary_claims.get(table, ())
        if len({claim.package for claim in uses}) == 1:
            return uses[0]
        strangers = tuple(
            f'class "{one.dotted}"' for one in self._models.classes if one.brought is table
        )
        raise owner_unknown((Unsettled(table, uses or registered, strangers),))

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
            raise owner_conflict(definitions[0], by_place(c for _, c in found), len(found))

        def rank(pair: tuple[Table, Claim]) -> tuple[bool, bool]:
            table, _ = pair
            classes = self._models.class_claims.get(table, ())
            return (
                owner in self._registrants[table.metadata],
                any(claim.package == owner for claim in classes),
            )

        best = max(map(rank, found))
        winners = [pair for pair in found if rank(pair) == best]
        if len(winners) > 1:
            raise owner_conflict(definitions[0], by_place(c for _, c in winners), len(winners))
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
        """All tables of all registered ``MetaData``, by schema and name; their keys are linked."""
        link_foreign_keys(self._registrants, self.true_definition)
        definitions: dict[Key, list[Table]] = {}
        for metadata in self._registrants:
            for table in metadata.tables.values():
                # An application may reflect where it stands.
                if table.columns.keys() == ["version_num"]:
                    continue
                definitions.setdefault(key_of(table), []).append(table)
        return definitions

    def _parents(self, key: Key) -> set[Key]:
        """Return the tables of the models that a table references, or inherits from."""
        targets = {
            referenced_key(constraint)
            for table in self._definitions[key]
            for constraint in table.foreign_key_constraints
            if not constraint.use_alter
        }
        for table in self._definitions[key]:
            targets.update(inherited_keys(table.kwargs))
        return {target for target in targets if target in self._definitions} - {key}

    @cached_property
    def _settled(self) -> Mapping[Key, tuple[Table, Claim]]:
        """The true definition and the claim of every table, in canonical order.

        That is by depth below the tables referenced, then by name. A foreign key to a table that no
        model has counts for nothing. In a circle of foreign keys the one that closes it, seen from
        the first table by name, counts for nothing either.
        """
        keys = sorted(self._definitions, key=sort_key)
        depths = depths_of({key: sorted(self._parents(key), key=sort_key) for key in keys})
        settled: dict[Key, tuple[Table, Claim]] = {}
        unsettled: list[Unsettled] = []
        for key in sorted(depths, key=lambda key: (depths[key], sort_key(key))):
            try:
                settled[key] = self._settle(self._definitions[key])
            except OwnershipError as exc:
                if not exc.unsettled:
                    raise
                unsettled += exc.unsettled
        if unsettled:
            raise owner_unknown(tuple(unsettled))
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


def owner_in(
    owners: Mapping[Key, str], schema: str | None, name: str, default: str | None
) -> str | None:
    """Return the owner of an object, also where models name the schema that ``None`` means."""
    return owners.get((schema, name)) or (owners.get((default, name)) if schema is None else None)


def modules_of(named: NamedType) -> set[str]:
    """Return the module of a type's enum class, if it has one."""
    cls = getattr(named, "enum_class", None)
    return set() if cls is None else {cls.__module__}
