"""Expressions stand still before they differ.

A server may write an expression otherwise once its own text of it was written back: PostgreSQL does
so with ``IN`` on VARCHAR, so that a database restored from a dump would differ from its models for
ever. Where two texts differ, both go through the scratch place until neither changes any more.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.facts.differences import Difference, differences
from websauna_migrate.facts.fact import EXPRESSIONS, Fact, Facts
from websauna_migrate.facts.mysql import quoted
from websauna_migrate.facts.postgresql import quote_name

#: After so many rounds a text that still changes differs.
ROUNDS = 5


@dataclass(frozen=True)
class Scratch:
    """A place where expressions can be written.

    :ivar dialect: the name of the database
    :ivar facts: what it should be like
    :ivar inside: returns a connection inside, and the names of its schemas by those they stand for
    :ivar read: reads it again
    """

    dialect: str
    facts: Facts
    inside: Callable[[], tuple[Connection, Mapping[str, str]]]
    read: Callable[[], Facts]


#: Returns the statement that writes an expression back, ``None`` for one that is left as it is.
Writer = Callable[[Fact, str, str, str], str | None]


def settled_differences(facts: Facts, scratch: Scratch) -> list[Difference]:
    """Return what differs between a database and the models, once their expressions stand still."""
    found = list(differences(facts, scratch.facts))
    writer = WRITERS.get(scratch.dialect)
    retyped = retyped_columns(found)
    unsettled = [
        one
        for one in found
        if one.attribute in EXPRESSIONS
        and one.other is not None
        and not speaks_of(one, retyped.get((one.fact.schema, one.fact.table or ""), ()))
    ]
    if writer is None or not unsettled:
        return found
    back = WriteBack(scratch, writer)
    texts: dict[tuple[int, int], str] = {}
    for number, one in enumerate(unsettled):
        for side, value in enumerate((one.left, one.right)):
            if isinstance(value, str):
                texts[number, side] = value
    moving = dict(texts)
    for _ in range(ROUNDS):
        if not moving:
            break
        again = back.write({key: (unsettled[key[0]], text) for key, text in moving.items()})
        moving = {key: text for key, text in again.items() if text != texts[key]}
        texts.update(moving)
    equal = {
        id(one)
        for number, one in enumerate(unsettled)
        if (number, 0) in texts and texts[number, 0] == texts.get((number, 1))
    }
    return [one for one in found if id(one) not in equal]


def retyped_columns(found: Iterable[Difference]) -> dict[tuple[str, str], list[str]]:
    """Return the columns whose type differs in more than its length, by schema and table."""
    columns: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.fact.kind == "column" and one.attribute == "type":
            kinds = {re.sub(r"\(.*?\)", "", str(text)) for text in (one.left, one.right)}
            if len(kinds) > 1:
                key = (one.fact.schema, one.fact.table or "")
                columns.setdefault(key, []).append(one.fact.name)
    return columns


def speaks_of(difference: Difference, columns: Iterable[str]) -> bool:
    """True if the expression of a constraint or index may have one of some columns in it.

    With another type of the column it is another one: it does not come back by itself when the
    type does, ``n > 0`` is ``n::numeric > 0::numeric`` then.
    """
    if difference.fact.kind not in ("constraint", "index"):
        return False
    texts = f"{difference.left} {difference.right}"
    return any(re.search(rf"(?<![\w$]){re.escape(one)}(?![\w$])", texts) for one in columns)


class WriteBack:
    """Writes expressions into the scratch place, and reads what the server makes of them."""

    def __init__(self, scratch: Scratch, writer: Writer) -> None:
        self.scratch = scratch
        self.writer = writer
        self.connection, self.schemas = scratch.inside()
        self.numbers = itertools.count(1)
        #: Names without the schema of what is in the place; others are left where they are.
        self.inside = {(fact.schema, fact.name.partition("(")[0]) for fact in scratch.facts.objects}

    def write(
        self, texts: Mapping[tuple[int, int], tuple[Difference, str]]
    ) -> dict[tuple[int, int], str]:
        """Return the texts that the server has for some, those left out that it refuses."""
        names: dict[str, tuple[tuple[int, int], str]] = {}
        transactional = self.scratch.dialect == "postgresql"
        for key, (difference, text) in texts.items():
            # The models' object says on what: the table in the place is theirs.
            fact = difference.other
            assert fact is not None and difference.attribute is not None
            name = f"ws_again_{next(self.numbers)}"
            statement = self.writer(self.placed(fact), difference.attribute, self.text(text), name)
            if statement is None:
                continue
            try:
                # MariaDB's DDL ends the transaction that a savepoint would be in.
                with self.connection.begin_nested() if transactional else nullcontext():
                    self.connection.exec_driver_sql(statement.replace("%", "%%"))
            except DBAPIError:
                # It speaks of a column that the model does not have: then it differs.
                continue
            names[name] = key, difference.attribute
        found: dict[tuple[int, int], str] = {}
        for fact in self.scratch.read().objects if names else ():
            if fact.name in names:
                key, attribute = names[fact.name]
                value = fact.get(attribute)
                if isinstance(value, str):
                    found[key] = value
        return found

    def placed(self, fact: Fact) -> Fact:
        """Return a fact by the names of the place."""
        schema = self.schemas.get(fact.schema, fact.schema)
        return replace(fact.with_texts(self.text), schema=schema)

    def text(self, text: str) -> str:
        """Return a text with the names of the place where it speaks of what is in it."""
        for schema, scratch in self.schemas.items():
            pattern = rf'(?<![\w.$"]){re.escape(quote_name(schema))}\.("(?:[^"]|"")*"|[\w$]+)'

            def inside(match: re.Match[str], schema: str = schema, scratch: str = scratch) -> str:
                name = match[1][1:-1].replace('""', '"') if match[1][0] == '"' else match[1]
                return f"{scratch}.{match[1]}" if (schema, name) in self.inside else match[0]

            text = re.sub(pattern, inside, text)
        return text


def postgresql_statement(fact: Fact, attribute: str, text: str, name: str) -> str | None:
    """Return the statement that writes an expression back on PostgreSQL."""
    schema = fact.schema
    table = f"{schema}.{quote_name(fact.table or fact.name)}"
    if fact.kind == "constraint":
        what = "DOMAIN" if fact.get("of type") else "TABLE"
        return f"ALTER {what} {table} ADD CONSTRAINT {name} {text}"
    if fact.kind == "index":
        return text.replace("INDEX ON ", f"INDEX {name} ON ", 1)
    if fact.kind == "column":
        column = f"ALTER TABLE {table} ADD COLUMN {name} {fact.get('type')}"
        if attribute == "default":
            return f"{column} DEFAULT {text}" if "its own sequence" not in text else None
        expression, _, kind = text.rpartition(" ")
        return f"{column} GENERATED ALWAYS AS ({expression}) {kind}"
    if fact.kind == "policy":
        command = fact.get("command")
        word = "USING" if attribute == "using" else "WITH CHECK"
        return f"CREATE POLICY {name} ON {table} FOR {command} {word} ({text})"
    if fact.kind in ("view", "materialized view"):
        return f"CREATE {fact.kind} {schema}.{name} AS {text.rstrip().rstrip(';')}"
    if fact.kind == "domain type":
        return f"CREATE DOMAIN {schema}.{name} AS {fact.get('type')} DEFAULT {text}"
    return None


def mysql_statement(fact: Fact, attribute: str, text: str, name: str) -> str | None:
    """Return the statement that writes an expression back on MariaDB and MySQL."""
    table = f"{quoted(fact.schema)}.{quoted(fact.table or fact.name)}"
    if fact.kind == "constraint" and text.startswith("CHECK"):
        return f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}"
    if fact.kind == "column" and attribute == "generated":
        return f"ALTER TABLE {table} ADD COLUMN {name} {fact.get('type')} AS ({text}) VIRTUAL"
    if fact.kind == "column":
        return f"ALTER TABLE {table} ADD COLUMN {name} {fact.get('type')} DEFAULT {text}"
    return None


WRITERS: Mapping[str, Writer] = {
    "postgresql": postgresql_statement,
    "mysql": mysql_statement,
    "mariadb": mysql_statement,
}
