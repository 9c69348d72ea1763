"""Where brackets in SQL begin and end, and its parts between separators: strings are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

#: A string, a name in quotes, or a bracket.
PIECES = re.compile(
    r"E'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|[()\[\]]", re.DOTALL
)

Span = tuple[int, int]


def brackets(text: str) -> Iterator[Span]:
    """Yield where each pair of brackets of a text begins and ends, inner ones first."""
    opened = []
    for found in PIECES.finditer(text):
        if found[0] in ("(", "["):
            opened.append(found.start())
        elif found[0] in (")", "]") and opened:
            yield opened.pop(), found.start()


def outermost(text: str) -> list[Span]:
    """Return where the brackets of a text that are in no others begin and end."""
    found: list[Span] = []
    for start, end in brackets(text):
        while found and found[-1][0] > start:
            found.pop()
        found.append((start, end))
    return found


def split(text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators that are in no bracket and no string."""
    hidden = text
    for start, end in outermost(text):
        hidden = hidden[:start] + "x" * (end + 1 - start) + hidden[end + 1 :]
    hidden = PIECES.sub(lambda found: "x" * len(found[0]), hidden)
    places = [found.span() for found in re.finditer(separator, hidden)]
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def is_one(text: str) -> bool:
    """True if a text is one pair of brackets, with all that is in it."""
    return outermost(text) == [(0, len(text) - 1)]


def split_brackets(sql: str) -> tuple[str, str]:
    """Return what is in the brackets that SQL begins with, and what follows them.

    Where it begins with none all of it follows; brackets that stay open hold all of it.
    """
    if not sql.startswith("("):
        return "", sql
    end = next((end for start, end in brackets(sql) if start == 0), len(sql))
    return sql[1:end], sql[end + 1 :]


def squeezed(text: str) -> str:
    """Return an expression without spaces, quotes, brackets, and the case of letters."""
    return re.sub(r'[\s()"`]', "", text).lower()


def split_commas(sql: str) -> Iterator[str]:
    """Yield the parts of a list."""
    yield from (one.strip() for one in split(sql, ","))


def renamed_in(text: str, columns: Mapping[str, str]) -> str:
    """Return an expression in SQL with columns renamed; what is in a string stays."""
    if not columns:
        return text
    words = "|".join(re.escape(old) for old in sorted(columns, key=len, reverse=True))
    pattern = re.compile(rf"'(?:[^']|'')*'|(?<![\w.$])({words})(?![\w$(])")
    return pattern.sub(lambda match: columns[match[1]] if match[1] else match[0], text)
