"""The enum types that a script names in ``upgrade()``, and the values that it gives them."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections.abc import Iterator
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
    """Yield name and values of each enum whose values are all literal."""
    lines = [
        number
        for number, line in enumerate(re.split(r"\r\n|\r|\n", source), 1)
        # Python may read a name in other letters as the same one.
        if not line.isascii() or ENUM.search(line)
    ]
    for function in nodes_on(tree, lines):
        if not isinstance(function, ast.FunctionDef) or function.name != "upgrade":
            continue
        calls = [
            node
            for node in nodes_on(function, lines)
            if isinstance(node, ast.Call) and called(node) in ("Enum", "ENUM")
        ]
        # What a changed column has comes last where it stands, and so do new values.
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            name = {k.arg: k.value for k in call.keywords}.get("name")
            if (
                isinstance(name, ast.Constant)
                and isinstance(name.value, str)
                and all(isinstance(one, ast.Constant) for one in call.args)
            ):
                values = (str(one.value) for one in call.args if isinstance(one, ast.Constant))
                yield name.value, tuple(values)


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
