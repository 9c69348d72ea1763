"""What differs between two sets of facts, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from websauna_migrate.facts.fact import AS_WRITTEN, POSITION, Fact, Facts, Value

#: Of so many differences a message tells each.
TOLD = 5

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    :ivar fact: the object, as the side has it that has it; the left one if both do
    :ivar attribute: what differs, ``None`` if one side lacks the whole object
    :ivar left: the value, or whether the left side has the object
    :ivar right: the value, or whether the right side has the object
    :ivar other: the object of the right side, if both sides have it
    :ivar note: true if it is only worth knowing: a name that the server chose, an order of columns
    """

    fact: Fact
    attribute: str | None
    left: Value
    right: Value
    other: Fact | None = None
    note: bool = False
    default_schema: str = ""

    @property
    def object(self) -> str:
        """The object in words: ``table "users", column "nick"``."""
        fact = self.fact
        schema = "" if fact.schema in ("", self.default_schema) else f"{fact.schema}."
        if fact.table is None:
            return f'{fact.kind} "{schema}{fact.name}"'
        if fact.kind == "constraint" and fact.server_named and fact.name == fact.get("definition"):
            return f'table "{schema}{fact.table}", constraint {fact.name}'
        whole = "type" if fact.get("of type") else "table"
        return f'{whole} "{schema}{fact.table}", {fact.kind} "{fact.name}"'

    def describe(self, left: str, right: str) -> str:
        """Return the difference as a sentence without its full stop.

        :param left: the words for the left side, such as ``in the database``
        :param right: the words for the right side
        """
        if self.attribute is None:
            here, there = (left, right) if self.left else (right, left)
            return f"{self.object} is {here}, not {there}{definition_of(self.fact)}"
        absent = "no" if True in (self.left, self.right) else "not set"
        return (
            f"{self.object}: {self.attribute} is {shown(self.left, absent)} {left}, "
            f"{shown(self.right, absent)} {right}"
        )


def listed(found: Sequence[Difference], left: str, right: str) -> str:
    """Return differences as lines for the end of a message: the first ones, and how many more.

    :param left: the words for the left side of each, and ``right`` for the other
    """
    lines = [f"\n  {one.describe(left, right)}" for one in found[:TOLD]]
    if len(found) > TOLD:
        lines.append(f"\n  and {len(found) - TOLD} more")
    return "".join(lines)


def definition_of(fact: Fact) -> str:
    """Return what is to be said of an object that one side lacks, in brackets."""
    text = fact.get("definition")
    if not isinstance(text, str) or "\n" in text or len(text) > 200 or text == fact.name:
        text = fact.get("type") if fact.kind == "column" else None
    return f" ({text})" if isinstance(text, str) else ""


def shown(value: Value, absent: str) -> str:
    """Return a value in words, or those for an attribute that an object does not have."""
    if value is None:
        return absent
    if value is True:
        return "yes"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def differences(left: Facts, right: Facts) -> Iterator[Difference]:
    """Yield what differs, object by object.

    Objects belong together by kind and name. Of those that are left, two of equal attributes
    belong together if the server chose the name of one of them: then the name is a note. Of an
    object that one side lacks, the parts are not told one by one.
    """
    lefts = {one.key: one for one in left.objects}
    rights = {one.key: one for one in right.objects}
    common = lefts.keys() & rights.keys()
    unequal = {key for key in common if lefts[key] != rights[key]}
    # The server numbers what has no name: the same number may stand for another object.
    odd = {
        key
        for key in unequal
        if lefts[key].server_named and rights[key].server_named
        if content(lefts[key]) != content(rights[key])
    }
    renamed = [
        *matched_by_content(
            {key: one for key, one in lefts.items() if key not in common or key in odd},
            {key: one for key, one in rights.items() if key not in common or key in odd},
        )
    ]
    odd &= {one.key for one, _ in renamed} | {other.key for _, other in renamed}
    # Of a table whose common parts are all equal, their order is.
    looked_at = {key[:2] for key in unequal}
    kept = sorted(key for key in common - odd if key[:2] in looked_at)
    pairs = [(lefts[key], rights[key]) for key in kept]
    schema = left.default_schema
    moved = {one.key[:2] for one, other in pairs if parents_of(one) != parents_of(other)}
    for one, other in pairs:
        for name, here, there in attributes_that_differ(one, other):
            if one.kind != "column" or one.key[:2] not in moved or name not in INHERITED:
                yield Difference(one, name, here, there, other, default_schema=schema)
    yield from column_orders(pairs, schema)
    for one, other in renamed:
        yield Difference(one, "name", one.name, other.name, other, True, schema)
        del lefts[one.key], rights[other.key]
    for mine, theirs, here in ((lefts, rights, True), (rights, lefts, False)):
        for key in sorted(mine.keys() - (theirs.keys() - odd)):
            if not follows(mine[key], theirs):
                yield Difference(mine[key], None, here, not here, default_schema=schema)


