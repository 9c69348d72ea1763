"""Facts of a PostgreSQL database, read from its catalogue by a query for each kind of object."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import BigInteger, String, bindparam, text
from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import POSITION, Fact, Pieces, Row, Value, by_true_names
from websauna_migrate.facts.postgresql_catalogue import BY_UNIT, QUERIES, SCHEMAS, SELDOM
from websauna_migrate.facts.written_back import settled

#: The default of a column that takes its values from a sequence of its own.
OWN = "nextval(its own sequence)"

#: By pg_class.relkind.
KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "c": "composite type",
}
PERSISTENCE = {"u": "unlogged", "t": "temporary"}
#: Of an index that is it, the index tells.
REPLICA_IDENTITY = {"n": "nothing", "f": "full"}
IDENTITY = {"a": "always", "d": "by default"}
GENERATED = {"s": "stored", "v": "virtual"}
STORAGE = {"p": "plain", "e": "external", "m": "main", "x": "extended"}
TYPES = {"e": "enum type", "d": "domain type", "r": "range type"}
ROUTINES = {"f": "function", "p": "procedure", "a": "aggregate", "w": "window function"}
FIRING = {"D": "disabled", "R": "on replicas", "A": "always"}
COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
#: How the server ends the names of constraints, by pg_constraint.contype.
ENDINGS = {"p": "pkey", "u": "key", "x": "excl", "f": "fkey", "c": "check"}

#: Words that the server puts in quotes where they are names, as of PostgreSQL 18.
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user dec decimal default deferrable desc distinct do
    else end except exists extract false fetch float for foreign freeze from full grant
    greatest group grouping having ilike in initially inner inout int integer intersect
    interval into is isnull join json json_array json_arrayagg json_exists json_object
    json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading
    least left like limit localtime localtimestamp merge_action national natural nchar none
    normalize not notnull null nullif numeric offset on only or order out outer overlaps
    overlay placing position precision primary real references returning right row select
    session_user setof similar smallint some substring symmetric system_user table tablesample
    then time timestamp to trailing treat trim true union unique user using values varchar
    variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists
    xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
    """,
    )
)

Rows = Sequence[Row]


def read_postgresql(
    connection: Connection, schemas: Collection[str] | None, names: Mapping[str, str]
) -> tuple[str, Pieces]:
    """Return the default schema, and the facts of schemas by the rows of the catalogue.

    :param schemas: ``None`` for all that are not the server's own
    :param names: the names that scratch schemas stand for, by theirs
    """
    with without_path(connection) as (default, found):
        found = [row for row in found if schemas is None or row[0] in schemas]
        wanted = [row[0] for row in found]
        queries = needed_queries(connection)
        rows = {name: rows_of(connection, query, wanted) for name, query in queries.items()}
    pieces = schema_pieces(found) | {key: facts for _, key, facts in Reading(rows).pieces({})}
    if names:
        rename = by_true_names(names, quote_name)
        pieces = {key: tuple(map(rename, facts)) for key, facts in pieces.items()}
    return names.get(default, default), pieces


@contextmanager
def without_path(connection: Connection) -> Iterator[tuple[str, Rows]]:
    """Empty the search path within the block; give the default schema, and a row of each."""
    found = connection.execute(text(SCHEMAS)).all()
    default, path = found[0][2:4] if found else ("", "")
    yield default or "", found
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})


def needed_queries(connection: Connection) -> dict[str, str]:
    """Return the queries by name, without those of kinds that the database has no object of."""
    found = connection.execute(text(f"SELECT {', '.join(SELDOM.values())}")).one()
    lacking = {name for name, is_there in zip(SELDOM, found, strict=True) if not is_there}
    return {name: query for name, query in QUERIES.items() if name not in lacking}


def rows_of(
    connection: Connection, query: str, schemas: Sequence[str], units: Collection[int] | None = None
) -> Rows:
    """Return the rows of a query.

    :param units: those whose rows are wanted, ``None`` for all
    """
    if units is not None and ":units" not in query:
        query = f"SELECT * FROM ({query}) AS found WHERE unit IN :units"
    lists = (
        bindparam("schemas", schemas, type_=String(), expanding=True),
        bindparam("units", sorted(units or ()), type_=BigInteger(), expanding=True),
    )
    used = (one for one in lists if f":{one.key}" in query)
    return connection.execute(text(query).bindparams(*used)).all()


def schema_pieces(rows: Rows) -> Pieces:
    """Return the facts of schemas."""
    return {
        ("schema", row[0], row[1]): (Fact.make("schema", "", row[0], {"comment": row[1]}),)
        for row in rows
    }


