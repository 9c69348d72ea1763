"""Columns that number themselves on PostgreSQL: by a sequence of their own, or as an identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Table

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, single
from websauna_migrate.autogenerate.operations.server_statements import qualified, statements
from websauna_migrate.autogenerate.operations.type_change import INTEGERS, name_of
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.enums import literal
from websauna_migrate.facts.differences import shown
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.postgresql import OWN, quote_name

NO_NUMBER = "no number of its own"


def numbering_changes(key: Key, found: FoundDifferences, *, first: bool) -> Iterator[ScriptOp]:
    """Yield the changes of a table's columns that number themselves, or do so no longer.

    :param first: those that come before the changes of columns: what has a value from a sequence
        by default takes no type that the value cannot have
    """
    schema = found.models.default_schema
    for column in sorted({one.fact.name for one in found.of(key) if one.fact.kind == "column"}):
        differs = found.of_column(key, column)
        default = differs.get("default")
        sides = (None, None) if default is None else (default.left, default.right)
        if "identity" not in differs and OWN not in sides:
            continue
        old = Numbering(found.in_database(key), column, schema)
        new = Numbering(found.in_models(key), column, schema)
        place = ("change_numbering", key[0], f"{key[1]}.{column}")
        retyped = "type" in differs and not (old.identity and new.identity)
        # The change of a column gives it a default in place of its own sequence, and takes it away
        # before the sequence is back.
        gets_default = sides[0] == OWN and sides[1] is not None
        between = NO_NUMBER if retyped or gets_default else None
        if between is None and not first:
            diff = (*place, f"{old.words} -> {new.words}")
            yield statements(diff, steps(old, new), steps(new, old))
        elif between is not None and first and (ending := [*old.ending(new)]):
            yield statements((*place, f"{old.words} -> {between}"), ending, [*old.beginning(new)])
        elif between is not None and not first and (beginning := [*new.beginning(old)]):
            yield statements((*place, f"{between} -> {new.words}"), beginning, [*new.ending(old)])
    if not first:
        yield from sequence_changes(key, found)


def sequence_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the changes of the options of a table's sequences, or of one that stands alone."""
    pairs = {
        one.fact.key: (one.fact, one.other)
        for one in found.of(key)
        if one.fact.kind == "sequence" and one.other is not None
    }
    for fact, other in pairs.values():
        words = ", ".join(
            f"{one.attribute} {shown(one.left, 'none')} -> {shown(one.right, 'none')}"
            for one in found.found
            if one.fact.key == fact.key and one.attribute in SEQUENCE_OPTIONS
        )
        if words:
            schema, _ = found.key_of(fact)
            name = qualified(schema, fact.name)
            diff = ("change_sequence", schema, fact.name, words)
            up, down = options_changed(name, fact, other), options_changed(name, other, fact)
            yield statements(diff, [*up], [*down])


def options_changed(name: str, old: Fact, new: Fact) -> Iterator[str]:
    """Yield the statements that change the options of a sequence, whatever number it is at.

    A number that the new options do not allow is refused: such a sequence begins anew.
    """
    low, high = number(new, "minimum"), number(new, "maximum")
    if number(old, "minimum") < low or number(old, "maximum") > high:
        widest = min(low, number(old, "minimum")), max(high, number(old, "maximum"))
        yield f"ALTER SEQUENCE {name} AS bigint MINVALUE {widest[0]} MAXVALUE {widest[1]}"
        inside = f"last_value BETWEEN {low} AND {high}"
        yield (
            f"SELECT setval({literal(name)}, CASE WHEN {inside} THEN last_value "
            f"ELSE {number(new, 'start')} END, is_called AND {inside}) FROM {name}"
        )
    yield f"ALTER SEQUENCE {name} {sequence_options(new)}"


def numbers_elsewhere(
    found: Sequence[ops.MigrateOperation], models: Mapping[Key, Table]
) -> Iterator[ScriptOp]:
    """Yield what gives a serial's sequence on PostgreSQL the new type of its column.

    A script that another database was compared for knows of no sequence.

    :param found: the operations of the script
    """
    for op in [one for one in single(*found) if isinstance(one, ops.AlterColumnOp)]:
        model = models.get((op.schema, op.table_name))
        numbered = None if model is None else model.autoincrement_column
        if model is None or numbered is None or numbered.server_default is not None:
            continue
        old, new = name_of(op.existing_type), name_of(op.modify_type)
        if op.column_name == numbered.name and old != new and {old, new} <= INTEGERS:
            diff = ("change_sequence", model.schema, f"{model.name}.{numbered.name}", new)
            yield statements(diff, [typed(model, numbered, new)], [typed(model, numbered, old)])


def typed(table: Table, column: Column[Any], type_: str | None) -> str:
    """Return the statement that gives the sequence of a column a type, if it has one."""
    name = literal(qualified(table.schema, str(table.name)))
    return (
        f"DO $$ DECLARE found text; BEGIN "
        f"SELECT pg_get_serial_sequence({name}, {literal(str(column.name))}) INTO found; "
        f"IF found IS NOT NULL THEN "
        f"EXECUTE 'ALTER SEQUENCE ' || found || ' AS {str(type_).lower()}'; END IF; END $$"
    )


