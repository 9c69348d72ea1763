"""The one place that reaches into SQLAlchemy below its public API.

SQLAlchemy has no public way from a ``MetaData`` to the classes that are mapped to its tables:
``registry.mappers`` is public, but nothing lists the registries, and it raises as soon as one class
of the registry still waits for its mapper (``DeferredReflection``).
``tests/test_sqlalchemy_internals.py`` fails loudly when an upstream release changes what is used
here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, MetaData, Sequence, Table
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.schema import CheckConstraint, Constraint, CreateIndex, Index, SchemaItem
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.ddl import CreateConstraint
from sqlalchemy.types import SchemaType, TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper


def declared_classes() -> list[tuple[type[Any], Mapper[Any] | None]]:
    """Return every class that any SQLAlchemy registry of this process knows, in no fixed order.

    Nothing is configured by this: relationships stay as the models declared them.

    :returns: each class with its mapper, or with ``None`` while the class waits for one
    """
    if "sqlalchemy.orm" not in sys.modules:
        # Models without classes: none is registered.
        return []
    # Imported here, so that a release without it breaks this question alone and not every command.
    from sqlalchemy.orm.mapper import _all_registries

    return [
        (manager.class_, manager.mapper if manager.is_mapped else None)
        for registry in _all_registries()
        for manager in list(registry._managers)
    ]


def lonely_sequences(metadata: MetaData) -> list[Sequence]:
    """Return the sequences of a ``MetaData`` that are no column's own default.

    ``create_all()`` creates them; nothing public lists them.
    """
    return [one for one in metadata._sequences.values() if one.column is None]


def types_of_metadata(metadata: MetaData) -> list[Any]:
    """Return the types that were given a ``MetaData``, whether a column has them or not.

    ``create_all()`` creates them, as listeners to it: SQLAlchemy before 2.1 by an object that can
    be pickled, later by a method.
    """
    listeners = [*metadata.dispatch.before_create]
    found = [getattr(one, "target", getattr(one, "__self__", None)) for one in listeners]
    return [one for one in found if isinstance(one, SchemaType) and one.metadata is metadata]


def variants_of(type_: TypeEngine[Any]) -> Mapping[str, TypeEngine[Any]]:
    """Return what ``with_variant`` put in place of a type, by the name of the dialect.

    Nothing public tells: ``dialect_impl`` gives the variant in the shape of one dialect alone.
    """
    return type_._variant_mapping


def with_other_variant(
    type_: TypeEngine[Any], dialect: str, variant: TypeEngine[Any]
) -> TypeEngine[Any]:
    """Return a type with another variant for a dialect, which ``with_variant`` refuses."""
    found: TypeEngine[Any] = type_.copy()
    found._variant_mapping = type_._variant_mapping.union({dialect: variant})
    return found


def is_created(item: Constraint | Index, dialect: Dialect) -> bool:
    """True if a constraint or index of a table is made on a database.

    A CHECK that an enum or a boolean brings is there only where the database has no such type, and
    ``ddl_if()`` names the databases or asks a function; the DDL compiler alone knows.
    """
    compiler = ddl_compiler(dialect)
    rule = getattr(item, "_create_rule", None)
    # AddConstraint and DropConstraint leave this one behind: the constraint is made by itself.
    apart = getattr(rule, "__name__", getattr(rule, "name", "")) == "_create_rule_disable"
    if rule is not None and not apart and not rule(compiler):
        return False
    condition = item._ddl_if
    if condition is None:
        return True
    element = CreateIndex(item) if isinstance(item, Index) else CreateConstraint(item)
    return bool(condition._should_execute(element, item, None, compiler=compiler))


def has_condition(item: Constraint | Index) -> bool:
    """True if ``ddl_if()`` says of a constraint or index on which databases it is made."""
    return item._ddl_if is not None


@contextmanager
def keys_as_they_are(tables: Iterable[Table]) -> Iterator[None]:
    """Let ``create_all()`` leave nothing behind in foreign keys.

    Of one that it adds to a table that is there it notes that no table is made with it: on a
    database that adds none, SQLite, the same models would lack it.
    """
    keys = [key for table in tables for key in table.foreign_key_constraints]
    rules = [key._create_rule for key in keys]
    try:
        yield
    finally:
        for key, rule in zip(keys, rules, strict=True):
            key._create_rule = rule


def ddl_compiler(dialect: Dialect) -> DDLCompiler:
    """Return a database's compiler of DDL, without a statement to compile."""
    no_statement: Any = None
    return dialect.ddl_compiler(dialect, no_statement)


def rewrites_statements(connection: Connection, other: Connection) -> bool:
    """True if a connection has listeners that may change its statements, and another lacks them.

    SQLAlchemy calls a listener without ``retval=True`` by a function of its own, which changes
    nothing.
    """
    for name in ("before_execute", "before_cursor_execute"):
        known = [*getattr(other.dispatch, name)]
        for function in getattr(connection.dispatch, name):
            own = getattr(function, "__name__", "") == f"wrap_{name}"
            if not own and not any(function is one for one in known):
                return True
    return False


def link_foreign_key(foreign_key: ForeignKey, target: Table) -> None:
    """Give a foreign key, which names its table by a string, a table of another ``MetaData``.

    SQLAlchemy looks for it in the key's own ``MetaData`` alone; it calls this itself when the table
    is found there. A column without a type gets the target's.

    :raises sqlalchemy.exc.NoReferencedColumnError: if the target has no such column
    """
    foreign_key._set_remote_table(target)


def write_as_server(dialect: Dialect, asked: Dialect | None = None) -> None:
    """Let a dialect without a connection write what it learns of a server when it connects.

    That is whether MariaDB has sequences, as since 10.3, and how a literal has a backslash.
    SQLAlchemy before 2.1 doubles it until it has asked a server for the setting
    ``standard_conforming_strings``, which has been on by default since PostgreSQL 9.1.

    :param asked: one that was connected to the server: MariaDB has ``NO_BACKSLASH_ESCAPES``
    """
    if asked is not None:
        dialect.supports_sequences = asked.supports_sequences
    elif getattr(dialect, "is_mariadb", False):
        dialect.supports_sequences = True
    if hasattr(asked, "_backslash_escapes"):
        dialect._backslash_escapes = asked._backslash_escapes  # type: ignore[attr-defined, union-attr]
    elif dialect.name == "postgresql":
        dialect._backslash_escapes = False  # type: ignore[attr-defined]


def is_type_bound(constraint: CheckConstraint) -> bool:
    """True if a column's type, an enum or a boolean, brought a CHECK constraint."""
    return bool(constraint._type_bound)


def escaped(text: str) -> str:
    """Return SQL in which SQLAlchemy reads no ``:name`` as a parameter."""
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", text)


def words_of(part: object) -> Iterator[str]:
    """Yield the names in a difference: of what it is, and of the table that has it."""
    if isinstance(part, list | tuple):
        for one in part:
            yield from words_of(one)
    elif isinstance(part, str):
        yield from (part, *part.split("."), *re.findall(r'"([^"]*)"', part))
    elif isinstance(part, SchemaItem):
        yield str(getattr(part, "name", ""))
        table = getattr(part, "table", None)
        if table is not None:
            yield table.name
