"""Whether a model and a table mean the same, however each is written."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Connection
from sqlalchemy.schema import DefaultClause
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_internals import compares_types_alone
from websauna_migrate.autogenerate.shadow import Shadows
from websauna_migrate.sqlalchemy_internals import ddl_compiler

__all__ = ["Matching", "normal_sql"]


class Matching:
    """Compares types and server defaults without a false difference."""

    def __init__(self, connection: Connection, shadows: Shadows) -> None:
        self.connection = connection
        self.shadows = shadows
        # Pairs of types that Alembic found to be the same.
        self._same: set[Any] = set()

    def types_differ(self, original: Any, inspected: Column[Any], model: Column[Any]) -> bool:
        """Tell whether a column's type is another one.

        :param original: Alembic's own comparison of two columns
        """
        pair = None
        if compares_types_alone(original):
            pair = hashable(inspected.type), hashable(model.type)
            if None in pair:
                pair = None
            elif pair in self._same:
                return False
        if not original(inspected, model):
            if pair is not None:
                self._same.add(pair)
            return False
        shadow = self.shadows.of(model.table)
        column = shadow.columns.get(model.name) if shadow else None
        if column is None:
            return True
        dialect = self.connection.dialect
        try:
            return str(column["type"].compile(dialect)) != str(inspected.type.compile(dialect))
        except Exception:
            # A type that cannot be written in DDL can only be compared by Alembic.
            return True

    def defaults_differ(self, inspected: Column[Any], model: Column[Any]) -> bool:
        """Tell whether a column's server default is another one."""
        dialect = self.connection.dialect
        if dialect.name == "postgresql" and is_serial(model):
            return False
        found = default_text(inspected)
        wanted = (
            ddl_compiler(dialect).get_column_default_string(model)
            if isinstance(model.server_default, DefaultClause)
            else None
        )
        if wanted is not None and dialect.paramstyle in ("format", "pyformat"):
            wanted = wanted.replace("%%", "%")
        if normal_default(found) == normal_default(wanted):
            return False
        if found is None or wanted is None:
            return True
        shadow = self.shadows.of(model.table)
        column = shadow.columns.get(model.name) if shadow else None
        if column is None:
            return True
        return normal_default(found) != normal_default(column["default"])


def default_text(column: Column[Any]) -> str | None:
    """Return a reflected column's server default in SQL."""
    default = column.server_default
    return str(default.arg) if isinstance(default, DefaultClause) else None


def is_serial(column: Column[Any]) -> bool:
    """Tell whether PostgreSQL numbers a column by a sequence of its own."""
    return bool(column.primary_key and column is column.table.autoincrement_column)


def normal_default(text: str | None) -> str | None:
    """Return a server default in a form in which equal ones are mostly written alike."""
    if text is None:
        return None
    normal = normal_sql(text)
    normal = re.sub(r"^(current_timestamp|now|current_date|current_time)\(\)$", r"\1", normal)
    return None if normal == "null" else normal


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


@lru_cache(maxsize=4096)
def normal_sql(text: str) -> str:
    """Return SQL without what has no meaning: spaces, outer brackets, case outside of strings."""
    parts = re.split(r"('(?:[^']|'')*')", text)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"\s+", "", parts[number]).lower()
    normal = "".join(parts)
    while normal.startswith("(") and closing_bracket(normal) == len(normal) - 1:
        normal = normal[1:-1]
    # The type of a plain string is that of the column.
    return re.sub(r"^('(?:[^']|'')*')::[\w .\"\[\]]+$", r"\1", normal)


def closing_bracket(text: str) -> int:
    """Return the place of the bracket that closes the one at the beginning."""
    depth = 0
    quoted = False
    for place, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return place
    return -1