#: Attributes of columns that follow from the table's parents.
INHERITED = frozenset({"inherited", "name of NOT NULL"})


def parents_of(fact: Fact) -> tuple[Value, Value]:
    """Return the tables that a table inherits from, or is a partition of."""
    return fact.get("inherits"), fact.get("partition of")


def follows(fact: Fact, others: Mapping[Key, Fact]) -> bool:
    """True if what is said of another object says it that a side lacks this one."""
    if fact.table is None:
        return False
    if fact.kind == "sequence":
        _, _, column = str(fact.get("owner")).rpartition(".")
        there = (fact.schema, fact.table, "column", column) in others
        return fact.get("identity") is True or not there
    wholes = ((fact.schema, fact.table, kind, fact.table) for kind in WHOLES)
    return not any(whole in others for whole in wholes)


#: What can have parts that are facts of their own.
WHOLES = frozenset(
    {"table", "view", "materialized view", "foreign table", "composite type", "domain type"}
)


def matched_by_content(
    lefts: Mapping[Key, Fact], rights: Mapping[Key, Fact]
) -> Iterator[tuple[Fact, Fact]]:
    """Yield pairs of objects that differ in a name alone, of which the server chose one.

    :param lefts: objects without an equal of their name on the other side, as ``rights``
    """
    waiting: dict[tuple[object, ...], list[Fact]] = {}
    for key in sorted(rights):
        waiting.setdefault(content(rights[key]), []).append(rights[key])
    for key in sorted(lefts):
        one = lefts[key]
        for other in waiting.get(content(one), ()):
            if one.server_named or other.server_named:
                waiting[content(one)].remove(other)
                yield one, other
                break


def content(fact: Fact) -> tuple[object, ...]:
    """Return all of a fact but its name."""
    return (fact.kind, fact.schema, fact.table, fact.attributes)


def attributes_that_differ(one: Fact, other: Fact) -> Iterator[tuple[str, Value, Value]]:
    """Yield the attributes in which two facts of one object differ, with both values."""
    left, right = dict(one.attributes), dict(other.attributes)
    names = [
        name
        for name in sorted(left.keys() | right.keys())
        if name != POSITION and left.get(name) != right.get(name)
    ]
    if len(names) > 1 and AS_WRITTEN in names:
        names.remove(AS_WRITTEN)
    for name in names:
        yield name, left.get(name), right.get(name)


def column_orders(pairs: list[tuple[Fact, Fact]], schema: str) -> Iterator[Difference]:
    """Yield the tables whose common columns stand in another order, as notes."""
    columns: dict[tuple[str, str | None], list[tuple[Fact, Fact]]] = {}
    for one, other in pairs:
        if one.kind == "column":
            columns.setdefault((one.schema, one.table), []).append((one, other))
    for (own_schema, table), found in columns.items():
        left = sorted((int(str(one.get(POSITION))), one.name) for one, _ in found)
        right = sorted((int(str(other.get(POSITION))), one.name) for one, other in found)
        orders = tuple(name for _, name in left), tuple(name for _, name in right)
        if orders[0] != orders[1]:
            fact = Fact("table", own_schema, str(table))
            yield Difference(fact, "order of columns", *orders, fact, True, schema)
