"""What mends PostgreSQL's constraints and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from websauna_migrate.facts.fact import Fact
from websauna_migrate.locating.mending.postgresql_objects import PostgreSQLObjects
from websauna_migrate.locating.mending.statements import (
    NotWritten,
    Rank,
    Statement,
    is_foreign,
)


class PostgreSQLKeys(PostgreSQLObjects):
    """Writes statements for constraints and indexes."""

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        if fact.kind == "constraint":
            for other in self.keys_on(fact):
                yield from self.replace(other, other)
            what = "DOMAIN" if fact.get("of type") else "TABLE"
            text = f"ALTER {what} {self.table(fact)} DROP CONSTRAINT {self.quoted(fact.name)}"
            yield Statement(Rank.CONSTRAINTS_GO, text)
        elif fact.kind == "index" and not self.is_of_view(fact):
            yield Statement(Rank.CONSTRAINTS_GO, f"DROP INDEX {self.name(fact, fact.name)}")
        else:
            yield from super().drop(fact)

    def keys_on(self, fact: Fact) -> Iterator[Fact]:
        """Yield the foreign keys that both sides have and that stand on a constraint."""
        if not re.match("PRIMARY|UNIQUE", str(fact.get("definition"))):
            return
        names = "|".join(re.escape(name) for name in self.names_of(fact))
        target = re.compile(rf"REFERENCES (?:{names})\(")
        there = {one.key: one for one in self.there.objects if one.kind == "constraint"}
        for one in self.here.objects:
            is_key = one.key in there and is_foreign(one)
            if is_key and target.search(str(one.get("definition"))):
                yield there[one.key]

    def create_constraint(self, fact: Fact) -> Iterator[Statement]:
        """Yield what adds a constraint to a table or domain."""
        domain = fact.get("of type")
        rank = Rank.TYPES if domain else Rank.FOREIGN_KEYS if is_foreign(fact) else Rank.KEYS
        text = f"CONSTRAINT {self.quoted(fact.name)} {fact.get('definition')}"
        if fact.get("not valid"):
            text += " NOT VALID"
        what = "DOMAIN" if domain else "TABLE"
        yield Statement(rank, f"ALTER {what} {self.table(fact)} ADD {text}")
        yield from self.finish(fact, "definition", "of type", "not valid")

    def create_index(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an index."""
        definition, name = str(fact.get("definition")), self.quoted(fact.name)
        yield Statement(Rank.LAST, definition.replace("INDEX ON ", f"INDEX {name} ON ", 1))
        yield from self.finish(fact, "definition")

    def change_constraint(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a constraint or index."""
        alter, value = f"ALTER TABLE {self.table(fact)}", wanted.get(attribute)
        name = self.quoted(fact.name)
        if attribute == "not valid" and fact.kind == "constraint" and not value:
            what = "DOMAIN" if fact.get("of type") else "TABLE"
            text = f"ALTER {what} {self.table(fact)} VALIDATE CONSTRAINT {name}"
            yield Statement(Rank.LAST, text)
        elif attribute in ("definition", "not valid") and (fact.kind == "constraint" or value):
            yield from self.replace(fact, wanted)
        elif attribute in ("not valid", "index not valid") and not value:
            yield Statement(Rank.LAST, f"REINDEX INDEX {self.name(fact, fact.name)}")
        elif attribute == "clustered":
            rank, how = (
                (Rank.LAST, f"CLUSTER ON {name}") if value else (Rank.FIRST, "SET WITHOUT CLUSTER")
            )
            yield Statement(rank, f"{alter} {how}")
        elif attribute == "replica identity":
            how = f"USING INDEX {name}" if value else "DEFAULT"
            yield Statement(Rank.LAST if value else Rank.FIRST, f"{alter} REPLICA IDENTITY {how}")
        elif attribute == "statistics targets":
            old, new = (dict(targets_of(one.get(attribute))) for one in (fact, wanted))
            for column in sorted({*old, *new}):
                target = f"ALTER COLUMN {column} SET STATISTICS {new.get(column, '-1')}"
                yield Statement(Rank.LAST, f"ALTER INDEX {self.name(fact, fact.name)} {target}")
        elif attribute == "attached to" and value:
            text = f"ALTER INDEX {value} ATTACH PARTITION {self.name(fact, fact.name)}"
            yield Statement(Rank.LAST, text)
        else:
            raise NotWritten(f"its {attribute} has to be set by hand")

    change_index = change_constraint


def targets_of(value: object) -> Iterator[tuple[str, str]]:
    """Yield columns of an index, by number, with their statistics targets."""
    for part in str(value or "").split(", "):
        if part:
            number, _, target = part.partition(": ")
            yield number, target