#: What ALTER SEQUENCE changes.
SEQUENCE_OPTIONS = frozenset({"type", "start", "increment", "minimum", "maximum", "cache", "cycle"})


def sequence_options(fact: Fact) -> str:
    """Return the options of a sequence as SQL."""
    cycle = "CYCLE" if fact.get("cycle") else "NO CYCLE"
    return (
        f"AS {fact.get('type')} INCREMENT BY {number(fact, 'increment')} "
        f"MINVALUE {number(fact, 'minimum')} MAXVALUE {number(fact, 'maximum')} "
        f"START WITH {number(fact, 'start')} CACHE {number(fact, 'cache')} {cycle}"
    )


def number(fact: Fact, attribute: str) -> int:
    """Return an option of a sequence; facts leave out what is zero."""
    return int(str(fact.get(attribute) or 0))


def identity_options(fact: Fact) -> str:
    """Return the options of an identity's sequence as SQL: its type is the column's."""
    _, word, options = sequence_options(fact).partition("INCREMENT")
    return word + options


def go_on(sequence: Fact, name: str, column: str, table: str) -> str:
    """Return what lets a sequence go on behind the values of its column.

    :param name: the sequence as it stands in SQL, as the column and the table do
    """
    start = sequence.get("start") or 0
    return (
        f"SELECT setval({literal(name)}, greatest(coalesce(max({column}), 0) + 1, {start}), "
        f"false) FROM {table}"
    )


class Numbering:
    """How a column gets its values when none is given.

    :ivar sequence: the column's own that it takes them from
    :ivar identity: whether it is an identity: ``always`` or ``by default``
    :ivar is_serial: whether the default is the next value of the column's own sequence
    :ivar is_nullable: whether the column may be NULL, which no identity may
    :ivar words: how it is told to people
    :ivar table: as it stands in SQL, as ``sequence_name`` does
    :ivar change: the beginning of a statement that changes the column
    """

    def __init__(self, facts: Sequence[Fact], column: str, default_schema: str) -> None:
        """Find out how a column of a table does it."""

        def name(schema: str, name: str) -> str:
            return qualified(None if schema == default_schema else schema, name)

        self.column = next(one for one in facts if one.kind == "column" and one.name == column)
        found = self.column.get("identity")
        self.identity = None if found is None else str(found)
        self.is_serial = self.column.get("default") == OWN
        self.is_nullable = not self.column.get("not null")
        self.words = "its own sequence" if self.is_serial else NO_NUMBER
        if self.identity:
            self.words = f"identity {self.identity}"
        owner = f"{self.column.table}.{column}"
        own = (one for one in facts if one.kind == "sequence" and one.get("owner") == owner)
        known = (one for one in own if bool(one.get("identity")) is bool(self.identity))
        self.sequence = next(known, None) if self.identity or self.is_serial else None
        self.table = name(self.column.schema, str(self.column.table))
        if self.sequence is not None:
            self.sequence_name = name(self.sequence.schema, self.sequence.name)
        self.change = f"ALTER TABLE {self.table} ALTER COLUMN {quote_name(column)}"

    def ending(self, other: Numbering) -> Iterator[str]:
        """Yield the statements that take it away.

        :param other: what comes in its place. Alembic ignores NOT NULL where one is an identity
        """
        if self.identity:
            yield f"{self.change} DROP IDENTITY"
            if other.is_nullable:
                yield f"{self.change} DROP NOT NULL"
        elif self.column.get("default") is not None:
            yield f"{self.change} DROP DEFAULT"
        if self.is_serial and self.sequence is not None:
            yield f"DROP SEQUENCE {self.sequence_name}"

    def beginning(self, other: Numbering) -> Iterator[str]:
        """Yield the statements that make it, going on behind the values that are there.

        :param other: what was there before
        """
        default = self.column.get("default")
        if self.sequence is None:
            if default is not None:
                yield f"{self.change} SET DEFAULT {default}"
            return
        name = self.sequence_name
        column = quote_name(self.column.name)
        if self.identity:
            if other.is_nullable:
                yield f"{self.change} SET NOT NULL"
            yield (
                f"{self.change} ADD GENERATED {self.identity.upper()} AS IDENTITY "
                f"(SEQUENCE NAME {name} {identity_options(self.sequence)})"
            )
        else:
            options = sequence_options(self.sequence)
            yield f"CREATE SEQUENCE {name} {options} OWNED BY {self.table}.{column}"
        yield go_on(self.sequence, name, column, self.table)
        if not self.identity:
            yield f"{self.change} SET DEFAULT nextval({literal(name)}::regclass)"


def steps(old: Numbering, new: Numbering) -> list[str]:
    """Return the statements that lead from one way to another."""
    if old.identity and new.identity:
        return [f"{old.change} SET GENERATED {new.identity.upper()}"]
    return [*old.ending(new), *new.beginning(old)]
