"""Changing what a revision script says of itself, and nothing else of its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from websauna_migrate.base_errors import MigrationError

#: The docstring's line of a script's parents.
REVISES = re.compile(r"^(Revises:[ \t]*)[^\r\n]*", re.MULTILINE)


def rewrite_attributes(source: str, path: str, values: Mapping[str, object]) -> str:
    """Return a script's text with other values of attributes that it assigns.

    :param path: of the script, for the error
    :param values: by name; one that the script does not assign is left out
    :raises MigrationError: if the script assigns ``down_revision`` in a way that is not plain
    """
    spans: dict[str, ast.expr] = {}
    for statement in ast.parse(source).body:
        value = getattr(statement, "value", None)
        for name in names_of(statement):
            if name in values and isinstance(value, ast.expr):
                spans[name] = value
    if "down_revision" in values and "down_revision" not in spans:
        raise MigrationError(
            f'The script "{path}" does not assign "down_revision" in a line of its own. Write '
            f"there: down_revision = {values['down_revision']!r}"
        )
    # In bytes, as the positions of ast are; from the end on, so that they stay right.
    lines = source.encode("utf-8").split(b"\n")
    for name, node in sorted(spans.items(), key=place, reverse=True):
        assert node.end_lineno is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [head + repr(values[name]).encode("utf-8") + tail]
    return b"\n".join(lines).decode("utf-8")


def place(pair: tuple[str, ast.expr]) -> tuple[int, int]:
    """Return where a value stands."""
    return pair[1].lineno, pair[1].col_offset


def names_of(node: ast.stmt) -> list[str]:
    """Return the names that a statement assigns, where it assigns one value."""
    targets: Sequence[ast.expr] = ()
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def rewrite_revises(source: str, parents: Sequence[str]) -> str:
    """Return a script's text with other parents in its docstring's line ``Revises:``."""
    body = ast.parse(source).body
    if (
        not body
        or not isinstance(body[0], ast.Expr)
        or ast.get_docstring(ast.parse(source)) is None
    ):
        return source
    end = body[0].end_lineno or 1
    lines = source.split("\n")
    words = ", ".join(parents)
    head = REVISES.sub(lambda found: f"{found[1]}{words}", "\n".join(lines[:end]), count=1)
    return "\n".join([head, *lines[end:]])
