"""What a script does to the schema, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Effect", "Key", "Kind", "Origin", "ScriptEffects"]

#: How a table or type is named: its schema as written (``None``: none was written) and its name.
Key: TypeAlias = tuple[str | None, str]

#: Package and revision identifier.
Origin: TypeAlias = tuple[str, str]

Kind: TypeAlias = Literal[
    "create_table",
    "drop_table",
    "rename_table",
    "add_column",
    "drop_column",
    "rename_column",
    "create_type",
    "drop_type",
    "rename_type",
    "foreign_key",
    "give_table",
    "take_table",
    "give_type",
    "take_type",
]


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a script does to the schema.

    :ivar kind: what is done
    :ivar schema: schema of the table or type, as written; ``None`` where none was written
    :ivar name: the table or type; for a foreign key the table that has it
    :ivar column: the column, also the one column of a foreign key where that is known
    :ivar new_name: the name after a rename, of the table, column or type
    :ivar new_schema: the schema after a rename of a table or type, changed or not
    :ivar target_schema: schema of the table that a foreign key references, as written
    :ivar target_table: the table that a foreign key references
    :ivar target_columns: the columns that it references; empty where the script leaves them out
    :ivar line: line of the script, counted from 1
    """

    kind: Kind
    schema: str | None
    name: str
    column: str | None = None
    new_name: str | None = None
    new_schema: str | None = None
    target_schema: str | None = None
    target_table: str | None = None
    target_columns: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class ScriptEffects:
    """The effects of one function of a script.

    :ivar effects: in the order of execution
    :ivar unreadable: how many operations could not be read
    """

    effects: tuple[Effect, ...]
    unreadable: int
