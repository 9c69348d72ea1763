"""SQL without what has no meaning, so that equal expressions are mostly written alike."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["normal_sql"]


@lru_cache(maxsize=4096)
def normal_sql(text: str) -> str:
    """Return SQL without what has no meaning: spaces, outer brackets, case outside of strings."""
    parts = re.split(r"('(?:[^']|'')*')", text)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"\s+", "", parts[number]).lower()
    normal = "".join(parts)
    while normal.startswith("(") and closing_bracket(normal) == len(normal) - 1:
        normal = normal[1:-1]
    # The type of a plain string is that of the column.
    return re.sub(r"^('(?:[^']|'')*')::[\w .\"\[\]]+$", r"\1", normal)


def closing_bracket(text: str) -> int:
    """Return the place of the bracket that closes the one at the beginning."""
    depth = 0
    quoted = False
    for place, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return place
    return -1
