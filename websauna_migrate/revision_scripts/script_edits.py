"""Changing what a revision script says of itself, and nothing else of its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.revision_scripts.script_tree import assigned, edited

#: The docstring's line of a script's parents.
REVISES = re.compile(r"^(Revises:[ \t]*)[^\r\n]*", re.MULTILINE)


def rewrite_attributes(source: str, path: str, values: Mapping[str, object]) -> str:
    """Return a script's text with other values of attributes that it assigns.

    :param path: of the script, for the error
    :param values: by name; one that the script does not assign is left out
    :raises MigrationError: if the script assigns ``down_revision`` in a way that is not plain
    """
    spans: dict[str, ast.expr] = {}
    for name, value in map(assigned, ast.parse(source).body):
        if name in values and value is not None:
            spans[name] = value
    if "down_revision" in values and "down_revision" not in spans:
        raise MigrationError(
            f'The script "{path}" does not assign "down_revision" in a line of its own. Write '
            f"there: down_revision = {values['down_revision']!r}"
        )
    return edited(source, ((node, repr(values[name])) for name, node in spans.items()))


def rewrite_revises(source: str, parents: Sequence[str]) -> str:
    """Return a script's text with other parents in its docstring's line ``Revises:``."""
    tree = ast.parse(source)
    if ast.get_docstring(tree) is None:
        return source
    end = tree.body[0].end_lineno or 1
    lines = source.split("\n")
    words = ", ".join(parents)
    head = REVISES.sub(lambda found: f"{found[1]}{words}", "\n".join(lines[:end]), count=1)
    return "\n".join([head, *lines[end:]])