class Reading:
    """Makes facts of the catalogue's rows."""

    def __init__(self, rows: Mapping[str, Rows]) -> None:
        """Keep the rows, by the names of their queries."""
        self.rows = rows
        #: Sequences that belong to a column, which may have several: how ``nextval`` names them.
        self.owned: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for row in rows["sequences"]:
            if row[2]:
                column = (row[0], row[2], row[3])
                self.owned[column] = (*self.owned.get(column, ()), row[14])

    def pieces(self, known: Pieces) -> Iterator[tuple[int, Hashable, tuple[Fact, ...]]]:
        """Yield the unit of each row, all that its facts follow from, and these.

        :param known: those of an earlier look
        """
        for name, rows in self.rows.items():
            for row in rows:
                unit, row = (row[-1], row[:-1]) if name in BY_UNIT else (0, row)
                words: Hashable = tuple(row)
                if name == "types":
                    # The values of an enum are a list.
                    words = repr(words)
                elif name == "columns":
                    words = (words, self.owned.get((row[0], row[2], row[1])))
                facts = known.get((name, words))
                if facts is None:
                    # What stands in a function is never written by the server.
                    said = tuple(row if name == "functions" else map(settled, row))
                    facts = tuple(getattr(self, name)(said))
                yield unit, (name, words), facts

    def relations(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a table, view or composite type."""
        schema, name, kind, persistence, bound, partitions, parents, options, toast = row[:9]
        method, secured, forced, replica, of_type, view, server, foreign, place, comment = row[9:]
        attributes = {
            "persistence": PERSISTENCE.get(persistence),
            "partition of": parents if bound else None,
            "inherits": None if bound else parents,
            "partition bound": bound,
            "partitioned by": partitions,
            "options": options,
            "options of TOAST": toast,
            "access method": method if kind in "rm" and method != "heap" else None,
            "row security": secured,
            "row security for the owner": forced,
            "replica identity": REPLICA_IDENTITY.get(replica) if kind in "rpm" else None,
            "of type": of_type,
            "definition": view,
            "server": server,
            "foreign options": foreign,
            "tablespace": place,
            "comment": comment,
        }
        yield Fact.make(KINDS[kind], schema, name, attributes)

    def columns(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a column."""
        schema, name, table, kind, number, type_, not_null, default, identity, generated = row[:10]
        collation, storage, compression, target, options, foreign, local, comment = row[10:18]
        constraint, definition = row[18:]
        for own in self.owned.get((schema, table, name), ()):
            quoted = own.replace("'", "''")
            if default == f"nextval('{quoted}'::regclass)":
                default = OWN
        if re.fullmatch(r".*_not_null\d*", str(constraint), re.DOTALL):
            # The server's own, maybe by a name that the column or table had before.
            constraint = None
        written = str(definition or "")
        more = written[len("NOT NULL ") + len(quote_name(name)) :].strip()
        attributes = {
            POSITION: number,
            "type": type_,
            "not null": not_null,
            "name of NOT NULL": constraint,
            "options of NOT NULL": more or None,
            "generated": f"{default} {GENERATED[generated]}" if generated else None,
            "default": None if generated else default,
            "identity": IDENTITY.get(identity),
            "collation": collation,
            "storage": STORAGE.get(storage),
            "compression": compression,
            "statistics target": target,
            "options": options,
            "foreign options": foreign,
            "inherited": not local,
            "comment": comment,
            "of type": kind == "c",
        }
        yield Fact.make("column", schema, name, attributes, table=table)

    def constraints(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a constraint of a table or domain."""
        schema, name, table, kind, of_domain, definition, valid, comment = row[:8]
        columns, index_columns, options, index_valid, clustered, replica = row[8:14]
        place, index_comment, count = row[14:]
        key = index_columns if kind in "ux" else columns
        if kind == "p" or (kind == "c" and (count or 0) != 1):
            key = None
        attributes = {
            "definition": definition.removesuffix(" NOT VALID"),
            "not valid": not valid and not definition.endswith(" NOT ENFORCED"),
            "index options": options,
            "index not valid": index_valid is False,
            "index tablespace": place,
            "index comment": index_comment,
            "clustered": bool(clustered),
            "replica identity": bool(replica),
            "comment": comment,
            "of type": of_domain,
        }
        yield Fact.make(
            "constraint",
            schema,
            name,
            attributes,
            table=table,
            server_named=is_servers(name, table, key, ENDINGS.get(kind, "")),
        )

    def indexes(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of an index that is not a constraint's."""
        schema, name, table, definition, quoted, valid, clustered, replica, comment = row[:9]
        columns, targets, parent, place = row[9:]
        attributes = {
            "definition": definition.replace(f"INDEX {quoted} ON ", "INDEX ON ", 1),
            "not valid": not valid,
            "clustered": clustered,
            "replica identity": replica,
            "statistics targets": targets,
            "attached to": parent,
            "tablespace": place,
            "comment": comment,
        }
        yield Fact.make(
            "index",
            schema,
            name,
            attributes,
            table=table,
            server_named=is_servers(name, table, columns, "idx"),
        )

    def types(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of an enum, domain or range type."""
        schema, name, kind, labels, base, not_null, default, collation, range_, comment = row
        attributes = {
            "values": tuple(labels or ()),
            "type": base,
            "not null": not_null,
            "default": default,
            "collation": collation,
            "definition": range_,
            "comment": comment,
        }
        yield Fact.make(TYPES[kind], schema, name, attributes)

    def sequences(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a sequence."""
        schema, name, table, column, kind, type_, start, increment, low, high = row[:10]
        cache, cycle, persistence, comment, _ = row[10:]
        attributes: dict[str, Value] = {
            "type": type_,
            "start": start,
            "increment": increment,
            "minimum": low,
            "maximum": high,
            "cache": cache,
            "cycle": cycle,
            "persistence": PERSISTENCE.get(persistence),
            "comment": comment,
            "owner": column and f"{table}.{column}",
            "identity": kind == "i",
        }
        yield Fact.make(
            "sequence",
            schema,
            name,
            attributes,
            table=table,
            server_named=bool(table) and is_servers(name, table, column, "seq"),
        )

    def functions(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a function or procedure."""
        schema, name, kind, definition, comment = row
        yield Fact.make(
            ROUTINES[kind], schema, name, {"definition": definition, "comment": comment}
        )

    def triggers(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a trigger or rule."""
        schema, name, table, kind, definition, enabled, comment = row
        yield Fact.make(
            kind,
            schema,
            name,
            {"definition": definition, "fires": FIRING.get(enabled), "comment": comment},
            table=table,
        )

    def policies(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of a policy of row security."""
        schema, name, table, command, permissive, roles, using, check, comment = row
        attributes = {
            "command": COMMANDS[command],
            "restrictive": not permissive,
            "roles": roles,
            "using": using,
            "with check": check,
            "comment": comment,
        }
        yield Fact.make("policy", schema, name, attributes, table=table)

    def extensions(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of an extension."""
        schema, name, version, comment = row
        attributes = {"schema": schema, "version": version, "comment": comment}
        yield Fact.make("extension", "", name, attributes)

    def statistics(self, row: Row) -> Iterator[Fact]:
        """Yield the fact of extended statistics."""
        schema, name, table, definition, target, comment, quoted = row
        definition = definition.replace(f"STATISTICS {quoted} ", "STATISTICS ", 1)
        yield Fact.make(
            "statistics",
            schema,
            name,
            {"definition": definition, "statistics target": target, "comment": comment},
            table=table,
        )


def quote_name(name: str) -> str:
    """Return a name as the server writes it in SQL, in quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


#: A cast behind a value; a list of values; a name or number in brackets of its own.
CAST = re.compile(
    r"::(?:\"[^\"]+\"|[\w.])+(?: varying| precision| with(?:out)? time zone)*"
    r"(?:\(\d+(?:,\d+)?\))?(?:\[\])*"
)
LIST = re.compile(r"(=|<>) (?:ANY|ALL) (\(+)ARRAY\[((?:'(?:[^']|'')*'|[^]'])*)\](\)+)")
ALONE = re.compile(r"(?<![\w\"])\((\w+)\)")


def without_casts(sql: str) -> str:
    """Return an expression without what only PostgreSQL knows: casts, and arrays for lists."""
    parts = re.split(r"('(?:[^']|'')*')", sql)
    parts[::2] = (CAST.sub("", part) for part in parts[::2])

    def listed(found: re.Match[str]) -> str:
        word = "IN" if found[1] == "=" else "NOT IN"
        return f"{word} ({found[3]}){found[4][len(found[2]) :]}"

    parts = re.split(r"('(?:[^']|'')*')", LIST.sub(listed, "".join(parts)))
    parts[::2] = (ALONE.sub(r"\1", part) for part in parts[::2])
    return "".join(parts)


def check_name(table: str, condition: str, columns: Sequence[str]) -> str:
    """Return the name that the server gives to a CHECK without one, where it is not taken.

    :param columns: the table's columns
    """
    return make_name(table, checked_column(condition, columns), "check")


def checked_column(condition: str, columns: Sequence[str]) -> str:
    """Return the column after which the server names a CHECK of just one, empty for others.

    :param columns: the table's columns
    """
    words = set(re.findall(r"\w+", re.sub(r"'[^']*'", "", condition)))
    used = [column for column in columns if column in words]
    return used[0] if len(used) == 1 else ""


def is_servers(name: str, table: str, columns: str | None, ending: str) -> bool:
    """True if a name is one that the server makes for an object that was given none."""
    pattern = re.fullmatch(rf".*_{ending}([1-9]\d*)?", name, re.DOTALL) if ending else None
    return pattern is not None and name == make_name(table, columns, ending + (pattern[1] or ""))


def make_name(table: str, columns: str | None, ending: str) -> str:
    """Return a name as the server makes it: parts that are too long are shortened, longest first.

    PostgreSQL's ``makeObjectName``; 63 bytes are the limit of a name.
    """
    first, second = table.encode(), (columns or "").encode()
    room = 63 - len(ending) - 1 - (1 if columns else 0)
    lengths = [len(first), len(second)]
    while sum(lengths) > room:
        lengths[0 if lengths[0] > lengths[1] else 1] -= 1
    parts = [first[: lengths[0]], *([second[: lengths[1]]] if columns else []), ending.encode()]
    return "_".join(part.decode(errors="ignore") for part in parts)
