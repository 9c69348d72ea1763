"""What libraries read anew for each connection and each INI file, read once in a test process.

Nothing of it is the program's own, and it stays the same while tests run.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.metadata import Distribution
from typing import Any

import pymysql.connections

__all__ = ["read_once"]


def read_once() -> None:
    """Let this process read certificates, and what installed packages say of themselves, once."""
    connection: Any = pymysql.connections.Connection
    connection._create_ssl_ctx = certificates_once(connection._create_ssl_ctx)
    distribution: Any = Distribution
    for name, file in (("metadata", "METADATA"), ("entry_points", "entry_points.txt")):
        setattr(distribution, name, file_once(getattr(distribution, name).fget, file))


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


def file_once(read: Callable[[Any], Any], file: str) -> property:
    """Return an attribute of all packages that plaster reads for each INI file.

    :param file: where a package has it
    """

    @functools.cache
    def kept(path: str, changed: int) -> list[Any]:
        return []

    def attribute(self: Any) -> Any:
        path = os.path.join(getattr(self, "_path", ""), file)  # noqa: PTH118
        try:
            changed = os.stat(path).st_mtime_ns  # noqa: PTH116
        except OSError:
            # Without the file a package has none.
            return read(self)
        found = kept(path, changed)
        if not found:
            found.append(read(self))
        return found[0]

    return property(attribute)
