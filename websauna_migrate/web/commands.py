"""Commands as an application's pages and warnings say them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from websauna_migrate.plain_text import with_words

if TYPE_CHECKING:
    from pyramid.registry import Registry

#: Stands for the INI file where nothing tells which one it is.
UNKNOWN = "INI-OF-THIS-APPLICATION"


def words_of_commands(registry: Registry) -> str:
    """Return the words by which a command names the INI that the application was started from.

    Without them it would be about the database of the INI that is the default where it is typed.
    """
    return shlex.join(["-c", getattr(registry, "websauna_migrate_ini", None) or UNKNOWN])


def with_ini(registry: Registry, text: str) -> str:
    """Return a text whose commands name the INI that the application was started from."""
    return with_words(text, words_of_commands(registry))
