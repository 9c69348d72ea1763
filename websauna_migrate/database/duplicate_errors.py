"""Errors that say that something is there already."""

from __future__ import annotations

from typing import Any

from websauna_migrate.database.lock_errors import error_number

__all__ = ["says_already_there"]


def says_already_there(exc: BaseException, kind: str) -> bool:
    """True if a statement failed because the table or type that it creates exists.

    :param kind: of the database
    """
    original: Any = getattr(exc, "orig", None) or exc
    if kind == "postgresql":
        code = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
        # A table, view or index; a type.
        return code in ("42P07", "42710")
    if kind == "sqlite":
        name = type(original).__module__.split(".")[0]
        return name == "sqlite3" and str(original).endswith("already exists")
    return error_number(exc) == 1050
