"""What the models say and no script that is written makes: it is told, and left to a person."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from alembic.operations.ops import MigrateOperation
from sqlalchemy import Constraint, Index
from sqlalchemy.engine import Connection

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, told
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.model_comparison import BESIDES
from websauna_migrate.models.model_sql import final_name
from websauna_migrate.models.ownership import Ownership, owner_in
from websauna_migrate.models.sqlalchemy_internals import words_of

#: What may have a name that the models' naming convention makes.
NAMED = (Constraint, Index)

#: What a table has by a listener of its models alone, in SQL that nothing else knows.
OF_LISTENERS = frozenset({"trigger", "rule", "policy", "statistics"})

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


def changes_left(
    key: Key, found: FoundDifferences, named: Collection[Collection[str]]
) -> Iterator[ScriptOp]:
    """Yield the same for each difference of a table that no operation is about.

    What a listener of the models does to a table is in no model.

    :param named: the words of each operation that was found, as :func:`names_of` gives them
    """
    # A column that is inherited is changed with that of the parent.
    differing = [one for one in found.of(key) if not one.fact.get("inherited")]
    if not differing:
        return
    words: set[str] = set().union(*(names for names in named if key[1].lower() in names))
    whole = [told(one).lower() for one in differing if one.fact.kind == "table"]
    for one in differing:
        # What is done to a sequence is not said of its table.
        every = words.union(*named) if one.fact.kind == "sequence" else words
        if not is_named(one, every, whole):
            yield by_hand(told(one))


def names_of(operation: MigrateOperation, connection: Connection) -> set[str]:
    """Return the words by which an operation says what it is about, in lower case.

    A name that is too long for the database is there as it is shortened, too.
    """
    # What has no name in the script has one of the server.
    words = [getattr(operation, name, "") for name in ("table_name", "server_name")]
    found = {str(one).lower() for one in words}
    if isinstance(operation, EnumChange):
        found.update(name for one in operation.columns for name in (one.name, one.table.name))
    for inner in getattr(operation, "ops", ()):
        found |= names_of(inner, connection)
    if not hasattr(operation, "ops"):
        diff = operation.to_diff_tuple()
        found.update(word.lower() for word in words_of(diff))
        shortened = (final_name(one, connection) for one in diff if isinstance(one, NAMED))
        found.update(name.lower() for name in shortened if name)
    return found


def is_named(one: Difference, words: Collection[str], whole: Collection[str]) -> bool:
    """Tell whether words of operations name an object; what has no name is named by any.

    :param whole: all differences of the table itself, of which an operation tells the first
    """
    fact = one.fact
    if fact.kind == "table":
        known = {"table options"}
        if one.attribute == "comment":
            known |= {"add_table_comment", "remove_table_comment"}
        return bool(known & {*words}) or any(text in word for text in whole for word in words)
    names = {fact.name.lower(), str(fact.get("owner")).rpartition(".")[2].lower()}
    if fact.kind == "column":
        names.add(str(one.attribute))
    if fact.kind == "column" and one.attribute in ("type", "default"):
        names |= {str(value).lower() for value in (one.left, one.right)}
    nameless = fact.server_named or str(fact.get("definition")).startswith("PRIMARY KEY")
    return bool(names & {*words}) or (nameless and bool(words))


def by_hand(words: str) -> ScriptOp:
    """Return a comment in a script."""
    comment = [f"pass  # Write this by hand: {' '.join(words.split())}"]
    diff = ("change_by_hand", f"({words}; autogenerate cannot write it)")
    return ScriptOp(diff, lambda context: comment, lambda context: comment)


def told_besides(found: FoundDifferences, ownership: Ownership) -> Iterator[str]:
    """Yield what the models' listeners make beside the tables, and the database has not so."""
    default = found.models.default_schema
    owners = ownership.owners, ownership.enum_owners, ownership.sequence_owners
    parts = {
        key
        for key, several in found.model_facts.items()
        if any(one.kind in {"table", *BESIDES} - OF_LISTENERS for one in several)
        and not any(owner_in(known, *key, default) for known in owners)
    }
    for key in sorted(parts, key=str):
        for one in found.of(key):
            yield told(one)
