"""What a new script requires of other packages: found in its operations, never asked for.

A requirement is written for every foreign key, every shared type, and every table of the package
that another one's script made; also one that an earlier script of the package has already: each
script then says by itself what it needs.

A new foreign key makes its package need the other. One that goes makes the other need its package:
the table, or a column or key that it refers to, can be dropped or changed only behind it. It may be
gone for long, and stand in scripts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.compare.by_hand import names_of
from websauna_migrate.autogenerate.operations.ordering import dropped_key, foreign_keys_of
from websauna_migrate.autogenerate.operations.rendering import typed_columns
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, single
from websauna_migrate.autogenerate.operations.server_statements import columns_of_dropped_key
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import RevisionFailed, not_created
from websauna_migrate.autogenerate.write.package_order import circle_of, needs_of
from websauna_migrate.models.named_types import named_types, type_key
from websauna_migrate.models.table_order import inherited_keys, referenced_columns, referenced_key
from websauna_migrate.planning.accesses import Access, thing_of, touches
from websauna_migrate.results import CreatedScript

Origin = tuple[str, str]


@dataclass(eq=False)
class InferredRequires:
    """Finds what a new script requires of other packages.

    :ivar is_later: tells by schema and name of what table nothing is required here, since a later
        script of the same command makes it
    :ivar together: the packages that get a script by the same command
    """

    owned: PackageObjects
    reflection: Reflection
    is_later: Callable[[Key], bool] = lambda key: False
    together: Collection[str] = ()

    def requires(self, directives: Sequence[ops.MigrationScript]) -> list[str]:
        """Return the revisions of other packages that new scripts need, sorted.

        :raises RevisionFailed: if no revision creates a table that is referred to
        :raises RevisionFailed: if no revision creates an enum type that is used
        """
        found: set[str] = set()
        for script in directives:
            for container in script.upgrade_ops_list:
                for schema, table, columns in referred_by(container):
                    found.update(self.of_table(schema, table, columns))
                for _, _, _, type_ in typed_columns(container):
                    for named in named_types(type_):
                        found.update(self.of_type(*type_key(named)))
                for made in self.made_elsewhere:
                    found.update(self.of_changes(container, made))
        return sorted(found)

    @cached_property
    def made_elsewhere(self) -> list[Table]:
        """The package's tables of the models that another one's scripts made."""
        created = self.owned.snapshot.created
        return [
            table
            for key, table in self.owned.models.items()
            for origin in (created.table_origin(*form) for form in self.owned.forms(*key))
            if origin is not None and origin[0] != self.owned.package
        ]

    def of_changes(self, container: ops.OpContainer, table: Table) -> Iterator[str]:
        """Yield the newest revision that made what of a table operations change."""
        schema, name = self.owned.key_of(table)
        for op in container.ops:
            words = names_of(op, self.reflection.connection)
            if name.lower() in words:
                written = (one.name for one in table.columns if one.name.lower() in words)
                yield from self.of_table(schema, name, [*words, *written], words)

    def of_table(
        self,
        schema: str | None,
        table: str,
        columns: Sequence[str],
        names: Collection[str] = (),
    ) -> Iterator[str]:
        """Yield the revision that introduced another package's table, or what is newest of a key.

        That is a column, its name, its type, or the key.

        :param names: constraints and indexes that count as well, in lower case
        """
        created = self.owned.snapshot.created
        forms = self.owned.forms(schema, table)
        origins = {
            origin
            for form in forms
            for column in columns
            if (origin := created.column_origin(*form, column)) is not None
        } or {origin for form in forms if (origin := created.table_origin(*form))}
        origins |= {
            origin
            for form in forms
            for origin, access in self.key_changes.get(form, ())
            if is_about(access, columns) or str(access.label).lower() in names
        }
        newest = self.newest(origins)
        if newest is not None:
            yield newest
        elif (
            not origins
            and not self.reflection.has_table(schema, table)
            and not self.is_later((schema, table))
        ):
            owner = self.owned.owner_of(schema, table)
            if owner not in (None, self.owned.package):
                raise self.not_created(f'a foreign key to table "{table}"', str(owner))

    @cached_property
    def key_changes(self) -> Mapping[Key, list[tuple[Origin, Access]]]:
        """By table, the accesses of revisions that make a key, or change the type of a column."""
        found: dict[Key, list[tuple[Origin, Access]]] = {}
        for origin, accesses in self.owned.snapshot.effects.items():
            for access in accesses:
                if access.kind in ("alter_column", "add_constraint", "create_index"):
                    found.setdefault(access.key, []).append((origin, access))
        return found

    def of_type(self, schema: str | None, name: str) -> Iterator[str]:
        """Yield the revision that created another package's enum type."""
        created = self.owned.snapshot.created
        forms = self.owned.forms(schema, name)
        origins = {origin for form in forms if (origin := created.type_origin(*form))}
        newest = self.newest(origins)
        if newest is not None:
            yield newest
        elif not origins:
            owner = self.owned.ownership.enum_owner(schema, name)
            key = self.owned.normal(schema), name
            if owner not in (None, self.owned.package) and not self.reflection.type_of(key):
                raise self.not_created(f'a column of the type "{name}"', str(owner))

    def not_created(self, used: str, owner: str) -> RevisionFailed:
        """Return the error of what no revision of its owner creates yet.

        :param used: what a model has and names
        """
        tables, types = needs_of(self.owned.ownership, self.owned.snapshot.packages)
        needs = {name: tables[name] | types[name] for name in tables}
        circle = circle_of(needs, self.owned.package)
        names = circle if owner in circle else {owner, self.owned.package}
        return not_created(
            self.owned.package, used, owner, sorted(names), tried=owner in self.together
        )

    def newest(self, origins: Iterable[Origin]) -> str | None:
        """Return that of other packages' revisions which comes last in the graph."""
        graph = self.owned.snapshot.graph
        nodes = [
            graph.find(package, revision)
            for package, revision in sorted(origins)
            if package != self.owned.package
        ]
        if not nodes:
            return None
        return str(graph.revisions[max(nodes, key=lambda node: graph.places[node])])


