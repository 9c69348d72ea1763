"""How statements are looked at: what may stand before their words, and what is no word of them."""

from __future__ import annotations

import re

#: Pattern of what may stand before the first word.
COMMENTS = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"


def without_literals(query: str) -> str:
    """Return a statement with ``'...'`` for each text in it, which may be a password or worse."""
    query = re.sub(r"'(?:[^'\\]|''|\\.)*(?:'|\Z)", "'...'", query, flags=re.DOTALL)
    return re.sub(r"\$(\w*)\$.*?(?:\$\1\$|\Z)", "'...'", query, flags=re.DOTALL)
