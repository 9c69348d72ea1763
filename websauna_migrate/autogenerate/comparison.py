"""Comparing one package's models with the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Table

from websauna_migrate.alembic_adapter.entities import entities_apart
from websauna_migrate.alembic_adapter.internals import BoundedComparison, compares_types_alone
from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.autogenerate.compare.custom_comparison import has_custom_comparison
from websauna_migrate.autogenerate.compare.equality import Equality
from websauna_migrate.autogenerate.compare.rewritten import asks
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables
from websauna_migrate.autogenerate.compare.types_and_defaults import TypesAndDefaults
from websauna_migrate.autogenerate.completion import complete
from websauna_migrate.autogenerate.operations.rendering import item_renderer
from websauna_migrate.autogenerate.operations.table_changes import AUTOMATIC
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.rename.candidates import warning_comment
from websauna_migrate.autogenerate.rename.renames import NO_RENAMES, Renames
from websauna_migrate.autogenerate.rename.renaming import Renaming

__all__ = ["Comparison", "compare_options", "find_changes"]

Finish = Callable[[Any, Any, list[Any]], None]


def compare_options(owned: PackageObjects, *, keep_types: bool = False) -> dict[str, Any]:
    """Return the options of ``context.configure`` for a comparison of one package.

    :param keep_types: write custom types as themselves
    """
    return {
        "include_name": owned.include_name,
        "include_object": owned.include_object,
        "include_schemas": bool(owned.schemas - {None}),
        "compare_type": True,
        "compare_server_default": True,
        "render_as_batch": AUTOMATIC,
        "render_item": item_renderer(keep_types),
    }


class Comparison:
    """One comparison of a package with the database, in the package's own environment."""

    def __init__(
        self,
        environment: PackageEnvironment,
        owned: PackageObjects,
        reflection: Reflection,
        *,
        renames: Renames = NO_RENAMES,
        keep_types: bool = False,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        """Prepare the comparison.

        :param arguments: those of Alembic's ``revision`` command
        """
        self.environment = environment
        self.owned = owned
        self.reflection = reflection
        self.renaming = Renaming(owned, reflection, renames)
        self.keep_types = keep_types
        self.context = BoundedComparison(
            environment.config,
            environment.scripts,
            command_arguments(**(arguments or {})),
            self.complete,
        )
        if owned.registered.metadata:
            self.context.tables = owned.tables
        #: The tables that are compared where they exist; ``None`` where ``env.py`` alone knows.
        self.listed: frozenset[Key] | None = None
        if owned.registered.metadata:
            # A partition belongs to its parent, whoever made it, unless it has a model.
            models = {owned.key_of(table) for table in owned.tables}
            self.listed = owned.keys - (reflection.children - models)
            if renames:
                self.listed |= {(one.schema, one.old) for one in renames.tables}
        self.context.inspector = reflection.inspector(self.renaming.renames, self.listed)
        # A table that is to be renamed is not there yet under its name.
        if owned.registered.metadata and not renames:
            self.context.narrow = self.narrow
        if reflection.equality is None:
            reflection.equality = Equality(reflection)
            reflection.temporary_tables = TemporaryTables(reflection.connection, self.foreseen)
        self.equality: Equality = reflection.equality
        self.temporary_tables: TemporaryTables = reflection.temporary_tables
        self.context.matching = TypesAndDefaults(reflection.connection, self.temporary_tables)
        if reflection.connection.dialect.name == "postgresql":
            self.context.is_serial = reflection.is_serial

    def run(self, rows: tuple[str, ...], finish: Finish | None = None) -> None:
        """Compare.

        :param rows: those of the package's history table
        :param finish: called with the operations after the package's own hooks
        """
        connection = self.reflection.connection

        def compare(rev: Any, migration_context: MigrationContext) -> Sequence[Any]:
            self.context.run_autogenerate(rev, migration_context)
            return ()

        insisted = compare_options(self.owned, keep_types=self.keep_types)
        if finish is not None:
            insisted["process_revision_directives"] = finish
        with entities_apart([], self.owned.owns_entity):
            self.environment.run(
                compare,
                connection=connection,
                rows=rows,
                configure=insisted,
                dont_mutate=True,
                template_args=self.context.template_args,
                revision_context=self.context,
            )

    def narrow(self, context: AutogenContext) -> None:
        """Leave out the tables that are evidently equal, unless ``env.py`` has a say in it."""
        if has_custom_comparison(context, self.owned) or not compares_types_alone(
            context.migration_context.impl.compare_type
        ):
            return
        different = [
            table
            for table in self.owned.tables
            if not self.equality.equal(table, self.owned.normal(table.schema))
        ]
        self.context.tables = tuple(different)
        # Alembic asks of each table that is listed whether it is the package's.
        equal = {self.owned.key_of(table) for table in self.owned.tables}
        equal -= {self.owned.key_of(table) for table in different}
        assert self.listed is not None
        self.context.inspector = self.reflection.inspector(
            self.renaming.renames, self.listed - equal
        )

    def foreseen(self) -> Iterator[Table]:
        """Yield the tables of all packages that the database may be asked about."""
        for package in self.owned.snapshot.packages:
            for table in self.owned.ownership.tables_of(package):
                schema, name = self.owned.key_of(table)
                if (schema, name) in self.reflection.wanted and asks(self.equality, table, schema):
                    yield table

    def complete(self, migration_context: Any, revision: Any, directives: list[Any]) -> None:
        """Add what Alembic does not compare, before the package's own hooks see it."""
        complete(self.renaming, self.temporary_tables, self.context.autogen_context, directives)

    @property
    def impl(self) -> Any:
        """Alembic's implementation of the database."""
        return self.context.autogen_context.migration_context.impl

    def warn(self, warnings: Sequence[str]) -> None:
        """Put warnings into the script, above its operations."""
        for script in self.context.generated_revisions:
            script.upgrade_ops_list[0].ops.insert(0, warning_comment(warnings))

    @property
    def operations(self) -> list[Any]:
        """The operations of the upgrade that was found."""
        return [
            operation
            for script in self.context.generated_revisions
            for container in script.upgrade_ops_list
            for operation in container.ops
        ]


def find_changes(
    environment: PackageEnvironment,
    owned: PackageObjects,
    reflection: Reflection,
    rows: tuple[str, ...],
) -> list[Any]:
    """Return what autogenerate would write for a package, as Alembic's operation objects."""
    comparison = Comparison(environment, owned, reflection)
    comparison.run(rows)
    return comparison.operations


def command_arguments(**given: Any) -> dict[str, Any]:
    """Return the arguments that Alembic's ``revision`` command hands to its context."""
    return {
        "message": None,
        "autogenerate": True,
        "sql": False,
        "head": "head",
        "splice": False,
        "branch_label": None,
        "version_path": None,
        "rev_id": None,
        "depends_on": None,
        **given,
    }
