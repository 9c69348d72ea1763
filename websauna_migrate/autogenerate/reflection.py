"""One look at the database for all packages of a command."""

from __future__ import annotations

import copy
import itertools
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

from sqlalchemy import inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.types import JSON, NullType

from websauna_migrate.alembic_adapter.reflected_tables import without_parameters
from websauna_migrate.autogenerate.fact_comparison import FactComparison
from websauna_migrate.autogenerate.operations.column_types import (
    CharacterEnum,
    StoredType,
    collated,
)
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.unreflected import (
    correct_mariadb,
    mariadb_json,
    put_right,
    spelled_types,
    sqlite_expression_indexes,
    stored_type_name,
)
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.written_tables import WrittenTable, written_table

#: What SQLAlchemy reflects of a table, each with ``get_<kind>`` and ``get_multi_<kind>``.
KINDS = (
    "columns",
    "pk_constraint",
    "foreign_keys",
    "indexes",
    "unique_constraints",
    "table_comment",
    "check_constraints",
    "table_options",
)

#: Collections in what is reflected.
CHANGEABLE = (list, dict, set)

NEXT_VALUE = re.compile(r"nextval\('(.+?)'::regclass\)")

#: What Alembic asks about one sequence at a time. A sequence is named as PostgreSQL names it where
#: a default takes a value from it.
OWNED_SEQUENCES = """
SELECT c.oid::regclass::text, a.attname
FROM pg_class c
JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
    AND d.refclassid = 'pg_class'::regclass
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S'
"""

#: What uses a type, by itself or in an array: a table by a column or another part of it, a type,
#: or something else, of which nothing is known.
USERS_OF_TYPE = """
SELECT c.relname IS NOT NULL, coalesce(cn.nspname, un.nspname), coalesce(c.relname, u.typname)
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'
     AND d.refobjid IN (t.oid, t.typarray)
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
LEFT JOIN pg_class c ON c.oid = coalesce(
     nullif(k.conrelid, 0), f.adrelid, i.indrelid,
     CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
LEFT JOIN pg_namespace cn ON cn.oid = c.relnamespace
LEFT JOIN pg_type u ON u.oid = coalesce(
     nullif(k.contypid, 0), CASE WHEN d.classid = 'pg_type'::regclass THEN d.objid END)
LEFT JOIN pg_namespace un ON un.oid = u.typnamespace
WHERE n.nspname = :schema AND t.typname = :name
"""

CHILDREN = """
SELECT n.nspname, c.relname
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p', 'f')
JOIN pg_namespace n ON n.oid = c.relnamespace
"""


class Translation(Protocol):
    """How facts about the database read after some renames; false where there are none."""

    def __bool__(self) -> bool: ...

    def new_table(self, schema: str | None, old: str) -> str:
        """Return the name of a table after the renames."""

    def old_table(self, schema: str | None, new: str) -> str:
        """Return the name of a table before the renames."""

    def translate(self, kind: str, schema: str | None, old_table: str, facts: Any) -> Any:
        """Return what SQLAlchemy reflects of a table as it will be after the renames."""