def is_about(access: Access, columns: Sequence[str]) -> bool:
    """Tell whether an access changes the type of one of some columns, or makes them a key."""
    if access.kind == "alter_column":
        return not set(columns).isdisjoint(access.columns)
    return access.rule == "unique" and set(access.columns) == set(columns)


def referred_by(
    operation: ops.MigrateOperation,
) -> Iterator[tuple[str | None, str, tuple[str, ...]]]:
    """Yield schema, table and columns of each foreign key that an operation creates.

    Without columns, a table that a new one inherits from.
    """
    for op in single(operation):
        if isinstance(op, ops.CreateTableOp):
            for schema, name in inherited_keys(op.kw):
                yield schema, name, ()
            for constraint in foreign_keys_of(op):
                yield (*referenced_key(constraint), tuple(referenced_columns(constraint)))
        elif isinstance(op, ScriptOp) and op.referred is not None:
            yield op.referred
        elif isinstance(op, ops.CreateForeignKeyOp):
            yield op.kw.get("referent_schema"), op.referent_table, tuple(op.remote_cols)


# What goes while other packages referred to it: which script has to run first

#: A table, and the columns that are meant; ``None`` for all.
Columns = tuple[Key, frozenset[str] | None]

#: A table or type as accesses know it, and the columns that are meant.
Thing: TypeAlias = tuple[tuple[str, str, str], frozenset[str] | None]


def run_before(
    package: str,
    operations: Sequence[ops.MigrateOperation],
    dropped: Iterable[tuple[CreatedScript, Columns]],
) -> list[str]:
    """Return the scripts that some operations have to run before: they drop what these let go.

    :param dropped: what the scripts of the same command drop, from :func:`dropped_by`
    :returns: ``package@revision`` of other packages' scripts
    """
    released = [*released_by(operations)]
    return sorted(
        {
            f"{script.package}@{script.revision}"
            for script, (key, others) in dropped
            for own, columns in released
            if own == key and script.package != package and overlap(columns, others)
        }
    )


class Hold(NamedTuple):
    """What lets a table depend on a table or type of another package.

    :ivar columns: its columns with the foreign key or the type; ``None`` where they are not known
    :ivar label: the name of the foreign key
    :ivar kinds: the accesses to it that end that
    """

    thing: tuple[str, str, str]
    columns: frozenset[str] | None
    label: str | None
    kinds: tuple[str, ...]

    def ends_by(self, access: Access) -> bool:
        """Tell whether an access lets go."""
        if access.kind not in self.kinds or thing_of("table", access.key) != self.thing:
            return False
        if access.kind == "drop_constraint":
            return self.label is None or access.label in (None, self.label)
        return access.kind == "drop_table" or overlap(self.columns, some(access.columns))

    def renamed_by(self, access: Access) -> Hold:
        """Return what it is behind an access that may give it another name."""
        if thing_of("table", access.key) == self.thing and access.new_name:
            if access.kind == "rename_table":
                return self._replace(thing=thing_of("table", (access.new_schema, access.new_name)))
            if access.kind == "rename_column" and overlap(self.columns, some(access.columns)):
                return self._replace(columns=self.columns and self.columns | {access.new_name})
        return self


