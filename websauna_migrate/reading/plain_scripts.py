"""Which scripts do nothing but give statements to their database.

While the database works on a step, the script of the next one may run already, if nobody can tell:
all that it does is a list of statements, which are kept until the step before is committed. That
is so if its function names nothing but Alembic's operations and SQLAlchemy's types, as every script
does that ``--autogenerate`` wrote. Whatever names anything else, also something harmless, is run
when its turn has come.
"""

from __future__ import annotations

import dis
import functools
import re
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["OPERATIONS", "is_plain_script", "is_repeatable"]

#: Operations that execute statements and look at nothing. Left out are those that hand out the
#: connection or the context, and those that reflect.
OPERATIONS = frozenset(
    {
        "add_column",
        "alter_column",
        "create_check_constraint",
        "create_exclude_constraint",
        "create_foreign_key",
        "create_index",
        "create_primary_key",
        "create_table",
        "create_table_comment",
        "create_unique_constraint",
        "drop_column",
        "drop_constraint",
        "drop_index",
        "drop_table",
        "drop_table_comment",
        "execute",
        "f",
        "rename_table",
    }
)

#: What of SQLAlchemy is neither a type nor part of a table, and only describes SQL.
EXPRESSIONS = frozenset(
    {"current_timestamp", "false", "func", "literal_column", "null", "now", "text", "true"}
)

#: Where operations, SQLAlchemy's types and the parts of tables are.
MODULES = (
    "alembic.op",
    "sqlalchemy",
    "sqlalchemy.types",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
)

#: Values of a script's module that its functions may name.
CONSTANTS = (str, bytes, int, float, bool, type(None))

#: What a function of a script does not do, unless others are to see it.
STORING = re.compile(
    b"[%b]"
    % b"".join(
        re.escape(bytes([dis.opmap[name]]))
        for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR")
    )
)


def is_plain_script(function: Callable[..., Any] | None) -> bool:
    """Tell whether a script's function does nothing but give statements to its database.

    :param function: ``upgrade`` or ``downgrade`` of a revision script, ``None`` if it has none
    """
    code = getattr(function, "__code__", None)
    if not isinstance(function, types.FunctionType) or code is None:
        return False
    if function.__closure__ or code.co_argcount or code.co_kwonlyargcount:
        return False
    # A function or class inside of it, a generator, or arguments: not as a template writes it.
    if code.co_flags & UNUSUAL or any(isinstance(c, types.CodeType) for c in code.co_consts):
        return False
    if STORING.search(code.co_code[::2]):
        return False
    names = set(code.co_names)
    known = function.__globals__
    # A name may be a global, an attribute, or both in one function.
    return all(is_plain_value(known[name]) for name in names & known.keys()) and all(
        name in known and not any(hasattr(module, name) for module in modules())
        for name in names - vocabulary()
    )


def is_repeatable(function: types.FunctionType) -> bool:
    """Tell whether a script's plain function gives the same statements each time.

    Named types are created once for all tables, and an application may register functions by name.
    """
    code, known = function.__code__, function.__globals__
    return (
        not any(named_types(module).intersection(code.co_names) for module in modules())
        and "func" not in code.co_names
        and not any(
            is_named_type(known.get(name)) or is_named_type(type(known.get(name)))
            for name in code.co_names
        )
    )


#: Of a code object: ``*args``, ``**kwargs``, a generator, a coroutine, an asynchronous generator.
UNUSUAL = 0x04 | 0x08 | 0x20 | 0x80 | 0x200


def is_plain_value(value: Any) -> bool:
    """Tell whether a value of a script's module may be named by its functions."""
    if isinstance(value, types.ModuleType):
        return value.__name__ == "alembic.op" or is_of_sqlalchemy(value.__name__)
    if isinstance(value, type):
        return is_description(value) and is_of_sqlalchemy(value.__module__)
    if type(value) is tuple:
        return all(map(is_plain_value, value))
    return type(value) in CONSTANTS or is_plain_value(type(value))


def is_of_sqlalchemy(module: str) -> bool:
    """Tell whether a module is SQLAlchemy itself or one of its dialects."""
    return module == "sqlalchemy" or module.startswith(("sqlalchemy.dialects.", "sqlalchemy.sql."))


def is_description(value: Any) -> bool:
    """Tell whether a class describes a part of a schema."""
    from sqlalchemy.schema import SchemaItem
    from sqlalchemy.types import TypeEngine

    return isinstance(value, type) and issubclass(value, (SchemaItem, TypeEngine))


@functools.cache
def vocabulary() -> frozenset[str]:
    """Return the names of operations, of all classes that describe a schema, and of expressions."""
    classes = {
        name
        for module in modules()
        for name, value in vars(module).items()
        # An application may put its own there.
        if is_description(value) and is_of_sqlalchemy(value.__module__)
    }
    # Builtin functions have other names, and so has whatever connects to a database.
    return frozenset(classes | EXPRESSIONS | OPERATIONS)


@functools.cache
def named_types(module: types.ModuleType) -> frozenset[str]:
    """Return a module's names of the types that :func:`is_named_type` tells of."""
    return frozenset(name for name, value in vars(module).items() if is_named_type(value))


def is_named_type(value: Any) -> bool:
    """Tell whether a class is of types that may be objects of their own in a database."""
    from sqlalchemy.types import Boolean, SchemaType

    return (
        isinstance(value, type) and issubclass(value, SchemaType) and not issubclass(value, Boolean)
    )


def modules() -> list[types.ModuleType]:
    """Return the modules that a plain script may name, but for dialects that nobody imported."""
    return [sys.modules[name] for name in MODULES if name in sys.modules]
