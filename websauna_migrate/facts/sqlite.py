"""Facts of an SQLite database: its own SQL, read by structure, and what its PRAGMAs add."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache

from sqlalchemy import bindparam, text
from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import AS_WRITTEN, POSITION, Fact, Pieces, Value
from websauna_migrate.facts.sqlite_sql import TableSql, bracket, names_in, read_table
from websauna_migrate.facts.sqlite_tokens import NotUnderstood, Token, tokens_of, write
from websauna_migrate.models.model_sql import unquoted

SCHEMA = "main"

OBJECTS = """
SELECT type, name, tbl_name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'
"""

#: The columns of each table as one text.
COLUMNS = """
SELECT m.name, json_group_array(json_array(x.cid, x.name, x.type, x.hidden, x.pk))
FROM sqlite_master m, pragma_table_xinfo(m.name) x
WHERE m.type = 'table' AND m.name IN :tables GROUP BY m.name
"""

#: Place, name, type, whether a column is hidden, and its place in the primary key, else 0.
ColumnRow = tuple[int, str, str, int, int]


def read_sqlite(connection: Connection, known: Pieces) -> tuple[str, Pieces]:
    """Return the facts of the main database by its SQL; attached and temporary ones are left out.

    :param known: those of an earlier look
    :returns: the default schema, and the facts
    """
    objects = connection.execute(text(OBJECTS)).all()
    columns = read_columns(
        connection, {row[1]: row[3] for row in objects if row[0] == "table"}, known
    )
    tables = {row[2].lower() for row in objects} | {row[1].lower() for row in objects}
    every = frozenset[str]()
    if any(row[0] in ("view", "trigger") for row in objects):
        every = every.union(*(names_of(rows) for rows in columns.values()))
    keys = {name.lower(): rows for name, rows in columns.items()}
    pieces: Pieces = {}
    for kind, name, table, sql in objects:
        if not sql:
            continue
        of_table = kind in ("table", "index")
        own = names_of(columns.get(table, "[]")) if of_table else every
        # Of the words it has to be known which are names.
        words = words_in(sql)
        rows = columns.get(name, "[]")
        # A foreign key need not name the columns of a primary key.
        named = sorted(words & keys.keys()) if "references" in words else ()
        targets = {one: key_columns(keys[one]) for one in named}
        key = (kind, name, table, sql, words & tables, words & own, rows, (*targets.items(),))
        facts = known.get(key)
        if facts is None:
            names = (words & tables) | (words & own)
            if kind == "table":
                facts = tuple(table_facts(name, sql, columns_in(rows), names, targets))
            elif kind == "index":
                facts = (index_fact(name, table, sql, names),)
            else:
                facts = (written_fact(kind, name, table, sql, names),)
        pieces[key] = facts
    return SCHEMA, pieces


def read_columns(
    connection: Connection, tables: Mapping[str, str], known: Pieces
) -> dict[str, str]:
    """Return the columns of tables, each as one text.

    :param tables: their SQL; where that is as in an earlier look, the columns are
    """
    found: dict[str, str] = {}
    for key in known:
        if isinstance(key, tuple) and key[0] == "table" and tables.get(key[1]) == key[3]:
            found[key[1]] = key[6]
    left = [name for name in tables if name not in found]
    query = text(COLUMNS).bindparams(bindparam("tables", expanding=True))
    for start in range(0, len(left), AT_ONCE):
        names = {"tables": left[start : start + AT_ONCE]}
        found.update((str(row[0]), str(row[1])) for row in connection.execute(query, names))
    return found


#: Of so many tables the columns are read by one query: SQLite takes no more than 999 parameters.
AT_ONCE = 500


@lru_cache(maxsize=4096)
def columns_in(rows: str) -> tuple[ColumnRow, ...]:
    """Return the columns of a table, in their order."""
    return tuple(sorted((place, *rest) for place, *rest in json.loads(rows)))


@lru_cache(maxsize=4096)
def names_of(rows: str) -> frozenset[str]:
    """Return the names of a table's columns, in lower case."""
    return frozenset(one[1].lower() for one in columns_in(rows))


@lru_cache(maxsize=4096)
def words_in(sql: str) -> frozenset[str]:
    """Return what may be a name in SQL, in lower case."""
    return frozenset(unquoted(one.text).lower() for one in tokens_of(sql) if one.kind in WORDS)


#: The kinds of tokens that may be names.
WORDS = frozenset({"word", "name", "string"})


@lru_cache(maxsize=4096)
def key_columns(rows: str) -> str:
    """Return the columns of a table's primary key as a foreign key names them."""
    parts = sorted((part, name.lower()) for _, name, _, _, part in columns_in(rows) if part)
    names = [name for _, name in parts]
    return f"({', '.join(write([Token('name', name)], names) for name in names)})"


