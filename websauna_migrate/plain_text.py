"""Results as JSON and control characters as escapes, for the command line and for the pages."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Set
from datetime import datetime, timezone

#: What a terminal obeys instead of showing it; of that, a line break and a tab may be layout.
CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
LAYOUT = "\t\n"

#: The beginning of a command in a message.
COMMAND = re.compile(r"\bws-alembic (?=-x |[a-z])")


def visible(text: str) -> str:
    r"""Return a text with its control characters as escapes: ``\x1b``, but for line breaks."""
    return re.sub(f"[{CONTROL}]", escaped, text)


def word(text: str) -> str:
    r"""Return a text with all control characters as escapes, line breaks too: ``\n``."""
    return re.sub(f"[{CONTROL}{LAYOUT}]", escaped, text)


def escaped(match: re.Match[str]) -> str:
    """Return a control character as Python writes it."""
    return match[0].encode("unicode_escape").decode("ascii")


def with_words(text: str, words: str) -> str:
    """Return a text whose commands have more words.

    :param words: what follows ``ws-alembic`` in each, quoted for a shell; may be empty
    """
    return COMMAND.sub(lambda _: f"ws-alembic {words} ", text) if words else text


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with what it counts: ``1 table``, ``2 tables``.

    :param many: the words for other numbers than 1; default: ``one`` and an ``s``
    """
    return f"{number} {plural(number, one, many)}"


def plural(number: int, one: str, many: str = "") -> str:
    """Return the words for a number of things, without the number; as for :func:`counted`."""
    return one if number == 1 else many or f"{one}s"


def in_quotes(names: Iterable[object], separator: str = ", ") -> str:
    """Return names in quotes, for a message."""
    return separator.join(f'"{name}"' for name in names)


def to_json(value: object) -> str:
    """Return results as JSON: the fields of their classes, and a revision's message."""
    return json.dumps(value, indent=2, default=plain)


def plain(value: object) -> object:
    """Return what JSON knows for something that it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        if hasattr(value, "message") and "message" not in names:
            names.append("message")
        return {name: getattr(value, name) for name in names}
    if isinstance(value, datetime):
        # The ledger's times have no zone: they are UTC.
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    return repr(value)
