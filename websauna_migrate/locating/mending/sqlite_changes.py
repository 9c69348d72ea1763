"""What mends an SQLite database: most changes of a table need it made anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from websauna_migrate.enums import literal
from websauna_migrate.facts.fact import AS_WRITTEN, POSITION, Fact, Facts
from websauna_migrate.locating.mending.statements import Mender, NotWritten, Rank, Statement

#: Attributes of a column that are written with it.
KNOWN = frozenset(
    {POSITION, "type", "not null", "default", "generated", "collation", "autoincrement"}
)

#: Where rows are counted: a shell that goes on behind a statement that failed drops no table whose
#: rows were not taken over, for the transaction is rolled back by then.
ROWS = "websauna_migrate_rows"
CHECKED = f"INSERT OR ROLLBACK INTO temp.{ROWS}"
ROWS_CHECKED, FORMER_GO = Rank.KEYS, Rank.FOREIGN_KEYS

#: A primary key of one column, which SQLite may have to have with the column.
KEY_OF_ONE = re.compile(r"PRIMARY KEY( DESC)? \((\"(?:[^\"]|\"\")*\"|[^,\"()]+)\)(.*)", re.DOTALL)


class SQLiteMender(Mender):
    """Writes statements for SQLite."""

    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""
        if fact.kind in ("column", "constraint"):
            yield from self.anew(fact)
            return
        # What stands on a view may not be there without it while a table gets another name.
        going = [fact, *(self.upon(fact.name, self.here) if fact.kind == "view" else ())]
        there = {one.key: one for one in self.there.objects}
        for one in going:
            rank = Rank.CONSTRAINTS_GO if one.kind == "index" else Rank.FIRST
            yield Statement(rank, f"DROP {one.kind.upper()} IF EXISTS {self.quoted(one.name)}")
        for one in going[1:]:
            if one.key in there:
                yield from self.create(there[one.key])

    def create(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an object."""
        name, definition = self.quoted(fact.name), fact.get("definition")
        if fact.kind == "table":
            yield Statement(Rank.TABLES, self.table_text(fact, self.table(fact)))
            yield from self.on_table(fact)
        elif fact.kind in ("column", "constraint"):
            yield from self.anew(fact)
        elif fact.kind == "index":
            index = "UNIQUE INDEX" if fact.get("unique") else "INDEX"
            text = f"CREATE {index} {name} ON {self.table(fact)} {definition}"
            yield Statement(Rank.LAST, text)
        elif fact.kind in ("view", "trigger"):
            rank = Rank.VIEWS if fact.kind == "view" else Rank.LAST
            triggers = self.parts(fact, "trigger") if fact.kind == "view" else []
            yield Statement(rank, f"CREATE {fact.kind.upper()} {name} {definition}")
            for one in triggers:
                yield from self.create(one)
        else:
            raise NotWritten(f"how to create a {fact.kind} is not known here")

    def change(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what gives an object an attribute of another one."""
        if fact.kind in ("column", "constraint", "table"):
            yield from self.anew(fact)
        else:
            yield from self.replace(fact, wanted)

    def rename(self, old: Fact, new: Fact) -> Iterator[Statement]:
        """Yield what gives an object its own name back."""
        if old.kind == "column":
            # The table is made anew, and the values are taken over.
            yield from self.anew(new)
        else:
            yield from super().rename(old, new)

    def on_table(self, table: Fact) -> Iterator[Statement]:
        """Yield what makes the indexes and triggers of a table."""
        for kind in ("index", "trigger"):
            for one in self.parts(table, kind):
                yield from self.create(one)

    def anew(self, part: Fact) -> Iterator[Statement]:
        """Yield what makes the table of a fact anew, as it is to be, with its rows."""
        wholes = [
            next(
                (
                    one
                    for one in facts.objects
                    if one.kind == "table" and one.name == (part.table or part.name)
                ),
                None,
            )
            for facts in (self.here, self.there)
        ]
        old, new = wholes
        if old is None or new is None:
            return
        if old.get(AS_WRITTEN) or new.get(AS_WRITTEN):
            raise NotWritten("it is a virtual table")
        aside, table = self.quoted(f"{old.name}_as_it_was"), self.quoted(new.name)
        names = [one.name for one in self.parts(new, "column") if not one.get("generated")]
        pairs = [*self.copied(old, new, names)]
        if not pairs:
            raise NotWritten("no column is left whose values it could take over")
        into, out = (", ".join(map(self.quoted, side)) for side in zip(*pairs, strict=True))
        for one in self.upon(new.name, self.here):
            # SQLite gives no table a name that one of these speaks of in vain.
            yield from self.drop(one)
        # Else what refers to the table would refer to what goes.
        yield Statement(Rank.COLUMNS, "PRAGMA legacy_alter_table = ON")
        yield Statement(Rank.COLUMNS, f"ALTER TABLE {table} RENAME TO {aside}")
        yield Statement(Rank.COLUMNS, self.table_text(new, table))
        yield Statement(Rank.COLUMNS, f"INSERT INTO {table} ({into}) SELECT {out} FROM {aside}")
        if self.is_numbered(old) and self.is_numbered(new):
            counter, name = "sqlite_sequence", literal(new.name)
            yield Statement(Rank.COLUMNS, f"DELETE FROM {counter} WHERE name = {name}")
            former = literal(f"{old.name}_as_it_was")
            text = f"UPDATE {counter} SET name = {name} WHERE name = {former}"
            yield Statement(Rank.COLUMNS, text)
        missing = f"(SELECT count(*) FROM {aside}) - (SELECT count(*) FROM {table})"
        text = f"{CHECKED} SELECT {missing} + foreign_keys FROM pragma_foreign_keys"
        yield Statement(ROWS_CHECKED, "PRAGMA legacy_alter_table = OFF")
        yield Statement(ROWS_CHECKED, text)
        yield Statement(FORMER_GO, f"DROP TABLE {aside}")
        yield from self.on_table(new)
        for one in self.upon(new.name, self.there):
            yield from self.create(one)

    def upon(self, name: str, facts: Facts) -> list[Fact]:
        """Return the views and triggers that speak of a table or view, or of one that does."""
        found: list[Fact] = []
        names = [name]
        while names:
            mention = re.compile(rf"\b{re.escape(names.pop())}\b", re.IGNORECASE)
            for one in facts.objects:
                text = f"{one.get('definition')} {one.table or ''}"
                if one.kind in ("view", "trigger") and one not in found and mention.search(text):
                    found.append(one)
                    names += [one.name] if one.kind == "view" else []
        return found

    def script(self, statements: Iterable[Statement], *, keys: bool) -> list[str]:
        """Return statements in their order, in one transaction that keeps all rows or nothing."""
        texts = super().script(statements, keys=keys)
        if not any(one.startswith(CHECKED) for one in texts):
            return ["BEGIN", *texts, "COMMIT"] if texts else []
        return [
            # Else what refers to the rows would go, or be deleted, with the table.
            *("PRAGMA foreign_keys = OFF", "BEGIN"),
            f"CREATE TEMP TABLE {ROWS} (missing INTEGER CHECK (missing = 0))",
            *texts,
            *(f"DROP TABLE temp.{ROWS}", "COMMIT"),
            *(["PRAGMA foreign_keys = ON"] if keys else []),
        ]

    def is_numbered(self, table: Fact) -> bool:
        """True if a table never gives a number twice."""
        facts = self.there if table in self.there.objects else self.here
        return any(one.get("autoincrement") for one in self.parts(table, "column", facts))

    def copied(self, old: Fact, new: Fact, names: list[str]) -> Iterator[tuple[str, str]]:
        """Yield the columns whose values stay, by the new name and the old one."""
        found = {one.name.lower(): one.name for one in self.parts(old, "column", self.here)}
        former_names = {
            one.name: former.name for former, one in self.renamed if one.table == new.name
        }
        for name in names:
            former = former_names.get(name, name)
            if former.lower() in found:
                yield name, found[former.lower()]

    def table_text(self, fact: Fact, name: str) -> str:
        """Return the statement that makes a table."""
        if fact.get(AS_WRITTEN):
            raise NotWritten("it is a virtual table")
        columns = self.parts(fact, "column")
        keys: dict[str, str] = {}
        inside: list[str] = []
        for one in self.parts(fact, "constraint"):
            definition = str(one.get("definition"))
            named = "" if one.server_named else f"CONSTRAINT {self.quoted(one.name)} "
            key = KEY_OF_ONE.fullmatch(definition)
            column = key[2].strip('"').replace('""', '"').lower() if key else ""
            numbered = any(c.name.lower() == column and c.get("autoincrement") for c in columns)
            if key and (key[1] or numbered):
                word = " AUTOINCREMENT" if numbered else ""
                keys[column] = f" {named}PRIMARY KEY{key[1] or ''}{key[3]}{word}"
            else:
                inside.append(f"{named}{definition}")
        inside = [self.column(one) + keys.get(one.name.lower(), "") for one in columns] + inside
        body = ",\n    ".join(inside)
        return f"CREATE TABLE {name} (\n    {body}\n) {fact.get('options') or ''}".strip()

    def column(self, fact: Fact) -> str:
        """Return a column as it stands in CREATE TABLE."""
        if odd := {attribute for attribute, _ in fact.attributes} - KNOWN:
            raise NotWritten(f"the column has {', '.join(sorted(odd))}")
        parts = [self.quoted(fact.name), str(fact.get("type") or "")]
        if fact.get("collation"):
            parts.append(f"COLLATE {fact.get('collation')}")
        if generated := fact.get("generated"):
            text, _, how = str(generated).rpartition(" ")
            parts.append(f"GENERATED ALWAYS AS {text} {how.upper()}")
        if (default := fact.get("default")) is not None:
            plain = re.fullmatch(r"[-+]?[\w.]+|'(?:[^']|'')*'", str(default))
            parts.append(f"DEFAULT {default}" if plain else f"DEFAULT ({default})")
        if said := fact.get("not null"):
            parts.append("NOT NULL" if said is True else f"NOT NULL {said}")
        return " ".join(part for part in parts if part)
