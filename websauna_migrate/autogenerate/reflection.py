"""One look at the database for all packages of a command."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector

from websauna_migrate.alembic_adapter.reflected_tables import without_parameters
from websauna_migrate.autogenerate.fact_comparison import FactComparison
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.autogenerate.unreflected import (
    correct_columns,
    put_right,
    sqlite_expression_indexes,
)
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.sqlite_sql import WrittenTable, written_table
from websauna_migrate.models.named_types import ModelType

#: What SQLAlchemy reflects of a table, each with ``get_<kind>`` and ``get_multi_<kind>``.
KINDS = (
    *("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "table_comment"),
    *("check_constraints", "table_options"),
)

#: Collections in what is reflected.
CHANGEABLE = (list, dict, set)

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

#: What SQLAlchemy reflects of one kind, by table: a list of items, of primary keys the one.
Reflected: TypeAlias = Mapping[Key, Any]


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
        self._read: dict[tuple[str, str | None], Reflected | None] = {}
        #: The named types of all models, once the comparison of a package has found them.
        self.model_types: dict[Key, ModelType] | None = None
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

    def is_child(self, key: Key) -> bool:
        """Tell whether a table is a partition, or inherits from another one on PostgreSQL."""
        return any(one.get("partition of") or one.get("inherits") for one in self.facts.of(key))

    def type_of(self, key: Key) -> Fact | None:
        """Return the fact of an enum type or a domain, ``None`` if PostgreSQL has none such."""
        kinds = ("enum type", "domain type")
        return next((one for one in self.facts.of(key) if one.kind in kinds), None)

    def users_of_type(self, key: Key) -> Iterator[tuple[bool, Key]]:
        """Yield what uses a type of PostgreSQL: whether it is a table, and its key.

        The name of what is neither a table nor a type is empty. Partitions and other children are
        left out.
        """
        parameters = {"schema": key[0] or self.default_schema, "name": key[1]}
        for is_table, schema, name in self.connection.execute(text(USERS_OF_TYPE), parameters):
            found = (None if schema == self.default_schema else schema, name or "")
            if found != key and not self.is_child(found):
                yield is_table, found

    @cached_property
    def schema_names(self) -> frozenset[str]:
        """The names of all schemas."""
        return frozenset(self._inspector.get_schema_names())

    def read(self, kind: str, schema: str | None) -> Reflected:
        """Return one kind of fact about all wanted tables of a schema.

        :raises NotImplementedError: if the database has no such thing
        """
        if (kind, schema) not in self._read:
            names = sorted(
                name for name in self.table_names(schema) if (schema, name) in self.wanted
            )
            found: Reflected | None = {}
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

    def _reflect(self, kind: str, schema: str | None, names: list[str]) -> Reflected:
        """Reflect one kind of fact, and what SQLAlchemy warns of that it leaves out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Did not recognize type")
            warnings.filterwarnings("ignore", ".*reflection of expression-based index")
            found: Reflected = dict(
                getattr(self._inspector, f"get_multi_{kind}")(schema=schema, filter_names=names)
            )
        on_sqlite = schema is None and self.connection.dialect.name == "sqlite"
        for (_, table), reflected in found.items():
            written = self.sqlite_tables.get(table) if on_sqlite else None
            if written is not None:
                put_right(kind, reflected, written)
            if kind == "columns":
                correct_columns(
                    reflected, self.facts.of((schema, table)), written, self.connection.dialect
                )
            elif kind == "check_constraints":
                for constraint in reflected:
                    # SQLAlchemy's own table refuses them; facts tell what is not valid.
                    constraint.pop("dialect_options", None)
            elif kind == "indexes" and on_sqlite:
                whole = [*sqlite_expression_indexes(self.sqlite_indexes.get(table, ()))]
                # SQLAlchemy reads of some of them the columns alone.
                known = {one["name"] for one in whole}
                reflected[:] = [one for one in reflected if one["name"] not in known] + whole
        return found

    def inspector(self, renames: Renames, listed: Collection[Key] | None = None) -> Inspector:
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
        renames: Renames,
        kind: str,
        /,
        schema: str | None = None,
        filter_names: Collection[str] | None = None,
        **_: object,
    ) -> Reflected:
        # Alembic asks for nothing where all tables are equal.
        read = self.read(kind, schema) if filter_names is None or [*filter_names] else {}
        names = filter_names or [renames.new_table(schema, name) for _, name in read]
        return {
            (schema, name): self._translated(renames, kind, schema, name)
            for name in names
            if (schema, renames.old_table(schema, name)) in read
        }

    def _one(
        self,
        renames: Renames,
        kind: str,
        original: Callable[..., Any],
        /,
        table_name: str,
        schema: str | None = None,
        **kw: Any,
    ) -> Any:
        if (schema, renames.old_table(schema, table_name)) not in self.read(kind, schema):
            return original(table_name, schema=schema, **kw)
        return self._translated(renames, kind, schema, table_name)

    def _translated(self, renames: Renames, kind: str, schema: str | None, name: str) -> Any:
        """Return what was read of a table, as it is after renames."""
        old = renames.old_table(schema, name)
        facts = without_parameters(kind, duplicate(self.read(kind, schema)[schema, old]))
        return renames.translate(kind, schema, old, facts)


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
