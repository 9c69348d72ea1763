"""Values that SQLAlchemy or Alembic cannot write into SQL, or write as another value.

``upgrade --sql`` has no driver that would send them: bytes, JSON, arrays with NULL, tabs, a
backslash before a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any

from alembic.ddl.impl import DefaultImpl
from sqlalchemy.dialects.postgresql import INTERVAL, Range
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter, TextClause
from sqlalchemy.types import (
    ARRAY,
    JSON,
    DateTime,
    Interval,
    LargeBinary,
    PickleType,
    String,
    TypeDecorator,
    TypeEngine,
)

#: Stands for a tab on its way through Alembic, which writes four spaces in its place.
TAB = "\ue009"


def write_all_literals(impl: DefaultImpl) -> None:
    """Let Alembic without a connection write each value as a driver would send it."""
    dialect = impl.dialect
    statements, ddl, output = dialect.statement_compiler, dialect.ddl_compiler, impl.static_output
    dialect.statement_compiler = type("Statements", (Literals, Tabs, statements), {})
    dialect.ddl_compiler = type("DDL", (Tabs, ddl), {})

    def written(text: str) -> None:
        text = text.replace(TAB, "\t")
        output(delimited(text) if dialect.name in ("mysql", "mariadb") else text)

    impl.static_output = written  # type: ignore[method-assign]


#: What begins a statement of MariaDB with statements in it, each with a semicolon.
COMPOUND = re.compile(
    r"\s*(BEGIN\s+NOT\s+ATOMIC|CREATE\s[^;]*?\b(TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE))\b", re.I
)


def delimited(text: str) -> str:
    """Return a statement as MariaDB's own client takes it, which cuts at each semicolon."""
    body = text.rstrip().removesuffix(";")
    if ";" not in body or not COMPOUND.match(body):
        return text
    end = next(one for one in (";;", "$$", "//", "||||") if one not in body)
    return f"DELIMITER {end}\n{body}\n{end}\nDELIMITER ;"


class Tabs:
    """A compiler's text with its tabs."""

    def __str__(self) -> str:
        return super().__str__().replace("\t", TAB)


class Literals:
    """A compiler of statements that knows how to write all values."""

    dialect: Dialect
    in_text = False

    def visit_textclause(self, textclause: TextClause, **words: Any) -> str:
        """Compile a text, which takes a backslash before ``:name`` away, also in its literals."""
        before, self.in_text = self.in_text, True
        try:
            written: str = super().visit_textclause(textclause, **words)  # type: ignore[misc]
            return written
        finally:
            self.in_text = before

    def render_literal_bindparam(
        self, bindparam: BindParameter[Any], *args: Any, **words: Any
    ) -> str:
        """Write a parameter; ``None`` of a JSON column is what JSON makes of it."""
        if bindparam.value is None and isinstance(bindparam.type, JSON):
            return self.render_literal_value(None, bindparam.type)
        written: str = super().render_literal_bindparam(  # type: ignore[misc]
            bindparam, *args, **words
        )
        return written

    def render_literal_value(self, value: Any, type_: TypeEngine[Any]) -> str:
        """Return a value as SQL."""
        name = self.dialect.name
        value, type_ = undecorated(value, type_, self.dialect)
        if isinstance(value, (bytes, bytearray, memoryview)):
            digits = bytes(value).hex()
            if name != "postgresql":
                return f"X'{digits}'"
            value, type_ = f"\\x{digits}", String()
        if isinstance(type_, ARRAY) and value is not None:
            # The elements alone do not tell the type: all may be NULL, or there be none.
            kind = self.dialect.type_compiler_instance.process(type_)
            return f"CAST({self.array(value, type_, type_.dimensions)} AS {kind})"
        if isinstance(type_, JSON):
            if value is None and type_.none_as_null:
                return "NULL"
            # Not the driver's own, which may wrap the text.
            process: Any = JSON.bind_processor
            value, type_ = process(type_, self.dialect)(value), String()
        if isinstance(value, datetime) and name in ("mysql", "mariadb"):
            # As drivers do.
            value = value.replace(tzinfo=None)
        if isinstance(value, (float, Decimal)) and not isfinite(value):
            if name == "sqlite":
                return "NULL" if isnan(value) else "9e999" if value > 0 else "-9e999"
            value, type_ = str(value), String()
        if isinstance(value, Range):
            value, type_ = str(value), String()
        if isinstance(value, timedelta) and isinstance(type_.dialect_impl(self.dialect), INTERVAL):
            # Days are no hours, and SQLAlchemy writes seconds alone.
            seconds = f"{value.seconds}.{value.microseconds:06} seconds"
            return f"INTERVAL '{value.days} days {seconds}'"
        if isinstance(value, str) and "\0" in value and name != "postgresql":
            digits = value.encode().hex()
            return f"CAST(X'{digits}' AS TEXT)" if name == "sqlite" else f"_utf8mb4 X'{digits}'"
        if isinstance(value, str):
            value, type_ = bare(value, type_, self.dialect)
        written: str = super().render_literal_value(value, type_)  # type: ignore[misc]
        return written.replace("\\:", "\\\\:") if self.in_text else written

    def array(self, values: Iterable[Any], type_: ARRAY[Any], dimensions: int | None) -> str:
        """Return an array as SQL, its type left open.

        :param dimensions: of the array; ``None`` to see it by its elements
        """
        values, written = list(values), []
        # As drivers are told: by the first element.
        nested = (dimensions or 1) > 1 or (
            dimensions is None and isinstance(next(iter(values), None), (list, tuple))
        )
        for value in values:
            if value is None:
                written.append("NULL")
            elif nested:
                below = None if dimensions is None else dimensions - 1
                written.append(self.array(value, type_, below))
            else:
                written.append(self.render_literal_value(value, type_.item_type))
        return f"ARRAY[{', '.join(written)}]"


def bare(value: str, type_: TypeEngine[Any], dialect: Dialect) -> tuple[str, TypeEngine[Any]]:
    """Return a value as drivers send it if its type has no literals, such as INET and BIT."""
    impl = type_.dialect_impl(dialect)
    if impl.literal_processor(dialect) is not None:
        return value, type_
    process = impl.bind_processor(dialect)
    sent = value if process is None else process(value)
    return (sent, String()) if isinstance(sent, str) else (value, type_)


def undecorated(
    value: Any, type_: TypeEngine[Any], dialect: Dialect
) -> tuple[Any, TypeEngine[Any]]:
    """Return what a decorated type of bytes, arrays or JSON makes of a value, and its own type."""
    if not isinstance(type_, TypeDecorator) or value is None:
        return value, type_
    if isinstance(type_, PickleType):
        return type_.pickler.dumps(value, type_.protocol), LargeBinary()
    if isinstance(type_.dialect_impl(dialect), Interval):
        # Where the database has no intervals, it is that long after this moment.
        return type_.epoch + value, DateTime()
    below = type_.load_dialect_impl(dialect)
    try:
        inner = type_.process_bind_param(value, dialect)
    except NotImplementedError:
        inner = value
    if isinstance(inner, (bytes, bytearray, memoryview)) or isinstance(below, (ARRAY, JSON)):
        return undecorated(inner, below, dialect)
    return value, type_
