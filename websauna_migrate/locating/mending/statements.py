"""Statements that mend a database, and what those of all servers have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy.engine import Dialect

from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts, Value


class Rank(IntEnum):
    """The order of statements: what stands on columns goes before them, and comes after them."""

    VIEWS_GO, FIRST, CONSTRAINTS_GO, TYPES, TABLES = range(5)
    COLUMNS, KEYS, FOREIGN_KEYS, VIEWS, LAST = range(5, 10)


VIEW_KINDS = frozenset({"view", "materialized view"})


class NotWritten(Exception):
    """A difference has no statement; the message says why, a clause."""


@dataclass(frozen=True, order=True)
class Statement:
    """A statement without its semicolon, and its place among others.

    :ivar place: among those of one rank
    """

    rank: Rank
    text: str
    place: int = 0


#: An object under the name that a hand gave it, and under its own.
Renamed = tuple[Fact, Fact]


class Mender(ABC):
    """Writes statements for one kind of database.

    :ivar here: what the database is, all of it
    :ivar there: what it is to be
    """

    def __init__(
        self, dialect: Dialect, here: Facts, there: Facts, renamed: Collection[Renamed] = ()
    ) -> None:
        """Keep both sides.

        :param here: the facts of the database
        :param there: the same, with what is mended as the applied scripts make it
        :param renamed: what a hand gave another name
        """
        self.dialect = dialect
        self.here = here
        self.there = there
        self.renamed = [*renamed]

    def quoted(self, name: str) -> str:
        """Return a name as it stands in SQL: only a driver reads one percent sign of two."""
        quoted = str(self.dialect.identifier_preparer.quote(name))
        doubled = self.dialect.paramstyle in ("format", "pyformat")
        return quoted.replace("%%", "%") if doubled else quoted

    def mend(self, one: Difference) -> list[Statement]:
        """Return the statements that mend a difference of the database, its left side.

        :raises NotWritten: if there are none
        """
        for old, new in self.renamed:
            if one.attribute is None and one.fact in (old, new):
                return [*self.rename(old, new)]
        if one.attribute is None:
            return [*(self.drop(one.fact) if one.left else self.create(one.fact))]
        assert one.other is not None
        return [*self.change(one.fact, one.other, one.attribute)]

    def script(self, statements: Iterable[Statement], *, keys: bool) -> list[str]:
        """Return statements in their order, each once, with what has to be around them.

        :param keys: whether the application's connections check foreign keys, on SQLite
        """
        in_order = sorted(dict.fromkeys(statements), key=lambda one: (one.rank, one.place))
        return [one.text for one in in_order]

    def rename(self, old: Fact, new: Fact) -> Iterator[Statement]:
        """Yield what gives an object its own name or schema back."""
        names = f"{self.quoted(old.name)} TO {self.quoted(new.name)}"
        if old.kind == "column":
            yield Statement(Rank.COLUMNS, f"ALTER TABLE {self.table(old)} RENAME COLUMN {names}")
        else:
            name = self.name(old, old.name)
            change = f"RENAME TO {self.quoted(new.name)}"
            if old.schema != new.schema:
                change = f"SET SCHEMA {self.quoted(new.schema)}"
            yield Statement(Rank.FIRST, f"ALTER {self.renamable[old.kind]} {name} {change}")

    #: How statements call what can be given another name, by the kind of facts.
    renamable: Mapping[str, str] = {"table": "TABLE"}

    @abstractmethod
    def drop(self, fact: Fact) -> Iterator[Statement]:
        """Yield what takes an object away."""

    @abstractmethod
    def create(self, fact: Fact) -> Iterator[Statement]:
        """Yield what makes an object."""

    def replace(self, fact: Fact, wanted: Fact) -> Iterator[Statement]:
        """Yield what puts another object in place of one."""
        yield from self.drop(fact)
        yield from self.create(wanted)

    @abstractmethod
    def change(self, fact: Fact, wanted: Fact, attribute: str) -> Iterator[Statement]:
        """Yield what gives an object an attribute of another one."""

    def name(self, fact: Fact, name: str) -> str:
        """Return a name with its schema, where that is told."""
        return self.quoted(name)

    def table(self, fact: Fact) -> str:
        """Return the name of the table that a fact is of."""
        return self.name(fact, fact.table or fact.name)

    def depth(self, view: Fact, facts: Facts, above: tuple[Fact, ...] = ()) -> int:
        """Return on how many views, one upon the other, a view stands.

        :param above: those that stand on it
        """
        above = (*above, view)
        below = (one for one in views_of(facts) if one not in above)
        found = (one for one in below if reads(view, self.in_query(one)))
        return max((self.depth(one, facts, above) + 1 for one in found), default=0)

    def in_query(self, relation: Fact) -> str:
        """Return a table or view as it stands in the queries of views."""
        return self.table(relation)

    def parts(self, whole: Fact, kind: str, facts: Facts | None = None) -> list[Fact]:
        """Return the parts of a table or type, columns in their order.

        :param facts: whose; default what is to be
        """
        found = [
            one
            for one in (facts or self.there).objects
            if one.kind == kind and one.table == (whole.table or whole.name)
            if one.schema == whole.schema
        ]
        return sorted(found, key=lambda one: number(one.get("position")))


def views_of(facts: Facts) -> list[Fact]:
    """Return the views among facts."""
    return [one for one in facts.objects if one.kind in VIEW_KINDS]


def reads(view: Fact, name: str) -> bool:
    """True if a view's query has a name, as the server writes it."""
    whole = rf'(?<![\w".]){re.escape(name)}(?![\w"])'
    return re.search(whole, str(view.get("definition"))) is not None


def is_foreign(fact: Fact) -> bool:
    """True for a foreign key, by its definition as PostgreSQL and MariaDB write it."""
    return str(fact.get("definition")).startswith("FOREIGN KEY")


def number(value: Value) -> int:
    """Return a number; facts leave out what is zero."""
    return int(str(value or 0))
