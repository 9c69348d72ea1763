"""What libraries read anew for each connection and each INI file, read once in a test process.

Nothing of it is the program's own, and it stays the same while tests run.
"""

from __future__ import annotations

import functools
import os
from importlib.metadata import Distribution
from typing import Any

import pymysql.connections

__all__ = ["read_once"]


def read_once() -> None:
    """Let this process read certificates, and what installed packages say of themselves, once."""
    connection: Any = pymysql.connections.Connection
    connection._create_ssl_ctx = certificates_once(connection._create_ssl_ctx)
    distribution: Any = Distribution
    distribution.metadata = metadata_once(distribution.metadata.fget)


def certificates_once(make: Any) -> Any:
    """Return PyMySQL's method that prepares TLS; the servers of the tests do not offer it."""
    kept: dict[type, Any] = {}

    def make_context(self: Any, given: Any) -> Any:
        if given:
            return make(self, given)
        if type(self) not in kept:
            kept[type(self)] = make(self, given)
        return kept[type(self)]

    return make_context


def metadata_once(read: Any) -> property:
    """Return the attribute by which plaster gets the names of all packages, for each INI file."""

    @functools.cache
    def kept(folder: str, changed: int) -> list[Any]:
        return []

    def metadata(self: Any) -> Any:
        folder = str(getattr(self, "_path", ""))
        try:
            changed = os.stat(os.path.join(folder, "METADATA")).st_mtime_ns  # noqa: PTH116, PTH118
        except OSError:
            return read(self)
        found = kept(folder, changed)
        if not found:
            found.append(read(self))
        return found[0]

    return property(metadata)
