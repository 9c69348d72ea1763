"""Facts of a PostgreSQL database, read from its catalogue by a query for each kind of object."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, String, bindparam, text
from sqlalchemy.engine import Connection

from websauna_migrate.facts.brackets import settled
from websauna_migrate.facts.fact import Fact, Pieces, by_true_names
from websauna_migrate.facts.postgresql_catalogue import BY_UNIT, QUERIES, SCHEMAS, SELDOM

#: The default of a column that takes its values from a sequence of its own.
OWN = "nextval(its own sequence)"

#: What the catalogue tells by a letter, in words, by query and attribute; of what is not here
#: nothing is to be told, as of the replica identity of which an index tells.
PERSISTENCE = {"u": "unlogged", "t": "temporary"}
LETTERS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "relations": {
        "kind": {
            "r": "table",
            "p": "table",
            "v": "view",
            "m": "materialized view",
            "f": "foreign table",
            "c": "composite type",
        },
        "persistence": PERSISTENCE,
        "replica identity": {"n": "nothing", "f": "full"},
    },
    "columns": {
        "identity": {"a": "always", "d": "by default"},
        "generated": {"s": "stored", "v": "virtual"},
        "storage": {"p": "plain", "e": "external", "m": "main", "x": "extended"},
    },
    "types": {"kind": {"e": "enum type", "d": "domain type", "r": "range type"}},
    "sequences": {"persistence": PERSISTENCE},
    "functions": {
        "kind": {"f": "function", "p": "procedure", "a": "aggregate", "w": "window function"}
    },
    "triggers": {"fires": {"D": "disabled", "R": "on replicas", "A": "always"}},
    "policies": {
        "command": {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
    },
}

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

#: Rows of a query, whose columns have names.
Rows = Sequence[Any]


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
    """Makes facts of the catalogue's rows, whose columns are called as the attributes of facts.

    What has more to it has a method of its query's name, which changes what is said, and tells
    whether the server chose the object's name.
    """

    def __init__(self, rows: Mapping[str, Rows]) -> None:
        """Keep the rows, by the names of their queries."""
        self.rows = rows
        #: Sequences that belong to a column, which may have several: how ``nextval`` names them.
        self.owned: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for row in rows["sequences"]:
            if row.table:
                column = (row.schema, row.table, row.column)
                self.owned[column] = (*self.owned.get(column, ()), row.quoted)

    def pieces(self, known: Pieces) -> Iterator[tuple[int, Hashable, tuple[Fact, ...]]]:
        """Yield the unit of each row, all that its facts follow from, and these.

        :param known: those of an earlier look
        """
        for name, rows in self.rows.items():
            fields = rows[0]._fields if rows else ()
            for row in rows:
                unit, values = (row[-1], row[:-1]) if name in BY_UNIT else (0, row)
                words: Hashable = tuple(values)
                if name == "types":
                    # The values of an enum are a list.
                    words = repr(words)
                elif name == "columns":
                    words = (words, self.owned.get((row[0], row[2], row[1])))
                facts = known.get((name, words))
                if facts is None:
                    # What stands in a function is never written by the server.
                    texts = values if name == "functions" else map(settled, values)
                    said = dict(zip(fields, texts, strict=False))
                    facts = (self.fact(name, said),)
                yield unit, (name, words), facts

    def fact(self, query: str, said: dict[str, Any]) -> Fact:
        """Return the fact of an object.

        :param said: its row, by the names of the columns
        """
        for attribute, words in LETTERS.get(query, {}).items():
            said[attribute] = words.get(said[attribute])
        change = getattr(self, query, None)
        servers = change is not None and change(said)
        kind, schema, name = said.pop("kind"), said.pop("schema"), said.pop("name")
        if kind == "extension":
            said["schema"] = said.pop("in schema")
        table = said.pop("table", None)
        return Fact.make(kind, schema, name, said, table=table, server_named=servers)

    def relations(self, said: dict[str, Any]) -> bool:
        """Say of a table whether its parents are those of a partition."""
        parents = said.pop("parents")
        said["partition of" if said["partition bound"] else "inherits"] = parents
        return False

    def columns(self, said: dict[str, Any]) -> bool:
        """Say where a column has its value from, and what of its NOT NULL is not the server's."""
        said["kind"] = "column"
        default = said["default"]
        for own in self.owned.get((said["schema"], said["table"], said["name"]), ()):
            quoted = own.replace("'", "''")
            if default == f"nextval('{quoted}'::regclass)":
                said["default"] = OWN
        if said["generated"]:
            said["default"], said["generated"] = None, f"{default} {said['generated']}"
        if re.fullmatch(r".*_not_null\d*", str(said["name of NOT NULL"]), re.DOTALL):
            # The server's own, maybe by a name that the column or table had before.
            said["name of NOT NULL"] = None
        written = str(said["options of NOT NULL"] or "")
        more = written[len("NOT NULL ") + len(quote_name(said["name"])) :].strip()
        said["options of NOT NULL"] = more or None
        return False

    def constraints(self, said: dict[str, Any]) -> bool:
        """Say of a constraint of a table or domain whether it is valid; tell of its name."""
        letter, columns, count = said.pop("letter"), said.pop("columns"), said.pop("count")
        of_index = said.pop("columns of the index")
        said["kind"] = "constraint"
        if said["definition"].endswith(" NOT ENFORCED"):
            said["not valid"] = False
        said["definition"] = said["definition"].removesuffix(" NOT VALID")
        named = of_index if letter in "ux" else columns
        if letter == "p" or (letter == "c" and (count or 0) != 1):
            named = None
        return is_servers(said["name"], said["table"], named, ENDINGS.get(letter, ""))

    def indexes(self, said: dict[str, Any]) -> bool:
        """Take the name out of the definition of an index that is no constraint's; tell of it."""
        said["kind"] = "index"
        named = f"INDEX {said.pop('quoted')} ON "
        said["definition"] = said["definition"].replace(named, "INDEX ON ", 1)
        return is_servers(said["name"], said["table"], said.pop("columns"), "idx")

    def types(self, said: dict[str, Any]) -> bool:
        """Give the values of an enum type their order."""
        said["values"] = tuple(said["values"] or ())
        return False

    def sequences(self, said: dict[str, Any]) -> bool:
        """Tell of the name of a sequence."""
        said["kind"] = "sequence"
        del said["quoted"]
        column = said.pop("column")
        return bool(column) and is_servers(said["name"], said["table"], column, "seq")


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
