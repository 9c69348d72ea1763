"""Whether a script's text does no more than to define its functions and literal values."""

from __future__ import annotations

import builtins
import collections.abc
import dis
import functools
import re
import types
import typing

from websauna_migrate.reading.plain_scripts import is_plain_value

__all__ = ["only_defines"]

#: Packages that a script may import, by the first part of their names: what is imported of them
#: does nothing that another import has not done.
IMPORTED = frozenset({"__future__", "alembic", "collections", "sqlalchemy", "typing"})

#: What annotations name.
ANNOTATIONS = frozenset({"bool", "dict", "int", "list", "str", "tuple"})

#: The last one is of what is imported from ``__future__``.
LITERALS = (
    str,
    bytes,
    int,
    float,
    bool,
    type(None),
    tuple,
    list,
    dict,
    type(annotations),
)

#: Names of Python's own that a text has whatever it does.
USUAL = frozenset({"__doc__", "__annotations__", *ANNOTATIONS})

#: Names that mean something before a text gives them a meaning.
PYTHONS = frozenset(vars(builtins))

STORE_NAME, LOAD_NAME = dis.opmap["STORE_NAME"], dis.opmap["LOAD_NAME"]

#: More names need instructions in two parts.
MANY_NAMES = 255

#: What a text does not do that only defines.
CHANGING = re.compile(
    b"[%b]"
    % b"".join(
        re.escape(bytes([dis.opmap[name]]))
        for name in ("DELETE_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR")
    )
)


def only_defines(code: types.CodeType, module: types.ModuleType) -> bool:
    """Tell whether a script's text imports only what is known, and defines.

    Whatever is called or changed has to be named. So all that the text names is to be a part of a
    known package's name, or something that the text gave a meaning to, once, and that does nothing.

    :param code: what the text is compiled to
    :param module: after the code was run in it
    """
    names = vars(module)
    used = [*zip(code.co_code[::2], code.co_code[1::2], strict=True)]
    stored = [argument for operation, argument in used if operation == STORE_NAME]
    loaded = {argument for operation, argument in used if operation == LOAD_NAME}
    own = {
        value.__code__
        for value in names.values()
        if isinstance(value, types.FunctionType) and value.__globals__ is names
    }
    return (
        len(code.co_names) <= MANY_NAMES
        and len(set(stored)) == len(stored)
        # What a function of its own does is known to nobody here.
        and not any(
            isinstance(names.get(code.co_names[argument]), types.FunctionType)
            for argument in loaded
        )
        and CHANGING.search(code.co_code[::2]) is None
        # A function or class that is not there in the end, a lambda, a loop in brackets.
        and all(one in own for one in code.co_consts if isinstance(one, types.CodeType))
        and all(
            is_quiet(names[name], names)
            if name in names and name not in PYTHONS and name[:2] != "__"
            else name.partition(".")[0] in IMPORTED
            for name in code.co_names
            if name not in USUAL
        )
    )


def is_quiet(value: object, names: dict[str, object]) -> bool:
    """Tell whether a value of a module's does nothing by itself.

    :param names: the module's
    """
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0] in IMPORTED
    if isinstance(value, types.FunctionType):
        return value.__globals__ is names
    return type(value) in LITERALS or id(value) in of_annotations() or is_plain_value(value)


@functools.cache
def of_annotations() -> frozenset[int]:
    """Return the identities of what annotations are made of."""
    return frozenset(
        id(value)
        for module in (typing, collections.abc)
        for value in vars(module).values()
        if not isinstance(value, (types.FunctionType, types.BuiltinFunctionType))
    )
