"""What each known failure means, and what to do: from the page "Messages" of the documentation.

The page is in the wheel, so that a message leads somewhere where nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from textwrap import wrap

from websauna_migrate.base_errors import UsageError, address_of

__all__ = ["meaning_of", "read_meanings"]

#: Names of a glossary, one a line, and what stands below them.
ENTRY = re.compile(r"((?:^    \w+\n)+)((?:^        \S[^\n]*\n)+)", re.M)


def read_meanings() -> dict[str, str]:
    """Return what the page says, by the name of each failure."""
    text = files("websauna_migrate.cli").joinpath("messages.rst").read_text(encoding="utf-8")
    return {
        name: without_markup(" ".join(body.split()))
        for names, body in ENTRY.findall(text)
        for name in names.split()
    }


def without_markup(text: str) -> str:
    """Return a text of the documentation as a terminal shows it."""
    text = re.sub(r":doc:`([\w-]+)`", r"docs/\1.rst", text)
    return text.replace("``", "`")


def meaning_of(name: str) -> Iterator[str]:
    """Yield the lines that tell what a failure means.

    :raises UsageError: if there is none of this name
    """
    meanings = read_meanings()
    found = {one.lower(): one for one in meanings}.get(name.lower())
    if found is None:
        close = get_close_matches(name, meanings, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise UsageError(
            f'There is no command and no failure "{name}".{hint} The commands: ws-alembic help. '
            f"The failures: {', '.join(sorted(meanings))}."
        )
    yield found
    yield from wrap(meanings[found], 80, initial_indent="  ", subsequent_indent="  ")
    yield f"In the documentation: {address_of(found)}"
