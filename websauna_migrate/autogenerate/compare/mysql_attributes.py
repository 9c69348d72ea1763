"""What MariaDB and MySQL keep besides: options of tables, and words of columns.

Alembic has no operation for these. Each is a statement that gives a table or column what the server
itself writes of it on one side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from alembic.operations import ops

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, columns_in, told
from websauna_migrate.autogenerate.operations.column_types import collated
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.server_statements import statements
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import AS_WRITTEN, Fact
from websauna_migrate.facts.mysql import column_definition, own_check, quoted, quoted_key
from websauna_migrate.facts.postgresql import make_name

OPTIONS = frozenset({"engine", "collation", "row format", AS_WRITTEN})

#: What a statement says for an option that a table is not to have any more.
WITHOUT = {
    "CHECKSUM": "0",
    "DELAY_KEY_WRITE": "0",
    "KEY_BLOCK_SIZE": "0",
    "PACK_KEYS": "DEFAULT",
    "PAGE_CHECKSUM": "DEFAULT",
    "STATS_AUTO_RECALC": "DEFAULT",
    "STATS_PERSISTENT": "DEFAULT",
    "STATS_SAMPLE_PAGES": "DEFAULT",
    "TRANSACTIONAL": "DEFAULT",
    "`PAGE_COMPRESSED`": "DEFAULT",
}

#: AUTO_INCREMENT, ON UPDATE, INVISIBLE and the like.
WORDS = frozenset({"extra", AS_WRITTEN})


def option_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of a table's options; columns that change take its new character set."""
    changed = (one for one in found.of(key) if one.fact.kind == "table")
    one = next((one for one in changed if one.attribute in OPTIONS), None)
    if one is None or one.other is None:
        return
    diff = ("change_attribute", told(one))
    up, down = (
        [f"ALTER TABLE {quoted_key(key)} {words}" for words in options_of(*sides)]
        for sides in ((one.other, one.fact), (one.fact, one.other))
    )
    yield statements(diff, up, down, "mysql")


def options_of(fact: Fact, other: Fact) -> Iterator[str]:
    """Yield a table's options as the server writes them, and what it leaves out.

    An option of an engine goes once the table has another one.

    :param other: the table on the other side, whose options stay unless a statement says otherwise
    """
    (written, parts), (gone, other_parts) = (
        re.split(r"\n\s*(?=PARTITION BY )|$", str(one.get(AS_WRITTEN)), maxsplit=1)
        for one in (fact, other)
    )
    yield written if "ROW_FORMAT=" in written else f"{written} ROW_FORMAT=DEFAULT"
    left = [
        f"{name}={nothing}"
        for name, nothing in WITHOUT.items()
        if f" {name}=" in gone and f" {name}=" not in written
    ]
    if left:
        yield " ".join(left)
    if parts != other_parts:
        yield parts or "REMOVE PARTITIONING"


def column_changes(
    key: Key, found: FoundDifferences, others: Collection[str], *, first: bool
) -> Iterator[ScriptOp]:
    """Yield the changes of columns that no operation of Alembic's makes.

    Alembic's operations on a column leave these words out: they come behind those in the upgrade,
    and, as a script is undone from its end, before them in the list for the downgrade.

    :param others: the columns that have an operation of Alembic's
    :param first: whether what is wanted is to stand before Alembic's operations
    """
    done = set()
    for one in found.of(key):
        name = one.fact.name
        if one.fact.kind != "column" or name in done or one.fact.get("generated"):
            continue
        if one.other is None:
            if first and one.left and own_check(one.fact):
                done.add(name)
                yield check_drop(key, one)
            continue
        has_check = own_check(one.fact) != own_check(one.other)
        if one.other.get("generated") or not (has_check or one.attribute in WORDS):
            continue
        if name in others and not has_check and (one.attribute != "extra" or is_numbered(one)):
            continue
        done.add(name)
        up, down = (modified(key, name, column_definition(side)) for side in (one.other, one.fact))
        sides = ([], [down]) if first else ([up], [])
        yield statements(("change_attribute", told(one)), *sides, "mysql")


def keep_collations(changes: TableChanges, found: FoundDifferences, key: Key) -> None:
    """Let columns that go name their collations, where that of their table changes as well.

    They come back before it does.
    """
    if not any(one.fact.kind == "table" and one.attribute in OPTIONS for one in found.of(key)):
        return
    there = columns_in(found.in_database(key))
    for op in [one for one in changes.ops if isinstance(one, ops.DropColumnOp)]:
        if op.column_name in there and (collation := there[op.column_name].get("collation")):
            column = op.to_column()
            column.type = collated(column.type, str(collation))


def index_aside(key: Key, column: str) -> ScriptOp:
    """Return the creation of an index for the time in which a table has no primary key.

    MariaDB keeps no numbered column without one.
    """
    name = quoted(make_name(key[1], column, "aside"))
    create = f"CREATE INDEX {name} ON {quoted_key(key)} ({quoted(column)})"
    drop = f"DROP INDEX {name} ON {quoted_key(key)}"
    return statements(("index_aside", *key, column), [create], [drop], "mysql")


def check_drop(key: Key, one: Difference) -> ScriptOp:
    """Return the drop of the CHECK of a column that goes: other columns may stand in it.

    The column comes back by Alembic's operation, which knows of none.
    """
    name, whole = one.fact.name, column_definition(one.fact)
    plain = whole.removesuffix(own_check(one.fact))
    diff = ("remove_constraint", "check", *key, name)
    return statements(diff, [modified(key, name, plain)], [modified(key, name, whole)], "mysql")


def modified(key: Key, name: str, definition: str) -> str:
    """Return the statement that gives a column another definition."""
    return f"ALTER TABLE {quoted_key(key)} MODIFY {quoted(name)} {definition}"


def is_numbered(one: Difference) -> bool:
    """Tell whether a difference is AUTO_INCREMENT alone, which Alembic's operations know."""
    return {one.left, one.right} <= {None, "auto_increment"}


def sequence_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of the options of a sequence that both sides have."""
    for one in found.of(key):
        if one.fact.kind != "sequence" or one.attribute != "definition" or one.other is None:
            continue
        name = quoted_key(key)
        up, down = (
            f"ALTER SEQUENCE {name} {str(fact.get('definition')).partition(' ENGINE')[0]}"
            for fact in (one.other, one.fact)
        )
        yield statements(("change_sequence", *key, told(one)), [up], [down], "mysql")
