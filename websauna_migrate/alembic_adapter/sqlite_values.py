"""How a batch on SQLite takes values to a column's new type.

Alembic copies them by ``CAST``. SQLite casts a text to a number by the digits that it begins with,
and dates, times and enums are texts there: ``CAST('2020-01-31' AS DATETIME)`` is 2020, and
``CAST('none' AS INTEGER)`` is 0. So a text goes uncast to a type that is none of text; the column
itself makes a number of it where it is one (https://www.sqlite.org/datatype3.html, 3.1 and 3.3).
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Boolean, Date, DateTime, Dialect, Time, case, func, literal_column
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

TRUE = "('true', 't', 'yes', 'y', 'on')"
FALSE = "('false', 'f', 'no', 'n', 'off')"


def converted(
    value: ColumnElement[Any],
    cast: ColumnElement[Any],
    old: TypeEngine[Any],
    new: TypeEngine[Any],
    dialect: Dialect,
) -> ColumnElement[Any]:
    """Return what of a value comes into the column of the new type.

    :param value: the old column
    :param cast: it as Alembic casts it
    """
    if re.search("CHAR|CLOB|TEXT", new.compile(dialect).upper()):
        return cast
    is_text = func.typeof(value) == literal_column("'text'")
    return case((is_text, of_text(value, old, new)), else_=cast)


def of_text(
    value: ColumnElement[Any], old: TypeEngine[Any], new: TypeEngine[Any]
) -> ColumnElement[Any]:
    """Return what becomes of a text; one that does not read as its type says stays as it is."""
    if isinstance(new, Boolean):
        word = func.lower(value)
        return case(
            (word.op("IN")(literal_column(TRUE)), number(1)),
            (word.op("IN")(literal_column(FALSE)), number(0)),
            else_=value,
        )
    length: ColumnElement[Any] = func.length(value)
    if isinstance(old, DateTime) and isinstance(new, Date):
        return case((length > number(10), func.substr(value, number(1), number(10))), else_=value)
    if isinstance(old, DateTime) and isinstance(new, Time):
        return case((length > number(11), func.substr(value, number(12))), else_=value)
    if isinstance(old, Date) and isinstance(new, DateTime):
        midnight = value.op("||")(literal_column("' 00:00:00.000000'"))
        return case((length == number(10), midnight), else_=value)
    return value


def number(value: int) -> ColumnElement[Any]:
    """Return a number as it stands in SQL: a script of SQL has no parameters."""
    return literal_column(str(value))
