"""Server defaults in SQL, as a model has them and as a table does."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import DefaultClause
from sqlalchemy.sql.functions import GenericFunction

from websauna_migrate.autogenerate.compare.normal_sql import normal_sql
from websauna_migrate.models.sqlalchemy_internals import ddl_compiler

__all__ = ["ModelDefaults", "is_serial", "normal_default"]


class ModelDefaults:
    """Writes the server defaults of models. What many columns have is written once."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.doubles_percent = dialect.paramstyle in ("format", "pyformat")
        self._written: dict[Any, str | None] = {}

    def of(self, column: Column[Any]) -> str | None:
        """Return a column's server default; ``None`` if it has none that is written in SQL."""
        default = column.server_default
        if not isinstance(default, DefaultClause):
            return None
        value: Any = default.arg
        key: Any = None
        # A sequence's next value is a function that has no arguments to look at.
        clauses = getattr(value, "clauses", None) if isinstance(value, GenericFunction) else None
        bare = clauses is not None and not clauses.clauses
        if type(value) is str:
            key = value
        elif bare and type(value).__module__.startswith("sqlalchemy."):
            key = type(value)
        if key is not None and key in self._written:
            return self._written[key]
        text = ddl_compiler(self.dialect).get_column_default_string(column)
        if text is not None and self.doubles_percent:
            text = text.replace("%%", "%")
        if key is not None:
            self._written[key] = text
        return text


def is_serial(column: Column[Any]) -> bool:
    """Tell whether PostgreSQL numbers a column by a sequence of its own."""
    return bool(column.primary_key and column is column.table.autoincrement_column)


@lru_cache(maxsize=4096)
def normal_default(text: str | None) -> str | None:
    """Return a server default in a form in which equal ones are mostly written alike."""
    if text is None:
        return None
    normal = normal_sql(text)
    normal = re.sub(r"^(current_timestamp|now|current_date|current_time)\(\)$", r"\1", normal)
    return None if normal == "null" else normal
