"""Imports of an older Websauna in revision scripts, written as what they stand for."""

from __future__ import annotations

import ast
import re

from websauna_migrate.revision_scripts.old_websauna import MODULE, TYPES
from websauna_migrate.revision_scripts.script_tree import edited

#: The import's line, in a script and in ``script.py.mako``.
IMPORT = re.compile(
    rf"^(?:import {re.escape(MODULE)}|from {re.escape(MODULE)} import (?:\([^)]*\)|[^(\n]*)).*\n",
    re.M,
)

SA = "import sqlalchemy as sa\n"
POSTGRESQL = "from sqlalchemy.dialects import postgresql\n"


def mend_imports(source: str) -> str:
    """Return a script's text without the old module, the same if it does not import it.

    What else of Websauna it imports stays: a run says what to write there.
    """
    if MODULE not in source:
        return source
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # The template of scripts.
        return IMPORT.sub("", source)
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == MODULE
        for alias in node.names
    }

    def type_of(node: ast.AST) -> str | None:
        text = ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
        if text in names:
            return TYPES.get(names[text])
        return TYPES.get(text.removeprefix(MODULE + ".")) if text.startswith(MODULE) else None

    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and type_of(node.func)]
    called = {id(node.func) for node in calls}
    # A column may have the class alone.
    classes = [node for node in ast.walk(tree) if id(node) not in called and type_of(node)]
    found: list[tuple[ast.expr, str]] = [
        *((node, type_of(node.func) or "") for node in calls),
        *((node, type_of(node) or "") for node in classes if isinstance(node, ast.expr)),
    ]
    changed = edited(source, found)
    if MODULE + "." in IMPORT.sub("", changed) or {*names.values()} - TYPES.keys():
        # Something that has no counterpart: the import is still needed.
        return changed
    needed = "" if re.search(r"^import sqlalchemy as sa$", changed, re.M) else SA
    if any("postgresql" in text for _, text in found) and POSTGRESQL not in changed:
        needed += POSTGRESQL
    first_one = IMPORT.search(changed)
    if first_one is not None:
        changed = changed[: first_one.start()] + needed + changed[first_one.end() :]
    return IMPORT.sub("", changed)
