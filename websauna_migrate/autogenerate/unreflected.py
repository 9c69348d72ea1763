"""What SQLAlchemy does not reflect: types that it has no class for, SQLite's expression indexes and
what its columns say of their own constraints, MariaDB's expressions as defaults, and its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy.dialects.postgresql import BIGINT, INTEGER, SMALLINT
from sqlalchemy.engine import Dialect
from sqlalchemy.types import JSON, NullType

from websauna_migrate.alembic_adapter.written_expressions import dialect_of
from websauna_migrate.autogenerate.fact_comparison import columns_in
from websauna_migrate.autogenerate.operations.column_types import (
    CharacterEnum,
    StoredType,
    collated,
)
from websauna_migrate.facts.brackets import is_one, split_brackets, split_commas
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.mysql import is_json
from websauna_migrate.facts.postgresql import OWN
from websauna_migrate.facts.sqlite_sql import WrittenTable
from websauna_migrate.facts.sqlite_tokens import as_written

#: A column, constraint or index as SQLAlchemy reflects it; the keys are those of its kind.
ReflectedItem: TypeAlias = dict[str, Any]

#: Types of columns that PostgreSQL may number by a sequence of their own.
NUMBERS = (SMALLINT, INTEGER, BIGINT)

#: A CREATE INDEX as SQLite keeps it: unique, expressions with their bracket, predicate.
CREATE_INDEX = re.compile(
    r"create\s+(?P<unique>unique\s+)?index\s+.*?\bon\s+(?:\"(?:[^\"]|\"\")*\"|[^\s(]+)\s*(?P<rest>\(.*)",
    re.IGNORECASE | re.DOTALL,
)

#: The ends of a foreign key, as SQLAlchemy reflects it.
ENDS = ("constrained_columns", "referred_table", "referred_columns")


def correct_columns(
    columns: Iterable[ReflectedItem],
    facts: Iterable[Fact],
    written: WrittenTable | None,
    dialect: Dialect,
) -> None:
    """Let reflected columns be what the facts say of them.

    :param facts: those of their table
    :param written: the table as it is written, on SQLite
    """
    known = columns_in(facts)
    for column in columns:
        fact = known.get(column["name"])
        if fact is None:
            continue
        if isinstance(column["type"], NullType):
            # The server names it with its schema.
            name = str(fact.get("type")).removeprefix(f"{dialect.default_schema_name}.")
            column["type"] = StoredType(name)
        if fact.get("default") == OWN and isinstance(column["type"], NUMBERS):
            # The sequence is part of the column.
            column["default"] = None
        computed = column.get("computed") or {}
        if dialect.name == "postgresql" and is_one(sql := str(computed.get("sqltext", ""))):
            # Another database would keep these brackets as a second pair.
            column["computed"] = {**computed, "sqltext": sql[1:-1]}
        if dialect.name == "sqlite":
            correct_type(column, str(fact.get("type")), written)
        elif getattr(dialect, "is_mariadb", False):
            correct_on_mariadb(column, fact)


def correct_on_mariadb(column: ReflectedItem, fact: Fact) -> None:
    """Let default, comment and NOT NULL of a column be MariaDB's, and its type JSON if it is that.

    SQLAlchemy reads constants alone as defaults, an expression in brackets up to the first that
    closes, and nothing of a line that it cannot take apart.
    """
    column["type"] = JSON() if is_json(fact) else CharacterEnum.of(column["type"])
    column["comment"] = fact.get("comment")
    if column.get("computed"):
        return
    column["nullable"] = not fact.get("not null")
    default = fact.get("default")
    if default is not None and column["default"] is None:
        column["default"] = default
    elif default is not None and str(column["default"]).startswith("("):
        column["default"] = f"({default})"


def correct_type(column: ReflectedItem, spelled: str, written: WrittenTable | None) -> None:
    """Let a column on SQLite have the type as it was spelled, and its collation.

    :param spelled: the type, where nothing is known of how the table was written
    """
    own = written and written.columns[column["name"]]
    spelled = own.spelled if own else spelled
    known = column["type"]
    if squeezed(spelled) != squeezed(known.compile(dialect_of("sqlite"))):
        column["type"] = known.with_variant(StoredType(spelled), "sqlite")
    if own and (collation := own.attributes.get("collation")):
        column["type"] = collated(column["type"], str(collation))


def squeezed(spelled: str) -> str:
    """Return the spelling of a type without spaces and the case of letters."""
    return re.sub(r"\s", "", spelled).upper()


def put_right(kind: str, facts: Any, written: WrittenTable) -> None:
    """Let what SQLAlchemy reflects of a table on SQLite be what its CREATE TABLE says.

    :param kind: ``foreign_keys``, ``unique_constraints``, ...
    """
    if kind == "pk_constraint":
        facts["name"] = written.key_name
    elif kind == "unique_constraints":
        facts[:] = [{"name": name, "column_names": [*columns]} for name, columns in written.uniques]
    elif kind == "check_constraints":
        found = [{"name": name, "sqltext": sql} for name, sql in written.checks]
        facts[:] = sorted(found, key=lambda one: one["name"] or "~")
    elif kind == "columns":
        for column in facts:
            tokens = written.columns[column["name"]].computed
            if column.get("computed") and tokens:
                column["computed"] = {**column["computed"], "sqltext": as_written(tokens)}
    elif kind == "foreign_keys":
        for one, key in written.paired(facts, itemgetter(*ENDS)):
            one["name"], one["options"] = key.name, dict(key.options)


def sqlite_expression_indexes(
    indexes: Iterable[tuple[str, str]],
) -> Iterator[ReflectedItem]:
    """Yield the indexes of a table that are on an expression, as SQLAlchemy reflects others.

    :param indexes: names and texts
    """
    for name, sql in indexes:
        match = CREATE_INDEX.match(sql)
        if not match:
            continue
        inside, rest = split_brackets(match["rest"])
        expressions = list(split_commas(inside))
        if all(re.fullmatch(r"\w+|\"(?:[^\"]|\"\")*\"", one) for one in expressions):
            continue
        plain = [
            one.strip('"') if re.fullmatch(r"\w+|\"[^\"]*\"", one) else None for one in expressions
        ]
        where = re.match(r"\s*where\s+(.*)", rest, re.IGNORECASE | re.DOTALL)
        yield {
            "name": name,
            "unique": bool(match["unique"]),
            "column_names": plain,
            "expressions": expressions,
            "dialect_options": {"sqlite_where": where[1]} if where else {},
        }