def table_facts(
    name: str,
    sql: str,
    columns: Sequence[ColumnRow],
    names: Collection[str],
    keys: Mapping[str, str],
) -> Iterator[Fact]:
    """Yield the facts of a table: itself, its columns and constraints.

    :param keys: the columns of the primary keys of tables that it names, in brackets
    """
    try:
        found = read_table(sql, names, keys)
        if [one.name for one in found.columns] != [one[1].lower() for one in columns]:
            raise NotUnderstood
    except NotUnderstood:
        # A virtual table, or a form that is not known: it is compared as a whole.
        yield Fact.make("table", SCHEMA, name, {AS_WRITTEN: write(tokens_of(sql), names)})
        for place, column, type_, hidden, _ in columns:
            if hidden != 1:
                attributes: dict[str, Value] = {POSITION: place + 1, "type": type_.upper()}
                yield Fact.make("column", SCHEMA, column, attributes, table=name)
        return
    yield Fact.make("table", SCHEMA, name, {"options": ", ".join(found.options) or None})
    never_null = columns_without_null(found)
    for (place, column, *_), read in zip(columns, found.columns, strict=True):
        more: dict[str, Value] = {POSITION: place + 1, "type": read.type, **read.attributes}
        if isinstance(default := more.get("default"), str):
            more["default"] = stored_default(default, str(read.type))
        if read.name in never_null and not read.attributes.get("not null"):
            more["not null"] = True
        yield Fact.make("column", SCHEMA, column, more, table=name)
    taken: dict[str, int] = {}
    for one in found.constraints:
        key = one.name.lower() if one.name else one.definition
        taken[key] = taken.get(key, 0) + 1
        if taken[key] > 1 and one.name is None:
            # It says again what another one says: for SQLite they are one.
            continue
        number = f" #{taken[key]}" if taken[key] > 1 else ""
        said: dict[str, Value] = {"definition": one.definition}
        given = one.name is not None
        yield Fact.make(
            "constraint", SCHEMA, key + number, said, table=name, server_named=not given
        )


#: A default that is one value: a number, a string or a truth.
CONSTANT = re.compile(
    r"[-+]?\s*(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?|'([^']|'')*'|true|false", re.IGNORECASE
)


@lru_cache(maxsize=1024)
def stored_default(default: str, type_: str) -> str:
    """Return a default that is one value as a column of a type stores it: ``'5'`` as ``5``."""
    if not CONSTANT.fullmatch(default):
        return default
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(f"CREATE TABLE one (value {type_} DEFAULT ({default}))")
            connection.execute("INSERT INTO one DEFAULT VALUES")
            (found,) = connection.execute("SELECT quote(value) FROM one").fetchone()
        except sqlite3.Error:
            return default
    return str(found)


def columns_without_null(table: TableSql) -> set[str]:
    """Return the columns that are never NULL though they need not say so, in lower case.

    An INTEGER PRIMARY KEY is the number of the row, and WITHOUT ROWID allows no NULL in its key.
    """
    key = next((one for one in table.constraints if one.tokens[0].is_word("primary")), None)
    if key is None:
        return set()
    columns = [str(key.column).lower()]
    if key.column is None:
        columns = [name.lower() for name in names_in(bracket(key))]
    if "WITHOUT ROWID" in table.options:
        return {*columns}
    types = {one.name: one.type for one in table.columns}
    descending = key.column is not None and any(one.is_word("desc") for one in key.tokens)
    is_number = len(columns) == 1 and types.get(columns[0]) == "INTEGER" and not descending
    return {*columns} if is_number else set()


def index_fact(name: str, table: str, sql: str, names: Collection[str]) -> Fact:
    """Return the fact of an index that was created by its own statement."""
    tokens = tokens_of(sql)
    # CREATE [UNIQUE] INDEX name ON table (columns) [WHERE condition]
    start = next(place for place, token in enumerate(tokens) if token.is_word("index"))
    unique = any(token.is_word("unique") for token in tokens[:start])
    # ASC is the default.
    definition = write([one for one in tokens[start + 4 :] if not one.is_word("asc")], names)
    attributes: dict[str, Value] = {"definition": definition, "unique": unique}
    return Fact.make("index", SCHEMA, name, attributes, table=table)


def written_fact(kind: str, name: str, table: str, sql: str, names: Collection[str]) -> Fact:
    """Return the fact of a view or trigger, whose definition is what follows its name."""
    tokens = tokens_of(sql)
    start = next(place for place, token in enumerate(tokens) if token.is_word(kind))
    definition = write(tokens[start + 2 :], names)
    owner = None if kind == "view" else table
    return Fact.make(kind, SCHEMA, name, {"definition": definition}, table=owner)
