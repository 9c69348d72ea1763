"""What a hand gave another name, or put into another schema: it comes back with its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import POSITION, Fact, Facts
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.locating.mending.statements import Renamed

#: What is recognised under another name besides columns.
WHOLES = frozenset({"table", "enum type", "domain type", "composite type", "sequence"})


def renames_in(
    found: Sequence[Difference], unowned: Collection[Fact], here: Facts, there: Facts
) -> list[Renamed]:
    """Return the objects that are there under another name, each pair being the only one alike.

    :param found: the differences of a database, its left side
    :param unowned: what the database has that no script made
    """
    gone = [one.fact for one in found if one.attribute is None and not one.left]
    extra = [one.fact for one in found if one.attribute is None and one.left]
    columns = [one for one in extra if one.kind == "column"]
    wholes = [one for one in unowned if one.kind in WHOLES]
    pairs = [
        (old, new)
        for new in gone
        for old in (columns if new.kind == "column" else wholes)
        if are_alike(old, new, here, there)
    ]
    return [
        pair
        for pair in pairs
        if not any(one != pair and (one[0] == pair[0] or one[1] == pair[1]) for one in pairs)
    ]


def are_alike(old: Fact, new: Fact, here: Facts, there: Facts) -> bool:
    """True if two objects differ in their names, or schemas, alone; not in names of columns."""
    if (old.kind, old.table) != (new.kind, new.table):
        return False
    if old.schema != new.schema and old.name != new.name:
        return False
    moved = (old.schema, new.schema)
    if plain(old, moved) != plain(new):
        return False
    return [*columns_of(old, here, moved)] == [*columns_of(new, there)]


#: What tells nothing of an object: its place among others, and what the server called by it.
LEFT_OUT = frozenset({POSITION, "name of NOT NULL"})


def plain(fact: Fact, moved: tuple[str, str] = ("", "")) -> list[tuple[str, object]]:
    """Return the attributes of an object that tell what it is.

    :param moved: a schema, and the one that is said in its place: what moved may use what did too
    """
    old, new = (f"{quote_name(one)}." for one in moved)
    return [
        (key, value.replace(old, new) if isinstance(value, str) and moved[0] else value)
        for key, value in fact.attributes
        if key not in LEFT_OUT
    ]


def columns_of(
    whole: Fact, facts: Facts, moved: tuple[str, str] = ("", "")
) -> Iterator[tuple[str, object]]:
    """Yield the columns of a table or type."""
    for one in facts.objects:
        if one.kind == "column" and (one.schema, one.table) == (whole.schema, whole.name):
            yield one.name, plain(one, moved)
