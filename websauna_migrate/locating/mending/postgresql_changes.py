"""What mends PostgreSQL's tables, with their columns, constraints and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import POSITION, Fact, Value
from websauna_migrate.facts.postgresql import OWN, make_name
from websauna_migrate.locating.mending.postgresql_numbering import SERIALS, PostgreSQLNumbering
from websauna_migrate.locating.mending.statements import NotWritten, Rank, Statement, is_foreign

#: Attributes of a column that are written with it when it is made.
WITH_COLUMN = (
    *(POSITION, "type", "not null", "name of NOT NULL", "options of NOT NULL", "default"),
    *("identity", "generated", "collation"),
)

#: Attributes of a table that are written with it when it is made.
WITH_TABLE = (
    *("persistence", "partition of", "partition bound", "partitioned by", "inherits"),
    *("options", "access method"),
)

#: A default that is given anew, as the type is another one.
OF_TYPE = ("default", True)


class PostgreSQLMender(PostgreSQLNumbering):
    """Writes statements for PostgreSQL."""

    def mend(self, one: Difference) -> list[Statement]:
        """Return the statements that mend a difference of the database, its left side."""
        fact, other = one.fact, one.other or one.fact
        types = fact.get("type") != other.get("type")
        whole = one.attribute in (None, "type", "collation") or (one.attribute, types) == OF_TYPE
        if fact.kind == "column" and fact.get("inherited") and whole:
            # It comes, goes and changes with that of the table above.
            return []
        goes = one.attribute == "definition" or (one.attribute is None and one.left)
        if fact.kind == "index" and fact.get("attached to") and goes:
            # It goes with the index of the table above.
            return [] if one.other is None else [*self.create(one.other)]
        return [] if self.follows(one) else super().mend(one)

    def script(self, statements: Iterable[Statement], *, keys: bool) -> list[str]:
        """Return statements in one transaction; values of enums are used once they are committed.

        :param keys: not asked here
        """
        texts = super().script(statements, keys=keys)
        values = [one for one in texts if re.match(r"ALTER TYPE \S.* ADD VALUE '", one)]
        texts = [one for one in texts if one not in values]
        return [*values, "BEGIN", *texts, "COMMIT"] if texts else values

    def follows(self, one: Difference) -> bool:
        """True for what the server says otherwise as soon as an object has its own name back."""
        if one.attribute is None or one.other is None or one.fact.kind in ("function", "procedure"):
            return False
        have, want = one.fact.get(one.attribute), one.other.get(one.attribute)
        names = [
            pair
            for old, new in self.renamed
            if old.kind != "column"
            for pair in (
                (self.name(old, old.name), self.name(new, new.name)),
                (f"{old.name}.", f"{new.name}."),
            )
        ]
        return any(str(have).replace(old, new) == str(want) for old, new in names)

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        table, name = self.table(fact), self.quoted(fact.name)
        if fact.kind == "column" and self.is_of_view(fact):
            yield self.commented(fact, None)
        elif fact.kind == "column":
            what = "TYPE" if fact.get("of type") else "TABLE"
            part = "ATTRIBUTE" if fact.get("of type") else "COLUMN"
            yield Statement(Rank.COLUMNS, f"ALTER {what} {table} DROP {part} {name}")
        elif fact.kind == "constraint":
            for other in self.keys_on(fact):
                yield from self.replace(other, other)
            what = "DOMAIN" if fact.get("of type") else "TABLE"
            text = f"ALTER {what} {table} DROP CONSTRAINT {name}"
            yield Statement(Rank.CONSTRAINTS_GO, text)
        elif fact.kind == "index" and not self.is_of_view(fact):
            yield Statement(Rank.CONSTRAINTS_GO, f"DROP INDEX {self.name(fact, fact.name)}")
        else:
            yield from super().drop(fact)

    # Tables

    def create_table(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a table with all on it; its rows do not come back."""
        columns = [one for one in self.parts(fact, "column") if not one.get("inherited")]
        inside = [self.column(one) for one in columns]
        keys = self.parts(fact, "constraint")
        inside += [
            f"CONSTRAINT {self.quoted(one.name)} {one.get('definition')}"
            for one in keys
            if not is_foreign(one) and not one.get("not valid")
        ]
        yield Statement(Rank.TABLES, self.table_text(fact, inside))
        yield from self.finish(fact, *WITH_TABLE)
        for one in columns:
            yield from self.finish(one, *WITH_COLUMN)
            yield from self.numbered(one)
        for one in keys:
            if is_foreign(one) or one.get("not valid"):
                yield from self.create(one)
            else:
                yield from self.finish(one, "definition", "of type")
        here = {self.name(one, one.name) for one in self.here.objects if one.kind == "index"}
        for kind in ("index", "trigger", "rule", "policy", "statistics"):
            for one in self.parts(fact, kind):
                # The server makes those of a partition that its table has.
                if one.get("attached to") not in here:
                    yield from self.create(one)

    def table_text(self, fact: Fact, inside: list[str]) -> str:
        """Return the statement that makes a table.

        :param inside: its columns and constraints
        """
        word = "UNLOGGED TABLE" if fact.get("persistence") == "unlogged" else "TABLE"
        body = ",\n    ".join(inside)
        if bound := fact.get("partition bound"):
            listed = f" (\n    {body}\n)" if body else ""
            text = f"CREATE {word} {self.table(fact)} PARTITION OF {fact.get('partition of')}"
            text = f"{text}{listed} {bound}"
        else:
            text = f"CREATE {word} {self.table(fact)} (\n    {body}\n)"
        if fact.get("inherits"):
            text += f" INHERITS ({fact.get('inherits')})"
        if fact.get("partitioned by"):
            text += f" PARTITION BY {fact.get('partitioned by')}"
        if fact.get("access method"):
            text += f" USING {fact.get('access method')}"
        return f"{text} WITH ({fact.get('options')})" if fact.get("options") else text

    def change_table(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a table."""
        alter, value = f"ALTER TABLE {self.table(fact)}", wanted.get(attribute)
        if attribute == "inherits":
            for one in names_in(fact.get("inherits")) - names_in(value):
                yield Statement(Rank.COLUMNS, f"{alter} NO INHERIT {one}")
            for one in names_in(value) - names_in(fact.get("inherits")):
                yield Statement(Rank.KEYS, f"{alter} INHERIT {one}")
        elif attribute in ("partition of", "partition bound"):
            if old := fact.get("partition of"):
                text = f"ALTER TABLE {old} DETACH PARTITION {self.table(fact)}"
                yield Statement(Rank.COLUMNS, text)
            if new := wanted.get("partition of"):
                bound = wanted.get("partition bound")
                text = f"ALTER TABLE {new} ATTACH PARTITION {self.table(fact)} {bound}"
                yield Statement(Rank.KEYS, text)
        elif attribute == "of type":
            yield Statement(Rank.COLUMNS, f"{alter} {f'OF {value}' if value else 'NOT OF'}")
        else:
            raise NotWritten(f"its {attribute} has to be set by hand")

    # Columns

    def column(self, fact: Fact) -> str:
        """Return a column as it stands in CREATE TABLE."""
        type_, default = str(fact.get("type")), fact.get("default")
        if self.is_serial(fact):
            default, type_ = None, SERIALS[type_]
        elif default == OWN:
            default = self.default(fact)
        parts = [self.quoted(fact.name), type_]
        if fact.get("collation"):
            parts.append(f"COLLATE {fact.get('collation')}")
        if generated := fact.get("generated"):
            text, _, how = str(generated).rpartition(" ")
            parts.append(f"GENERATED ALWAYS AS ({text}) {how.upper()}")
        if default is not None:
            parts.append(f"DEFAULT {default}")
        if fact.get("identity"):
            parts.append(self.identity(fact))
        if fact.get("not null"):
            parts.append(self.not_null(fact))
        return " ".join(parts)

    def not_null(self, fact: Fact) -> str:
        """Return what says that a column is not null."""
        name, options = fact.get("name of NOT NULL"), fact.get("options of NOT NULL")
        named = f"CONSTRAINT {self.quoted(str(name))} " if name else ""
        return f"{named}NOT NULL{f' {options}' if options else ''}"

    def create_column(self, fact: Fact) -> Iterator[Statement]:
        """Yield what adds a column."""
        if self.is_of_view(fact):
            yield self.commented(fact, fact.get("comment"))
        elif fact.get("of type"):
            what = f"{self.quoted(fact.name)} {fact.get('type')}"
            yield Statement(Rank.COLUMNS, f"ALTER TYPE {self.table(fact)} ADD ATTRIBUTE {what}")
        else:
            add = f"ADD COLUMN {self.column(fact)}"
            yield Statement(Rank.COLUMNS, f"ALTER TABLE {self.table(fact)} {add}")
            yield from self.finish(fact, *WITH_COLUMN)
            yield from self.numbered(fact)

    def change_column(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a column."""
        if fact.get("of type"):
            what = f"{self.quoted(fact.name)} TYPE {wanted.get('type')}"
            yield Statement(Rank.COLUMNS, f"ALTER TYPE {self.table(fact)} ALTER ATTRIBUTE {what}")
            return
        name = self.quoted(fact.name)
        alter = f"ALTER TABLE {self.table(fact)} ALTER COLUMN {name}"
        value = wanted.get(attribute)
        if attribute in ("type", "collation"):
            yield from self.change_type(fact, wanted, alter)
        elif "NOT NULL" in attribute or attribute == "not null":
            yield from self.change_not_null(fact, wanted, alter)
        elif attribute == "default" and fact.get("type") != wanted.get("type"):
            yield from self.change_type(fact, wanted, alter)
        elif attribute == "default":
            how = "DROP DEFAULT" if value is None else f"SET DEFAULT {self.default(wanted)}"
            yield Statement(Rank.COLUMNS, f"{alter} {how}")
        elif attribute == "identity":
            # It is one on both sides.
            yield Statement(Rank.COLUMNS, f"{alter} SET GENERATED {str(value).upper()}")
        elif attribute == "generated":
            yield from self.change_generated(fact, wanted, alter)
        elif attribute != POSITION:
            raise NotWritten(f"its {attribute} has to be set by hand")

    def default(self, wanted: Fact) -> Value:
        """Return the default of a column as it stands in SQL."""
        if wanted.get("default") != OWN:
            return wanted.get("default")
        if (own := self.own_sequence(wanted)) is not None:
            name = self.name(own, own.name).replace("'", "''")
            return f"nextval('{name}'::regclass)"
        raise NotWritten("the sequence of its default is not known")

    def change_type(self, fact: Fact, wanted: Fact, alter: str) -> Iterator[Statement]:
        """Yield what gives a column another type; its default goes meanwhile."""
        type_, name = str(wanted.get("type")), self.quoted(fact.name)
        enums = {
            name
            for one in (*self.here.objects, *self.there.objects)
            if one.kind == "enum type"
            for name in self.names_of(one)
        }
        through = "::text" if enums & {type_, str(fact.get("type"))} else ""
        collation = f" COLLATE {wanted.get('collation')}" if wanted.get("collation") else ""
        yield from self.set_aside(fact)
        if fact.get("default") is not None:
            yield Statement(Rank.COLUMNS, f"{alter} DROP DEFAULT")
        using = f"{name}{through}::{type_}"
        yield Statement(Rank.COLUMNS, f"{alter} TYPE {type_}{collation} USING {using}")
        if wanted.get("default") is not None and wanted.key not in self.renumberings:
            yield Statement(Rank.COLUMNS, f"{alter} SET DEFAULT {self.default(wanted)}")

    def change_not_null(self, fact: Fact, wanted: Fact, alter: str) -> Iterator[Statement]:
        """Yield what lets a column be null or not, by a constraint of a name."""
        options = "options of NOT NULL"
        same = fact.get(options) == wanted.get(options)
        if fact.get("not null") and wanted.get("not null") and same:
            default = make_name(str(fact.table), fact.name, "not_null")
            old, new = (
                self.quoted(str(one.get("name of NOT NULL") or default)) for one in (fact, wanted)
            )
            text = f"ALTER TABLE {self.table(fact)} RENAME CONSTRAINT {old} TO {new}"
            yield Statement(Rank.COLUMNS, text)
            return
        if fact.get("not null") or fact.get("name of NOT NULL"):
            yield Statement(Rank.COLUMNS, f"{alter} DROP NOT NULL")
        if not wanted.get("name of NOT NULL") and not wanted.get(options):
            if wanted.get("not null"):
                yield Statement(Rank.COLUMNS, f"{alter} SET NOT NULL")
            return
        word, _, more = self.not_null(wanted).partition("NOT NULL")
        text = f"ADD {word}NOT NULL {self.quoted(fact.name)}{more}"
        yield Statement(Rank.COLUMNS, f"ALTER TABLE {self.table(fact)} {text}")

    def change_generated(self, fact: Fact, wanted: Fact, alter: str) -> Iterator[Statement]:
        """Yield what lets a column be computed otherwise: it is made anew, with what is on it."""
        if not wanted.get("generated") and str(fact.get("generated")).endswith(" stored"):
            yield Statement(Rank.COLUMNS, f"{alter} DROP EXPRESSION")
            return
        mentioned = re.compile(rf"\b{re.escape(fact.name)}\b")
        for kind in ("constraint", "index"):
            for one in self.parts(wanted, kind):
                if mentioned.search(str(one.get("definition"))):
                    if any(one.key == other.key for other in self.parts(fact, kind, self.here)):
                        yield from self.drop(one)
                    yield from self.create(one)
        yield from self.replace(fact, wanted)

    # Constraints, indexes

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


def names_in(value: object) -> set[str]:
    """Return the names of a list of tables."""
    return {part for part in str(value or "").split(", ") if part}


def targets_of(value: object) -> Iterator[tuple[str, str]]:
    """Yield columns of an index, by number, with their statistics targets."""
    for part in str(value or "").split(", "):
        if part:
            number, _, target = part.partition(": ")
            yield number, target
