"""Features that public packages have, or that a database alone decides."""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator

from zoo import feature, simple, typed

__all__: list[str] = []


class Status(str, enum.Enum):
    """Strings that are members of an enum."""

    NOT_STARTED = "not_started"


class Address(TypeDecorator[Any]):
    """A string that has a length on some databases alone."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.INET())
        return dialect.type_descriptor(sa.String(39))


class Compiled(TypeDecorator[Any]):
    """A string that is spelled in another way on one database."""

    impl = sa.Unicode
    cache_ok = True


@compiles(Compiled)
def plain_unicode(element: Any, compiler: Any, **kw: Any) -> str:
    """Return what it is elsewhere."""
    return str(compiler.visit_unicode(element, **kw))


@compiles(Compiled, "mysql")
def unicode_with_collation(element: Any, compiler: Any, **kw: Any) -> str:
    """Return the words for MariaDB."""
    return "VARCHAR(255) COLLATE utf8mb4_bin"


typed("default_enum_member", lambda: sa.String(20), server_default=Status.NOT_STARTED)
typed("decorated_length", Address)
typed("decorated_compiled", Compiled)
typed("interval_precision", lambda: sa.Interval(second_precision=6))
typed("interval_foreign", lambda: sa.Interval(native=False))


@feature()
def conditional_parts(metadata: MetaData, version: int) -> None:
    """Constraints and indexes that each database has or has not."""
    items: list[Any] = []
    for name in ("sqlite", "postgresql", "mysql"):
        items += [
            sa.CheckConstraint("a > 0", name=f"cond_ck_{name}").ddl_if(dialect=name),
            sa.UniqueConstraint("a", "b", name=f"cond_uq_{name}").ddl_if(dialect=name),
            sa.Index(f"cond_ix_{name}", "b").ddl_if(dialect=name),
        ]
    simple(metadata, "conditional", Column("a", sa.Integer), Column("b", sa.Integer), *items)


@feature("sqlite", "postgresql")
def conditional_own_check(metadata: MetaData, version: int) -> None:
    """A column's own CHECK, which SQLAlchemy writes on every database."""
    own = sa.CheckConstraint("b <> 3", name="cond_own").ddl_if(dialect="postgresql")
    simple(metadata, "conditional_own", Column("b", sa.Integer, own))


@feature()
def foreign_key_self_use_alter(metadata: MetaData, version: int) -> None:
    """A table that points at itself, by a key that is to be added behind it."""
    Table(
        "self_altered",
        metadata,
        Column("id", sa.Integer, primary_key=True),
        Column("p", sa.ForeignKey("self_altered.id", name="self_altered_p", use_alter=True)),
        Column("q", sa.ForeignKey("self_altered.id")),
    )
