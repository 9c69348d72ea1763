"""Tables that are evidently equal: all reads alike in the model and in the database.

Alembic makes a ``Table`` of what it reflects and compares object by object, which is most of a
comparison's time. Where each fact that it looks at, and each that is compared besides, is written
alike on both sides, nothing can be found. What is not alike, or of a kind that was not thought of,
proves nothing: such a table is compared in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import DefaultClause
from sqlalchemy.sql.elements import conv, quoted_name

from websauna_migrate.autogenerate.compare.checks import final_name, plain
from websauna_migrate.autogenerate.compare.defaults import ModelDefaults, is_serial, normal_default
from websauna_migrate.autogenerate.compare.indexes import reads_alike
from websauna_migrate.autogenerate.compare.temporary_table import applicable_checks, sql_text
from websauna_migrate.autogenerate.compare.types import WrittenTypes
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.models.sqlalchemy_internals import (
    has_dialect_arguments,
    has_reflection_listeners,
)

__all__ = ["ODD", "Equality"]

#: What is raised where a model, or what was reflected, is of another kind than was thought of.
ODD = (SQLAlchemyError, NotImplementedError, AttributeError, KeyError, TypeError)

#: The convention of a ``MetaData`` without one: it changes no name that was given.
NO_CONVENTION = MetaData().naming_convention

#: Where evidence is looked for. MariaDB keeps less of what it is told, or in other words.
DATABASES = frozenset({"postgresql", "sqlite"})

#: The options of a foreign key, in the model and as reflected.
OPTIONS = ("onupdate", "ondelete", "deferrable", "initially")


class Equality:
    """Looks for evidence that tables are equal to their models, on PostgreSQL and SQLite."""

    def __init__(self, reflection: Reflection) -> None:
        self.reflection = reflection
        self.connection = reflection.connection
        self.types = WrittenTypes(self.connection.dialect)
        self.defaults = ModelDefaults(self.connection.dialect)
        dialect = self.connection.dialect
        self.backend = dialect.name
        # What a database does not keep is not compared.
        self.comments = dialect.supports_comments
        # Whoever listens to reflection may change what Alembic sees.
        self.active = self.backend in DATABASES and not has_reflection_listeners()

    def equal(self, table: Table, schema: str | None) -> bool:
        """Tell whether a table is evidently equal to its model.

        :param schema: the model's, ``None`` for the default one
        """
        # The default schema by its name is not written alike in foreign keys.
        if not self.active or table.schema != schema:
            return False
        facts = self.reflection.facts(schema, str(table.name))
        try:
            return (
                self.columns(table, facts("columns"))
                and (not self.comments or self.same_comment(table, facts("table_comment")["text"]))
                and self.constraints(table, facts)
                and self.indexes(table, facts("indexes"))
            )
        except ODD:
            return False

    def same_comment(self, item: Table | Column[Any], stored: str | None) -> bool:
        """Tell whether a comment is the same."""
        return (item.comment or None) == (stored or None)

    def columns(self, table: Table, found: Sequence[Any]) -> bool:
        """Tell whether the columns are evidently equal."""
        by_name = {one["name"]: one for one in found}
        return len(by_name) == len(table.columns) and all(
            self.column(column, by_name[column.name]) for column in table.columns
        )

    def column(self, column: Column[Any], found: Any) -> bool:
        """Tell whether a column is evidently equal."""
        return (
            column.nullable is found["nullable"]
            and not column.system
            and (not self.comments or self.same_comment(column, found["comment"]))
            and not has_options(column)
            and self.default(column, found)
            and self.types.alike(column.type, found["type"])
        )

    def default(self, column: Column[Any], found: Any) -> bool:
        """Tell whether neither side has a default, or both evidently have the same."""
        default, stored = column.server_default, found["default"]
        if "computed" in found or "identity" in found:
            return False
        if default is None:
            return stored is None or (is_serial(column) and self.reflection.is_serial(found))
        if type(default) is not DefaultClause:
            return False
        wanted = normal_default(self.defaults.of(column))
        # Alembic puts brackets around what SQLite keeps, which a single quote may hide.
        odd = stored is not None and stored.count("'") % 2
        return wanted is not None and wanted == normal_default(stored) and not odd

    def constraints(self, table: Table, facts: Callable[[str], Any]) -> bool:
        """Tell whether the constraints are evidently equal."""
        kinds: dict[type[Any], list[Any]] = {
            PrimaryKeyConstraint: [],
            UniqueConstraint: [],
            ForeignKeyConstraint: [],
            CheckConstraint: [],
        }
        for constraint in table.constraints:
            # Any other kind is a KeyError.
            kinds[type(constraint)].append(constraint)
        numbered = [column.name for column in table.primary_key.columns]
        return (
            numbered == facts("pk_constraint")["constrained_columns"]
            and self.uniques(kinds[UniqueConstraint], facts("unique_constraints"))
            and foreign_keys(kinds[ForeignKeyConstraint], facts("foreign_keys"))
            and self.checks(table, facts("check_constraints"))
        )

    def checks(self, table: Table, found: Sequence[Any]) -> bool:
        """Tell whether the CHECK constraints have the same names and texts."""
        texts = {one["name"]: plain(one["sqltext"]) for one in found}
        checks = applicable_checks(table, self.connection)
        models = {
            final_name(one, self.connection): plain(sql_text(one.sqltext, self.connection))
            for one in checks
        }
        return texts == models and None not in models and len(checks) == len(models) == len(found)

    def indexes(self, table: Table, found: Sequence[Any]) -> bool:
        """Tell whether the indexes are evidently equal."""
        # The index of a constraint is compared as the constraint.
        own = {one["name"]: one for one in found if not one.get("duplicates_constraint")}
        names = {given_name(index): index for index in table.indexes}
        constraints = {one["name"] for one in found} - own.keys()
        # One that SQLite has on an expression may be there twice, as SQLAlchemy reads it and whole.
        if len(own) + len(constraints) != len(found):
            return False
        return (
            own.keys() == names.keys()
            and len(names) == len(table.indexes)
            and not constraints & names.keys()
            and all(self.index(index, own[name]) for name, index in names.items())
        )

    def index(self, index: Index, found: Any) -> bool:
        """Tell whether an index of plain columns is evidently equal."""
        columns = [one.name for one in index.expressions if isinstance(one, Column)]
        return (
            len(columns) == len(index.expressions)
            and columns == found["column_names"]
            and bool(index.unique) == bool(found["unique"])
            and not found.get("expressions")
            and not found.get("column_sorting")
            and not self.other_options(index.kwargs if has_options(index) else {})
            and not self.other_options(found.get("dialect_options") or {})
            and reads_alike(index, found, self.connection)
        )

    def uniques(self, wanted: Sequence[UniqueConstraint], found: Sequence[Any]) -> bool:
        """Tell whether UNIQUE constraints are evidently equal: none has options.

        One without a name in the model is known by its columns: a database gives it a name, or
        keeps it without.
        """
        named: dict[str, list[str]] = {}
        unnamed: list[list[str]] = []
        for one in wanted:
            columns = [column.name for column in one.columns]
            name = given_name(one)
            if has_options(one):
                return False
            if one.name is None:
                unnamed.append(columns)
            elif name is None or name in named:
                return False
            else:
                named[name] = columns
        stored = {one["name"]: one["column_names"] for one in found if one["name"] is not None}
        nameless = [one["column_names"] for one in found if one["name"] is None]
        others = [columns for name, columns in stored.items() if name not in named]
        return (
            len(stored) + len(nameless) == len(found)
            and all(stored.get(name) == columns for name, columns in named.items())
            and sorted(others + nameless) == sorted(unnamed)
            and not any(self.other_options(one.get("dialect_options") or {}) for one in found)
        )

    def other_options(self, options: Any) -> list[str]:
        """Return the options of an index that are neither a predicate nor another database's."""
        prefix = f"{self.backend}_"
        return [
            name
            for name, value in options.items()
            # The value of a predicate has no truth.
            if name.startswith(prefix) and name != f"{prefix}where" and value
        ]


