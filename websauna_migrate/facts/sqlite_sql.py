"""SQLite's own SQL read by structure: what CREATE TABLE says, part by part.

SQLite keeps each definition as it was written. SQLAlchemy's reflection finds constraints in it by
patterns, and misses what a column says of itself: the name and the actions of a foreign key, a
UNIQUE behind a type in brackets or in quotes, a name in another case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict, TypeVar

from websauna_migrate.facts.sqlite_tokens import (
    COLUMN_WORDS,
    NotUnderstood,
    Reader,
    Token,
    as_written,
    tokens_of,
    write,
)
from websauna_migrate.models.model_sql import unquoted

TABLE_WORDS = frozenset({"constraint", "primary", "unique", "check", "foreign"})


@dataclass
class ColumnSql:
    """A column of CREATE TABLE.

    :ivar name: in lower case
    :ivar attributes: what its constraints say that belong to the column alone
    :ivar written: its name as it is written, without quotes
    :ivar spelled: its type as it is written
    :ivar computed: what it is computed from
    """

    name: str
    type: str
    attributes: dict[str, str | bool] = field(default_factory=dict)
    written: str = ""
    spelled: str = ""
    computed: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ConstraintSql:
    """A constraint of a table, or one of a column that a table may have too.

    :ivar name: as it is written, without quotes; ``None`` if it has none
    :ivar definition: in the form that it has at a table
    :ivar tokens: its own, from the word that says its kind
    :ivar column: the name of the column whose constraint it is
    """

    name: str | None
    definition: str
    tokens: tuple[Token, ...]
    column: str | None = None


@dataclass
class TableSql:
    """What a CREATE TABLE says."""

    columns: list[ColumnSql] = field(default_factory=list)
    constraints: list[ConstraintSql] = field(default_factory=list)
    options: tuple[str, ...] = ()


def read_table(sql: str, names: Collection[str], keys: Mapping[str, str] | None = None) -> TableSql:
    """Return what a CREATE TABLE says.

    :param names: names of tables and columns, in lower case
    :param keys: the columns of tables' primary keys in brackets, for foreign keys that name none
    :raises NotUnderstood: if it is none, as that of a virtual table
    """
    reader = Reader(tokens_of(sql), names)
    reader.expect("create", "table")
    reader.name()
    body = reader.bracket()
    table = TableSql()
    options = reader.tokens[reader.place :]
    table.options = tuple(sorted(write(part).upper() for part in split(options) if part))
    in_columns = True
    for part in split(body):
        if not part:
            raise NotUnderstood
        inner = Reader(part, names, keys)
        if in_columns and not part[0].is_word(*TABLE_WORDS):
            read_column(inner, table)
        else:
            in_columns = False
            read_constraints(inner, table)
    return table


def split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield what stands between commas that are in no brackets."""
    part: list[Token] = []
    depth = 0
    for token in tokens:
        depth += token.is_sign("(") - token.is_sign(")")
        if token.is_sign(",") and not depth:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def read_column(reader: Reader, table: TableSql) -> None:
    """Read a column with its constraints."""
    written = unquoted(reader.peek().written)
    name = reader.name()
    type_: list[Token] = []
    start = reader.place
    while reader.peek().kind != "end" and not reader.peek().is_word(*COLUMN_WORDS):
        if reader.peek().is_sign("("):
            type_ += [Token("sign", "("), *reader.bracket(), Token("sign", ")")]
        else:
            type_.append(reader.take())
    spelled = as_written(reader.tokens[start : reader.place])
    if len(type_) == 1 and re.fullmatch(r"[\w ]+", type_[0].text):
        # One name in quotes is what it is without them.
        type_ = [Token("word", type_[0].text)]
        spelled = unquoted(spelled)
    column = ColumnSql(name, write(type_).upper(), written=written, spelled=spelled)
    table.columns.append(column)
    quoted = write([Token("name", name)], reader.names)
    given: str | None = None
    while reader.peek().kind != "end":
        if reader.accept("constraint"):
            given = constraint_name(reader)
            continue
        start = reader.place
        found = read_column_constraint(reader, column, quoted)
        if found:
            tokens = tuple(reader.tokens[start : reader.place])
            table.constraints.append(ConstraintSql(given, found, tokens, written))
        given = None


def constraint_name(reader: Reader) -> str:
    """Read the name of a constraint."""
    written = unquoted(reader.peek().written)
    reader.name()
    return written


