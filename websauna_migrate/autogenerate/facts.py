"""What was reflected of a table, as plain data that is the same in every process.

What is not understood in full is refused: a table that has it is compared each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Enum, TextClause
from sqlalchemy.engine import Connection
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from websauna_migrate.autogenerate.column_types import StoredType

__all__ = ["ReflectedTraits", "Unstable", "plain"]

#: Classes of values that read the same in every process.
PLAIN = frozenset({str, int, bool, float, type(None)})


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
            return [
                (key, one if type(one) in PLAIN else self.of(one)) for key, one in value.items()
            ]
        if kind is list:
            return [one if type(one) in PLAIN else self.of(one) for one in value]
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
