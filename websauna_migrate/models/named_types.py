"""Types that are objects of a schema on PostgreSQL: enums and domains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import ARRAY, Column, Enum
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from websauna_migrate.models.sqlalchemy_internals import variants_of
from websauna_migrate.models.table_order import Key

NamedType: TypeAlias = postgresql.ENUM | postgresql.DOMAIN

#: Elsewhere no type has a name.
POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

#: SQLAlchemy's classes of types that are named, or made of others.
NAMED = (Enum, ARRAY, postgresql.DOMAIN, TypeDecorator)


@dataclass
class ModelType:
    """An enum type or domain that models use.

    :ivar columns: the columns that have it, of all packages
    """

    type: NamedType | Enum
    columns: list[Column[Any]] = field(default_factory=list)

    @property
    def values(self) -> tuple[str, ...]:
        """An enum's values in order; none for a domain."""
        return tuple(map(str, self.type.enums)) if isinstance(self.type, Enum) else ()


def named_types(declared: TypeEngine[Any]) -> Iterator[NamedType]:
    """Yield the named types inside a column's type, those first that others need."""
    actual = actual_type(declared)
    if isinstance(actual, ARRAY):
        yield from named_types(actual.item_type)
    elif isinstance(actual, postgresql.DOMAIN):
        yield from named_types(actual.data_type)
        yield actual
    elif isinstance(actual, postgresql.ENUM) and actual.name is not None:
        yield actual


def is_array(declared: TypeEngine[Any]) -> bool:
    """True if a column's type is an array on PostgreSQL."""
    return isinstance(actual_type(declared), ARRAY)


def actual_type(declared: TypeEngine[Any]) -> object:
    """Return what a column's type is on PostgreSQL; ``None`` if it has no named type there."""
    if not may_be_named(declared):
        return None
    try:
        actual: object = declared.dialect_impl(POSTGRESQL)
    except Exception:
        # A type made for another database may refuse this one; then it is no type of this one.
        return None
    while isinstance(actual, TypeDecorator):
        actual = actual.impl_instance
    return actual


def type_key(named: NamedType) -> Key:
    """Return the schema and name of a type."""
    return (named.schema, str(named.name))


def may_be_named(declared: TypeEngine[Any]) -> bool:
    """True if a type can be, or contain, a named type."""
    return (
        isinstance(declared, NAMED)
        or bool(variants_of(declared))
        or not type(declared).__module__.startswith("sqlalchemy.")
    )
