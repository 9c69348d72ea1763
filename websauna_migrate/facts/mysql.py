"""Facts of a MariaDB or MySQL database: information_schema, and what SHOW CREATE says."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from functools import partial

from sqlalchemy import bindparam, text
from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import (
    AS_WRITTEN,
    POSITION,
    Fact,
    Pieces,
    Row,
    Value,
    by_true_names,
)
from websauna_migrate.models.model_sql import unquoted

COLUMNS = """
SELECT table_schema, table_name, column_name, ordinal_position, column_type, is_nullable,
       column_default, collation_name, extra, generation_expression, column_comment
FROM information_schema.columns WHERE table_schema IN :schemas
"""

TABLES = """
SELECT t.table_schema, t.table_name, t.table_type, t.engine, t.table_collation, t.row_format,
       t.table_comment
FROM information_schema.tables t WHERE t.table_schema IN :schemas
"""

VIEWS = """
SELECT table_schema, table_name, view_definition, check_option, security_type
FROM information_schema.views WHERE table_schema IN :schemas
"""

TRIGGERS = """
SELECT trigger_schema, trigger_name, event_object_table, action_timing, event_manipulation,
       action_statement, sql_mode, action_order
FROM information_schema.triggers WHERE trigger_schema IN :schemas
"""

ROUTINES = """
SELECT routine_schema, routine_name, routine_type FROM information_schema.routines
WHERE routine_schema IN :schemas AND routine_type IN ('PROCEDURE', 'FUNCTION')
"""

EVENTS = """
SELECT event_schema, event_name FROM information_schema.events WHERE event_schema IN :schemas
"""

NAME = r"`(?:[^`]|``)*`"
KEY_LINE = re.compile(rf"((?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY) ({NAME}) (.*)", re.DOTALL)
CONSTRAINT_LINE = re.compile(rf"CONSTRAINT ({NAME}) (.*)", re.DOTALL)

#: Options of SHOW CREATE TABLE that count rows.
COUNTERS = re.compile(r" AUTO_INCREMENT=\d+")

#: What a column says of its characters; the attribute says it always.
CHARACTERS = re.compile(r" (CHARACTER SET|COLLATE) \w+")


def read_mysql(
    connection: Connection,
    schemas: Collection[str] | None,
    names: Mapping[str, str],
    known: Pieces,
) -> tuple[str, Pieces]:
    """Return the default schema, and the facts of databases, which are called schemas here.

    :param schemas: ``None`` for the current one
    :param names: the names that scratch databases stand for, by theirs
    :param known: those of an earlier look, by what the server said
    """
    default = str(connection.scalar(text("SELECT DATABASE()")) or "")
    reading = Reading(connection, list(schemas) if schemas is not None else [default])
    rename = by_true_names(names, lambda name: name.replace("`", "``"))
    pieces = {
        key: known[key] if key in known else tuple(map(rename, make()))
        for key, make in reading.pieces()
    }
    return names.get(default, default), pieces


#: Facts by the words that they follow from, not made yet.
Piece = tuple[Hashable, Callable[[], Iterable[Fact]]]


class Reading:
    """One look at some databases."""

    def __init__(self, connection: Connection, schemas: list[str]) -> None:
        self.connection = connection
        self.schemas = schemas

    def rows(self, query: str) -> list[Row]:
        """Return the rows of a query on information_schema."""
        statement = text(query).bindparams(bindparam("schemas", expanding=True))
        return [tuple(row) for row in self.connection.execute(statement, {"schemas": self.schemas})]

    def show(self, kind: str, schema: str, name: str, column: int) -> str:
        """Return what SHOW CREATE says."""
        what = f"{quoted(schema)}.{quoted(name)}".replace("%", "%%")
        row = self.connection.exec_driver_sql(f"SHOW CREATE {kind} {what}").one()
        return str(row[column])

    def pieces(self) -> Iterator[Piece]:
        """Yield all facts, by what the server says of them."""
        columns: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows(COLUMNS):
            columns.setdefault(row[:2], []).append(row[2:])
        for schema, table, kind, engine, collation, row_format, comment in self.rows(TABLES):
            if kind in ("VIEW", "SYSTEM VIEW"):
                continue
            if kind == "SEQUENCE":
                sql = self.show("SEQUENCE", schema, table, 1)
                yield (kind, schema, table, sql), partial(sequence_facts, schema, table, sql)
                continue
            sql = self.show("TABLE", schema, table, 1)
            whole = {
                "engine": engine,
                "collation": collation,
                "row format": row_format,
                "comment": comment or None,
                "system versioning": kind == "SYSTEM VERSIONED",
            }
            own = columns.get((schema, table), [])
            key = (kind, schema, table, sql, tuple(own), tuple(whole.values()))
            yield key, partial(table_facts, schema, table, sql, own, whole)
        for fact in (*self.views(), *self.triggers(), *self.routines()):
            yield fact, partial(iter, (fact,))

    def views(self) -> Iterator[Fact]:
        """Yield the facts of views."""
        for schema, name, definition, option, security in self.rows(VIEWS):
            attributes = {
                # The server writes every name with its database.
                "definition": definition.replace(f"{quoted(schema)}.", ""),
                "check option": option if option != "NONE" else None,
                "security": security if security != "DEFINER" else None,
            }
            yield Fact.make("view", schema, name, attributes)

    def triggers(self) -> Iterator[Fact]:
        """Yield the facts of triggers."""
        for schema, name, table, timing, event, statement, mode, place in self.rows(TRIGGERS):
            attributes = {
                "definition": f"{timing} {event} {statement}",
                "SQL mode": mode,
                "place among those of its kind": place,
            }
            yield Fact.make("trigger", schema, name, attributes, table=table)

    def routines(self) -> Iterator[Fact]:
        """Yield the facts of procedures, functions and events."""
        found = [(*row[:2], str(row[2])) for row in self.rows(ROUTINES)]
        found += [(*row, "EVENT") for row in self.rows(EVENTS)]
        for schema, name, kind in found:
            sql = self.show(kind, schema, name, 3 if kind == "EVENT" else 2)
            attributes = {
                "definition": re.sub(rf"DEFINER={NAME}@{NAME} ", "", sql, count=1),
                "SQL mode": self.show(kind, schema, name, 1),
            }
            yield Fact.make(kind.lower(), schema, name, attributes)


def sequence_facts(schema: str, name: str, sql: str) -> Iterator[Fact]:
    """Yield the fact of a sequence."""
    definition = re.sub(rf"^CREATE SEQUENCE {NAME} ", "", sql)
    yield Fact.make("sequence", schema, name, {"definition": definition})


def table_facts(
    schema: str,
    table: str,
    sql: str,
    columns: list[Row],
    attributes: Mapping[str, Value],
) -> Iterator[Fact]:
    """Yield the facts of a table: itself, its columns, indexes and constraints."""
    lines = definition_lines(sql)
    options = COUNTERS.sub("", lines[-1]).strip()
    yield Fact.make("table", schema, table, {**attributes, AS_WRITTEN: options})
    written = {}
    found = (CONSTRAINT_LINE.fullmatch(line) for line in lines[:-1])
    keys = {unquoted(one[1]) for one in found if one and one[2].startswith("FOREIGN KEY")}
    for line in lines[:-1]:
        if name := re.match(NAME, line):
            written[unquoted(name[0])] = CHARACTERS.sub("", line[name.end() :].strip(), count=2)
        else:
            yield line_fact(schema, table, line, keys)
    for name, place, type_, nullable, given, collation, extra, generated, comment in columns:
        default = None if given in (None, "NULL") else without_schema(given, schema)
        whole = written.get(name)
        parts = {
            POSITION: place,
            "type": type_,
            "not null": nullable == "NO",
            "default": default,
            "collation": collation,
            "extra": extra or None,
            "generated": generated or None,
            "comment": comment or None,
            AS_WRITTEN: whole and without_schema(whole, schema),
        }
        yield Fact.make("column", schema, name, parts, table=table)


def without_schema(sql: str, schema: str) -> str:
    """Return a default without the column's own database, which the server puts before sequences.

    A name without one means the same there.
    """
    return re.sub(rf"\b((?:next|last)val\(){re.escape(quoted(schema))}\.", r"\1", sql)


def line_fact(schema: str, table: str, line: str, keys: Collection[str]) -> Fact:
    """Return the fact of an index or constraint, from its line of SHOW CREATE TABLE.

    :param keys: the names of the table's foreign keys, which the server gives to their indexes
    """
    if key := KEY_LINE.fullmatch(line):
        name = unquoted(key[2])
        first = re.match(rf"\(({NAME})", key[3])
        attributes = {"definition": f"{key[1]} {key[3]}"}
        servers = name in keys or (first is not None and is_numbered(name, unquoted(first[1])))
        return Fact.make("index", schema, name, attributes, table=table, server_named=servers)
    if constraint := CONSTRAINT_LINE.fullmatch(line):
        name = unquoted(constraint[1])
        attributes = {"definition": constraint[2]}
        servers = is_servers(name, table)
        return Fact.make("constraint", schema, name, attributes, table=table, server_named=servers)
    # The primary key, whose name is always the same, or a period of time.
    name = " ".join(line.split("(")[0].split())
    return Fact.make("constraint", schema, name, {"definition": line}, table=table)


def definition_lines(sql: str) -> list[str]:
    """Return the lines of SHOW CREATE TABLE: columns, keys and constraints, and the options last.

    A line break inside a string or a name does not end a line.
    """
    lines: list[str] = []
    start = sql.index("(\n") + 2
    pattern = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|,\n|\n\) ?|\n|.", re.DOTALL)
    line = ""
    for match in pattern.finditer(sql, start):
        if match[0].startswith("\n)"):
            return [*lines, line.strip(), sql[match.end() :]]
        if match[0] == ",\n":
            lines.append(line.strip())
            line = ""
        else:
            line += match[0]
    return [*lines, line.strip(), ""]


def quoted(name: str) -> str:
    """Return a name in quotes."""
    return "`" + name.replace("`", "``") + "`"


def quoted_key(key: tuple[str | None, str]) -> str:
    """Return the name of a table, with its schema if it has one, as it stands in SQL."""
    return ".".join(quoted(part) for part in key if part)


def column_definition(fact: Fact) -> str:
    """Return a column as it stands behind its name in CREATE TABLE, with its collation."""
    type_, written = str(fact.get("type")), str(fact.get(AS_WRITTEN))
    collation = f" COLLATE {fact.get('collation')}" if fact.get("collation") else ""
    if not written.startswith(type_):
        return written
    return f"{type_}{collation}{written.removeprefix(type_)}"


#: A column's definition whose last words are its own CHECK; strings and names may have the word.
OWN_CHECK = re.compile(r"(?:[^'`]|'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`)*?( CHECK \(.*\))", re.DOTALL)


def own_check(fact: Fact) -> str:
    """Return the CHECK that MariaDB keeps with a column, empty for none; JSON has one by itself."""
    found = OWN_CHECK.fullmatch(str(fact.get(AS_WRITTEN) or ""))
    return found[1] if found and not is_json(fact) else ""


def is_json(fact: Fact) -> bool:
    """True if a column of MariaDB is JSON: a text with a CHECK."""
    return str(fact.get(AS_WRITTEN)).endswith(f" CHECK (json_valid({quoted(fact.name)}))")


def is_numbered(name: str, column: str) -> bool:
    """True if a key has the name that the server makes of its first column."""
    return re.fullmatch(re.escape(column) + r"(_\d+)?", name, re.IGNORECASE) is not None


def is_servers(name: str, table: str) -> bool:
    """True if a constraint has a name that the server makes."""
    patterns = (r"CONSTRAINT_\d+", re.escape(table) + r"_(ibfk|chk)_\d+", r"\d+")
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in patterns)
