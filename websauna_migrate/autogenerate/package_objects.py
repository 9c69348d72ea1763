"""What belongs to the package whose revision is being made: all else is invisible to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import MetaData, Table
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.autogenerate_internals import comparator_modules
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialect_of
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.models.model_sql import type_checks
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.revision_scripts.script_names import Call
from websauna_migrate.revision_scripts.written_operations import Operation, operations_in
from websauna_migrate.revision_scripts.written_schema import Types, WrittenSchema

if TYPE_CHECKING:
    from alembic_utils.replaceable_entity import ReplaceableEntity
    from sqlalchemy.schema import SchemaItem

#: Schema and name; ``None`` is the database's default schema.
Key = tuple[str | None, str]


class TableOperation(Protocol):
    """An operation of Alembic's that is about one table."""

    @property
    def schema(self) -> str | None:
        """The table's schema."""

    @property
    def table_name(self) -> str | None:
        """The table's name."""


#: What Alembic itself asks ``include_object`` about.
ALEMBIC_KINDS = frozenset(
    {
        *("schema", "table", "column", "index", "unique_constraint", "foreign_key_constraint"),
        "check_constraint",
    }
)


class PackageObjects:
    """What of the models and of the database belongs to one package.

    A table of the models belongs to its owner. A table that only the database has belongs to the
    package whose scripts created it; what no package created has no owner. Indexes, comments and
    constraints belong with their table.
    """

    def __init__(
        self,
        package: str,
        ownership: Ownership,
        snapshot: LoadedScripts,
        default_schema: str | None = None,
    ) -> None:
        """Keep what the questions are answered from.

        :param default_schema: how the database names the schema that ``None`` means
        """
        self.package = package
        self.ownership = ownership
        self.snapshot = snapshot
        self.default_schema = default_schema
        #: The operations of scripts that were read, by text.
        self._read: dict[str, Sequence[Operation]] = {}
        #: The types that scripts of all packages write, by the names of dialects.
        self._types: dict[tuple[str, ...], Types] = {}
        #: What older scripts write, by database, and by those that a new one takes the place of.
        self._written: dict[tuple[str, tuple[str, ...] | None], WrittenSchema] = {}

    def beside(self, package: str) -> PackageObjects:
        """Return what belongs to another package; who owns which table is found out once."""
        other = PackageObjects(package, self.ownership, self.snapshot, self.default_schema)
        vars(other).update(_owners=self._owners, _read=self._read, _types=self._types)
        return other

    def over(self, snapshot: LoadedScripts) -> PackageObjects:
        """Return what belongs to the package once there are more scripts; each is read once."""
        made = PackageObjects(self.package, self.ownership, snapshot, self.default_schema)
        made._read = self._read
        return made

    def operations_of(self, text: str) -> Sequence[Operation]:
        """Return the operations of a script by its text."""
        if text not in self._read:
            self._read[text] = [*operations_in([text])]
        return self._read[text]

    @property
    def registered(self) -> MigrationPackage:
        """The package itself."""
        return self.snapshot.packages[self.package]

    @cached_property
    def scripts(self) -> tuple[str, ...]:
        """The sources of the package's scripts, in the order in which they are applied."""
        timeline = self.snapshot.graph.timeline([self.package])
        return tuple(script_text(one.path) for one in timeline)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations of the package's scripts, in the order in which they are applied."""
        return tuple(one for text in self.scripts for one in self.operations_of(text))

    def older_operations(self, squashed: Iterable[str] | None) -> Sequence[Operation]:
        """Return the operations of the scripts before a new one.

        :param squashed: the paths of those that it takes the place of; ``None`` for the package's
        """
        if squashed is None:
            return self.operations
        return [one for path in squashed for one in self.operations_of(script_text(path))]

    def written(self, database: str = "", squashed: Sequence[str] | None = None) -> WrittenSchema:
        """Return what the package's tables have by the scripts before a new one.

        :param database: whose operations count, as :data:`.DATABASES` names it; by default all do
        :param squashed: the paths of the scripts that it takes the place of; ``None`` for the
            package's
        """
        key = (database, None if squashed is None else tuple(squashed))
        if key not in self._written:
            schema = WrittenSchema(
                DATABASES.get(database),
                checks_of=partial(self.type_checks, database) if database else None,
            )
            self._written[key] = schema.read(self.older_operations(squashed))
        return self._written[key]

    def type_checks(
        self, database: str, table: Key, column: str, type_: TypeEngine[Any]
    ) -> Iterator[tuple[str, str]]:
        """Yield name and text of the CHECKs that the type of a column brings on a database.

        Names are made as those of the package's models are.
        """
        made = MetaData()
        for one in self.tables[:1]:
            made.naming_convention = one.metadata.naming_convention
        yield from type_checks(table[1], column, type_, dialect_of(database), made)

    def types_on(self, dialects: tuple[str, ...]) -> Types:
        """Return the types that columns surely have on a database by the scripts of all packages.

        :param dialects: the names of SQLAlchemy's dialects that run on it
        """
        if dialects not in self._types:
            timeline = self.snapshot.graph.timeline()
            scripts = [(one.package, self.operations_of(script_text(one.path))) for one in timeline]
            tests = any(one.runs.tests for _, operations in scripts for one in operations)
            if not tests and self._types:
                # What is the same on every database is read once.
                self._types[dialects] = next(iter(self._types.values()))
                return self._types[dialects]
            written = WrittenSchema(dialects, self.normal)
            for package, operations in scripts:
                # What cannot be read of a script is about the tables of its own package.
                owners = (package, None)
                written.read(
                    operations,
                    lambda key, owners=owners: self.owner_of(*key) in owners,  # type: ignore[misc]
                )
            self._types[dialects] = written.types
        return self._types[dialects]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The package's tables of the models, those that are referred to first."""
        return self.ownership.tables_of(self.package)

    @cached_property
    def models(self) -> Mapping[Key, Table]:
        """The package's tables of the models by schema and name."""
        return {self.key_of(table): table for table in self.tables}

    def owns(self, schema: str | None, name: str) -> bool:
        """Tell whether a table is the package's."""
        return self.owner_of(schema, name) == self.package

    def owner_of(self, schema: str | None, name: str) -> str | None:
        """Return the package that a table belongs to, ``None`` if to none."""
        return self._owners.get((self.normal(schema), name))

    def normal(self, schema: str | None) -> str | None:
        """Return a schema, ``None`` for the default one however it was written."""
        return None if schema == self.default_schema else schema

    def forms(self, schema: str | None, name: str) -> list[Key]:
        """Return the ways in which scripts may name a table or type."""
        normal = self.normal(schema)
        return [(normal, name), *([(self.default_schema, name)] if normal is None else [])]

    def key_of(self, what: Table | TableOperation) -> Key:
        """Return schema and name of a model's table, or of the one that an operation is about."""
        name = what.name if isinstance(what, Table) else what.table_name
        return self.normal(what.schema), str(name)

    @cached_property
    def _owners(self) -> Mapping[Key, str]:
        """The owner of every table that is in models, or that scripts are known to have made."""
        created = {
            (self.normal(schema), name): package
            for (schema, name), (package, _) in self.snapshot.created.sure_tables.items()
        }
        return created | {
            (self.normal(schema), name): package
            for (schema, name), package in self.ownership.owners.items()
        }

    @cached_property
    def keys(self) -> frozenset[Key]:
        """Schema and name of every table of the package, in models or scripts."""
        return frozenset(key for key, owner in self._owners.items() if owner == self.package)

    @cached_property
    def schemas(self) -> frozenset[str | None]:
        """The schemas in which the package has tables, in models or scripts."""
        return frozenset(schema for schema, _ in self.keys)

    def owns_entity(self, entity: ReplaceableEntity) -> bool:
        """Tell whether an entity of alembic-utils that no ``env.py`` registered is the package's.

        The package whose scripts created it has it; a new one belongs to the only package.
        """
        creator = entity_creator(self.snapshot, entity.signature)
        if creator is None:
            return len(self.snapshot.packages) == 1
        return creator == self.package

    def include_name(
        self, name: str | None, type_: str, parent_names: Mapping[str, str | None]
    ) -> bool:
        """Alembic's ``include_name``: nothing else is reflected at all."""
        if type_ == "schema":
            return self.normal(name) in self.schemas
        if type_ == "table" and name is not None:
            return self.owns(parent_names.get("schema_name"), name)
        return True

    def include_object(
        self,
        object_: SchemaItem,
        name: str | None,
        type_: str,
        reflected: bool,
        compare_to: SchemaItem | None,
    ) -> bool:
        """Alembic's ``include_object``: of a shared ``MetaData`` only the package's tables.

        Where a package registered no ``MetaData``, its ``env.py`` alone knows its tables: those
        that have no other owner.
        """
        if reflected and type_ not in ALEMBIC_KINDS and name is not None:
            # A view or function of alembic-utils: only who created it may drop it.
            signature = name.partition(".")[2]
            return entity_creator(self.snapshot, signature) == self.package
        if isinstance(object_, Table) and not reflected:
            owner = self.owner_of(object_.schema, object_.name)
            return owner == self.package or (owner is None and not self.registered.metadata)
        return True


