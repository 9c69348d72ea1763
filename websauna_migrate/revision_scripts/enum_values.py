"""The enum types that a script names in ``upgrade()``, and the values that it gives them."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from websauna_migrate.revision_scripts.script_tree import called

ALTER_TYPE = re.compile(r"ALTER\s+TYPE\s+(?=(.{0,200}))", re.IGNORECASE | re.DOTALL)

RENAME = re.compile(r'(?:\S+\.)?"?(\w+)"?\s+RENAME\s+TO\s+"?(\w+)', re.IGNORECASE)

ENUM = re.compile(r"Enum|ENUM")


@dataclass(frozen=True, slots=True)
class TypeHistory:
    """What a script says of enum types.

    :ivar values: each ``Enum("a", "b", name=...)`` of ``upgrade()``, name and values, in order
    :ivar altered: what follows each ``ALTER TYPE``, wherever it stands
    """

    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    altered: tuple[str, ...] = ()

    def last(self, name: str) -> tuple[str, ...] | None:
        """Return the values of a type that stand last; ``None`` if there are none."""
        return next((values for one, values in reversed(self.values) if one == name), None)

    def renames(self) -> list[tuple[str, str]]:
        """Return the names, old and new, of types that ``upgrade()`` renames by SQL.

        The way back stands behind the way there.
        """
        found: list[tuple[str, str]] = []
        for rest in self.altered:
            names = RENAME.match(rest)
            if names is not None and (names[2], names[1]) not in found:
                found.append((names[1], names[2]))
        return found

    def alters(self, name: str) -> bool:
        """Tell whether a type is changed by SQL."""
        return any(re.match(rf"\S*{re.escape(name)}\b", rest) for rest in self.altered)


NO_TYPES = TypeHistory()


def read_types(tree: ast.AST, source: str) -> TypeHistory:
    """Return what a script says of enum types.

    :param tree: the source's
    """
    return TypeHistory(
        tuple(values_in(tree, source)), tuple(match[1] for match in ALTER_TYPE.finditer(source))
    )


def values_in(tree: ast.AST, source: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and values of each enum whose values are all literal.

    Those of a function of the script, such as an older revision in a squash, stand where
    ``upgrade()`` calls it.
    """
    texts = re.split(r"\r\n|\r|\n", source)
    # Python may read a name in other letters as the same one.
    lines = [n for n, line in enumerate(texts, 1) if not line.isascii() or ENUM.search(line)]
    functions = {
        one.name: one for one in ast.iter_child_nodes(tree) if isinstance(one, ast.FunctionDef)
    }
    helpers = {name: one for name, one in functions.items() if reaches(one, lines)}
    if "upgrade" in functions and helpers:
        names = re.compile(rf"\b({'|'.join(map(re.escape, helpers))})\b")
        lines = sorted({*lines, *(n for n, line in enumerate(texts, 1) if names.search(line))})
        yield from values_of(functions["upgrade"], helpers, lines)


def values_of(
    function: ast.FunctionDef, helpers: Mapping[str, ast.FunctionDef], lines: list[int]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the enums of a function, and of those that it calls.

    :param helpers: functions that it may call; none of them calls itself
    :param lines: where enums are, and the names of the helpers
    """
    calls = [node for node in nodes_on(function, lines) if isinstance(node, ast.Call)]
    left = {name: one for name, one in helpers.items() if one is not function}
    # What a changed column has comes last where it stands, and so do new values.
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(call.func, ast.Name) and call.func.id in left:
            yield from values_of(left[call.func.id], left, lines)
        if called(call) not in ("Enum", "ENUM"):
            continue
        name = {k.arg: k.value for k in call.keywords}.get("name")
        if (
            isinstance(name, ast.Constant)
            and isinstance(name.value, str)
            and all(isinstance(one, ast.Constant) for one in call.args)
        ):
            values = (str(one.value) for one in call.args if isinstance(one, ast.Constant))
            yield name.value, tuple(values)


def reaches(node: ast.stmt, lines: list[int]) -> bool:
    """True if a statement has one of some lines."""
    place = bisect_left(lines, node.lineno)
    return place < len(lines) and lines[place] <= (node.end_lineno or node.lineno)


def nodes_on(tree: ast.AST, lines: list[int]) -> Iterator[ast.AST]:
    """Yield the nodes below one that reach one of some lines, as :func:`ast.walk` does."""
    waiting = [tree]
    for node in waiting:
        yield node
        for child in ast.iter_child_nodes(node):
            first, last = getattr(child, "lineno", None), getattr(child, "end_lineno", None)
            if first is not None and last is not None:
                place = bisect_left(lines, first)
                if place == len(lines) or lines[place] > last:
                    continue
            waiting.append(child)
