"""Parameters without a value: SQLAlchemy writes them into DDL as NULL, and says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import BindParameter, CheckConstraint, ClauseElement, Table
from sqlalchemy.schema import Computed
from sqlalchemy.sql.visitors import iterate

if TYPE_CHECKING:
    from sqlalchemy import ClauseElement


def open_parameters(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the parameters without a value in what a table has, each with its place in words."""
    for place, expression in expressions_of(table):
        if isinstance(expression, ClauseElement):
            for part in iterate(expression):
                if isinstance(part, BindParameter) and part.required and part.callable is None:
                    yield place, str(part.key)


def expressions_of(table: Table) -> Iterator[tuple[str, object]]:
    """Yield the expressions that are written with a table, each with its place in words."""
    for column in table.columns:
        place = f'column "{column.name}"'
        default = column.server_default
        if isinstance(default, Computed):
            yield place, default.sqltext
        else:
            yield place, getattr(default, "arg", None)
        for check in column.constraints:
            yield place, getattr(check, "sqltext", None)
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint):
            yield f'constraint "{constraint.name}"', constraint.sqltext
    for index in table.indexes:
        place = f'index "{index.name}"'
        for expression in index.expressions:
            yield place, expression
        for options in index.dialect_options.values():
            yield place, options.get("where")
