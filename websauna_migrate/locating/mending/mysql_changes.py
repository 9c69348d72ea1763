"""What mends a database of MariaDB or MySQL."""

from __future__ import annotations

import re
from collections.abc import Iterator

from websauna_migrate.facts.fact import AS_WRITTEN, Fact
from websauna_migrate.facts.mysql import column_definition, quoted
from websauna_migrate.locating.mending.statements import (
    Mender,
    NotWritten,
    Rank,
    Statement,
    is_foreign,
)

#: The beginning of an index that is no primary key.
KEY = re.compile(r"((?!PRIMARY)(?:\w+ )?KEY) \(")

#: What follows an index that no query uses.
IGNORED = " IGNORED"

ROUTINES = frozenset({"function", "procedure", "event"})


class MySQLMender(Mender):
    """Writes statements for MariaDB and MySQL."""

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        table, name = self.table(fact), self.quoted(fact.name)
        if fact.kind == "column":
            yield Statement(Rank.COLUMNS, f"ALTER TABLE {table} DROP COLUMN {name}")
        elif fact.kind in ("constraint", "index"):
            yield from self.number_aside(fact)
            yield Statement(Rank.CONSTRAINTS_GO, f"ALTER TABLE {table} {self.drop_key(fact)}")
        else:
            rank = Rank.LAST if fact.kind == "sequence" else Rank.FIRST
            yield Statement(rank, f"DROP {fact.kind.upper()} {name}")

    def drop_key(self, fact: Fact) -> str:
        """Return what follows ALTER TABLE to take a constraint or index away."""
        definition = str(fact.get("definition"))
        if definition.startswith("PRIMARY KEY"):
            return "DROP PRIMARY KEY"
        if definition.startswith("PERIOD"):
            return f"DROP {fact.name}"
        word = "FOREIGN KEY" if is_foreign(fact) else "CONSTRAINT"
        return f"DROP {'INDEX' if fact.kind == 'index' else word} {self.quoted(fact.name)}"

    def create(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an object."""
        table, definition = self.table(fact), str(fact.get("definition"))
        name = self.quoted(fact.name)
        if fact.kind == "table":
            yield from self.create_table(fact)
        elif fact.kind == "column":
            # A number is given by a key alone, and to the rows that there are at once.
            key = self.key_of_number(fact)
            more = f", ADD {self.key(key)}" if key is not None else ""
            add = f"ADD COLUMN {self.column(fact)}{more}"
            yield Statement(Rank.COLUMNS, f"ALTER TABLE {table} {add}")
        elif fact in map(self.key_of_number, self.parts(fact, "column")):
            return
        elif fact.kind in ("constraint", "index"):
            rank = Rank.FOREIGN_KEYS if is_foreign(fact) else Rank.KEYS
            yield Statement(rank, f"ALTER TABLE {table} ADD {self.key(fact)}")
        elif fact.kind == "sequence":
            yield Statement(Rank.TABLES, f"CREATE SEQUENCE {name} {definition}")
        elif fact.kind == "view":
            yield Statement(Rank.VIEWS, self.view(fact), self.depth(fact, self.there))
        elif fact.kind == "trigger":
            timing, event, text = definition.split(" ", 2)
            start = f"CREATE TRIGGER {name} {timing} {event} ON {table} FOR EACH ROW"
            yield Statement(Rank.LAST, f"{start} {text}")
        elif fact.kind in ROUTINES:
            # A view may call it.
            yield Statement(Rank.TABLES, definition)
        else:
            raise NotWritten(f"how to create a {fact.kind} is not known here")

    def key_of_number(self, column: Fact) -> Fact | None:
        """Return the key by which a column is numbered that the database lacks, if it is one."""
        if not is_numbered(column) or any(
            one.name == column.name for one in self.parts(column, "column", self.here)
        ):
            return None
        keys = [*self.parts(column, "constraint"), *self.parts(column, "index")]
        return next(
            (one for one in keys if f"(`{column.name}`" in str(one.get("definition"))), None
        )

    def in_query(self, relation: Fact) -> str:
        """Return a table or view as it stands in the queries of views."""
        return quoted(relation.name)

    def view(self, fact: Fact) -> str:
        """Return the statement that makes a view."""
        security = fact.get("security") or "DEFINER"
        text = f"CREATE SQL SECURITY {security} VIEW {self.quoted(fact.name)} AS "
        text += str(fact.get("definition"))
        option = fact.get("check option")
        return f"{text} WITH {option} CHECK OPTION" if option else text

    def create_table(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a table with all on it; its rows do not come back."""
        inside = [self.column(one) for one in self.parts(fact, "column")]
        keys = [*self.parts(fact, "constraint"), *self.parts(fact, "index")]
        later = [one for one in keys if is_foreign(one)]
        inside += [self.key(one) for one in keys if one not in later]
        options = str(fact.get(AS_WRITTEN) or "").removeprefix(")").strip()
        body = ",\n    ".join(inside)
        text = f"CREATE TABLE {self.table(fact)} (\n    {body}\n) {options}"
        yield Statement(Rank.TABLES, text.strip())
        for one in (*later, *self.parts(fact, "trigger")):
            yield from self.create(one)

    def key(self, fact: Fact) -> str:
        """Return a constraint or index as it stands in CREATE TABLE."""
        definition = str(fact.get("definition"))
        if key := KEY.match(definition):
            return definition.replace(key[1], f"{key[1]} {self.quoted(fact.name)}", 1)
        if definition.startswith(("PRIMARY KEY", "PERIOD")):
            return definition
        return f"CONSTRAINT {self.quoted(fact.name)} {definition}"

    def column(self, fact: Fact, *, numbered: bool = True) -> str:
        """Return a column as it stands in CREATE TABLE.

        :param numbered: False to leave AUTO_INCREMENT out
        """
        definition = column_definition(fact)
        if is_numbered(fact) and not numbered:
            definition = definition.replace(" AUTO_INCREMENT", "", 1)
        return f"{self.quoted(fact.name)} {definition}"

    def change(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what gives an object an attribute of another one."""
        alter, definition = f"ALTER TABLE {self.table(fact)}", str(wanted.get("definition"))
        if fact.kind == "column":
            if not fact.get("generated") and not wanted.get("generated"):
                yield from self.modify(fact, wanted)
            else:
                yield from self.replace(fact, wanted)
        elif fact.kind == "table":
            yield from self.change_table(fact, wanted, attribute)
        elif self.plain(fact) == self.plain(wanted) and fact.kind == "index":
            word = "IGNORED" if IGNORED in definition else "NOT IGNORED"
            yield Statement(Rank.KEYS, f"{alter} ALTER KEY {self.quoted(fact.name)} {word}")
        elif fact.kind == "index" or definition.startswith("PRIMARY KEY"):
            yield from self.number_aside(fact)
            # In one statement: a foreign key needs it all the time.
            yield Statement(Rank.KEYS, f"{alter} {self.drop_key(fact)}, ADD {self.key(wanted)}")
        elif fact.kind == "sequence":
            options = definition.partition(" ENGINE")[0]
            yield Statement(Rank.COLUMNS, f"ALTER SEQUENCE {self.quoted(fact.name)} {options}")
        elif attribute == "SQL mode":
            raise NotWritten(f"it has to be made anew in the SQL mode {wanted.get(attribute)}")
        else:
            yield from self.replace(fact, wanted)

    def modify(self, fact: Fact, wanted: Fact) -> Iterator[Statement]:
        """Yield what changes a column; AUTO_INCREMENT goes before its key, and comes behind it."""
        modify = f"ALTER TABLE {self.table(fact)} MODIFY COLUMN"
        if is_numbered(fact):
            yield Statement(Rank.FIRST, f"{modify} {self.column(fact, numbered=False)}")
        yield Statement(Rank.COLUMNS, f"{modify} {self.column(wanted, numbered=False)}")
        if is_numbered(wanted) or (fact.get("not null") and not wanted.get("not null")):
            # A column of a primary key stays NOT NULL until that has gone.
            yield Statement(Rank.FOREIGN_KEYS, f"{modify} {self.column(wanted)}")

    def number_aside(self, key: Fact) -> Iterator[Statement]:
        """Yield what lets the key go that a numbered column is found by."""
        wanted = {one.name: one for one in self.parts(key, "column")}
        for one in self.parts(key, "column", self.here):
            first = f"({self.quoted(one.name)}", f"(`{one.name}`"
            is_first = any(text in str(key.get("definition")) for text in first)
            if is_numbered(one) and is_first and one.name in wanted:
                yield from self.modify(one, wanted[one.name])

    @staticmethod
    def plain(fact: Fact) -> str:
        """Return the definition of an index without the word that no query uses it."""
        return str(fact.get("definition")).replace(IGNORED, "")

    def change_table(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a table; all of its options are said at once."""
        alter = f"ALTER TABLE {self.table(fact)}"
        if attribute == "system versioning":
            word = "ADD" if wanted.get(attribute) else "DROP"
            yield Statement(Rank.COLUMNS, f"{alter} {word} SYSTEM VERSIONING")
            return
        written = str(wanted.get(AS_WRITTEN) or "")
        if "PARTITION BY" in str(fact.get(AS_WRITTEN)) and "PARTITION BY" not in written:
            yield Statement(Rank.CONSTRAINTS_GO, f"{alter} REMOVE PARTITIONING")
        for option, absent in (("ROW_FORMAT=", "ROW_FORMAT=DEFAULT"), ("COMMENT=", "COMMENT=''")):
            if option not in written:
                written = f"{absent} {written}"
        yield Statement(Rank.COLUMNS, f"{alter} {written}")


def is_numbered(column: Fact) -> bool:
    """True if a column gets the next number by itself."""
    return "auto_increment" in str(column.get("extra") or "").lower()
