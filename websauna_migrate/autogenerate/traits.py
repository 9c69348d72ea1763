"""All of a table that a comparison depends on, as plain data: of its model, and as reflected.

What is not understood in full is refused: a table that has it is compared each time. What a
comparison never looks at is left out, so that it may be anything: ``info``, Python's own defaults
(``default``, ``onupdate``), and the classes that are mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Enum,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    TextClause,
    UniqueConstraint,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import Computed, DefaultClause, Identity
from sqlalchemy.sql.elements import ClauseElement, conv
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from websauna_migrate.autogenerate.column_types import StoredType
from websauna_migrate.autogenerate.shadow import sql_text
from websauna_migrate.sqlalchemy_internals import (
    has_dialect_arguments,
    is_created,
    is_type_bound,
)

__all__ = ["ModelTraits", "ReflectedTraits", "Unstable"]

#: Classes of values that read the same in every process.
PLAIN = frozenset({str, int, bool, float, type(None)})

IDENTITY = (
    "always",
    "on_null",
    "start",
    "increment",
    "minvalue",
    "maxvalue",
    "nominvalue",
    "nomaxvalue",
    "cycle",
    "cache",
    "order",
)


class Unstable(Exception):
    """Something has no form that is the same in every process."""


def plain(value: Any) -> Any:
    """Return a value of options as plain data.

    :raises Unstable: if it holds anything else than plain values and text
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return [(str(key), plain(one)) for key, one in value.items()]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, map(plain, value)))
    if isinstance(value, TextClause) and not value.compile().params:
        return ("text", value.text)
    raise Unstable(value)


class ReflectedTraits:
    """Makes plain data of what was reflected. Types that many columns have are written once."""

    def __init__(self, connection: Connection) -> None:
        self.dialect = connection.dialect
        self._types: dict[Any, Any] = {}

    def of(self, value: Any) -> Any:
        """Return facts, as deep as they go.

        :raises Unstable: if they hold something that is not known to be plain
        """
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is dict:
            return [(key, self.of(one)) for key, one in value.items()]
        if kind is list:
            return [self.of(one) for one in value]
        if isinstance(value, TypeEngine):
            return self.type(value)
        return plain(value)

    def type(self, type_: TypeEngine[Any]) -> Any:
        """Return a type: its class, all that it was made with, and how it is written."""
        cls = type(type_)
        state = [(k, v) for k, v in vars(type_).items() if k[0] != "_" and k not in NO_STATE]
        try:
            key = (cls, *state, *(type(v) for _, v in state))
            if key in self._types:
                return self._types[key]
        except TypeError:
            # A list of values, or another type.
            key = None
        if not cls.__module__.startswith("sqlalchemy.") or isinstance(type_, TypeDecorator):
            if isinstance(type_, StoredType):
                return ("stored", type_.spec)
            raise Unstable(type_)
        if isinstance(type_, Enum):
            # The rest is about values on their way to Python.
            state = [(name, getattr(type_, name)) for name in ("name", "schema", "enums")]
        found: list[Any] = [f"{cls.__module__}.{cls.__qualname__}"]
        found += [(name, self.of(value)) for name, value in state]
        if not isinstance(type_, NullType):
            found.append(type_.compile(self.dialect))
        if key is not None:
            self._types[key] = found
        return found


#: Attributes of types that say nothing of them.
NO_STATE = frozenset({"metadata", "dispatch"})


