"""What a new script requires of other packages: found in its operations, never asked for.

A requirement is written for every foreign key, every shared type, and every table of the package
that another one's script made; also one that an earlier script of the package has already: each
script then says by itself what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.autogenerate.compare.by_hand import names_of
from websauna_migrate.autogenerate.operations.ordering import foreign_keys_of
from websauna_migrate.autogenerate.operations.rendering import typed_columns
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, single
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import RevisionFailed, not_created
from websauna_migrate.autogenerate.write.package_order import circle_of, needs_of
from websauna_migrate.models.named_types import named_types, type_key
from websauna_migrate.models.table_order import inherited_keys, referenced_columns, referenced_key
from websauna_migrate.planning.accesses import Access

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
