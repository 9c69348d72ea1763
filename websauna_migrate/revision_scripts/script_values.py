"""The values that a script's reader follows: literal ones, and what stands for all others."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from websauna_migrate.revision_scripts.sql_reader import UNKNOWN_PART

__all__ = [
    "LONGEST_LOOP",
    "UNKNOWN",
    "Arguments",
    "Batch",
    "Built",
    "Class",
    "Dotted",
    "Function",
    "Method",
    "Scope",
    "Unknown",
    "UnreadableError",
    "added",
    "call_text",
    "limited",
    "percent",
    "same",
]

#: Enough for any script; what grows beyond is unknown.
LONGEST_LOOP = 2_000
LONGEST_TEXT = 100_000


class Unknown:
    """The value of what only the running script knows."""


UNKNOWN = Unknown()


@dataclass(slots=True)
class Scope:
    """The names of a module, class or function, inside those around it."""

    names: dict[str, object] = field(default_factory=dict)
    outer: Scope | None = None

    def find(self, name: str) -> object:
        """Return a name's value; a name that nothing binds stands for itself."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return Dotted(name)


@dataclass(frozen=True, slots=True)
class Dotted:
    """Something imported, by its full name: ``alembic.op.create_table``."""

    name: str

    @property
    def last(self) -> str:
        """The name without the module."""
        return self.name.rpartition(".")[2]


@dataclass(slots=True, eq=False)
class Built:
    """What a call returned that the reader does not run: ``sa.Column("id", sa.Integer())``."""

    maker: Dotted
    args: list[object]
    keywords: dict[str, object]

    @property
    def kind(self) -> str:
        """What was called, without its module."""
        return self.maker.last


@dataclass(frozen=True, slots=True)
class Batch:
    """The object of a ``batch_alter_table`` block."""

    table: object
    schema: object


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function or lambda of the script."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """A class of the script."""

    name: str
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """An attribute of any other value."""

    owner: object
    name: str


class UnreadableError(Exception):
    """An operation depends on what cannot be read."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call."""

    args: list[object]
    keywords: dict[str, object]

    def get(self, position: int | None, *names: str, default: object = None) -> object:
        """Return the argument at a position or under one of its names, old ones too."""
        if position is not None and position < len(self.args):
            return self.args[position]
        return next((self.keywords[name] for name in names if name in self.keywords), default)

    def text(self, position: int | None, *names: str) -> str:
        """Return an argument that must be a known string."""
        value = self.get(position, *names)
        if not isinstance(value, str) or not value or UNKNOWN_PART in value:
            raise UnreadableError
        return value

    def optional_text(self, position: int | None, *names: str) -> str | None:
        """Return an argument that must be a known string or ``None``."""
        return None if self.get(position, *names) is None else self.text(position, *names)


def same(values: list[object]) -> bool:
    """Tell whether all values are known to be equal."""
    first = values[0]
    plain = (str, int, type(None), Dotted, Batch)
    return all(
        value is first
        or (isinstance(value, plain) and type(value) is type(first) and value == first)
        for value in values
    )


def as_part(value: object) -> str:
    """Return a value as part of a string, the mark of an unknown part if it is none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and abs(value) < 10**18 else UNKNOWN_PART


def limited(text: str) -> object:
    """Return a string unless it has grown beyond reason."""
    return text if len(text) <= LONGEST_TEXT else UNKNOWN


def added(left: object, right: object) -> object:
    """Return the sum of two strings or sequences."""
    if isinstance(left, str) or isinstance(right, str):
        return limited(as_part(left) + as_part(right))
    if isinstance(left, (tuple, list)) and isinstance(right, (tuple, list)):
        total = [*left, *right]
        return total if len(total) <= LONGEST_LOOP else UNKNOWN
    return UNKNOWN


def percent(text: str, given: object) -> object:
    """Return a string with its ``%s`` and ``%(name)s`` filled in."""
    values = iter(given if isinstance(given, (tuple, list)) else (given,))

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found["key"] is not None:
            return as_part(given.get(found["key"], UNKNOWN) if isinstance(given, dict) else UNKNOWN)
        value = next(values, UNKNOWN)
        return as_part(value) if found[0] in ("%s", "%d") else UNKNOWN_PART

    return limited(re.sub(r"%(?:\((?P<key>\w+)\))?[-+ #0-9.*]*[a-zA-Z%]", fill, text))


def call_text(text: str, name: str, given: Arguments) -> object:
    """Return what a method of a string gives."""
    if name == "format":
        positions = iter(range(len(given.args)))

        def fill(found: re.Match[str]) -> str:
            if found[0] in ("{{", "}}"):
                return found[0][0]
            key = found["key"]
            if key == "" or key.isdecimal():
                number = next(positions, -1) if key == "" else int(key[:9])
                known = 0 <= number < len(given.args)
                return as_part(given.args[number] if known else UNKNOWN)
            return as_part(given.keywords.get(key, UNKNOWN))

        return limited(re.sub(r"\{\{|\}\}|\{(?P<key>[^{}]*)\}", fill, text))
    if name == "join":
        first = given.get(0)
        parts = first if isinstance(first, (tuple, list)) else [UNKNOWN]
        return limited(text.join(as_part(part) for part in parts))
    if name in ("strip", "lstrip", "rstrip", "lower", "upper") and not given.args:
        return getattr(text, name)()
    if name in ("split", "splitlines"):
        separator = given.get(0)
        if name == "splitlines":
            return text.splitlines()
        return text.split(separator) if isinstance(separator, str) and separator else text.split()
    if name in ("bindparams", "execution_options", "columns"):
        return text
    return UNKNOWN
