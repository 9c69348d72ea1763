"""Comparing one package's models with the database."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.environment import ProcessRevisionDirectiveFn
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Column, Table
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.autogenerate_internals import BoundedComparison
from websauna_migrate.alembic_adapter.bound_environment import target_metadata
from websauna_migrate.alembic_adapter.entities import entities_apart
from websauna_migrate.alembic_adapter.env_run import run_env
from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.alembic_adapter.written_expressions import DATABASES
from websauna_migrate.autogenerate.compare.columns import TYPE
from websauna_migrate.autogenerate.compare.conditional import ConditionalParts
from websauna_migrate.autogenerate.compare.leaning import targets_of
from websauna_migrate.autogenerate.compare.renaming import Renaming
from websauna_migrate.autogenerate.compare.unseen_types import UnseenTypes
from websauna_migrate.autogenerate.completion import Completion
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, same_name
from websauna_migrate.autogenerate.operations.model_columns import ModelColumns
from websauna_migrate.autogenerate.operations.rendering import item_renderer
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.table_changes import AUTOMATIC
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects, has_custom_comparison
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import (
    NO_RENAMES,
    RenameCandidate,
    Renames,
    rename_candidates,
)
from websauna_migrate.base_errors import MigrationError


def compare_options(
    owned: PackageObjects,
    *,
    keep_types: bool = False,
    databases: Collection[str] = tuple(DATABASES),
    compared_for: Collection[str] | None = None,
) -> dict[str, object]:
    """Return the options of ``context.configure`` for a comparison of one package.

    :param keep_types: write custom types as themselves
    :param databases: what a new script is written for
    :param compared_for: databases on which types have to be what the models say; default those
    """
    return {
        "include_name": owned.include_name,
        "include_object": owned.include_object,
        "include_schemas": bool(owned.schemas - {None}),
        "compare_type": True,
        "compare_server_default": True,
        "render_as_batch": AUTOMATIC,
        "render_item": item_renderer(keep_types),
        "written_for": databases,
        "compared_for": databases if compared_for is None else compared_for,
    }


#: Packages whose own errors are not those of what an application brings in.
HOME = frozenset({*sys.stdlib_module_names, "alembic", "sqlalchemy", "mako", "websauna_migrate"})


@contextmanager
def foreign_code_named(package: str) -> Iterator[None]:
    """Say of an error in a plugin's or an application's code that it is one, and where.

    :raises MigrationError: in place of what was raised there
    """
    try:
        yield
    except (MigrationError, DBAPIError, CommandError):
        raise
    except Exception as exc:
        foreign = [
            f"line {line} of {frame.f_code.co_filename}"
            for frame, line in walk_tb(exc.__traceback__)
            if str(frame.f_globals.get("__name__")).partition(".")[0] not in HOME
        ]
        if not foreign:
            raise
        raise MigrationError(
            f'Package "{package}" cannot be compared with its database: {foreign[-1]} failed: '
            f"{type(exc).__name__}: {exc}\nNothing was changed. A plugin of Alembic, env.py or the "
            "models bring it in."
        ) from exc


class Comparison:
    """One comparison of a package with the database, in the package's own environment."""

    def __init__(
        self,
        environment: PackageEnvironment,
        owned: PackageObjects,
        reflection: Reflection,
        options: dict[str, Any],
        *,
        renames: Renames = NO_RENAMES,
        others_renames: Renames = NO_RENAMES,
        arguments: Mapping[str, object] | None = None,
    ) -> None:
        """Prepare the comparison.

        :param options: from :func:`compare_options`
        :param others_renames: those that other packages' new scripts make
        :param arguments: those of Alembic's ``revision`` command
        """
        self.environment = environment
        self.owned = owned
        self.reflection = reflection
        self.renaming = Renaming(owned, reflection, renames, others_renames)
        self.options = options
        self.context = BoundedComparison(
            environment.config,
            environment.scripts,
            command_arguments(**(arguments or {})),
            self.complete,
        )
        if owned.registered.metadata:
            self.context.tables = owned.tables
            self.context.registered = target_metadata(owned.registered.metadata)
        self._columns: ModelColumns | None = None
        #: What differs, once the comparison has begun.
        self.found: FoundDifferences
        self.unseen: UnseenTypes
        self.conditional: ConditionalParts
        #: The tables that are compared where they exist; ``None`` where ``env.py`` alone knows.
        self.listed: frozenset[Key] | None = None
        if owned.registered.metadata:
            # A partition belongs to its parent, whatever script made it, unless it has a model.
            self.listed = frozenset(
                key for key in owned.keys if key in owned.models or not reflection.is_child(key)
            )
            if renames:
                self.listed |= {(one.schema, one.old) for one in renames.tables}
        self.context.inspector = reflection.inspector(self.renaming.renames, self.listed)
        self.context.prepare = self.prepare

    def run(self, rows: tuple[str, ...], finish: ProcessRevisionDirectiveFn | None = None) -> None:
        """Compare.

        :param rows: those of the package's history table
        :param finish: called with the operations after the package's own hooks
        """
        connection = self.reflection.connection
        if connection.dialect.name == "sqlite":
            # What env.py writes on a connection of its own would wait for the end of what was read.
            connection.rollback()

        def compare(rev: Iterable[str], migration_context: MigrationContext) -> tuple[()]:
            with foreign_code_named(self.environment.package.name):
                self.context.run_autogenerate(rev, migration_context)
            return ()

        insisted = dict(self.options)
        if finish is not None:
            insisted["process_revision_directives"] = finish
        with entities_apart([], self.owned.owns_entity):
            run_env(
                self.environment,
                compare,
                connection=connection,
                rows=rows,
                configure=insisted,
                dont_mutate=True,
                template_args=self.context.template_args,
                revision_context=self.context,
            )

    def prepare(self, context: AutogenContext) -> None:
        """Find out what differs, before Alembic compares.

        Tables that are equal are left out, unless ``env.py`` has a say in it.
        """
        registered = bool(self.owned.registered.metadata)
        more = () if registered else tuple(self.known_to_environment(context))
        if not registered and self.owned.tables:
            # Classes of another package may name this one as their tables' owner.
            self.context.tables = (*self.owned.tables, *more)
        self.found = self.reflection.facts.under(self.renaming.renames, more)
        self.unseen = UnseenTypes(self.owned, context, self.found, self.renaming.renames)
        self.conditional = ConditionalParts(
            self.owned, context, self.unseen.others, self.renaming.renames
        )
        self.context.differs = self.column_differs
        # A table that is to be renamed is not there yet under its name.
        if not registered or self.renaming.plain or has_custom_comparison(context, self.owned):
            return
        # A foreign key that is equal goes and comes where the key goes that it leans on.
        changed = {*self.found.by_object, *self.unseen.tables, *self.conditional.tables}
        going = changed | {one[:2] for one in self.reflection.given_up}
        models = self.owned.models
        equal = {
            key
            for key, table in models.items()
            if key in self.found.tables
            and key not in changed
            and not going & set(targets_of(table, self.owned))
        }
        self.context.tables = tuple(table for key, table in models.items() if key not in equal)
        # Alembic asks of each table that is listed whether it is the package's.
        assert self.listed is not None
        self.context.inspector = self.reflection.inspector(
            self.renaming.renames, self.listed - equal
        )

    def column_differs(self, column: Column[Any], attribute: str) -> bool:
        """Tell whether a model's column has another type, or server default, than the database's.

        A type also where other databases than this one have another.
        """
        differs = self.found.of_column(self.owned.key_of(column.table), str(column.name))
        if (TYPE if attribute == "type" else {attribute}) & differs.keys():
            return True
        return attribute == "type" and self.unseen.differs(column)

    def known_to_environment(self, context: AutogenContext) -> Iterator[Table]:
        """Yield the package's tables that ``env.py`` gives, where no ``MetaData`` is registered."""
        for table in context.sorted_tables:
            if table not in self.owned.tables and self.owned.include_object(
                table, table.name, "table", False, None
            ):
                yield table

    def complete(
        self,
        migration_context: MigrationContext,
        revision: object,
        directives: list[ops.MigrationScript],
    ) -> None:
        """Add what Alembic does not compare, before the package's own hooks see it."""
        for script in directives:
            for upgrade, downgrade in zip(
                script.upgrade_ops_list, script.downgrade_ops_list, strict=True
            ):
                Completion(
                    self.renaming,
                    self.found,
                    self.unseen,
                    self.conditional,
                    self.context.autogen_context,
                    upgrade,
                ).run()
                upgrade.reverse_into(downgrade)
        self._columns = ModelColumns(directives)

    def restore_models(self) -> None:
        """Take back what the package's hooks changed in columns of the models.

        The operations have the same columns: this comes behind the writing of their script.
        """
        if self._columns is not None:
            self._columns.restore()

    def rename_candidates(self) -> list[RenameCandidate]:
        """Return what may have been renamed."""
        impl = self.context.autogen_context.migration_context.impl
        return rename_candidates(self.operations, impl, self.is_same_column)

    def is_same_column(self, schema: str | None, table: str, old: str, new: str) -> bool:
        """Tell whether a column of the database and one of the models are of one kind.

        The server says it: the type is the same, and both allow NULL or both do not.
        """
        key = (self.owned.normal(schema), table)
        sides = (self.found.in_database, old), (self.found.in_models, new)
        kinds = [
            (one.get("type"), one.get("not null"))
            for facts, name in sides
            for one in facts(key)
            if one.kind == "column" and same_name(one.name, name, self.found.models)
        ]
        return len(kinds) == 2 and kinds[0] == kinds[1]

    def warn(self, comments: Sequence[ScriptOp]) -> None:
        """Put operations that are comments into the script, above its others."""
        for script in self.context.generated_revisions:
            script.upgrade_ops_list[0].ops[:0] = comments

    @property
    def operations(self) -> list[ops.MigrateOperation]:
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
    databases: Collection[str] = (),
) -> list[ops.MigrateOperation]:
    """Return what autogenerate would write for a package, as Alembic's operation objects.

    For the present database alone: others may need a column made anew that is no change here.

    :param databases: those that the package's scripts are for: types have to be right on all
    """
    dialect = reflection.connection.dialect.name
    here = [name for name, dialects in DATABASES.items() if dialect in dialects]
    options = compare_options(owned, databases=here, compared_for=[*here, *databases])
    comparison = Comparison(environment, owned, reflection, options)
    comparison.run(rows)
    comparison.restore_models()
    return comparison.operations


def command_arguments(**given: object) -> dict[str, object]:
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
