"""Whether a model and a table mean the same, however each is written."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Connection
from sqlalchemy.schema import DefaultClause

from websauna_migrate.alembic_adapter.internals import compares_types_alone
from websauna_migrate.autogenerate.compare.defaults import ModelDefaults, is_serial, normal_default
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables
from websauna_migrate.autogenerate.compare.types import hashable

__all__ = ["TypesAndDefaults"]


class TypesAndDefaults:
    """Compares types and server defaults without a false difference."""

    def __init__(self, connection: Connection, temporary_tables: TemporaryTables) -> None:
        self.connection = connection
        self.temporary_tables = temporary_tables
        self.defaults = ModelDefaults(connection.dialect)
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
        temporary = self.temporary_tables.of(model.table)
        column = temporary.columns.get(model.name) if temporary else None
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
        wanted = self.defaults.of(model)
        if normal_default(found) == normal_default(wanted):
            return False
        if found is None or wanted is None:
            return True
        temporary = self.temporary_tables.of(model.table)
        column = temporary.columns.get(model.name) if temporary else None
        if column is None:
            return True
        return normal_default(found) != normal_default(column["default"])


def default_text(column: Column[Any]) -> str | None:
    """Return a reflected column's server default in SQL."""
    default = column.server_default
    return str(default.arg) if isinstance(default, DefaultClause) else None
