"""The SQL that brings an object back to what the applied scripts make of it, from its facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import Dialect

from websauna_migrate.enums import literal
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import AS_WRITTEN, POSITION, Fact, Facts
from websauna_migrate.facts.mysql import column_definition

__all__ = ["Mender", "NotWritten", "Statement"]

#: Statements are run in this order: what stands on columns goes before them, and comes after them.
FIRST, CONSTRAINTS_GO, TYPES, TABLES, COLUMNS, KEYS, FOREIGN_KEYS, LAST = range(8)

#: PostgreSQL's words for an integer column with a sequence of its own.
SERIALS = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}

#: Attributes of a PostgreSQL column that are written with it when it is made.
WRITTEN = frozenset(
    {POSITION, "type", "not null", "default", "identity", "generated", "collation", "comment"}
)


class NotWritten(Exception):
    """A difference has no statement; the message says why, a clause."""


@dataclass(frozen=True, order=True)
class Statement:
    """A statement without its semicolon, and its place among others."""

    rank: int
    text: str


class Mender:
    """Writes statements for one kind of database."""

    def __init__(self, dialect: Dialect, there: Facts) -> None:
        """Keep what is to be.

        :param there: the facts as the applied scripts make them
        """
        self.quoted = dialect.identifier_preparer.quote
        self.database = "mysql" if dialect.name == "mariadb" else dialect.name
        self.there = there

    def mend(self, one: Difference) -> list[Statement]:
        """Return the statements that mend a difference of the database, its left side.

        :raises NotWritten: if there are none
        """
        if one.attribute is None:
            return [*(self.drop(one.fact) if one.left else self.create(one.fact))]
        assert one.other is not None
        if one.fact.kind == "column":
            return [*self.alter_column(one.fact, one.other, one.attribute)]
        if one.fact.kind == "enum type" and one.attribute == "values":
            return [*self.more_values(one.fact, one.other)]
        if one.attribute in ("definition", "unique"):
            return [*self.drop(one.fact), *self.create(one.other)]
        raise NotWritten(f"its {one.attribute} has to be set by hand")

    def name(self, fact: Fact, name: str) -> str:
        """Return a name with its schema, where that is not the one of all."""
        if self.database != "postgresql":
            return self.quoted(name)
        return f"{self.quoted(fact.schema)}.{self.quoted(name)}"

    def table(self, fact: Fact) -> str:
        """Return the name of the table that a fact is of."""
        return self.name(fact, fact.table or fact.name)

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        table, name, kind = self.table(fact), self.quoted(fact.name), fact.kind
        if kind == "table":
            yield Statement(FIRST, f"DROP TABLE {table}")
        elif kind == "column":
            yield Statement(COLUMNS, f"ALTER TABLE {table} DROP COLUMN {name}")
        elif kind == "constraint":
            yield Statement(CONSTRAINTS_GO, f"ALTER TABLE {table} {self.drop_constraint(fact)}")
        elif kind == "index" and self.database == "mysql":
            yield Statement(CONSTRAINTS_GO, f"ALTER TABLE {table} DROP INDEX {name}")
        elif kind == "trigger" and self.database == "postgresql":
            yield Statement(FIRST, f"DROP TRIGGER {name} ON {table}")
        elif kind == "enum type":
            yield Statement(LAST, f"DROP TYPE {table}")
        elif kind in ("index", "view", "trigger"):
            rank = CONSTRAINTS_GO if kind == "index" else FIRST
            yield Statement(rank, f"DROP {kind.upper()} {self.name(fact, fact.name)}")
        else:
            raise NotWritten(f"how to drop a {kind} is not known here")

    def drop_constraint(self, fact: Fact) -> str:
        """Return what follows ALTER TABLE."""
        definition = str(fact.get("definition"))
        if self.database == "sqlite":
            raise NotWritten("SQLite needs the table made anew for it")
        if self.database == "postgresql":
            return f"DROP CONSTRAINT {self.quoted(fact.name)}"
        if definition.startswith("PRIMARY KEY"):
            return "DROP PRIMARY KEY"
        word = "FOREIGN KEY" if definition.startswith("FOREIGN KEY") else "CONSTRAINT"
        return f"DROP {word} {self.quoted(fact.name)}"

    def create(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an object."""
        table, definition = self.table(fact), str(fact.get("definition"))
        if fact.kind == "table":
            yield from self.create_table(fact)
        elif fact.kind == "column":
            yield Statement(COLUMNS, f"ALTER TABLE {table} ADD COLUMN {self.column(fact)}")
            yield from self.comment(fact)
        elif fact.kind == "constraint":
            if self.database == "sqlite":
                raise NotWritten("SQLite needs the table made anew for it")
            rank = FOREIGN_KEYS if definition.startswith("FOREIGN KEY") else KEYS
            yield Statement(rank, f"ALTER TABLE {table} ADD {self.constraint(fact)}")
        elif fact.kind == "index":
            yield Statement(LAST, self.index(fact))
        elif fact.kind == "enum type":
            values = ", ".join(literal(str(one)) for one in self.values(fact))
            yield Statement(TYPES, f"CREATE TYPE {table} AS ENUM ({values})")
        elif fact.kind == "view" and self.database == "postgresql":
            text = definition.strip().removesuffix(";")
            yield Statement(LAST, f"CREATE VIEW {table} AS {text}")
        elif fact.kind == "trigger" and self.database == "postgresql":
            yield Statement(LAST, definition)
        elif fact.kind == "function" and definition.startswith("CREATE OR REPLACE"):
            yield Statement(TYPES, definition)
        elif fact.kind in ("view", "trigger") and self.database == "sqlite":
            name = self.quoted(fact.name)
            yield Statement(LAST, f"CREATE {fact.kind.upper()} {name} {definition}")
        else:
            raise NotWritten(f"how to create a {fact.kind} is not known here")

    def create_table(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a table with its constraints and indexes; its rows do not come back."""
        odd = {name for name, _ in fact.attributes} - {"comment", "engine", "collation"}
        odd -= {"row format", AS_WRITTEN} if self.database == "mysql" else set()
        if odd:
            raise NotWritten(f"the table has {', '.join(sorted(odd))}")
        parts = [one for one in self.there.objects if one.table == fact.name]
        parts = [one for one in parts if one.schema == fact.schema]
        columns = [one for one in parts if one.kind == "column"]
        columns.sort(key=lambda one: int(str(one.get(POSITION))))
        inside = [self.column(one) for one in columns]
        keys = [one for one in parts if one.kind == "constraint"]
        if self.database == "mysql":
            keys += [one for one in parts if one.kind == "index"]
        later = [one for one in keys if str(one.get("definition")).startswith("FOREIGN KEY")]
        if self.database == "sqlite":
            later = []
        inside += [self.constraint(one) for one in keys if one not in later]
        options = str(fact.get(AS_WRITTEN) or "") if self.database == "mysql" else ""
        options = options.removeprefix(")").strip()
        body = ",\n    ".join(inside)
        yield Statement(
            TABLES, f"CREATE TABLE {self.table(fact)} (\n    {body}\n) {options}".strip()
        )
        for one in columns:
            yield from self.comment(one)
        for one in parts:
            if one in later or (one not in keys and one.kind not in ("column", "sequence")):
                yield from self.create(one)

    def constraint(self, fact: Fact) -> str:
        """Return a constraint, or an index of MariaDB, as it stands in CREATE TABLE."""
        definition = str(fact.get("definition"))
        key = re.match(r"((?!PRIMARY)(?:\w+ )?KEY) \(", definition)
        if self.database == "mysql" and key:
            return definition.replace(key[1], f"{key[1]} {self.quoted(fact.name)}", 1)
        unnamed = fact.server_named and self.database == "sqlite"
        if unnamed or (self.database == "mysql" and definition.startswith("PRIMARY KEY")):
            return definition
        return f"CONSTRAINT {self.quoted(fact.name)} {definition}"

    def index(self, fact: Fact) -> str:
        """Return what makes an index."""
        name, definition = self.quoted(fact.name), str(fact.get("definition"))
        if self.database == "postgresql":
            return definition.replace("INDEX ON ", f"INDEX {name} ON ", 1)
        if self.database == "mysql":
            return f"ALTER TABLE {self.table(fact)} ADD {self.constraint(fact)}"
        unique = "UNIQUE " if fact.get("unique") else ""
        return f"CREATE {unique}INDEX {name} ON {self.table(fact)} {definition}"

    def column(self, fact: Fact) -> str:
        """Return a column as it stands in CREATE TABLE."""
        name, type_ = self.quoted(fact.name), str(fact.get("type"))
        if self.database == "mysql":
            return f"{name} {column_definition(fact)}"
        known = WRITTEN if self.database == "postgresql" else WRITTEN | {"autoincrement"}
        if odd := {attribute for attribute, _ in fact.attributes} - known:
            raise NotWritten(f"the column has {', '.join(sorted(odd))}")
        if fact.get("autoincrement"):
            raise NotWritten("AUTOINCREMENT stands with the column's key")
        default = fact.get("default")
        if default == "nextval(its own sequence)":
            default, type_ = None, SERIALS.get(type_, type_)
        parts = [name, type_]
        if fact.get("collation"):
            parts.append(f"COLLATE {fact.get('collation')}")
        if generated := fact.get("generated"):
            text, _, how = str(generated).rpartition(" ")
            parts.append(f"GENERATED ALWAYS AS ({text}) {how.upper()}")
        if default is not None:
            parts.append(f"DEFAULT {self.default(default)}")
        if identity := fact.get("identity"):
            parts.append(f"GENERATED {str(identity).upper()} AS IDENTITY")
        return " ".join([*parts, *(["NOT NULL"] if fact.get("not null") else [])])

    def default(self, default: object) -> str:
        """Return a default as it stands in SQL; SQLite's expressions need brackets."""
        plain = re.fullmatch(r"[-+]?[\w.]+|'(?:[^']|'')*'", str(default))
        return f"({default})" if self.database == "sqlite" and not plain else str(default)

    def comment(self, fact: Fact) -> Iterator[Statement]:
        """Yield the comment of a column that is made."""
        if self.database == "postgresql" and fact.get("comment"):
            yield self.commented(fact)

    def commented(self, fact: Fact) -> Statement:
        """Return what sets the comment of a column."""
        text = fact.get("comment")
        written = "NULL" if text is None else literal(str(text))
        column = f"{self.table(fact)}.{self.quoted(fact.name)}"
        return Statement(LAST, f"COMMENT ON COLUMN {column} IS {written}")

    def alter_column(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a column."""
        start = f"ALTER TABLE {self.table(fact)}"
        name = self.quoted(fact.name)
        if self.database == "sqlite":
            raise NotWritten("SQLite needs the table made anew for it")
        if self.database == "mysql":
            yield Statement(COLUMNS, f"{start} MODIFY COLUMN {self.column(wanted)}")
            return
        alter, value = f"{start} ALTER COLUMN {name}", wanted.get(attribute)
        if attribute == "type":
            yield Statement(COLUMNS, f"{alter} TYPE {value} USING {name}::{value}")
        elif attribute == "not null":
            yield Statement(COLUMNS, f"{alter} {'SET' if value else 'DROP'} NOT NULL")
        elif attribute == "default" and value != "nextval(its own sequence)":
            how = "DROP DEFAULT" if value is None else f"SET DEFAULT {value}"
            yield Statement(COLUMNS, f"{alter} {how}")
        elif attribute == "comment":
            yield self.commented(wanted)
        else:
            raise NotWritten(f"its {attribute} has to be set by hand")

    def more_values(self, fact: Fact, wanted: Fact) -> Iterator[Statement]:
        """Yield what adds values to an enum type; none can be taken away."""
        have, want = self.values(fact), self.values(wanted)
        if [one for one in want if one in have] != have:
            raise NotWritten("PostgreSQL takes no value of an enum away, and moves none")
        for place, value in enumerate(want):
            if value not in have:
                where = (
                    f"AFTER {literal(want[place - 1])}" if place else f"BEFORE {literal(have[0])}"
                )
                add = f"ADD VALUE {literal(value)} {where if have else ''}".strip()
                yield Statement(TYPES, f"ALTER TYPE {self.table(fact)} {add}")

    @staticmethod
    def values(fact: Fact) -> list[str]:
        """Return the values of an enum type."""
        found = fact.get("values")
        return [*found] if isinstance(found, tuple) else []
