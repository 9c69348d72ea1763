"""An SQLite table as its CREATE TABLE has it, in the terms that SQLAlchemy's reflection has.

SQLAlchemy finds constraints by patterns, and misses what a column says of itself: the name and the
actions of a foreign key, a UNIQUE behind a type in brackets or in quotes, a name in another case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict, TypeVar

from websauna_migrate.facts.sqlite_sql import ColumnSql, ConstraintSql, TableSql, read_table, split
from websauna_migrate.facts.sqlite_tokens import NotUnderstood, Reader, Token, as_written
from websauna_migrate.models.model_sql import unquoted

KeyT = TypeVar("KeyT")

#: The columns of a foreign key, the table that it refers to, and the columns there.
Ends: TypeAlias = tuple[Sequence[str], str, Sequence[str]]


class KeyOptions(TypedDict, total=False):
    """What SQLAlchemy's ``ForeignKeyConstraint`` takes besides columns; what is not said is out."""

    ondelete: str
    onupdate: str
    deferrable: bool
    initially: str


@dataclass(frozen=True, slots=True)
class WrittenKey:
    """A foreign key.

    :ivar target: the table that it refers to
    :ivar referred: the columns there, none if it does not say them
    """

    name: str | None
    columns: tuple[str, ...]
    target: str
    referred: tuple[str, ...]
    options: KeyOptions

    def is_that_of(self, columns: Sequence[str], target: str, referred: Sequence[str]) -> bool:
        """True if a foreign key that SQLAlchemy reflected is this one."""
        return (
            lowered(self.columns) == lowered(columns)
            and self.target.lower() == target.lower()
            and (not self.referred or lowered(self.referred) == lowered(referred))
        )


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A table. Each constraint has its name, ``None`` where it has none.

    :ivar key_name: that of the primary key
    :ivar uniques: with their columns
    :ivar checks: with their expressions
    :ivar columns: by their names
    """

    key_name: str | None
    foreign_keys: tuple[WrittenKey, ...]
    uniques: tuple[tuple[str | None, tuple[str, ...]], ...]
    checks: tuple[tuple[str | None, str], ...]
    columns: Mapping[str, ColumnSql]

    def paired(
        self, reflected: Iterable[KeyT], ends: Callable[[KeyT], Ends]
    ) -> Iterator[tuple[KeyT, WrittenKey]]:
        """Yield foreign keys that SQLAlchemy reflected, each with the one that it is here.

        :param ends: returns the columns of one, the table it refers to, and the columns there
        """
        waiting = [*self.foreign_keys]
        for one in reflected:
            parts = ends(one)
            key = next((key for key in waiting if key.is_that_of(*parts)), None)
            if key is not None:
                waiting.remove(key)
                yield one, key


def written_table(sql: str) -> WrittenTable | None:
    """Return a table by its CREATE TABLE, ``None`` for a form that is not understood."""
    try:
        table = read_table(sql, ())
    except NotUnderstood:
        return None
    return WrittenTable(
        next((one.name for one in of_kind(table, "primary")), None),
        tuple(foreign_key(one, table) for one in of_kind(table, "references", "foreign")),
        tuple((one.name, unique_columns(one, table)) for one in of_kind(table, "unique")),
        tuple((one.name, as_written(bracket(one))) for one in of_kind(table, "check")),
        {one.written: one for one in table.columns},
    )


def of_kind(table: TableSql, *words: str) -> Iterator[ConstraintSql]:
    """Yield the constraints that begin with one of some words."""
    return (one for one in table.constraints if one.tokens[0].text in words)


def bracket(constraint: ConstraintSql) -> list[Token]:
    """Return what stands in the first brackets of a constraint."""
    start = next(place for place, one in enumerate(constraint.tokens) if one.is_sign("("))
    return Reader(constraint.tokens[start:], ()).bracket()


def names_in(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Return the names that begin the parts of a list."""
    return tuple(unquoted(part[0].written) for part in split(tokens))


def own_columns(names: Sequence[str], table: TableSql) -> tuple[str, ...]:
    """Return columns as the table itself spells them."""
    known = {one.name: one.written for one in table.columns}
    return tuple(known.get(name.lower(), name) for name in names)


def unique_columns(constraint: ConstraintSql, table: TableSql) -> tuple[str, ...]:
    """Return the columns of a UNIQUE constraint."""
    if constraint.column is not None:
        return (constraint.column,)
    return own_columns(names_in(bracket(constraint)), table)


def foreign_key(constraint: ConstraintSql, table: TableSql) -> WrittenKey:
    """Return a foreign key."""
    reader = Reader(constraint.tokens, ())
    columns: tuple[str, ...] = (str(constraint.column),)
    if reader.accept("foreign", "key"):
        columns = own_columns(names_in(reader.bracket()), table)
    reader.expect("references")
    target = unquoted(reader.take().written)
    referred = names_in(reader.bracket()) if reader.peek().is_sign("(") else ()
    rest = " ".join(one.text for one in reader.tokens[reader.place :]).upper()
    return WrittenKey(constraint.name, columns, target, referred, key_options(rest))


def key_options(text: str) -> KeyOptions:
    """Return the options of a foreign key by what follows its columns."""
    options: KeyOptions = {}
    for event, action in re.findall(r"\bON (DELETE|UPDATE) (SET \w+|NO ACTION|\w+)", text):
        if action != "NO ACTION":
            options["ondelete" if event == "DELETE" else "onupdate"] = action
    if deferred := re.search(r"(?<!NOT )\bDEFERRABLE(?: INITIALLY (\w+))?", text):
        options["deferrable"] = True
        if deferred[1]:
            options["initially"] = deferred[1]
    return options


def lowered(names: Sequence[str]) -> list[str]:
    """Return names in lower case."""
    return [name.lower() for name in names]
