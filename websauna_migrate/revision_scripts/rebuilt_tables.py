"""Which tables a script may rebuild on SQLite: make anew, copy, drop, and rename."""

from __future__ import annotations

import ast
import re

from websauna_migrate.revision_scripts.script_names import Call, Names

__all__ = ["rebuilt_tables"]

#: What a text must have for its syntax to be looked at.
WORDS = re.compile(r"batch_alter_table|rename_table|\bRENAME\s+TO\b", re.I)

#: In literal SQL: the name that a new table takes.
RENAMES = re.compile(r"\bRENAME\s+TO\s+[\"'`\[]?([\w$]+)", re.I)


def rebuilt_tables(source: str) -> frozenset[str]:
    """Return the names, of both directions, as far as the text has them.

    Nothing depends on it that all are found, or that those found are rebuilt.
    """
    if not WORDS.search(source):
        return frozenset()
    found = set(RENAMES.findall(source))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset(found)
    outer = Names(tree.body)
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            names = Names(function.body, outer)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    found.add(table_of(node.func.attr, Call(node, names)))
    return frozenset(found - {""})


def table_of(method: str, call: Call) -> str:
    """Return the table that a call rebuilds, empty if none that is known."""
    if method == "batch_alter_table":
        return call.text(0, "table_name") or ""
    if method == "rename_table":
        return call.text(1, "new_table_name") or ""
    return ""