def foreign_keys(wanted: Sequence[ForeignKeyConstraint], found: Sequence[Any]) -> bool:
    """Tell whether foreign keys are evidently equal, whatever they are called."""
    models = [
        (
            [element.parent.name for element in one.elements],
            [(element.column.table.schema, element.column.table.name) for element in one.elements],
            [element.column.name for element in one.elements],
            *(option(getattr(one, name)) for name in OPTIONS),
        )
        for one in wanted
    ]
    stored = [
        (
            one["constrained_columns"],
            [(one["referred_schema"], one["referred_table"])] * len(one["referred_columns"]),
            one["referred_columns"],
            *(option(one["options"].get(name)) for name in OPTIONS),
        )
        for one in found
    ]
    return len(models) == len(stored) and all(
        models.count(one) == stored.count(one) == 1 for one in models
    )


def option(value: Any) -> Any:
    """Return an option of a foreign key; ``None`` for that which a database has by itself."""
    text = value.lower() if isinstance(value, str) else value
    return None if text in ("no action", "immediate", False, "") else text


def has_options(item: Any) -> bool:
    """Tell whether something of a model has options for certain databases."""
    return has_dialect_arguments(item) and bool(item.kwargs)


def given_name(item: Any) -> str | None:
    """Return the name that a constraint or index has in the database too; ``None`` if unsure."""
    name = item.name
    if isinstance(name, conv):
        return str(name)
    plainly = type(name) in (str, quoted_name)
    return str(name) if plainly and item.table.metadata.naming_convention == NO_CONVENTION else None
