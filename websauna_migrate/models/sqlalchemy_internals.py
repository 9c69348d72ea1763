"""The one place that reaches into SQLAlchemy below its public API.

SQLAlchemy has no public way from a ``MetaData`` to the classes that are mapped to its tables:
``registry.mappers`` is public, but nothing lists the registries, and it raises as soon as one class
of the registry still waits for its mapper (``DeferredReflection``).
``tests/test_sqlalchemy_internals.py`` fails loudly when an upstream release changes what is used
here.
"""

from __future__ import annotations

import hashlib
import operator
import sys
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.schema import CheckConstraint, SchemaItem
from sqlalchemy.sql.base import DialectKWArgs
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.visitors import Visitable
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import memoized_property

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper

__all__ = [
    "Answer",
    "Compilation",
    "ddl_compiler",
    "declared_classes",
    "has_dialect_arguments",
    "has_reflection_listeners",
    "is_created",
    "is_released",
    "is_type_bound",
    "methods_of",
    "variants_of",
]


class Answer:
    """Rows in the shape in which SQLite's reflection takes the result of a query.

    A result of SQLAlchemy's own would do as well, but making one takes longer than the query.
    """

    # A result without rows may be closed before it is asked for them.
    _soft_closed = False

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        return self.rows

    def scalar(self) -> Any:
        """Return the first value of the first row."""
        return self.rows[0][0] if self.rows else None


def declared_classes() -> list[tuple[type[Any], Mapper[Any] | None]]:
    """Return every class that any SQLAlchemy registry of this process knows, in no fixed order.

    Nothing is configured by this: relationships stay as the models declared them.

    :returns: each class with its mapper, or with ``None`` while the class waits for one
    """
    if "sqlalchemy.orm" not in sys.modules:
        # Models without classes: nobody has registered any.
        return []
    # Imported here, so that a release without it breaks this question alone and not every command.
    from sqlalchemy.orm.mapper import _all_registries

    return [
        (manager.class_, manager.mapper if manager.is_mapped else None)
        for registry in _all_registries()
        for manager in list(registry._managers)
    ]


def has_dialect_arguments(item: DialectKWArgs) -> bool:
    """Tell whether a table, column, constraint or index has arguments for a certain database.

    ``kwargs`` tells it as well, but makes a collection for each item that has none.
    """
    return "dialect_options" in vars(item)


def has_reflection_listeners() -> bool:
    """Tell whether somebody listens to the columns of every table that is reflected.

    A table that was just made has the listeners of its class; nothing public lists them.
    """
    metadata = MetaData()
    probe = Table("probe", metadata)
    return any(bool(one.dispatch.column_reflect) for one in (probe, metadata))


def variants_of(type_: TypeEngine[Any]) -> Mapping[str, TypeEngine[Any]]:
    """Return what ``with_variant`` put in place of a type, by the name of the dialect.

    Nothing public tells: ``dialect_impl`` gives the variant in the shape of one dialect alone.
    """
    return type_._variant_mapping


def is_created(constraint: CheckConstraint, dialect: Dialect) -> bool:
    """Tell whether a CHECK constraint is part of its table on a database.

    One that an enum or a boolean brings is there only where the database has no such type; the
    rule for it is known to the DDL compiler alone.
    """
    rule: Any = constraint._create_rule
    return rule is None or bool(rule(ddl_compiler(dialect)))


def ddl_compiler(dialect: Dialect) -> DDLCompiler:
    """Return a database's compiler of DDL, without a statement to compile."""
    no_statement: Any = None
    return dialect.ddl_compiler(dialect, no_statement)


def is_type_bound(constraint: CheckConstraint) -> bool:
    """Tell whether a column's type, an enum or a boolean, brought a CHECK constraint."""
    return bool(constraint._type_bound)


#: Whose functions are part of what a version number says.
RELEASED = ("sqlalchemy", "alembic", "websauna_migrate")

#: And those of Python itself that classes have functions of.
PYTHONS = ("abc", "contextlib", "functools", "typing")

#: Events in which a statement can be seen, or exchanged, before it gets to the driver.
STATEMENT_EVENTS = (
    "before_execute",
    "after_execute",
    "before_cursor_execute",
    "after_cursor_execute",
)

#: The same events behind the dialect, to which this package listens itself.
DRIVER_EVENTS = ("do_execute", "do_execute_no_params")


