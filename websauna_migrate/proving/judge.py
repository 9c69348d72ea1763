"""Compares facts in the course of a proof: with the models, and with those before.

What the hooks of a package's ``env.py`` leave out of comparisons is left out of a proof.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.environment import NameFilterParentNames, NameFilterType
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Constraint, Index, MetaData, Table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import SchemaItem

from websauna_migrate.alembic_adapter.entities import registry_of_process
from websauna_migrate.alembic_adapter.env_run import run_env
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.compare.constraints import filter_of
from websauna_migrate.autogenerate.comparison import compare_options
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.config.settings import Settings
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference, content, differences
from websauna_migrate.facts.fact import EXPRESSIONS, Fact, Facts
from websauna_migrate.facts.model_comparison import compare_with_models, is_own_table
from websauna_migrate.facts.model_ddl import ModelsNotCreated
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.facts.standstill import WRITERS, Scratch, settled_differences
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.models.table_order import key_of, referenced_key
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.proving.not_proven import differs

if TYPE_CHECKING:
    from alembic_utils.replaceable_entity import ReplaceableEntity

#: PostgreSQL gives NOT NULL a name that no model says.
NAME_OF_NOT_NULL = "name of NOT NULL"


class Judge:
    """Judges what some new scripts do to a database.

    :ivar unsettled: True if the facts behind the downgrade differ from those before in an
        expression alone that could not be written back; only where nothing can be rolled back
    """

    def __init__(
        self,
        loaded: LoadedScripts,
        settings: Settings,
        ownership: Ownership,
        revisions: Collection[Revision],
    ) -> None:
        """Keep what is compared.

        :param loaded: the scripts, the new ones among them
        :param settings: they say where the models are tried
        :param revisions: the new ones
        """
        self.loaded = loaded
        self.settings = settings
        self.ownership = ownership
        self.revisions = sorted(revisions, key=str)
        self.packages = sorted({one.package for one in revisions})
        #: Those whose tables are known; those of others their ``env.py`` alone knows.
        self.with_models = [one for one in self.packages if loaded.packages[one].metadata]
        self.unsettled = False
        self._before = Facts("")

    def before(self, connection: Connection) -> None:
        """Keep the facts from before the scripts."""
        self._before = self.read(connection)

    def read(self, connection: Connection) -> Facts:
        """Return the facts of the schemas that the packages have something in."""
        schemas: Collection[str] | None = None
        if connection.dialect.name == "postgresql":
            named = {table.schema for table in self.tables(whole=False)}
            default = connection.exec_driver_sql("SELECT current_schema()").scalar()
            schemas = sorted({schema for schema in (*named, default) if schema})
        return read_facts(connection, schemas=schemas).only(
            lambda one: not is_own_table(one.table or one.name, self.ownership.histories)
        )

    # The models

    def up(self, connection: Connection) -> None:
        """Compare what the upgrade made with the models.

        :raises NotProven: naming what differs
        """
        facts = self.read(connection)
        try:
            found, besides = self.against_models(connection, facts, whole=False)
        except ModelsNotCreated:
            # A listener may speak of tables that are no key's target.
            found, besides = self.against_models(connection, facts, whole=True)
        found += [
            Difference(fact, None, True, False, default_schema=facts.default_schema)
            for fact in besides
        ]
        if not found:
            return
        left_out = LeftOut(self.loaded, self.ownership, connection, self._before)
        left = [one for one in found if not left_out.covers(one, self.owner_of(one.fact))]
        if left:
            words = "does not make what the models say" + self.whose(left)
            raise differs(left, self.revisions, words, "behind the upgrade", "in the models")

    def whose(self, found: Collection[Difference]) -> str:
        """Return words for the packages whose models differ, where several are compared."""
        owners = sorted({owner for one in found if (owner := self.owner_of(one.fact))})
        return f" (package {', '.join(owners)})" if len(self.packages) > 1 else ""

    def against_models(
        self, connection: Connection, facts: Facts, *, whole: bool
    ) -> tuple[list[Difference], list[Fact]]:
        """Return what differs from the packages' models, and their tables that no model has.

        :param whole: create the models of all packages, not just those that are needed
        """
        models = Models(self.tables(whole=whole), self.entities, self.ownership.owner_of)
        compared = compare_with_models(models, self.settings, connection, facts, self.ownership)
        found = [
            one
            for one in compared.found
            if not one.note and self.owner_of(one.fact) in self.packages
        ]
        return self.without_names(found), [
            fact
            for fact in compared.besides
            # Partitions and other children belong to their parent.
            if fact.kind == "table"
            and not fact.get("partition of")
            and not fact.get("inherits")
            and self.owner_of(fact) in self.with_models
        ]

    def without_names(self, found: Collection[Difference]) -> list[Difference]:
        """Return differences without those that are old names of what is as the models have it.

        What belongs to a table or column that is renamed keeps the name that it had.
        """
        names = {one.name for one in self._before.objects}
        old = {
            content(one.fact): one
            for one in found
            if one.attribute is None and one.left is True and one.fact.name in names
        }
        pairs = [
            (one, old[content(one.fact)])
            for one in found
            if one.attribute is None and one.right is True and content(one.fact) in old
        ]
        told = {id(one) for pair in pairs for one in pair}
        return [one for one in found if id(one) not in told and one.attribute != NAME_OF_NOT_NULL]

    def tables(self, *, whole: bool) -> list[Table]:
        """Return the packages' tables and those that their foreign keys need.

        :param whole: return all
        """
        every = {key_of(table): table for table in self.ownership.tables}
        if whole:
            return list(every.values())
        needed: set[object] = set()
        waiting = [key_of(t) for name in self.packages for t in self.ownership.tables_of(name)]
        while waiting:
            key = waiting.pop()
            if key in every and key not in needed:
                needed.add(key)
                waiting += map(referenced_key, every[key].foreign_key_constraints)
        return [table for key, table in every.items() if key in needed]

    @property
    def entities(self) -> list[ReplaceableEntity]:
        """alembic-utils' entities of the packages."""
        registry = registry_of_process()
        owners = [self.owned.beside(name) for name in self.packages]
        found = [
            one
            for one in (registry.entities() if registry is not None else ())
            if any(owner.owns_entity(one) for owner in owners)
        ]
        for name in self.packages:
            found += self.loaded.environments[name].entities
        return list({one.identity: one for one in found}.values())

    @cached_property
    def owned(self) -> PackageObjects:
        """What belongs to whom, by models and scripts."""
        default = self._before.default_schema
        return PackageObjects(self.packages[0], self.ownership, self.loaded, default)

    def owner_of(self, fact: Fact) -> str | None:
        """Return the package that a fact belongs to, as far as there is one."""
        key, default = self._before.key_of(fact), self._before.default_schema
        owner = self.owned.owner_of(*key) or self.ownership.enum_owner(*key, default)
        owner = owner or self.ownership.sequence_owner(key[0], fact.name, default)
        if owner is None and fact.table is None:
            entities = {str(one.signature).replace('"', "") for one in self.entities}
            owner = self.packages[0] if fact.name in entities else None
        return owner

    # What was before

    def down(self, connection: Connection, *, last: bool = False) -> None:
        """Compare what the downgrade left with what was before.

        :param last: expressions may be written into the tables, which are not needed any more
        :raises NotProven: naming what differs
        """
        facts = self.read(connection)
        found = [
            one
            for one in differences(self._before, facts)
            if not one.note and one.attribute != NAME_OF_NOT_NULL
        ]
        dialect = connection.dialect.name
        # SQLite keeps what was written.
        unsettled = (
            bool(found)
            and dialect in WRITERS
            and all(one.attribute in EXPRESSIONS and one.other is not None for one in found)
        )
        transactional = dialect == "postgresql"
        self.unsettled = unsettled and not (transactional or last)
        if self.unsettled:
            return
        if unsettled:
            with connection.begin_nested() if transactional else nullcontext() as savepoint:
                found = self.settled(connection, facts)
                if savepoint is not None:
                    savepoint.rollback()
        if found:
            raise differs(
                found,
                self.revisions,
                "does not give back what was before",
                "before the upgrade",
                "behind the downgrade",
            )

    def settled(self, connection: Connection, facts: Facts) -> list[Difference]:
        """Return what differs once expressions were written back, into the tables themselves."""
        schemas = {one.schema: quote_name(one.schema) for one in facts.objects if one.schema}
        place = Scratch(
            connection.dialect.name,
            facts,
            lambda: (connection, schemas),
            lambda: self.read(connection),
        )
        return [one for one in settled_differences(self._before, place) if not one.note]


# What hooks leave out

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
