"""What models say, as SQL: names as the database has them, expressions, CHECK constraints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Column, Constraint, Index, MetaData, Table
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from websauna_migrate.models.sqlalchemy_internals import ddl_compiler, is_created


def applicable_checks(table: Table, connection: Connection) -> list[CheckConstraint]:
    """Return the CHECK constraints that a model's table has on a database, in a fixed order.

    Those that a type brings, an enum's or a boolean's, are only there where the database has no
    such type.
    """
    found = [
        constraint
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint) and is_created(constraint, connection.dialect)
    ]
    found += column_checks(table)
    return sorted(found, key=lambda one: (str(one.name), sql_text(one.sqltext, connection)))


def column_checks(table: Table) -> list[CheckConstraint]:
    """Return the CHECK constraints that stand with a column, which are not among the table's.

    SQLAlchemy writes them on every database, whatever ``ddl_if()`` says of them.
    """
    return [
        constraint
        for column in table.columns
        for constraint in sorted(column.constraints, key=lambda one: str(one.name))
        if isinstance(constraint, CheckConstraint)
    ]


def type_checks(
    table: str, column: str, type_: TypeEngine[Any], dialect: Dialect, metadata: MetaData
) -> Iterator[tuple[str, str]]:
    """Yield name and text of the CHECKs that the type of a column brings on a database.

    Those without a name have an empty one.

    :param metadata: an empty one, with the conventions for names
    """
    compiler = ddl_compiler(dialect)
    for check in Table(table, metadata, Column(column, type_)).constraints:
        if isinstance(check, CheckConstraint) and is_created(check, dialect):
            text = compiler.sql_compiler.process(
                check.sqltext, include_table=False, literal_binds=True
            )
            name = isinstance(check.name, str) and compiler.preparer.format_constraint(check)
            yield unquoted(plain(str(name or ""), dialect)), plain(text, dialect)


def sql_text(expression: ClauseElement, connection: Connection) -> str:
    """Return an expression as a table's definition has it, with ``%`` as it is."""
    text = str(
        expression.compile(
            dialect=connection.dialect,
            compile_kwargs={"literal_binds": True, "include_table": False},
        )
    )
    return plain(text, connection.dialect)


def final_name(constraint: Constraint | Index, connection: Connection) -> str | None:
    """Return the name that a constraint has in the database, shortened and all.

    ``None`` for one whose name the server chooses.
    """
    if not isinstance(constraint.name, str) or not constraint.name:
        return None
    formatted = connection.dialect.identifier_preparer.format_constraint(constraint)
    return None if formatted is None else unquoted(plain(str(formatted), connection.dialect))


def plain(text: str, dialect: Dialect) -> str:
    """Return SQL that a dialect wrote without the doubling of ``%`` that its driver asks for."""
    doubled = dialect.paramstyle in ("format", "pyformat")
    return text.replace("%%", "%") if doubled else text


def unquoted(text: str) -> str:
    """Return a name without the quotes of any database, if it has some."""
    if len(text) > 1 and text[0] in "\"`'" and text[-1] == text[0]:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text[1:-1] if text[:1] == "[" else text
