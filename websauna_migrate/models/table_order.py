"""The order of tables by their foreign keys, and keys that name a table of another ``MetaData``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sqlalchemy import ForeignKey, MetaData, Table
from sqlalchemy.exc import NoReferencedTableError, NoReferenceError
from sqlalchemy.schema import ForeignKeyConstraint

from websauna_migrate.models.sqlalchemy_internals import link_foreign_key

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


# Foreign keys that name a table of another package by a string


def link_foreign_keys(metadata: Iterable[MetaData], choose: Callable[[list[Table]], Table]) -> None:
    """Link each foreign key whose table is in another ``MetaData``, as if both were in one.

    The key's column gets the type of its target, if it has none; ``sorted_tables``, DDL and
    relationships then know the target. So do they what a table of PostgreSQL inherits from. A key
    that is linked already, and one whose table no package has, stay as they are. Linking twice
    changes nothing.

    :param metadata: those of all registered packages
    :param choose: returns the table that counts, of several of one name
    """
    every = list(dict.fromkeys(metadata))
    known: dict[str, list[Table]] = {}
    for one in every:
        for key, table in one.tables.items():
            known.setdefault(key, []).append(table)
    seen: set[ForeignKey] = set()

    def link(foreign_key: ForeignKey) -> None:
        if foreign_key in seen:
            return
        seen.add(foreign_key)
        name = missing_table(foreign_key)
        if name not in known:
            return
        found = known[name]
        target = found[0] if len(found) == 1 else choose(found)
        column = target.columns.get(foreign_key.target_fullname.rpartition(".")[2])
        if column is not None:
            # Its type may come from a key of its own.
            for other in column.foreign_keys:
                link(other)
            link_foreign_key(foreign_key, target)

    for one in every:
        for table in one.tables.values():
            for foreign_key in table.foreign_keys:
                link(foreign_key)
            for parent in inherited_keys(table.kwargs):
                # SQLAlchemy itself makes a child wherever its name stands in the alphabet.
                parents = known.get(sort_key(parent))
                if parents:
                    table.add_is_dependent_on(choose(parents) if parents[1:] else parents[0])


def missing_table(foreign_key: ForeignKey) -> str | None:
    """Return the table that a foreign key's own ``MetaData`` lacks, as it names tables."""
    try:
        foreign_key.column  # noqa: B018 - asking resolves it
    except NoReferencedTableError as error:
        return error.table_name
    except NoReferenceError:
        # The table is there, without such a column.
        return None
    return None


def is_dangling(foreign_key: ForeignKey) -> bool:
    """True if a foreign key names a table or column that no package has."""
    try:
        foreign_key.column  # noqa: B018 - asking resolves it
    except NoReferenceError:
        return True
    return False
