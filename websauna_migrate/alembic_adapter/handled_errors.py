"""Whether a script handles the error of the operation that it calls.

Such a script says itself what to do where a name is not there, and must get the error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

#: Packages that stand between a script and what it calls.
BETWEEN = ("alembic", "sqlalchemy", "contextlib", "websauna_migrate")


def is_error_handled() -> bool:
    """True if a script, or a function that it calls, has the running operation in a ``try``."""
    return any(
        frame.f_lineno in handled_lines(frame.f_code.co_filename) for frame in frames_of_script()
    )


def frames_of_script() -> Iterator[FrameType]:
    """Yield the frames of the script that runs and of what it calls, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    found = False
    while frame is not None:
        between = str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN
        if not between:
            found = True
            yield frame
        elif found:
            # Where Alembic has called the script.
            return
        frame = frame.f_back


def handled_lines(path: str) -> frozenset[int]:
    """Return the lines of a file whose errors it handles itself; none if it cannot be read."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    return frozenset(
        line
        for node in ast.walk(tree)
        if handles(node)
        for one in getattr(node, "body", ())
        for line in range(one.lineno, one.end_lineno + 1)
    )


def handles(node: ast.AST) -> bool:
    """True for a ``try`` with an ``except``, and for ``with suppress(...)``."""
    if isinstance(node, ast.With):
        calls = (one.context_expr for one in node.items)
        functions = (one.func for one in calls if isinstance(one, ast.Call))
        return any(
            "suppress" in (getattr(one, "id", ""), getattr(one, "attr", "")) for one in functions
        )
    return bool(getattr(node, "handlers", ()))
