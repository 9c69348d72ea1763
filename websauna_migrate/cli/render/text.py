"""Lines, tables and JSON, from whatever characters a database or a script has."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from textwrap import wrap

from websauna_migrate.plain_text import visible, with_words, word

#: How many columns a table has at the most where its sentences can be wrapped, and a sentence.
WIDTH, NARROWEST = 80, 16

#: Stands where there is nothing to say.
NOTHING = "-"

#: The words that commands in messages need besides.
WORDS: ContextVar[str] = ContextVar("WORDS", default="")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below their headings.

    :ivar emphasised: the numbers of the rows that matter
    :ivar prose: the headings of the columns with sentences, which may take several lines
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()
    prose: frozenset[str] = frozenset()


def render_table(table: Table) -> Iterator[str]:
    """Yield a table as lines of plain text: nothing is cut, and sentences are wrapped."""
    rows = [table.headings, *(tuple(map(word, row)) for row in table.rows)]
    widths = fitted([max(map(len, column)) for column in zip(*rows, strict=True)], table)
    for row in rows:
        cells = [
            wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
            if len(cell) > width
            else [cell]
            for cell, width in zip(row, widths, strict=True)
        ]
        for number in range(max(map(len, cells))):
            line = (cell[number] if number < len(cell) else "" for cell in cells)
            pairs = zip(line, widths, strict=True)
            yield "  ".join(f"{text:<{width}}" for text, width in pairs).rstrip()


def fitted(widths: list[int], table: Table) -> list[int]:
    """Return the widths of columns, those of sentences narrowed until a line is short enough."""
    prose = [number for number, name in enumerate(table.headings) if name in table.prose]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widest = max(prose, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def name_in_commands(ini: str | None, arguments: Iterable[str] = ()) -> None:
    """Let the commands in messages name what the present one was given.

    :param ini: the INI file; ``None`` if they mean the default one
    :param arguments: of ``-x``; ``packages=`` is each message's own
    """
    words = [] if ini is None else ["-c", ini]
    for argument in arguments:
        if not argument.startswith("packages="):
            words += ["-x", argument]
    WORDS.set(shlex.join(words))


def shown(text: str) -> str:
    """Return a text for a person.

    Control characters are escapes, paths begin where one stands, and commands name the INI file
    and the arguments of ``-x``.
    """
    try:
        here = str(Path.cwd())
    except OSError:
        here = os.sep
    text = re.sub(local_folders(here, tuple(sys.path)), "", visible(text))
    return with_words(text, WORDS.get())


@functools.cache
def local_folders(here: str, path: tuple[str, ...]) -> str:
    """Return a pattern of the beginnings of paths that go without saying.

    :param here: the current folder
    :param path: where modules are found; what is installed there is known by its package
    """
    folders = {here} | {one for one in path if one.endswith(("site-packages", "dist-packages"))}
    names = [re.escape(one.rstrip(os.sep) + os.sep) for one in sorted(folders - {os.sep})]
    if not names:
        return "(?!)"
    return rf"(?<![\w./-])(?:{'|'.join(names)})(?=[^\s\"'])"


def joined(words: Iterable[str], separator: str = ", ", nothing: str = NOTHING) -> str:
    """Return words on one line, or what stands for none."""
    return separator.join(map(word, words)) or nothing


def one_line(message: str) -> str:
    """Return a message without its line breaks."""
    return word(" ".join(message.split()))


def shortened(text: str, length: int) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= length else text[: length - 3] + "..."


def name_width(packages: Iterable[str]) -> int:
    """Return the length of the longest package name."""
    return max(map(len, packages), default=0)
