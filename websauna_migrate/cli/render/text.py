"""Lines, tables and JSON, from whatever characters a database or a script has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from websauna_migrate.plain_text import to_json, visible, word

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
