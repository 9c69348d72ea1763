"""How column types are written in DDL, each kind of type once."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

__all__ = ["WrittenTypes", "hashable"]


class WrittenTypes:
    """Tells whether types are written alike on one database."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._written: dict[Any, str] = {}
        # Types that are known by their identity have to stay.
        self._kept: list[TypeEngine[Any]] = []

    def alike(self, first: TypeEngine[Any], second: TypeEngine[Any]) -> bool:
        """Tell whether two types are the same text.

        :raises sqlalchemy.exc.SQLAlchemyError: if one cannot be written
        """
        return self.of(first) == self.of(second)

    def of(self, type_: TypeEngine[Any]) -> str:
        """Return how a type is written."""
        if type(type_) is ENUM:
            # Each reflected column has one of its own, and the values are not written.
            key: Any = (ENUM, type_.name, type_.schema)
        else:
            key = hashable(type_)
            if key is None:
                key = id(type_)
        if key not in self._written:
            self._written[key] = type_.compile(self.dialect)
            if type(key) is int:
                self._kept.append(type_)
        return self._written[key]


def hashable(type_: TypeEngine[Any]) -> Any:
    """Return a type's class and state, ``None`` if that cannot be hashed.

    Two types of the same class and state are written in the same way.
    """
    state = vars(type_)
    if not state:
        return type(type_)
    found = (type(type_), *state, *state.values(), *map(type, state.values()))
    try:
        hash(found)
    except TypeError:
        # A list of values, or a variant for another database.
        return None
    return found
