"""Lines, tables and JSON, from whatever characters a database or a script has."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime
from typing import Any

__all__ = [
    "NOTHING",
    "Table",
    "counted",
    "joined",
    "name_width",
    "one_line",
    "render_table",
    "shortened",
    "to_json",
    "visible",
    "word",
]

#: Stands where there is nothing to say.
NOTHING = "-"

#: What a terminal obeys instead of showing it; of that, a line break and a tab may be layout.
CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
LAYOUT = "\t\n"


def visible(text: str) -> str:
    r"""Return a text with its control characters as escapes: ``\x1b``, but for line breaks."""
    return re.sub(f"[{CONTROL}]", escaped, text)


def word(text: str) -> str:
    r"""Return a text with all control characters as escapes, line breaks too: ``\n``."""
    return re.sub(f"[{CONTROL}{LAYOUT}]", escaped, text)


def escaped(match: re.Match[str]) -> str:
    """Return a control character as Python writes it."""
    return match[0].encode("unicode_escape").decode("ascii")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below their headings; ``emphasised`` are the numbers of the rows that matter."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()


def render_table(table: Table) -> Iterator[str]:
    """Yield a table as lines of plain text; none is ever cut."""
    rows = [table.headings, *(tuple(map(word, row)) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def to_json(value: object) -> str:
    """Return results as JSON: the fields of their classes, and a revision's message."""
    return json.dumps(value, indent=2, default=plain)


def plain(value: object) -> Any:
    """Return what JSON knows for something that it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        if hasattr(value, "message") and "message" not in names:
            names.append("message")
        return {name: getattr(value, name) for name in names}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    return repr(value)


def joined(words: Iterable[str], separator: str = ", ", nothing: str = NOTHING) -> str:
    """Return words on one line, or what stands for none."""
    return separator.join(map(word, words)) or nothing


def one_line(message: str) -> str:
    """Return a message without its line breaks."""
    return word(" ".join(message.split()))


def shortened(text: str, length: int) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= length else text[: length - 3] + "..."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def name_width(packages: Iterable[str]) -> int:
    """Return the length of the longest package name."""
    return max(map(len, packages), default=0)