def releases(scripts: LoadedScripts, package: str, going: Sequence[Thing]) -> list[str]:
    """Return the newest revision in which each other package let go of what goes in a package.

    :param going: from :func:`gone_columns`
    :returns: ``package@revision``
    """
    found: dict[str, str] = {}
    held: dict[str, list[Hold]] = {}
    for revision in scripts.graph.timeline() if going else ():
        accesses = scripts.effects[revision.package, revision.id]
        if revision.package == package:
            continue
        holds = held.setdefault(revision.package, [])
        for access in accesses:
            if any(one.ends_by(access) for one in holds):
                found[revision.package] = str(revision)
            holds[:] = [one.renamed_by(access) for one in holds]
        holds += new_holds(accesses, going)
    return sorted(found.values())


def release_warnings(package: str, revision: str, released: Sequence[str]) -> list[str]:
    """Return what it means to require the packages that let go of what a new script drops.

    :param released: from :func:`releases`
    """
    return [
        f'Package "{package}" now requires "{other}", which used what goes: no application without '
        f'"{other}" can use it from here on. If one should, take "{other}@{given}" out of the '
        f'requires of revision "{revision}", and write run_before = ("{package}@{revision}",) into '
        f'revision "{given}" of "{other}".'
        for other, _, given in (one.partition("@") for one in released)
    ]


def new_holds(accesses: Sequence[Access], going: Sequence[Thing]) -> Iterator[Hold]:
    """Yield what a script makes depend on what goes."""
    for access in accesses:
        if access.kind == "foreign_key" and access.target_table:
            target = thing_of("table", (access.target_schema, access.target_table))
            wanted = some(access.target_columns)
            kinds = ("drop_table", "drop_column", "drop_constraint")
            if any(thing == target and overlap(columns, wanted) for thing, columns in going):
                own = thing_of("table", access.key)
                yield Hold(own, some(access.columns), access.label, kinds)
        elif access.kind in ("use_type", "create_type") and any(
            thing == thing_of("type", access.key) for thing, _ in going
        ):
            # Which column has the type is not told.
            kinds = ("drop_table", "drop_column", "alter_column")
            for one in accesses:
                if one.kind in ("create_table", "add_column", "alter_column"):
                    yield Hold(thing_of("table", one.key), some(one.columns), None, kinds)


def gone_columns(
    accesses: Iterable[Access], operations: Sequence[ops.MigrateOperation]
) -> list[Thing]:
    """Return what a new script drops, renames or gives another type.

    :param operations: the script's, which know the columns of keys that are dropped
    """
    keys = [(thing_of("table", key), columns) for key, columns in dropped_by(operations)]
    return keys + [
        (touch.thing, some(touch.columns))
        for access in accesses
        for touch in touches(access)
        # Nothing may refer to an object meanwhile.
        if touch.role in ("destroy", "destroy column", "change")
    ]


def some(columns: Sequence[str]) -> frozenset[str] | None:
    """Return the columns of an access, which names none where it may be any."""
    return folded(columns) if columns else None


def folded(names: Iterable[str]) -> frozenset[str]:
    """Return columns as they are compared: databases differ in whether case counts."""
    return frozenset(name.casefold() for name in names)


def overlap(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Tell whether two sets of a table's columns have one in common; ``None`` is all of them."""
    return one is None or other is None or bool(one & other)


def dropped_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield the tables of which operations drop all, or columns a foreign key may refer to.

    What changes its type counts as dropped: a foreign key could not stay.
    """
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            yield (op.schema, op.table_name), None
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                key = op.schema, op.table_name
                is_plain = isinstance(inner, ops.DropIndexOp) and not inner.to_index().unique
                columns = columns_of_dropped_key(inner)
                if isinstance(inner, ops.DropColumnOp) or (
                    isinstance(inner, ops.AlterColumnOp) and inner.modify_type is not None
                ):
                    yield key, folded([inner.column_name])
                elif columns and not is_plain:
                    # An expression in an index has no name: it may be any column.
                    yield key, folded(columns) if "" not in columns else None


def released_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield what the foreign keys refer to which operations drop."""
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            dropped = foreign_keys_of(op)
        else:
            inner = getattr(op, "ops", ())
            dropped = [key for one in inner if (key := dropped_key(one)) is not None]
        for key in dropped:
            yield referenced_key(key), folded(referenced_columns(key))
