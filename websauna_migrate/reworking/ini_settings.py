"""Settings that an adoption writes into an INI file, and takes out again."""

from __future__ import annotations

import re
from collections.abc import Mapping

SECTION = re.compile(r"^\[(app:[^\]]+)\][ \t]*(?:[#;].*)?\r?$", re.M)


def add_settings(text: str, settings: Mapping[str, str]) -> str | None:
    """Return an INI file's text with more settings at the top of its application's section.

    :returns: ``None`` if there is no such section, or several and none is ``main``
    """
    sections = {found[1].strip(): found for found in SECTION.finditer(text)}
    found = sections.get("app:main") or (
        next(iter(sections.values())) if len(sections) == 1 else None
    )
    if found is None:
        return None
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = "".join(f"{line}{line_end}" for line in lines_of(settings))
    end = text.find("\n", found.end()) + 1 or len(text)
    head = text[:end] if text[:end].endswith("\n") else text[:end] + line_end
    return head + lines + text[end:]


def remove_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return an INI file's text without settings that :func:`add_settings` has added."""
    for line in lines_of(settings):
        text = re.sub(rf"^{re.escape(line)}\r?\n", "", text, count=1, flags=re.M)
    return text


def lines_of(settings: Mapping[str, str]) -> list[str]:
    """Return settings as lines."""
    return [f"{key} = {value}" for key, value in settings.items()]
