"""New revision scripts: comparing one package's models with the database, and writing the file."""

from __future__ import annotations

from websauna_migrate.autogenerate.comparison import compare_options, find_changes
from websauna_migrate.autogenerate.failures import (
    CannotRender,
    NotUpToDate,
    RevisionFailed,
    TableNotCreated,
    TypeNotCreated,
)
from websauna_migrate.autogenerate.owned import OwnedObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import BadRename, Renames
from websauna_migrate.autogenerate.script_files import created
from websauna_migrate.autogenerate.writer import ScriptWriter

__all__ = [
    "BadRename",
    "CannotRender",
    "NotUpToDate",
    "OwnedObjects",
    "Reflection",
    "Renames",
    "RevisionFailed",
    "ScriptWriter",
    "TableNotCreated",
    "TypeNotCreated",
    "compare_options",
    "created",
    "find_changes",
]
