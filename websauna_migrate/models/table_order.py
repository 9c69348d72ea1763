"""The order of tables: those that are referenced before those that reference them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.schema import ForeignKeyConstraint

#: How a table, type or sequence is named everywhere: its schema (``None``: the default) and name.
Key: TypeAlias = tuple[str | None, str]


def key_of(table: Table) -> Key:
    """Return the schema and name of a table."""
    return (table.schema, str(table.name))


def sort_key(key: Key) -> str:
    """Return what ``MetaData`` sorts its tables by: ``schema.name``, or the name alone."""
    schema, name = key
    return name if schema is None else f"{schema}.{name}"


def referenced_key(constraint: ForeignKeyConstraint) -> Key:
    """Return the schema and name of the table that a foreign key references.

    The table may be in another ``MetaData`` than the one that names it by a string.
    """
    try:
        return key_of(constraint.referred_table)
    except NoReferenceError:
        *schema, name, _ = constraint.elements[0].target_fullname.split(".")
        return (".".join(schema) or None, name)


def referenced_columns(constraint: ForeignKeyConstraint) -> list[str]:
    """Return the names of the columns that a foreign key references."""
    try:
        return [str(element.column.name) for element in constraint.elements]
    except NoReferenceError:
        return [element.target_fullname.rpartition(".")[2] for element in constraint.elements]


def inherited_keys(options: Mapping[str, Any]) -> Iterator[Key]:
    """Yield the schema and name of each table that a table of PostgreSQL inherits from.

    :param options: the table's keyword arguments
    """
    names = options.get("postgresql_inherits") or ()
    for name in (names,) if isinstance(names, str) else names:
        schema, _, table = str(name).replace('"', "").rpartition(".")
        yield (schema or None, table)


def depths_of(parents: Mapping[Key, Iterable[Key]]) -> dict[Key, int]:
    """Return for each key the length of the longest chain of parents above it.

    The walk is depth first without recursion, in the given order; an edge that closes a circle
    is skipped.
    """
    depths: dict[Key, int] = {}
    for start in parents:
        if start in depths:
            continue
        entered = {start}
        trail: list[tuple[Key, Iterator[Key]]] = [(start, iter(parents[start]))]
        while trail:
            key, remaining = trail[-1]
            parent = next((p for p in remaining if p not in depths and p not in entered), None)
            if parent is not None:
                entered.add(parent)
                trail.append((parent, iter(parents[parent])))
            else:
                above = (depths[parent] + 1 for parent in parents[key] if parent in depths)
                depths[key] = max(above, default=0)
                trail.pop()
    return depths