def read_column_constraint(reader: Reader, column: ColumnSql, quoted: str) -> str | None:
    """Read a constraint of a column; return those that a table may have too, in its words."""
    attributes = column.attributes
    if reader.accept("primary", "key"):
        order = "DESC" if reader.accept("desc") else ""
        reader.accept("asc")
        conflict = reader.conflict()
        attributes["autoincrement"] = reader.accept("autoincrement")
        return f"PRIMARY KEY {order + ' ' if order else ''}({quoted}){conflict}"
    if reader.accept("unique"):
        return f"UNIQUE ({quoted}){reader.conflict()}"
    if reader.accept("check"):
        return f"CHECK {reader.in_brackets()}{reader.conflict()}"
    if reader.accept("references"):
        return f"FOREIGN KEY ({quoted}) {references(reader)}"
    if reader.accept("not", "null"):
        attributes["not null"] = reader.conflict().strip() or True
    elif reader.accept("null"):
        reader.conflict()
    elif reader.accept("collate"):
        name = reader.name()
        if name.upper() != "BINARY":  # which is what a column without the word has
            attributes["collation"] = name
    elif reader.accept("default"):
        attributes["default"] = read_default(reader)
    elif reader.accept("generated", "always", "as") or reader.accept("as"):
        column.computed = tuple(reader.bracket())
        text = write(column.computed, reader.names)
        stored = reader.accept("stored")
        reader.accept("virtual")
        attributes["generated"] = f"({text}) {'stored' if stored else 'virtual'}"
    elif reader.accept("not", "deferrable") or reader.accept("deferrable"):
        # It follows REFERENCES, where it was read already; alone it means nothing.
        raise NotUnderstood
    else:
        raise NotUnderstood
    return None


def read_default(reader: Reader) -> str:
    """Read a default, without the brackets around it: SQLite's own description has none."""
    if reader.peek().is_sign("("):
        return write(reader.bracket(), reader.names)
    sign = reader.take()
    if sign.is_sign("+") or sign.is_sign("-"):
        return write([sign, reader.take()]).replace(" ", "")
    return write([sign])


def references(reader: Reader) -> str:
    """Read what follows REFERENCES."""
    target = reader.name()
    out = f"REFERENCES {write([Token('name', target)], reader.names)}"
    if reader.peek().is_sign("("):
        # Columns of another table: there are no strings among them.
        columns = reader.bracket()
        out += f" ({write(columns, [one.text for one in columns])})"
    elif reader.keys.get(target, "()") != "()":
        out += f" {reader.keys[target]}"
    actions = []
    while True:
        if reader.accept("on"):
            event = reader.take().text.upper()
            action = reader.take().text.upper()
            if action in ("SET", "NO"):
                action += f" {reader.take().text.upper()}"
            if action != "NO ACTION":
                actions.append(f"ON {event} {action}")
        elif reader.accept("match"):
            # SQLite reads it and does nothing with it.
            reader.name()
        else:
            break
    out += "".join(f" {action}" for action in sorted(actions))
    negated = reader.accept("not", "deferrable")
    if negated or reader.accept("deferrable"):
        deferred = reader.accept("initially", "deferred")
        reader.accept("initially", "immediate")
        if deferred and not negated:
            out += " DEFERRABLE INITIALLY DEFERRED"
    return out


def read_constraints(reader: Reader, table: TableSql) -> None:
    """Read constraints of a table; SQLite takes several without a comma between them."""
    given: str | None = None
    while reader.peek().kind != "end":
        if reader.accept("constraint"):
            given = constraint_name(reader)
            continue
        start = reader.place
        if reader.accept("primary", "key"):
            columns = reader.bracket()
            if columns and columns[-1].is_word("autoincrement"):
                name = columns[0].text
                columns = columns[:-1]
                for column in table.columns:
                    if column.name == name:
                        column.attributes["autoincrement"] = True
            text = f"PRIMARY KEY ({write(columns, reader.names)}){reader.conflict()}"
        elif reader.accept("unique"):
            text = f"UNIQUE {reader.in_brackets()}{reader.conflict()}"
        elif reader.accept("check"):
            text = f"CHECK {reader.in_brackets()}{reader.conflict()}"
        elif reader.accept("foreign", "key"):
            columns_text = reader.in_brackets()
            reader.expect("references")
            text = f"FOREIGN KEY {columns_text} {references(reader)}"
        else:
            raise NotUnderstood
        tokens = tuple(reader.tokens[start : reader.place])
        table.constraints.append(ConstraintSql(given, text, tokens))
        given = None


# A table in the terms that SQLAlchemy's reflection has

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
