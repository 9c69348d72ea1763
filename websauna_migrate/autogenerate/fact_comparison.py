"""What differs between the models of all packages and the database: told by facts alone.

The models are created in a scratch place, and both sides are read in the server's own words. What
is equal there gives no operation, however differently it was written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.renames import NO_RENAMES, Renames, renamed_facts
from websauna_migrate.config.settings import Settings
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.model_comparison import compare_with_models
from websauna_migrate.facts.models import Models
from websauna_migrate.models.ownership import Ownership

#: How a server tells the schema that names without one mean.
DEFAULT_SCHEMA = {
    "postgresql": "SELECT current_schema()",
    "mysql": "SELECT DATABASE()",
    "mariadb": "SELECT DATABASE()",
}


@dataclass(frozen=True)
class FoundDifferences:
    """What differs, by table or type.

    :ivar database: the facts of what the models speak of, and of its parts; under the names that
        the renames of the revision give
    :ivar models: the facts of the models
    :ivar found: what differs for the server; notes are left out
    """

    database: Facts
    models: Facts
    found: tuple[Difference, ...]

    @cached_property
    def by_object(self) -> Mapping[Key, Sequence[Difference]]:
        """The differences by the normal key of the table or type."""
        found: dict[Key, list[Difference]] = {}
        for one in self.found:
            found.setdefault(self.key_of(one.fact), []).append(one)
        return found

    @cached_property
    def tables(self) -> frozenset[Key]:
        """The keys of the tables that the database has."""
        return frozenset(self.key_of(one) for one in self.database.objects if one.kind == "table")

    @cached_property
    def model_facts(self) -> Mapping[Key, Sequence[Fact]]:
        """The facts of the models by the key of the table or type."""
        return self.models.by_key

    @cached_property
    def _database_facts(self) -> Mapping[Key, Sequence[Fact]]:
        return self.database.by_key

    def in_database(self, key: Key) -> Sequence[Fact]:
        """Return the facts of a table or type, and of its parts, in the database."""
        return self._database_facts.get(key, ())

    def in_models(self, key: Key) -> Sequence[Fact]:
        """Return the facts of a table or type, and of its parts, in the models."""
        return self.model_facts.get(key, ())

    def of(self, key: Key) -> Sequence[Difference]:
        """Return what differs in a table that both sides have."""
        return self.by_object.get(key, ())

    def of_column(self, key: Key, column: str) -> Mapping[str, Difference]:
        """Return what differs in a column that both sides have, by attribute."""
        return {
            one.attribute: one
            for one in self.of(key)
            if one.fact.kind == "column"
            and one.attribute is not None
            and same_name(one.fact.name, column, self.models)
        }

    def key_of(self, fact: Fact) -> Key:
        """Return the normal key of the table or type that a fact is a part of."""
        return self.models.key_of(fact)


def columns_in(facts: Iterable[Fact]) -> dict[str, Fact]:
    """Return the columns among facts of a table by name."""
    return {one.name: one for one in facts if one.kind == "column"}


def told(one: Difference) -> str:
    """Return a difference in words."""
    return one.describe("in the database", "in the models")


def same_name(one: str, other: str, facts: Facts) -> bool:
    """Tell whether two names are the same; SQLite makes no difference between cases."""
    return one == other or (facts.default_schema == "main" and one.lower() == other.lower())


class FactComparison:
    """Compares the models of all packages with a database, once for each set of renames."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        ownership: Ownership,
        facts: Facts | None = None,
    ) -> None:
        """Compare nothing yet.

        :param facts: of the database, read when they are needed if they are not given
        """
        self.connection = connection
        #: Those of the schemas that were read so far.
        self._facts = facts or Facts("")
        self._by_key = self._facts.by_key
        self._is_whole = facts is not None
        self._schemas: set[str] = set()
        #: Where the caller gives a connection, the URL that is set may be that of another database.
        self.settings = replace(settings, url=connection.engine.url)
        self.ownership = ownership
        self._found: dict[tuple[object, ...], FoundDifferences] = {}

    @property
    def was_asked(self) -> bool:
        """Whether something was compared: a package without models needs no scratch place."""
        return bool(self._found)

    def under(self, renames: Renames = NO_RENAMES, more: Iterable[Table] = ()) -> FoundDifferences:
        """Return what differs once some renames are made.

        :param more: tables that no package registered, known to its ``env.py`` alone
        :raises websauna_migrate.errors.ModelsNotCreated: naming what of the models cannot
            be created
        :raises websauna_migrate.errors.ScratchRefused: if the user may not make a
            scratch place; the message has the grant
        """
        further = tuple(more)
        by_table = sorted(renames.constraints.items(), key=str)
        names = tuple((table, *new.items()) for table, new in by_table)
        key = (renames.everything, names, *map(id, further))
        if key not in self._found:
            self._found[key] = self.compared(renames, further)
        return self._found[key]

    def compared(self, renames: Renames, more: Sequence[Table]) -> FoundDifferences:
        """Compare."""
        tables = [*self.ownership.tables]
        tables += [table for table in more if table not in tables]
        models = Models(tables, (), self.owner_of)
        schemas = self.read((None, *models.schemas(self.connection.dialect)))
        there = self._facts.only(lambda one: one.schema in schemas)
        database = renamed_facts(there, renames)
        compared = compare_with_models(
            models, self.settings, self.connection, database, self.ownership
        )
        real = [one for one in compared.found if not one.note]
        if self.connection.dialect.name == "sqlite":
            real = without_key_names(real)
        return FoundDifferences(compared.database, compared.models, tuple(real))

    @cached_property
    def default_schema(self) -> str:
        """The schema that names without one mean."""
        query = DEFAULT_SCHEMA.get(self.connection.dialect.name)
        found = self.connection.exec_driver_sql(query).scalar() if query else "main"
        return str(found or "public")

    def read(self, schemas: Iterable[str | None]) -> Collection[str]:
        """Read the facts of schemas of the database, each once, and return the schemas' names.

        :param schemas: ``None`` for the default one; SQLite has one alone
        """
        names = {one or self.default_schema for one in schemas}
        if self.connection.dialect.name == "sqlite":
            names = {self.default_schema}
        missing = names - self._schemas
        if missing and not self._is_whole:
            found = read_facts(self.connection, schemas=sorted(missing))
            self._facts = Facts.make(found.default_schema, (*self._facts.objects, *found.objects))
            self._by_key |= found.by_key
            self._schemas |= missing
        return names

    def of(self, key: Key) -> Sequence[Fact]:
        """Return the facts of a table or type of the database, and of its parts.

        :returns: nothing if it is not there
        """
        self.read([key[0]])
        return self._by_key.get(key, ())

    def objects(self, schema: str | None) -> Iterator[Fact]:
        """Yield the facts of a schema of the database."""
        schemas = self.read([schema])
        return (one for one in self._facts.objects if one.schema in schemas)

    def sequences(self, schema: str | None) -> Mapping[str, Fact]:
        """Return the sequences of a schema of the database by name, those of columns as well."""
        return {one.name: one for one in self.objects(schema) if one.kind == "sequence"}

    def owner_of(self, table: Table) -> str:
        """Return the package of a table, in words if it has none."""
        return self.ownership.owners.get((table.schema, str(table.name)), "")


def without_key_names(found: Sequence[Difference]) -> list[Difference]:
    """Return differences without primary keys of another name: SQLite has no use for the name."""
    keys: dict[tuple[object, ...], list[Difference]] = {}
    for one in found:
        definition = str(one.fact.get("definition"))
        if one.attribute is None and definition.startswith("PRIMARY KEY"):
            keys.setdefault((one.fact.table, definition), []).append(one)
    equal = {id(one) for pair in keys.values() if len(pair) == 2 for one in pair}
    return [one for one in found if id(one) not in equal]
