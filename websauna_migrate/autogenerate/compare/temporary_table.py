"""What a database makes of a model: asked of the database, where texts alone cannot tell.

Every database rewrites what it is given: PostgreSQL turns ``a IN (1, 2)`` into ``a = ANY (...)``,
MariaDB ``a % 2`` into ``MOD``. Where a model and a table read differently, the model's table is
made once more as a temporary one, reflected, and taken back. Two texts that are equal then are the
same; nothing else can be relied on.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, MetaData, Table
from sqlalchemy.engine import Connection
from sqlalchemy.schema import Computed

from websauna_migrate.models.sqlalchemy_internals import is_created

__all__ = [
    "NAME",
    "TemporaryTable",
    "applicable_checks",
    "column_checks",
    "escaped",
    "reflected",
    "sql_text",
    "temporary",
]

NAME = "websauna_migrate_temporary"


@dataclass(frozen=True)
class TemporaryTable:
    """What the database makes of one model.

    :ivar columns: by name, as reflected
    :ivar checks: the texts of the CHECK constraints, by the place in :func:`applicable_checks`
    :ivar indexes: by the model's own name, as reflected
    :ivar definitions: of the indexes, as PostgreSQL writes them
    """

    columns: Mapping[str, Mapping[str, Any]]
    checks: Mapping[int, str] = field(default_factory=dict)
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)


def temporary(table: Table, connection: Connection) -> tuple[Table, dict[str, Index]]:
    """Return a temporary copy of a table without its foreign keys, and the copies of its indexes.

    Constraints have numbers for names, so that each is known again.
    """
    metadata = MetaData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # SQLAlchemy knows None for the default schema, its annotation does not.
        no_schema: Any = None
        whole = table.to_metadata(metadata, name=NAME, schema=no_schema)
    copy = Table(
        NAME,
        MetaData(),
        *(plain_column(column) for column in whole.columns),
        prefixes=["TEMPORARY"],
        **{k: v for k, v in table.kwargs.items() if not k.endswith("partition_by")},
    )
    for column in table.columns:
        schema = getattr(column.type, "schema", None)
        made: Any = copy.c[column.key].type
        if schema is not None and made is not column.type:
            # SQLAlchemy gave the copy of an enum type the schema of the table.
            made.schema = schema
    for number, check in enumerate(applicable_checks(table, connection)):
        copy.append_constraint(
            CheckConstraint(
                sa.text(escaped(sql_text(check.sqltext, connection))), name=f"c{number}"
            )
        )
    indexes = {}
    for number, index in enumerate(sorted(table.indexes, key=lambda one: str(one.name))):
        expressions = [
            copy.c[expression.key]
            if isinstance(expression, Column)
            else sa.text(escaped(sql_text(expression, connection)))
            for expression in index.expressions
        ]
        options: dict[str, Any] = {
            key: sa.text(escaped(sql_text(value, connection)))
            if isinstance(value, sa.sql.ClauseElement)
            else value
            for key, value in index.kwargs.items()
        }
        indexes[str(index.name)] = Index(
            f"websauna_migrate_i{number}", *expressions, unique=index.unique, _table=copy, **options
        )
        copy.indexes.clear()
    return copy, indexes


def plain_column(column: Column[Any]) -> Column[Any]:
    """Return a copy of a column without key, foreign keys and indexes."""
    default = column.server_default
    extra = []
    if isinstance(default, Computed):
        extra = [Computed(default.sqltext, persisted=default.persisted)]
    return Column(
        column.name,
        column.type,
        *extra,
        key=column.key,
        nullable=column.nullable,
        server_default=getattr(default, "arg", None) if not extra else None,
        primary_key=False,
    )


def reflected(connection: Connection, indexes: Mapping[str, Index]) -> TemporaryTable:
    """Return what the temporary table is."""
    inspector = sa.inspect(connection)
    numbers = {str(index.name): name for name, index in indexes.items()}
    try:
        checks = inspector.get_check_constraints(NAME)
    except NotImplementedError:
        checks = []
    columns: dict[str, dict[str, Any]] = {
        column["name"]: dict(column) for column in inspector.get_columns(NAME)
    }
    if getattr(connection.dialect, "is_mariadb", False):
        # SQLAlchemy reads no expression there.
        for row in connection.exec_driver_sql(f"SHOW COLUMNS FROM {NAME}").mappings():
            if columns[row["Field"]]["default"] is None:
                columns[row["Field"]]["default"] = row["Default"]
    return TemporaryTable(
        columns,
        {
            int(str(check["name"])[1:]): check["sqltext"]
            for check in checks
            if re.fullmatch(r"c\d+", str(check["name"]))
        },
        {
            numbers[str(index["name"])]: index
            for index in inspector.get_indexes(NAME)
            if str(index["name"]) in numbers
        },
    )


def applicable_checks(table: Table, connection: Connection) -> list[CheckConstraint]:
    """Return the CHECK constraints that a model's table has on a database, in a fixed order.

    Those that a type brings, an enum's or a boolean's, are only there where the database has no
    such type.
    """
    found = [
        constraint
        for constraint in [*table.constraints, *column_checks(table)]
        if isinstance(constraint, CheckConstraint) and is_created(constraint, connection.dialect)
    ]
    return sorted(found, key=lambda one: (str(one.name), sql_text(one.sqltext, connection)))


def column_checks(table: Table) -> list[CheckConstraint]:
    """Return the CHECK constraints that stand with a column, which are not among the table's."""
    return [
        constraint
        for column in table.columns
        for constraint in sorted(column.constraints, key=lambda one: str(one.name))
        if isinstance(constraint, CheckConstraint)
    ]


def sql_text(expression: Any, connection: Connection) -> str:
    """Return an expression as a table's definition has it, with ``%`` as it is."""
    text = str(
        expression.compile(
            dialect=connection.dialect,
            compile_kwargs={"literal_binds": True, "include_table": False},
        )
    )
    if connection.dialect.paramstyle in ("format", "pyformat"):
        text = text.replace("%%", "%")
    return text


def escaped(text: str) -> str:
    """Return SQL in which SQLAlchemy reads no ``:name`` as a parameter."""
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", text)