def indexes_of(operations: Iterable[Operation]) -> frozenset[str]:
    """Return the names of the indexes that the operations of scripts create."""
    return frozenset(
        str(one.call.value(0, "index_name")) for one in operations if one.name == "create_index"
    )


def constraint_names(operations: Iterable[Operation], creation: str) -> frozenset[str]:
    """Return the names of the constraints that scripts create with tables, or by an operation."""
    found: set[object] = set()
    for call, name, _, _ in operations:
        if name == creation:
            found.add(call.value(0, "constraint_name", "name"))
        elif name == "create_table":
            parts = [Call(one, call.names) for one in call.args if isinstance(one, ast.Call)]
            found.update(one.value(None, "name") for one in parts if "name" in one.keywords)
    return frozenset(one for one in found if isinstance(one, str))


def entity_creator(snapshot: LoadedScripts, signature: str) -> str | None:
    """Return the package whose scripts create a view, function or trigger."""
    pattern = re.compile(
        rf"\bPG\w+\([^)]*?signature\s*=\s*(['\"]){re.escape(signature)}\1", re.DOTALL
    )
    for revision in snapshot.graph.timeline():
        if pattern.search(script_text(revision.path)):
            return revision.package
    return None


#: Options of ``context.configure`` that change nothing of what is compared: how a script is written
#: or run, where histories are, and the hooks that get the finished operations.
HARMLESS = frozenset(
    {
        *("alembic_module_prefix", "as_sql", "compared_for", "destination_rev", "dont_mutate"),
        *("fn", "include_schemas", "literal_binds", "on_version_apply"),
        *("process_revision_directives", "purge", "render_as_batch", "render_item"),
        *("revision_context", "script", "sqlalchemy_module_prefix", "starting_rev", "tag"),
        *("target_metadata", "template_args", "transaction_per_migration", "transactional_ddl"),
        *("upgrade_token", "downgrade_token", "user_module_prefix", "version_table"),
        *("version_table_pk", "version_table_schema", "written_for"),
    }
)

#: Packages whose comparators are understood: alembic-utils looks at its own entities alone.
KNOWN = ("alembic", "alembic_utils", "websauna_migrate")


def has_custom_comparison(context: AutogenContext, owned: PackageObjects) -> bool:
    """Tell whether more than models and database decides what a comparison finds.

    Filters, comparing functions and options that an ``env.py`` gave, comparators of plugins and an
    implementation of a database that is not Alembic's may see anything: with any of them nothing
    is known of a table from an earlier comparison.
    """
    insisted: dict[str, object] = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": owned.include_name,
        "include_object": owned.include_object,
    }
    for name, value in context.migration_context.opts.items():
        if name in insisted:
            if value != insisted[name]:
                return True
        elif name not in HARMLESS and value is not None:
            return True
    modules = {type(context.migration_context.impl).__module__, *comparator_modules(context)}
    return not all(module.partition(".")[0] in KNOWN for module in modules)
