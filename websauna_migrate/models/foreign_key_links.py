"""Foreign keys that name a table of another package's ``MetaData`` by a string."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import ForeignKey, MetaData, Table
from sqlalchemy.exc import NoReferencedTableError, NoReferenceError

from websauna_migrate.models.sqlalchemy_internals import link_foreign_key
from websauna_migrate.models.table_order import inherited_keys, sort_key


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
