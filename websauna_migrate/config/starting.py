"""Whether an application starts in order to serve, or for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COMMAND: ContextVar[bool] = ContextVar("websauna_migrate_command", default=False)


@contextmanager
def for_a_command() -> Iterator[None]:
    """Start an application within the block for a command: nothing is migrated by itself."""
    token = _COMMAND.set(True)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def is_for_a_command() -> bool:
    """True while a ``ws-`` command starts the application."""
    return _COMMAND.get()
