"""SQLite's own SQL read by structure: what CREATE TABLE says, part by part.

SQLite keeps each definition as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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
