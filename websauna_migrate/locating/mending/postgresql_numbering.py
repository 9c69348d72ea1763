"""What mends how columns of PostgreSQL number themselves: by a sequence, or as an identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from websauna_migrate.autogenerate.compare.numbering import Numbering, identity_options
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.postgresql import OWN, make_name
from websauna_migrate.locating.mending.postgresql_objects import PostgreSQLObjects
from websauna_migrate.locating.mending.statements import Rank, Statement

#: PostgreSQL's words for an integer column with a sequence of its own.
SERIALS = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}

Key = tuple[str, str, str, str]


class PostgreSQLNumbering(PostgreSQLObjects):
    """Writes statements for columns that number themselves."""

    def mend(self, one: Difference) -> list[Statement]:
        """Return the statements that mend a difference of the database, its left side."""
        found = self.renumberings.get(one.fact.key)
        if found is None or (one.fact.kind == "column" and one.attribute not in CHANGED):
            return super().mend(one)
        return found

    @cached_property
    def renumberings(self) -> Mapping[Key, list[Statement]]:
        """What lets columns number themselves otherwise, by them and by sequences of theirs."""
        found: dict[Key, list[Statement]] = {}
        before = numberings(self.here)
        for key, new in numberings(self.there).items():
            old = before.get(key)
            if old is not None and told(old) != told(new) and not (old.identity and new.identity):
                keys, statements = self.renumbering(old, new)
                found.update(dict.fromkeys(keys, statements))
        return found

    def renumbering(self, old: Numbering, new: Numbering) -> tuple[list[Key], list[Statement]]:
        """Return what lets a column number itself otherwise, and what it is for."""
        if new.column.get("inherited") and (old.identity or new.identity):
            # It follows from the table that it is inherited from.
            return [new.column.key], []
        keys, ends, begins = [new.column.key], [*old.ending(new)], [*new.beginning(old)]
        after: list[Statement] = []
        if (goes := old.sequence) is not None:
            keys.append(goes.key)
            stays = next((one for one in self.there.objects if one.key == goes.key), None)
            if stays == goes and old.is_serial:
                # No script tells of it, or it was the column's before too.
                ends.pop()
            elif stays is not None and stays not in (goes, new.sequence):
                after += self.create(stays)
        if (comes := new.sequence) is not None:
            is_there = comes.key in self.sequences_here and comes.key not in keys
            if is_there and not new.identity:
                # Its owner and its options are differences of its own.
                del begins[0]
            else:
                keys.append(comes.key)
                said = {name for name, _ in comes.attributes} - {"comment", "persistence"}
                after += [Statement(Rank.LAST, one.text) for one in self.finish(comes, *said)]
            if is_there and new.identity:
                ends.append(f"DROP SEQUENCE {new.sequence_name}")
        return keys, [
            *(Statement(Rank.CONSTRAINTS_GO, one) for one in ends),
            *(Statement(Rank.KEYS, one) for one in begins),
            *after,
        ]

    @cached_property
    def sequences_here(self) -> set[Key]:
        """The sequences that the database has."""
        return {one.key for one in self.here.objects if one.kind == "sequence"}

    # New columns

    def own_sequence(self, column: Fact) -> Fact | None:
        """Return the sequence that a column is to take its values from."""
        return Numbering([column, *self.parts(column, "sequence")], column.name, "").sequence

    def is_serial(self, column: Fact) -> bool:
        """True if the server makes a column's sequence with it, under the name that it has."""
        own = self.own_sequence(column)
        named = make_name(str(column.table), column.name, "seq")
        fits = own is None or (own.name == named and own.key not in self.sequences_here)
        return fits and column.get("default") == OWN and str(column.get("type")) in SERIALS

    def numbered(self, column: Fact) -> Iterator[Statement]:
        """Yield what makes a new column's sequence, or gives the server's one its options."""
        own = self.own_sequence(column)
        if own is None or column.get("default") != OWN or own.key in self.sequences_here:
            return
        if self.is_serial(column):
            yield from self.change_sequence(own, own, "increment")
        else:
            yield from self.create_sequence(own)

    def identity(self, fact: Fact) -> str:
        """Return what lets a column number itself, with the options of its sequence."""
        text = f"GENERATED {str(fact.get('identity')).upper()} AS IDENTITY"
        if (own := self.own_sequence(fact)) is not None:
            text += f" (SEQUENCE NAME {self.name(own, own.name)} {identity_options(own)})"
        return text


#: The attributes of a column that change with how it numbers itself.
CHANGED = frozenset({"default", "identity"})


def numberings(facts: Facts) -> Mapping[Key, Numbering]:
    """Return how columns number themselves, by their keys; names are told with their schemas."""
    owned: dict[tuple[str, str | None, str], list[Fact]] = {}
    for one in facts.objects:
        if one.kind == "sequence" and one.get("owner"):
            owned.setdefault((one.schema, one.table, str(one.get("owner"))), []).append(one)
    return {
        one.key: Numbering(
            [one, *owned.get((one.schema, one.table, f"{one.table}.{one.name}"), ())], one.name, ""
        )
        for one in facts.objects
        if one.kind == "column"
    }


def told(numbering: Numbering) -> tuple[str, Key | None]:
    """Return how a column numbers itself, and by which sequence."""
    own = numbering.sequence
    return numbering.words, None if own is None else own.key
