"""Imports of an older Websauna in revision scripts, written as what they stand for."""

from __future__ import annotations

import ast
import re

MODULE = "websauna.system.model.columns"

#: What to write for the column types of the module: on each database the same columns.
TYPES = {
    "UTCDateTime": "sa.DateTime(timezone=True)",
    "JSONB": 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")',
    "INET": 'sa.Unicode(50).with_variant(postgresql.INET(), "postgresql")',
    "UUID": 'sa.BINARY(16).with_variant(postgresql.UUID(), "postgresql")',
}

#: The import's line, in a script and in ``script.py.mako``.
IMPORT = re.compile(rf"^(?:import {re.escape(MODULE)}|from {re.escape(MODULE)} import .*)\n", re.M)

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
    found: list[tuple[ast.Call, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            name = names.get(text) or text.removeprefix(MODULE + ".")
            if (text in names or text.startswith(MODULE + ".")) and name in TYPES:
                found.append((node, TYPES[name]))
    lines = source.encode("utf-8").split(b"\n")
    for node, text in sorted(found, key=lambda one: (-one[0].lineno, -one[0].col_offset)):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [head + text.encode() + tail]
    changed = b"\n".join(lines).decode("utf-8")
    if MODULE + "." in IMPORT.sub("", changed):
        # Something that has no counterpart: the import is still needed.
        return changed
    needed = "" if re.search(r"^import sqlalchemy as sa$", changed, re.M) else SA
    if any("postgresql" in text for _, text in found) and POSTGRESQL not in changed:
        needed += POSTGRESQL
    first_one = IMPORT.search(changed)
    if first_one is not None:
        changed = changed[: first_one.start()] + needed + changed[first_one.end() :]
    return IMPORT.sub("", changed)
