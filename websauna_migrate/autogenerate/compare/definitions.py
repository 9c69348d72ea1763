"""Definitions of constraints and indexes, as the three servers write them, taken apart."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Index, MetaData, Table, text
from sqlalchemy.sql.elements import TextClause

from websauna_migrate.facts.brackets import split_brackets, split_commas
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.postgresql import without_casts
from websauna_migrate.models.model_sql import unquoted
from websauna_migrate.models.sqlalchemy_internals import escaped

#: What a constraint's definition begins with.
KINDS = {
    "PRIMARY KEY": "primary",
    "UNIQUE": "unique",
    "FOREIGN KEY": "foreignkey",
    "CHECK": "check",
}

POSTGRESQL_INDEX = re.compile(
    r"CREATE (?P<unique>UNIQUE )?INDEX ON .*? USING (?P<using>\w+) (?P<rest>\(.*)", re.DOTALL
)
MYSQL_INDEX = re.compile(r"(?P<prefix>(?:\w+ )?)KEY (?P<rest>\(.*)", re.DOTALL)

#: What may follow the columns of an index on PostgreSQL.
REST = re.compile(
    r"(?: INCLUDE (?P<include>\([^)]*\)))?(?P<nulls> NULLS NOT DISTINCT)?"
    r"(?: WITH (?P<with>\([^)]*\)))?(?: WHERE (?P<where>.*))?",
    re.DOTALL,
)


def kind_of(fact: Fact) -> str | None:
    """Return Alembic's word for the kind of a constraint, ``None`` for one that it does not know.

    On MariaDB a UNIQUE constraint is an index.
    """
    definition = str(fact.get("definition"))
    return next((kind for start, kind in KINDS.items() if definition.startswith(start)), None)


def columns_of(fact: Fact) -> list[str]:
    """Return the columns that a constraint or index is on, expressions as they are written."""
    definition = str(fact.get("definition"))
    inside, _ = split_brackets(definition[max(definition.find("("), 0) :])
    return [plain_name(one) for one in split_commas(inside)]


def plain_name(written: str) -> str:
    """Return a name without quotes; what is no name as it is."""
    if re.fullmatch(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`', written):
        return unquoted(written)
    return written


#: A column and its operator class, in the definition of an index.
OPERATOR_CLASS = re.compile(r'(\w+|"(?:[^"]|"")*") (\w+_ops)')


def index_of(
    fact: Fact,
    table: str,
    schema: str | None,
    dialect: str,
    names: Sequence[str],
    databases: Collection[str],
) -> Index:
    """Return the index that a fact of the database tells of.

    :param names: of the table's columns as they are written
    :param databases: those that a script is written for
    """
    definition = str(fact.get("definition"))
    options: dict[str, Any] = {}
    if dialect == "postgresql":
        found = POSTGRESQL_INDEX.fullmatch(definition)
        assert found is not None, definition
        inside, rest = split_brackets(found["rest"])
        unique = bool(found["unique"])
        if found["using"] != "btree":
            options["postgresql_using"] = found["using"]
        options.update(postgresql_options(rest))
        classes = [one for part in split_commas(inside) if (one := OPERATOR_CLASS.fullmatch(part))]
        if classes:
            options["postgresql_ops"] = {plain_name(one[1]): one[2] for one in classes}
        if place := fact.get("tablespace"):
            options["postgresql_tablespace"] = place
        where = options.get("postgresql_where")
        if where is not None and "sqlite" in databases:
            plain = without_casts(str(where))
            bare, behind = split_brackets(plain)
            options["sqlite_where"] = text(escaped(plain if behind else bare))
    elif dialect == "sqlite":
        inside, rest = split_brackets(definition)
        unique = bool(fact.get("unique"))
        if where := re.match(r"\s*where\s+(.*)", rest, re.IGNORECASE | re.DOTALL):
            options["sqlite_where"] = text(escaped(where[1]))
            if "postgresql" in databases:
                options["postgresql_where"] = options["sqlite_where"]
    else:
        found = MYSQL_INDEX.match(definition)
        assert found is not None, definition
        inside, rest = split_brackets(found["rest"])
        prefix = found["prefix"].strip()
        unique = prefix == "UNIQUE"
        if prefix not in ("", "UNIQUE"):
            options["mysql_prefix"] = options["mariadb_prefix"] = prefix
        if using := re.search(r"USING (\w+)", rest):
            options["mysql_using"] = using[1].lower()
    parts = [
        one[1] if (one := OPERATOR_CLASS.fullmatch(part)) else part for part in split_commas(inside)
    ]
    return made_index(fact.name, table, schema, parts, unique, options, names)


def made_index(
    name: str,
    table: str,
    schema: str | None,
    parts: Sequence[str],
    unique: bool,
    options: dict[str, Any],
    names: Sequence[str],
) -> Index:
    """Return an index on columns and expressions."""
    known = {one.lower(): one for one in names}
    elements: list[Column[Any] | TextClause] = []
    lengths: dict[str, int] = {}
    copy = Table(table, MetaData(), schema=schema)
    for part in parts:
        length = re.fullmatch(r"(`(?:[^`]|``)*`)\((\d+)\)", part)
        plain = plain_name(length[1] if length else part)
        if length or re.fullmatch(r'\w+|"(?:[^"]|"")*"|`(?:[^`]|``)*`', part):
            column = plain if plain in names else known.get(plain.lower(), plain)
            if column not in copy.c:
                copy.append_column(Column(column))
            elements.append(copy.c[column])
            if length:
                lengths[column] = int(length[2])
        else:
            elements.append(text(escaped(part)))
    if lengths:
        options = {**options, "mysql_length": lengths, "mariadb_length": lengths}
    return Index(name, *elements, unique=unique, _table=copy, **options)


def postgresql_options(rest: str) -> Iterator[tuple[str, object]]:
    """Yield the options of an index by what follows its columns."""
    found = REST.fullmatch(rest)
    assert found is not None, rest
    if found["include"]:
        names = [plain_name(one) for one in split_commas(found["include"][1:-1])]
        yield "postgresql_include", names
    if found["nulls"]:
        yield "postgresql_nulls_not_distinct", True
    if found["with"]:
        pairs = [one.split("=", 1) for one in split_commas(found["with"][1:-1])]
        yield "postgresql_with", {key: value.strip("'") for key, value in pairs}
    if found["where"]:
        yield "postgresql_where", text(escaped(found["where"]))
