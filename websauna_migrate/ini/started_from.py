"""Which INI file an application is being started from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_INI: ContextVar[str | None] = ContextVar("websauna_migrate_ini", default=None)


@contextmanager
def starting_from(ini: str | None) -> Iterator[None]:
    """Start an application within the block from an INI file; of several the outermost counts.

    :param ini: what a user gives to ``-c`` for it; ``None`` if that is not known
    """
    token = _INI.set(_INI.get() or ini)
    try:
        yield
    finally:
        _INI.reset(token)


def started_from() -> str | None:
    """Return the INI file that the application is being started from, if that is known."""
    return _INI.get()
