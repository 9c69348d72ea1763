"""All of a table's model that a comparison depends on, as plain data.

What a comparison never looks at is left out, so that it may be anything: ``info``, Python's own
defaults (``default``, ``onupdate``), and the classes that are mapped.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    UniqueConstraint,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import Computed, DefaultClause, Identity
from sqlalchemy.sql.elements import ClauseElement, conv
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from websauna_migrate.autogenerate.facts import Unstable, plain
from websauna_migrate.autogenerate.schema_objects import SEQUENCE_OPTIONS
from websauna_migrate.autogenerate.shadow import sql_text
from websauna_migrate.models.sqlalchemy_internals import (
    has_dialect_arguments,
    is_created,
    is_type_bound,
)

__all__ = ["ModelTraits"]

#: What an identity column may have, a sequence's options among it.
IDENTITY = ("always", "on_null", *SEQUENCE_OPTIONS, "order")


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