class Reflection:
    """The tables of all packages as the database has them, read once and schema by schema.

    SQLAlchemy and Alembic reflect what one comparison asks for. With many packages that is as many
    times the server's catalog, of which all answers are here after the first package.
    """

    def __init__(
        self, connection: Connection, wanted: Iterable[Key], facts: FactComparison
    ) -> None:
        """Read nothing yet.

        :param wanted: the tables that any package may ask for; others are read when asked for
        :param facts: tells what differs
        """
        self.connection = connection
        self.facts = facts
        self.wanted = frozenset(wanted)
        self.default_schema: str | None = connection.dialect.default_schema_name
        self._inspector = inspect(connection)
        self._names: dict[str | None, frozenset[str]] = {}
        self._sequences: dict[str | None, frozenset[str]] = {}
        self._read: dict[tuple[str, str | None], Mapping[Key, Any] | None] = {}
        #: The named types of all models, once the comparison of a package has found them.
        self.model_types: Any = None
        #: The keys that a script of the same command drops, and that others' foreign keys lean on.
        self.given_up: Collection[tuple[str | None, str, frozenset[str]]] = ()

    def table_names(self, schema: str | None) -> frozenset[str]:
        """Return the names of all tables of a schema."""
        if schema not in self._names:
            self._names[schema] = frozenset(self._inspector.get_table_names(schema=schema))
        return self._names[schema]

    def has_table(self, schema: str | None, name: str) -> bool:
        """Tell whether a table exists."""
        return name in self.table_names(None if schema == self.default_schema else schema)

    def has_type(self, schema: str | None, name: str) -> bool:
        """Tell whether PostgreSQL has an enum type."""
        return (None if schema == self.default_schema else schema, name) in self.enums

    @cached_property
    def sqlite_indexes(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """The names and texts of the default schema's indexes by table, on SQLite."""
        found: dict[str, list[tuple[str, str]]] = {}
        rows = self.connection.exec_driver_sql(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        )
        for table, name, sql in rows:
            found.setdefault(table, []).append((name, sql))
        return found

    @cached_property
    def sqlite_tables(self) -> Mapping[str, WrittenTable | None]:
        """The default schema's tables as they are written, on SQLite."""
        rows = self.connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
        )
        return {name: written_table(sql) for name, sql in rows}

    @cached_property
    def children(self) -> frozenset[Key]:
        """The partitions, and other tables that inherit from one; none but on PostgreSQL."""
        if not isinstance(self._inspector, PGInspector):
            return frozenset()
        rows = self.connection.execute(text(CHILDREN))
        return frozenset(
            (None if schema == self.default_schema else schema, name) for schema, name in rows
        )

    @cached_property
    def enums(self) -> Mapping[Key, tuple[str, ...]]:
        """The values of every enum type that PostgreSQL has; empty on other databases."""
        if not isinstance(self._inspector, PGInspector):
            return {}
        return {
            (
                None if one["schema"] == self.default_schema else one["schema"],
                one["name"],
            ): tuple(one["labels"])
            for one in self._inspector.get_enums(schema="*")
        }

    @cached_property
    def domains(self) -> frozenset[Key]:
        """The domains that PostgreSQL has; none on other databases."""
        if not isinstance(self._inspector, PGInspector):
            return frozenset()
        return frozenset(
            (None if one["schema"] == self.default_schema else one["schema"], one["name"])
            for one in self._inspector.get_domains(schema="*")
        )

    def facts_of_type(self, key: Key) -> Sequence[Fact]:
        """Return the facts of a named type of PostgreSQL, and of its constraints."""
        schema = key[0] or str(self.default_schema)
        facts = read_facts(self.connection, schemas=[schema])
        return facts.tables[schema, key[1]]

    def users_of_type(self, key: Key) -> Iterator[tuple[bool, Key]]:
        """Yield what uses a type of PostgreSQL: whether it is a table, and its key.

        The name of what is neither a table nor a type is empty. Partitions and other children are
        left out.
        """
        parameters = {"schema": key[0] or self.default_schema, "name": key[1]}
        for is_table, schema, name in self.connection.execute(text(USERS_OF_TYPE), parameters):
            found = (None if schema == self.default_schema else schema, name or "")
            if found not in self.children and found != key:
                yield is_table, found

    @cached_property
    def schema_names(self) -> frozenset[str]:
        """The names of all schemas."""
        return frozenset(self._inspector.get_schema_names())

    @cached_property
    def owned_sequences(self) -> frozenset[tuple[str, str]]:
        """The sequences that belong to a column on PostgreSQL, each with the column's name."""
        if not isinstance(self._inspector, PGInspector):
            return frozenset()
        rows = self.connection.execute(text(OWNED_SEQUENCES))
        return frozenset((name, column) for name, column in rows)

    def is_serial(self, column: Any) -> bool:
        """Tell whether a reflected column takes its values from a sequence of its own."""
        match = NEXT_VALUE.match(column["default"] or "")
        if match is None:
            return False
        return (match[1].replace("''", "'"), column["name"]) in self.owned_sequences

    def sequence_names(self, schema: str | None) -> frozenset[str]:
        """Return the names of a schema's sequences."""
        if schema not in self._sequences:
            names = self._inspector.get_sequence_names(schema=schema)
            self._sequences[schema] = frozenset(names)
        return self._sequences[schema]

    def read(self, kind: str, schema: str | None) -> Mapping[Key, Any]:
        """Return one kind of fact about all wanted tables of a schema.

        :raises NotImplementedError: if the database has no such thing
        """
        if (kind, schema) not in self._read:
            names = sorted(
                name for name in self.table_names(schema) if (schema, name) in self.wanted
            )
            found: Mapping[Key, Any] | None = {}
            if names:
                try:
                    found = self._reflect(kind, schema, names)
                except NotImplementedError:
                    found = None
            self._read[kind, schema] = found
        answer = self._read[kind, schema]
        if answer is None:
            raise NotImplementedError
        return answer

    def _reflect(self, kind: str, schema: str | None, names: list[str]) -> Mapping[Key, Any]:
        """Reflect one kind of fact, and what SQLAlchemy warns of that it leaves out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Did not recognize type")
            warnings.filterwarnings("ignore", ".*reflection of expression-based index")
            found: dict[Key, Any] = dict(
                getattr(self._inspector, f"get_multi_{kind}")(schema=schema, filter_names=names)
            )
        if kind == "check_constraints":
            for constraint in itertools.chain.from_iterable(found.values()):
                # SQLAlchemy's own table refuses them; facts tell what is not valid.
                constraint.pop("dialect_options", None)
        if kind == "columns":
            for (_, table), columns in found.items():
                for column in columns:
                    if isinstance(column["type"], NullType):
                        name = stored_type_name(self.connection, schema, table, column["name"])
                        # SQLite has columns without a type, and says so by an empty name.
                        if name is not None:
                            column["type"] = StoredType(name)
        if schema is None and self.connection.dialect.name == "sqlite":
            for (_, table), facts in found.items():
                written = self.sqlite_tables.get(table)
                if written is not None:
                    put_right(kind, facts, written)
        if kind == "columns" and schema is None and self.connection.dialect.name == "sqlite":
            spelled = spelled_types(self.connection)
            for (_, table), columns in found.items():
                own = self.sqlite_tables.get(table)
                for column in columns:
                    name = column["name"]
                    text = own.types[name] if own is not None else spelled.get((table, name), "")
                    if squeezed(text) != squeezed(type_name(column["type"])):
                        column["type"] = column["type"].with_variant(StoredType(text), "sqlite")
                    if own is not None and name in own.collations:
                        column["type"] = collated(column["type"], own.collations[name])
        if kind == "columns" and getattr(self.connection.dialect, "is_mariadb", False):
            correct_mariadb(self.connection, schema, found)
            documents = mariadb_json(self.connection, schema, names)
            for (_, table), columns in found.items():
                for column in columns:
                    column["type"] = CharacterEnum.of(column["type"])
                    if (table, column["name"]) in documents:
                        column["type"] = JSON()
        if kind == "indexes" and schema is None and self.connection.dialect.name == "sqlite":
            for (_, table), indexes in found.items():
                whole = [*sqlite_expression_indexes(self.sqlite_indexes.get(table, ()))]
                # SQLAlchemy reads of some of them the columns alone.
                known = {one["name"] for one in whole}
                indexes[:] = [one for one in indexes if one["name"] not in known] + whole
        return found

    def inspector(self, renames: Translation, listed: Collection[Key] | None = None) -> Inspector:
        """Return an inspector that answers from here, as if ``renames`` had been made already.

        :param listed: the tables that it lists where they exist; ``None`` for all
        """
        inspector = inspect(self.connection)
        inspector.get_table_names = lambda schema=None, **kw: sorted(  # type: ignore[method-assign]
            renames.new_table(schema, name)
            for name in self.table_names(schema)
            if listed is None or (schema, name) in listed
        )
        for kind in KINDS:
            original: Callable[..., Any] = getattr(inspector, f"get_{kind}")
            many = partial(self._many, renames, kind)
            # Alembic tells by the name which kind of fact it asks for.
            many.__name__ = f"get_multi_{kind}"  # type: ignore[attr-defined]
            setattr(inspector, many.__name__, many)  # type: ignore[attr-defined]
            setattr(inspector, f"get_{kind}", partial(self._one, renames, kind, original))
        return inspector

    def _many(
        self,
        renames: Translation,
        kind: str,
        /,
        schema: str | None = None,
        filter_names: Iterable[str] | None = None,
        **_: Any,
    ) -> dict[Key, Any]:
        wanted = None if filter_names is None else frozenset(filter_names)
        found: dict[Key, Any] = {}
        if wanted is not None and not wanted:
            # Alembic asks for nothing where all tables are equal.
            return found
        read = self.read(kind, schema)
        if wanted is not None and not renames:
            # Some tables of many: a package's.
            return {
                (schema, name): without_parameters(kind, duplicate(read[schema, name]))
                for name in wanted
                if (schema, name) in read
            }
        for (_schema, name), facts in read.items():
            new = renames.new_table(schema, name)
            if wanted is None or new in wanted:
                own = without_parameters(kind, duplicate(facts))
                found[schema, new] = renames.translate(kind, schema, name, own)
        return found

    def _one(
        self,
        renames: Translation,
        kind: str,
        original: Callable[..., Any],
        /,
        table_name: str,
        schema: str | None = None,
        **kw: Any,
    ) -> Any:
        old = renames.old_table(schema, table_name)
        found = self.read(kind, schema)
        if (schema, old) not in found:
            return original(table_name, schema=schema, **kw)
        facts = without_parameters(kind, duplicate(found[schema, old]))
        return renames.translate(kind, schema, old, facts)


def type_name(type_: Any) -> str:
    """Return a type as SQLAlchemy spells it on SQLite, empty for none."""
    known = not isinstance(type_, NullType)
    return str(type_.compile(sqlite.dialect())) if known else ""


def squeezed(spelled: str) -> str:
    """Return the spelling of a type without spaces and the case of letters."""
    return re.sub(r"\s", "", spelled).upper()


def duplicate(facts: Any) -> Any:
    """Return facts that may be changed without the next one who asks seeing it.

    Types are shared: they hold no state of a table.
    """
    if isinstance(facts, list):
        return [duplicate(one) if isinstance(one, CHANGEABLE) else one for one in facts]
    if isinstance(facts, dict):
        return {
            key: duplicate(value) if isinstance(value, CHANGEABLE) else value
            for key, value in facts.items()
        }
    return copy.copy(facts) if isinstance(facts, set) else facts