class Compilation:
    """What decides which SQL becomes of DDL on a connection, beside the versions in use.

    Listeners and compilers are not listed by anything public.
    """

    def __init__(self, connection: Connection) -> None:
        """Prepare for a connection.

        :param connection: its first query was sent, so that the dialect knows its server
        """
        self._connection = connection
        self._classes = released_classes(Visitable)

    def describe(self) -> list[tuple[str, str]] | None:
        """Return names and values: where they are the same, the same text becomes of the same DDL.

        :returns: ``None`` if somebody else, say the application, has a say in it now
        """
        dialect: Any = self._connection.dialect
        parts: list[Any] = [dialect, dialect.identifier_preparer, dialect.type_compiler_instance]
        classes = [*map(type, parts), dialect.ddl_compiler, dialect.statement_compiler]
        methods = methods_of(classes)
        if (
            methods is None
            or not all(map(is_released, classes))
            or self._connection.get_execution_options().get("schema_translate_map")
            or has_statement_listeners(self._connection)
            or has_schema_listeners()
            or has_compilers(self._classes)
        ):
            return None
        names = [("class", f"{cls.__module__}.{cls.__qualname__}") for cls in classes]
        return [*names, ("methods", methods)] + [
            (f"{type(part).__name__}.{name}", repr(value))
            for part in parts
            for name, value in sorted(vars(part).items())
            # What is found out on the way follows from the others.
            if is_simple(value) and not is_memoized(part, name)
        ]


def is_memoized(part: object, name: str) -> bool:
    """Tell whether an attribute is kept from the first time that somebody asked for it."""
    return isinstance(getattr(type(part), name, None), memoized_property)


def is_simple(value: Any) -> bool:
    """Tell whether a value is written in the same way in each process."""
    if type(value) in (tuple, list):
        return all(map(is_simple, value))
    return value is None or type(value) in (bool, int, float, str)


def is_released(function: Any) -> bool:
    """Tell whether a function or class itself, not an object that can be called, is installed."""
    return module_of(function).partition(".")[0] in RELEASED


def module_of(function: Any) -> str:
    """Return where a function or class was written, also if it wraps another; empty for others."""
    if isinstance(function, FunctionType):
        return str(function.__globals__.get("__name__"))
    return str(function.__module__) if isinstance(function, type) else ""


def methods_of(classes: Iterable[type[Any]]) -> str | None:
    """Return what is the same if some classes have the same methods.

    :returns: ``None`` if one of them was put there by somebody else
    """
    key = tuple(classes)
    bases = list(dict.fromkeys(base for cls in key for base in cls.__mro__))
    now = [part for base in bases for pair in vars(base).items() for part in pair]
    before, described = METHODS.get(key, ([], None))
    if len(now) != len(before) or not all(map(operator.is_, now, before)):
        described = described_methods(bases)
        METHODS[key] = now, described
    return described


#: What classes had when they were asked for, and what :func:`methods_of` said of it.
METHODS: dict[tuple[type[Any], ...], tuple[list[Any], str | None]] = {}


def described_methods(bases: Iterable[type[Any]]) -> str | None:
    """Return the methods of classes as one text, as :func:`methods_of` does."""
    found = []
    for base in bases:
        for name, value in vars(base).items():
            method = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            if isinstance(method, FunctionType):
                if module_of(method).partition(".")[0] not in (*RELEASED, *PYTHONS):
                    return None
                found.append(f"{base.__qualname__}.{name} {method.__qualname__}")
    return hashlib.blake2b("\n".join(found).encode(), digest_size=16).hexdigest()


def has_statement_listeners(connection: Connection) -> bool:
    """Tell whether somebody sees the statements of a connection before its driver does."""
    driver_events: Any = connection.dialect.dispatch
    return any(bool(getattr(connection.dispatch, name)) for name in STATEMENT_EVENTS) or any(
        not is_released(getattr(function, "__func__", function))
        for name in DRIVER_EVENTS
        for function in getattr(driver_events, name)
    )


def has_schema_listeners() -> bool:
    """Tell whether somebody listens to all tables, or to another part of all schemas."""
    dispatch: Any = SchemaItem.dispatch
    return any(
        # What was given a wrapper, say for named arguments, is somebody else's as well.
        module_of(function) != "sqlalchemy.sql.naming"
        for name in dispatch._event_names
        for functions in getattr(dispatch, name)._clslevel.values()
        for function in functions
    )


def has_compilers(classes: Iterable[type[Any]]) -> bool:
    """Tell whether somebody else compiles one of some classes (``@compiles``)."""
    return any(
        not is_released(function)
        for cls in classes
        if (dispatcher := vars(cls).get("_compiler_dispatcher")) is not None
        for function in dispatcher.specs.values()
    )


def released_classes(base: type[Any]) -> set[type[Any]]:
    """Return the classes below one that are installed."""
    found: set[type[Any]] = set()
    left = [base]
    while left:
        new = set(left.pop().__subclasses__()) - found
        found |= new
        left += new
    return {cls for cls in found if is_released(cls)}