class ModelTraits:
    """Makes plain data of models, for one database.

    Types and functions that many columns have are written once.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self._types: dict[Any, str] = {}
        self._functions: dict[type[Any], str] = {}
        self._conventions: dict[MetaData, Any] = {}

    def of(self, table: Table) -> Any:
        """Return all of a table that is compared.

        :raises Unstable: if that cannot be told
        """
        try:
            return self._of(table)
        except (SQLAlchemyError, NotImplementedError, AttributeError, TypeError) as exc:
            raise Unstable(table.key) from exc

    def _of(self, table: Table) -> Any:
        numbered = table.autoincrement_column
        return (
            table.schema,
            str(table.name),
            table.comment,
            plain(table.kwargs) if has_dialect_arguments(table) else None,
            self.convention(table.metadata),
            [self.column(column, column is numbered) for column in table.columns],
            sorted([repr(self.constraint(one)) for one in table.constraints]),
            sorted([repr(self.index(one)) for one in table.indexes]),
        )

    def convention(self, metadata: MetaData) -> Any:
        """Return how constraints without a name, or with a part of one, are named."""
        if metadata not in self._conventions:
            pairs = metadata.naming_convention.items()
            self._conventions[metadata] = [
                sorted((str(key), plain(value)) for key, value in pairs),
                metadata.schema,
            ]
        return self._conventions[metadata]

    def column(self, column: Column[Any], numbered: bool) -> Any:
        """Return all of a column that is compared."""
        default = column.default
        return (
            str(column.name),
            str(column.key),
            self.type(column.type),
            column.nullable,
            column.primary_key,
            numbered,
            column.system,
            column.comment,
            self.default(column.server_default),
            # A sequence is compared apart from tables, but tells how a column is numbered.
            str(default.name) if isinstance(default, Sequence) else None,
            plain(column.kwargs) if has_dialect_arguments(column) else None,
        )

    def type(self, type_: TypeEngine[Any]) -> Any:
        """Return a type as the database would be told it, which is how types are compared.

        What is declared for other databases, or how Python sees the values, counts for nothing.
        """
        if isinstance(type_, NullType):
            raise Unstable(type_)
        state = vars(type_)
        key: Any = None
        if type(type_).__module__.startswith("sqlalchemy.sql.") and not state:
            key = type(type_)
        elif isinstance(type_, Enum):
            key = (id(type_), type_)
        if key in self._types:
            return self._types[key]
        text = type_.compile(self.dialect)
        written: Any = (text, enum_values(type_))
        if key is not None:
            self._types[key] = written
        return written

    def default(self, default: Any) -> Any:
        """Return a server default, computed column or identity."""
        if default is None:
            return None
        if isinstance(default, Computed):
            return ("computed", self.sql(default.sqltext), default.persisted)
        if isinstance(default, Identity):
            return ("identity", [(name, plain(getattr(default, name, None))) for name in IDENTITY])
        if type(default) is DefaultClause:
            value: Any = default.arg
            return ("default", value) if type(value) is str else ("default", self.sql(value))
        raise Unstable(default)

    def constraint(self, constraint: Any) -> Any:
        """Return a constraint."""
        kind = type(constraint)
        common = (
            kind.__name__,
            name_of(constraint.name),
            constraint.deferrable,
            constraint.initially,
            getattr(constraint, "comment", None),
            plain(constraint.kwargs) if has_dialect_arguments(constraint) else None,
        )
        if kind is PrimaryKeyConstraint or kind is UniqueConstraint:
            return (*common, [str(column.name) for column in constraint.columns])
        if kind is ForeignKeyConstraint:
            return (
                *common,
                [
                    # As the referred model is now: it says which column a key means.
                    (str(one.parent.name), one.column.table.schema, str(one.column.table.name),
                     str(one.column.name))
                    for one in constraint.elements
                ],
                constraint.onupdate,
                constraint.ondelete,
                constraint.match,
                constraint.use_alter,
            )  # fmt: skip
        if kind is CheckConstraint:
            return (
                *common,
                self.sql(constraint.sqltext),
                is_created(constraint, self.dialect),
                is_type_bound(constraint),
                sorted(str(column.name) for column in constraint.columns),
            )
        raise Unstable(constraint)

    def index(self, index: Index) -> Any:
        """Return an index."""
        return (
            name_of(index.name),
            bool(index.unique),
            [
                ("column", str(one.name)) if isinstance(one, Column) else self.sql(one)
                for one in index.expressions
            ],
            sorted(
                (key, self.sql(value) if isinstance(value, ClauseElement) else plain(value))
                for key, value in index.kwargs.items()
            )
            if has_dialect_arguments(index)
            else None,
        )

    def sql(self, expression: Any) -> str:
        """Return an expression as it stands in a table's definition."""
        kind = type(expression)
        bare = isinstance(expression, GenericFunction) and not expression.clauses.clauses
        if bare and kind.__module__.startswith("sqlalchemy."):
            if kind not in self._functions:
                self._functions[kind] = sql_text(expression, self.connection)
            return self._functions[kind]
        if not isinstance(expression, ClauseElement):
            raise Unstable(expression)
        return sql_text(expression, self.connection)


def name_of(name: Any) -> Any:
    """Return a name, which a naming convention may or may not change any more."""
    if name is None:
        return None
    return (type(name).__name__ if not isinstance(name, conv) else "conv", str(name))


def enum_values(type_: Any) -> Iterable[str] | None:
    """Return the values of an enum, in decorated types and arrays too."""
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    inner = getattr(type_, "item_type", None)
    if isinstance(inner, TypeEngine):
        return enum_values(inner)
    return list(map(str, type_.enums)) if isinstance(type_, Enum) else None
