"""What the hooks of a package's ``env.py`` leave out of comparisons is left out of a proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.environment import NameFilterParentNames, NameFilterType
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Constraint, Index, MetaData, Table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import SchemaItem

from websauna_migrate.alembic_adapter.env_run import run_env
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.compare.constraints import filter_of
from websauna_migrate.autogenerate.comparison import compare_options
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.models.ownership import Ownership

#: The options by which an ``env.py`` has a say in the comparison of an attribute.
COMPARES = {"type": "compare_type", "default": "compare_server_default"}


@dataclass(eq=False)
class LeftOut:
    """Tells which differences the packages' ``env.py`` leave out.

    :ivar before: the facts from before the new scripts
    """

    loaded: LoadedScripts
    ownership: Ownership
    connection: Connection
    before: Facts
    _contexts: dict[str, AutogenContext] = field(default_factory=dict)

    def covers(self, difference: Difference, owner: str | None) -> bool:
        """True if a difference is one that the owner's hooks do not want to be seen."""
        if owner is None:
            return False
        context = self.context_of(owner)
        fact = difference.fact
        option = COMPARES.get(difference.attribute or "")
        if option is not None and context.opts.get(option) is not True:
            was = next((one for one in self.before.objects if one.key == fact.key), None)
            if was is not None and was.get(difference.attribute or "") == difference.left:
                return True
        reflected = difference.left is True and difference.attribute is None
        table = self.table_of(fact, owner, reflected=reflected)
        if table is None:
            return False
        schema, _ = self.before.key_of(fact)
        parents: NameFilterParentNames = {"schema_name": schema, "table_name": table.name}
        for kind, name, part in [("table", table.name, table), *self.parts(table, fact)]:
            wanted = context.run_object_filters(
                part, name, kind, reflected, None
            ) and context.run_name_filters(name, kind, parents)
            if not wanted:
                return True
        return False

    def context_of(self, package: str) -> AutogenContext:
        """Return a context of Alembic's with a package's hooks."""
        if package not in self._contexts:
            owned = PackageObjects(package, self.ownership, self.loaded, self.before.default_schema)
            environment = self.loaded.environments[package]

            def keep(rows: object, migration_context: MigrationContext) -> Sequence[RevisionStep]:
                self._contexts[package] = AutogenContext(migration_context, autogenerate=False)
                return ()

            run_env(
                environment,
                keep,
                connection=self.connection,
                rows=(),
                configure=compare_options(owned),
                dont_mutate=True,
            )
        return self._contexts[package]

    def table_of(self, fact: Fact, owner: str, *, reflected: bool) -> Table | None:
        """Return the table of a fact, of the models or of the database."""
        schema, name = self.before.key_of(fact)
        if not reflected:
            for table in self.ownership.tables_of(owner):
                if table.name == name and table.schema in (schema, fact.schema):
                    return table
            return None
        try:
            bare = schema if self.connection.dialect.name == "postgresql" else None
            return Table(name, MetaData(), schema=bare, autoload_with=self.connection)
        except SQLAlchemyError:
            return None

    def parts(self, table: Table, fact: Fact) -> Iterator[tuple[NameFilterType, str, SchemaItem]]:
        """Yield the part of a table that a fact is of, with Alembic's word for its kind."""
        if fact.kind == "column":
            for column in table.columns:
                if column.name == fact.name:
                    yield "column", fact.name, column
        elif fact.kind in ("index", "constraint"):
            parts: list[Constraint | Index] = [*table.constraints, *table.indexes]
            for part in parts:
                if part.name == fact.name and (kind := filter_of(part)) is not None:
                    yield kind, fact.name, part
