"""What mends PostgreSQL's types, sequences, views, functions, triggers, policies and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from websauna_migrate.autogenerate.compare.attributes import STATEMENTS, changed_options
from websauna_migrate.autogenerate.compare.numbering import (
    go_on,
    identity_options,
    sequence_options,
)
from websauna_migrate.enums import literal
from websauna_migrate.facts.fact import Fact, Value
from websauna_migrate.locating.mending.statements import (
    VIEW_KINDS,
    Mender,
    NotWritten,
    Rank,
    Statement,
    reads,
    views_of,
)

#: How statements call an object, where that is not the word of facts in capitals.
WORDS = {
    "enum type": "TYPE",
    "composite type": "TYPE",
    "range type": "TYPE",
    "domain type": "DOMAIN",
    "window function": "FUNCTION",
}

TYPE_KINDS = ("enum type", "composite type", "range type", "domain type")

ROUTINES = frozenset({"function", "procedure", "aggregate", "window function"})

#: What stands on a table and is called by it.
ON_TABLE = frozenset({"trigger", "rule", "policy"})

#: What is another one where its definition is.
REPLACED = frozenset({"view", "materialized view", "trigger", "rule", "statistics"})

#: Attributes of a table that are changed behind all else.
LATE = ("row security", "row security for the owner", "tablespace")

FIRING = {None: "ENABLE", "disabled": "DISABLE", "on replicas": "ENABLE REPLICA"}


class PostgreSQLObjects(Mender):
    """Writes statements for what is no table and no part of one."""

    renamable: Mapping[str, str] = {
        "table": "TABLE",
        "enum type": "TYPE",
        "domain type": "DOMAIN",
        "composite type": "TYPE",
        "sequence": "SEQUENCE",
    }

    def name(self, fact: Fact, name: str) -> str:
        """Return a name with its schema."""
        return f"{self.quoted(fact.schema)}.{self.quoted(name)}"

    def called(self, fact: Fact) -> str:
        """Return an object as statements call it: its kind and name."""
        word = WORDS.get(fact.kind, fact.kind.upper())
        if fact.kind in ROUTINES:
            name, bracket, arguments = fact.name.partition("(")
            return f"{word} {self.name(fact, name)}{bracket}{arguments}"
        if fact.kind in ("schema", "extension"):
            return f"{word} {self.quoted(fact.name)}"
        if fact.kind == "column":
            return f"{word} {self.table(fact)}.{self.quoted(fact.name)}"
        if fact.kind == "constraint":
            domain = "DOMAIN " if fact.get("of type") else ""
            return f"{word} {self.quoted(fact.name)} ON {domain}{self.table(fact)}"
        if fact.kind in ON_TABLE:
            return f"{word} {self.quoted(fact.name)} ON {self.table(fact)}"
        return f"{word} {self.name(fact, fact.name)}"

    def names_of(self, fact: Fact) -> frozenset[str]:
        """Return the names that the server writes of a type, or of the table that a fact is of."""
        found = {self.table(fact)}
        if fact.schema == self.there.default_schema:
            found.add(self.quoted(fact.table or fact.name))
        return frozenset(found)

    def commented(self, fact: Fact, text: Value) -> Statement:
        """Return what sets the comment of an object."""
        written = "NULL" if text is None else literal(str(text))
        return Statement(Rank.LAST, f"COMMENT ON {self.called(fact)} IS {written}")

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        if fact.kind in VIEW_KINDS:
            there = {one.key: one for one in views_of(self.there)}
            for one in (fact, *self.views_upon(fact)):
                depth = self.depth(one, self.here)
                yield Statement(Rank.VIEWS_GO, f"DROP {self.called(one)}", -depth)
                if one is not fact and one.key in there:
                    yield from self.create(there[one.key])
            return
        if self.is_of_view(fact):
            yield Statement(Rank.VIEWS_GO, f"DROP {self.called(fact)}", -len(self.here.objects))
            return
        rank = Rank.LAST if fact.kind in (*TYPE_KINDS, "schema", "sequence") else Rank.FIRST
        rank = Rank.CONSTRAINTS_GO if fact.kind == "statistics" else rank
        yield Statement(rank, f"DROP {self.called(fact)}")

    def create(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an object, with all that is said of it."""
        method = getattr(self, f"create_{fact.kind.replace(' ', '_')}", None)
        if method is None:
            raise NotWritten(f"how to create a {fact.kind} is not known here")
        yield from method(fact)

    def finish(self, fact: Fact, *said: str) -> Iterator[Statement]:
        """Yield what is still to be said of an object that was made.

        :param said: the attributes that were written with it
        """
        bare = Fact(fact.kind, fact.schema, fact.name, fact.table)
        for attribute, _ in fact.attributes:
            if attribute not in said:
                yield from self.change(bare, fact, attribute)

    def change(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what gives an object an attribute of another one."""
        value = wanted.get(attribute)
        if attribute == "comment":
            yield self.commented(fact, value)
            return
        write = STATEMENTS.get((fact.kind, attribute))
        if write is not None and attribute != "not valid":
            whole = fact.kind in ("table", "column") and attribute not in LATE
            text = write(fact, self.table(fact), value, fact.get(attribute))
            yield from [Statement(Rank.COLUMNS if whole else Rank.LAST, text)] if text else []
            return
        if fact.kind == "policy" or (fact.kind in REPLACED and attribute == "definition"):
            yield from self.replace(fact, wanted)
            return
        method = getattr(self, f"change_{fact.kind.replace(' ', '_')}", None)
        if method is None:
            raise NotWritten(f"its {attribute} has to be set by hand")
        yield from method(fact, wanted, attribute)

    # Schemas, views

    def create_schema(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a schema."""
        yield Statement(Rank.FIRST, f"CREATE SCHEMA {self.quoted(fact.name)}")
        yield from self.finish(fact)

    def create_view(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a view, with the indexes that a materialized one has."""
        options = f" WITH ({fact.get('options')})" if fact.get("options") else ""
        text = str(fact.get("definition")).strip().removesuffix(";")
        words = f"CREATE {self.called(fact)}{options} AS {text}"
        yield Statement(Rank.VIEWS, words, self.depth(fact, self.there))
        yield from self.finish(fact, "definition", "options")
        for kind in ("index", "column", "trigger"):
            for part in self.parts(fact, kind):
                yield from self.create(part)

    create_materialized_view = create_view

    def is_of_view(self, fact: Fact) -> bool:
        """True for a part of a view: of a column only comment and default are told."""
        return any(
            (one.schema, one.name) == (fact.schema, fact.table)
            for one in (*views_of(self.there), *views_of(self.here))
        )

    def set_aside(self, column: Fact) -> Iterator[Statement]:
        """Yield what lets go of a column, and comes back: the server changes no type below it."""
        on_it = [one for one in views_of(self.here) if reads(one, self.table(column))]
        seen = {one.key for one in on_it if self.mentions(one, column)}
        for kind in ("trigger", "rule", "policy"):
            on_it = self.parts(column, kind, self.here)
            seen |= {one.key for one in on_it if self.mentions(one, column)}
        there = {one.key: one for one in self.there.objects}
        for one in self.here.objects:
            if one.key in seen and one.key in there:
                yield from self.drop(one)
                yield from self.create(there[one.key])

    def views_upon(self, view: Fact) -> list[Fact]:
        """Return the views of the database that stand on a view, and those upon them."""
        found = [view]
        for below in found:
            name = self.table(below)
            upon = [one for one in views_of(self.here) if reads(one, name)]
            found += [one for one in upon if one not in found]
        return found[1:]

    def mentions(self, fact: Fact, column: Fact) -> bool:
        """True if what an object says has the name of a column."""
        words = re.compile(rf"(?<!\w){re.escape(column.name)}(?!\w)")
        return any(words.search(str(value)) for _, value in fact.attributes)

    def change_view(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a view, but for its query."""
        if attribute == "options":
            for clause in changed_options(wanted.get("options"), fact.get("options")):
                yield Statement(Rank.LAST, f"ALTER {self.called(fact)} {clause}")
        else:
            raise NotWritten(f"its {attribute} has to be set by hand")

    change_materialized_view = change_view

    # Types

    def create_enum_type(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an enum type."""
        listed = ", ".join(map(literal, values_of(fact)))
        yield Statement(Rank.TYPES, f"CREATE TYPE {self.table(fact)} AS ENUM ({listed})")
        yield from self.finish(fact, "values")

    def change_enum_type(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what gives an enum type other values: in place, or as another type."""
        have, want = values_of(fact), values_of(wanted)
        gone = [one for one in have if one not in want]
        new = [one for one in want if one not in have]
        if len(have) == len(want) and len(gone) == len(new) == 1:
            renamed = [new[0] if one == gone[0] else one for one in have]
            if renamed == want:
                values = f"{literal(gone[0])} TO {literal(new[0])}"
                yield Statement(Rank.TYPES, f"ALTER TYPE {self.table(fact)} RENAME VALUE {values}")
                return
        if [one for one in want if one in have] == have:
            for place, value in enumerate(want):
                if value not in have:
                    before = f"AFTER {literal(want[place - 1])}" if place else ""
                    where = before or (f"BEFORE {literal(have[0])}" if have else "")
                    add = f"ADD VALUE {literal(value)} {where}".strip()
                    yield Statement(Rank.TYPES, f"ALTER TYPE {self.table(fact)} {add}")
            return
        yield from self.other_enum_type(fact, wanted)

    def other_enum_type(self, fact: Fact, wanted: Fact) -> Iterator[Statement]:
        """Yield what puts another type in place of one: no value can be taken away or moved."""
        aside = f"{fact.name[:50]}_mended"
        name = self.table(fact)
        yield Statement(Rank.TYPES, f"ALTER TYPE {name} RENAME TO {self.quoted(aside)}")
        yield from self.create_enum_type(wanted)
        for one in self.there.objects:
            type_ = str(one.get("type"))
            if one.kind != "column" or type_.removesuffix("[]") not in self.names_of(fact):
                continue
            if one.get("of type"):
                raise NotWritten("PostgreSQL takes no value of an enum away, and moves none")
            parts = self.parts(one, "index")
            if not one.get("inherited"):
                parts = [*self.parts(one, "constraint"), *parts]
            for part in parts:
                if not part.get("attached to") and any(
                    f"::{one}" in str(part.get("definition")) for one in self.names_of(fact)
                ):
                    yield from self.replace(part, part)
            alter = f"ALTER TABLE {self.table(one)} ALTER COLUMN {self.quoted(one.name)}"
            default = one.get("default")
            yield from self.set_aside(one)
            if one.get("inherited"):
                continue
            if default is not None:
                yield Statement(Rank.COLUMNS, f"{alter} DROP DEFAULT")
            text = "text[]" if type_.endswith("[]") else "text"
            using = f"{self.quoted(one.name)}::{text}::{type_}"
            yield Statement(Rank.COLUMNS, f"{alter} TYPE {type_} USING {using}")
            if default is not None:
                yield Statement(Rank.COLUMNS, f"{alter} SET DEFAULT {default}")
        yield Statement(Rank.LAST, f"DROP TYPE {self.name(fact, aside)}")

    def create_domain_type(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a domain, with its conditions."""
        words = [f"CREATE DOMAIN {self.table(fact)} AS {fact.get('type')}"]
        if fact.get("collation"):
            words.append(f"COLLATE {fact.get('collation')}")
        yield Statement(Rank.TYPES, " ".join(words))
        yield from self.finish(fact, "type", "collation")
        for one in self.parts(fact, "constraint"):
            yield from self.create(one)

    def change_domain_type(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a domain."""
        value, alter = wanted.get(attribute), f"ALTER DOMAIN {self.table(fact)}"
        if attribute == "default":
            how = "DROP DEFAULT" if value is None else f"SET DEFAULT {value}"
            yield Statement(Rank.TABLES, f"{alter} {how}")
        elif attribute == "not null":
            yield Statement(Rank.TABLES, f"{alter} {'SET' if value else 'DROP'} NOT NULL")
        else:
            raise NotWritten(f"PostgreSQL gives a domain no other {attribute}")

    def create_composite_type(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a composite type."""
        columns = [f"{self.quoted(c.name)} {c.get('type')}" for c in self.parts(fact, "column")]
        yield Statement(Rank.TYPES, f"CREATE TYPE {self.table(fact)} AS ({', '.join(columns)})")
        yield from self.finish(fact)

    # Sequences

    def create_sequence(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a sequence, which goes on behind the values of its column."""
        name = self.name(fact, fact.name)
        kind = "UNLOGGED SEQUENCE" if fact.get("persistence") == "unlogged" else "SEQUENCE"
        yield Statement(Rank.TYPES, f"CREATE {kind} {name} {sequence_options(fact)}")
        said = {one for one, _ in fact.attributes} - {"owner", "comment"}
        yield from self.finish(fact, *said)
        if fact.get("owner") and fact.table:
            column = self.quoted(str(fact.get("owner")).rpartition(".")[2])
            yield Statement(Rank.LAST, go_on(fact, name, column, self.table(fact)))

    def change_sequence(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a sequence; all of its options are said at once."""
        alter = f"ALTER SEQUENCE {self.name(fact, fact.name)}"
        if attribute == "owner":
            owner = wanted.get("owner")
            column = self.quoted(str(owner).rpartition(".")[2])
            whose = f"{self.table(wanted)}.{column}" if owner else "NONE"
            yield Statement(Rank.KEYS, f"{alter} OWNED BY {whose}")
        elif attribute == "persistence":
            logged = "UNLOGGED" if wanted.get("persistence") == "unlogged" else "LOGGED"
            yield Statement(Rank.COLUMNS, f"{alter} SET {logged}")
        else:
            options = identity_options if wanted.get("identity") else sequence_options
            yield Statement(Rank.KEYS, f"{alter} {options(wanted)}")

    # Functions, triggers, policies

    def create_function(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a function or procedure."""
        definition = str(fact.get("definition")).strip()
        if not definition.startswith("CREATE OR REPLACE"):
            raise NotWritten(f"how to create a {fact.kind} is not known here")
        yield Statement(Rank.TYPES, definition)
        yield from self.finish(fact, "definition")

    create_procedure = create_window_function = create_aggregate = create_function

    def change_function(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes a function or procedure."""
        yield from self.create(wanted)

    change_procedure = change_window_function = change_aggregate = change_function

    def create_trigger(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a trigger or rule."""
        yield Statement(Rank.LAST, str(fact.get("definition")).strip().removesuffix(";"))
        yield from self.finish(fact, "definition")

    create_rule = create_trigger

    def change_trigger(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes when a trigger or rule fires."""
        word = FIRING.get(str(wanted.get("fires")) if wanted.get("fires") else None)
        what = f"{word or 'ENABLE ALWAYS'} {fact.kind.upper()} {self.quoted(fact.name)}"
        yield Statement(Rank.LAST, f"ALTER TABLE {self.table(fact)} {what}")

    change_rule = change_trigger

    def create_policy(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes a policy of row security."""
        kind = "RESTRICTIVE" if fact.get("restrictive") else "PERMISSIVE"
        text = f"CREATE {self.called(fact)} AS {kind} FOR {str(fact.get('command')).upper()}"
        if fact.get("roles"):
            roles = str(fact.get("roles")).split(", ")
            text += f" TO {', '.join(r if r == 'public' else self.quoted(r) for r in roles)}"
        for word in ("using", "with check"):
            if fact.get(word) is not None:
                text += f" {word.upper()} ({fact.get(word)})"
        yield Statement(Rank.LAST, text)
        if fact.get("comment"):
            yield self.commented(fact, fact.get("comment"))

    def create_statistics(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes extended statistics."""
        definition, name = str(fact.get("definition")), self.name(fact, fact.name)
        text = definition.replace("CREATE STATISTICS ", f"CREATE STATISTICS {name} ", 1)
        yield Statement(Rank.LAST, text)
        yield from self.finish(fact, "definition")

    def change_statistics(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what changes the target of extended statistics."""
        value = wanted.get("statistics target")
        target = -1 if value is None else value
        yield Statement(Rank.LAST, f"ALTER {self.called(fact)} SET STATISTICS {target}")


def values_of(fact: Fact) -> list[str]:
    """Return the values of an enum type."""
    found = fact.get("values")
    return [*found] if isinstance(found, tuple) else []
