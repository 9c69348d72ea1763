"""What a new script requires of other packages: found in its operations, never asked for.

A requirement is written for every foreign key and every shared type, also one that an earlier
script of the package has already: each script then says by itself what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from alembic.operations import ops

from websauna_migrate.autogenerate.errors import not_created
from websauna_migrate.autogenerate.operations.column_types import dialect_of
from websauna_migrate.autogenerate.operations.ordering import referred_key
from websauna_migrate.autogenerate.operations.rendering import typed_columns
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.models.ownership import named_types

__all__ = ["InferredRequires"]

Origin = tuple[str, str]


class InferredRequires:
    """Finds what a new script requires of other packages."""

    def __init__(self, owned: PackageObjects, reflection: Reflection) -> None:
        self.owned = owned
        self.reflection = reflection

    def requires(self, directives: Sequence[Any]) -> list[str]:
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
                    for key, _ in named_types(type_, dialect_of("postgresql")):
                        found.update(self.of_type(*key))
        return sorted(found)

    def of_table(self, schema: str | None, table: str, columns: Sequence[str]) -> Iterator[str]:
        """Yield the revision that introduced another package's table, or its newest column."""
        created = self.owned.snapshot.created
        forms = self.schemas(schema)
        origins = {
            origin
            for form in forms
            for column in columns
            if (origin := created.column_origin(form, table, column)) is not None
        } or {origin for form in forms if (origin := created.table_origin(form, table))}
        newest = self.newest(origins)
        if newest is not None:
            yield newest
        elif not origins and not self.reflection.has_table(schema, table):
            owner = self.owned.owner_of(schema, table)
            if owner not in (None, self.owned.package):
                raise not_created(
                    self.owned.package,
                    f'a foreign key to table "{table}"',
                    str(owner),
                    mutual=self.refers_back(str(owner)),
                )

    def of_type(self, schema: str | None, name: str) -> Iterator[str]:
        """Yield the revision that created another package's enum type."""
        created = self.owned.snapshot.created
        origins = {
            origin
            for form in self.schemas(schema)
            if (origin := created.type_origin(form, name)) is not None
        }
        newest = self.newest(origins)
        if newest is not None:
            yield newest
        elif not origins:
            owner = self.owned.ownership.enum_owner(schema, name)
            if owner not in (None, self.owned.package) and not self.reflection.has_type(
                schema, name
            ):
                raise not_created(self.owned.package, f'a column of the type "{name}"', str(owner))

    def refers_back(self, owner: str) -> bool:
        """Tell whether a package's tables refer, over others if need be, to this one's."""
        seen: set[str] = set()
        waiting = [owner]
        while waiting:
            package = waiting.pop()
            if package in seen:
                continue
            seen.add(package)
            for table in self.owned.ownership.tables_of(package):
                for key in table.foreign_keys:
                    *schema, name, _ = key.target_fullname.split(".")
                    other = self.owned.owner_of(".".join(schema) or None, name)
                    if other is not None:
                        waiting.append(other)
        return self.owned.package in seen

    def schemas(self, schema: str | None) -> tuple[str | None, ...]:
        """Return the ways in which a schema may be written in a script."""
        normal = self.owned.normal(schema)
        return (normal,) if normal is not None else (None, self.owned.default_schema)

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


def referred_by(operation: Any) -> Iterator[tuple[str | None, str, tuple[str, ...]]]:
    """Yield schema, table and columns of each foreign key that an operation creates."""
    if isinstance(operation, ops.OpContainer):
        for inner in operation.ops:
            yield from referred_by(inner)
    elif isinstance(operation, ops.CreateTableOp):
        for constraint in operation.to_table().foreign_key_constraints:
            key = referred_key(constraint)
            if key is not None:
                columns = tuple(e.target_fullname.rpartition(".")[2] for e in constraint.elements)
                yield (*key, columns)
    elif isinstance(operation, ops.AddColumnOp):
        for foreign_key in operation.column.foreign_keys:
            parts = foreign_key.target_fullname.split(".")
            yield (".".join(parts[:-2]) or None, parts[-2], (parts[-1],))
    elif isinstance(operation, ops.CreateForeignKeyOp):
        yield (
            operation.kw.get("referent_schema"),
            operation.referent_table,
            tuple(operation.remote_cols),
        )
