"""The values that an enum type has after all scripts of a package, read from their source.

Only PostgreSQL can say what values a type has. On other databases the scripts tell, so that a
value which was added on a developer's SQLite reaches the PostgreSQL where the script runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from websauna_migrate.autogenerate.owned import Key
from websauna_migrate.snapshot import Snapshot

__all__ = ["last_values"]


def last_values(snapshot: Snapshot, package: str, key: Key) -> tuple[str, ...] | None:
    """Return the values of a type as the package's last script that says so has them.

    :returns: ``None`` if no script says so, or a later one changes the type by SQL of its own
    """
    found: tuple[str, ...] | None = None
    for revision in snapshot.graph.timeline([package]):
        source = Path(revision.path).read_text(encoding="utf-8")
        if key[1] not in source:
            continue
        tree = ast.parse(source)
        values = list(values_in(tree, key))
        if values:
            found = values[-1]
        elif re.search(rf"ALTER\s+TYPE\s+\S*{re.escape(key[1])}\b", source, re.IGNORECASE):
            found = None
    return found


def values_in(tree: ast.AST, key: Key) -> Iterator[tuple[str, ...]]:
    """Yield the values of each ``Enum("a", "b", name=...)`` of a name in ``upgrade()``."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name != "upgrade":
            continue
        calls = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and called(node) in ("Enum", "ENUM")
        ]
        # What a changed column has comes last where it stands, and so do new values.
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            keywords = {k.arg: k.value for k in call.keywords}
            name = keywords.get("name")
            if (
                isinstance(name, ast.Constant)
                and name.value == key[1]
                and all(isinstance(one, ast.Constant) for one in call.args)
            ):
                yield tuple(str(one.value) for one in call.args if isinstance(one, ast.Constant))


def called(call: ast.Call) -> str:
    """Return the last part of what is called."""
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))
