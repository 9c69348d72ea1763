"""What the models say and no script that is written makes: it is told, and left to a person."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.facts.differences import Difference

#: What a table has by a listener of its models alone, in SQL that nothing else knows.
OF_LISTENERS = frozenset({"trigger", "rule", "policy", "statistics"})

#: What listeners make beside the tables.
BESIDES = frozenset(
    {
        *("view", "materialized view", "foreign table", "function", "procedure", "aggregate"),
        *("window function", "event", "range type", "composite type"),
    }
)

#: What no statement changes, or none that is right wherever it stands in a script.
ATTRIBUTES: Mapping[str, Collection[str]] = {
    "table": ("partitioned by", "inherits", "of type"),
    "constraint": ("clustered", "replica identity"),
    "index": ("clustered", "replica identity", "statistics targets"),
}


def changes_by_hand(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield what stands in a script for each change of a table that is left to a person.

    The script is not kept as it is, for the proof finds the difference again.
    """
    for one in found.of(key):
        if one.fact.kind in OF_LISTENERS or one.attribute in ATTRIBUTES.get(one.fact.kind, ()):
            yield by_hand(told(one))


def by_hand(words: str) -> ScriptOp:
    """Return a comment in a script."""
    comment = [f"pass  # Write this by hand: {' '.join(words.split())}"]
    diff = ("change_by_hand", f"({words}; autogenerate cannot write it)")
    return ScriptOp(diff, lambda context: comment, lambda context: comment)


def told_besides(found: FoundDifferences) -> Iterator[str]:
    """Yield what the models' listeners make beside the tables, and the database has not so."""
    parts = {
        key
        for key, several in found.grouped(found.models).items()
        if any(one.kind in BESIDES for one in several)
    }
    for key in sorted(parts, key=str):
        for one in found.of(key):
            yield told(one)


def told(one: Difference) -> str:
    """Return a difference in words."""
    return one.describe("in the database", "in the models")
