"""What MariaDB and MySQL keep besides: options of tables, and words of columns.

Alembic has no operation for these. Each is a statement that gives a table or column what the server
itself writes of it on one side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.server_statements import statements
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import AS_WRITTEN, Fact
from websauna_migrate.facts.mysql import column_definition, quoted

__all__ = ["column_changes", "option_changes", "sequence_changes"]

OPTIONS = frozenset({"engine", "collation", "row format"})

#: AUTO_INCREMENT, ON UPDATE, INVISIBLE and the like.
WORDS = frozenset({"extra", AS_WRITTEN})


def option_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of a table's options; columns that change take its new character set."""
    changed = (one for one in found.of(key) if one.fact.kind == "table")
    one = next((one for one in changed if one.attribute in OPTIONS), None)
    if one is None or one.other is None:
        return
    diff = ("change_attribute", told(one))
    up, down = (f"ALTER TABLE {table_of(key)} {options_of(fact)}" for fact in (one.other, one.fact))
    yield statements(diff, [up], [down], "mysql")


def options_of(fact: Fact) -> str:
    """Return a table's options as the server writes them, and what it leaves out."""
    written = str(fact.get(AS_WRITTEN))
    return written if "ROW_FORMAT=" in written else f"{written} ROW_FORMAT=DEFAULT"


def column_changes(
    key: Key, found: FoundDifferences, others: Collection[str]
) -> Iterator[ScriptOp]:
    """Yield the changes of columns that no operation of Alembic's makes.

    :param others: the columns that have one
    """
    done = set(others)
    for one in found.of(key):
        name = one.fact.name
        if one.fact.kind != "column" or one.attribute not in WORDS or one.other is None:
            continue
        if name in done or one.fact.get("generated") or one.other.get("generated"):
            continue
        done.add(name)
        diff = ("change_attribute", told(one))
        up, down = (
            f"ALTER TABLE {table_of(key)} MODIFY {quoted(name)} {column_definition(fact)}"
            for fact in (one.other, one.fact)
        )
        yield statements(diff, [up], [down], "mysql")


def sequence_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of the options of a sequence that both sides have."""
    for one in found.of(key):
        if one.fact.kind != "sequence" or one.attribute != "definition" or one.other is None:
            continue
        up, down = (
            f"ALTER SEQUENCE {table_of(key)} {str(fact.get('definition')).partition(' ENGINE')[0]}"
            for fact in (one.other, one.fact)
        )
        yield statements(("change_sequence", *key, told(one)), [up], [down], "mysql")


def told(one: Difference) -> str:
    """Return a difference in words."""
    return one.describe("in the database", "in the models")


def table_of(key: Key) -> str:
    """Return a table's name as it stands in SQL."""
    return ".".join(quoted(part) for part in key if part)
