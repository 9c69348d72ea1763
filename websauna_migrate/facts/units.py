"""Objects of a database by what they are known by, and a short print of what each is."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from websauna_migrate.facts.catalogue import Look, read_facts
from websauna_migrate.facts.fact import POSITION, Fact, Facts

#: What an object is known by: its key, where the server chose its name all but the name.
Unit = tuple[str, str, str, str, str]

#: The facts of a unit: one, but for objects that the server named. Empty where it is not there.
Group = tuple[Fact, ...]

#: Of MariaDB's databases, which are called schemas: the names of real and scratch ones differ.
PLAIN = "main"

#: Bytes of a print. Two objects of a million that differ look alike once in 10^7 databases.
SIZE = 8


def read_plain(connection: Connection) -> Facts:
    """Return the facts of a database by names that are those of every other one."""
    return read_facts(connection, names=plain_names(connection))


def look_again(connection: Connection) -> Look:
    """Return what looks at a database by the same names, time and again."""
    if connection.dialect.name == "postgresql":
        from websauna_migrate.facts.postgresql_looks import PostgreSQLLook

        return PostgreSQLLook(connection)
    return Look(connection, plain_names(connection))


def plain_names(connection: Connection) -> Mapping[str, str]:
    """Return the names that databases have among facts."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return {}
    return {str(connection.engine.url.database): PLAIN}


def unit_of(fact: Fact) -> Unit:
    """Return what an object is known by."""
    schema, whole, kind, name = fact.key
    # A sequence is known by its name, chosen or made up.
    if fact.server_named and fact.kind != "sequence":
        return (schema, whole, kind, "", repr(fact.attributes))
    return (schema, whole, kind, name, "")


def by_unit(facts: Iterable[Fact]) -> dict[Unit, Group]:
    """Return facts by unit."""
    found: dict[Unit, Group] = {}
    for one in facts:
        unit = unit_of(one)
        found[unit] = (*found.get(unit, ()), one)
    return found


def content(group: Group) -> tuple[object, ...]:
    """Return what is to be equal of a unit: the place of a column follows from the others'."""
    return tuple(tuple(pair for pair in one.attributes if pair[0] != POSITION) for one in group)


def digest(value: object) -> bytes:
    """Return a short digest of plain values."""
    return hashlib.blake2b(repr(value).encode(), digest_size=SIZE).digest()


def print_of(group: Group) -> bytes:
    """Return a print that differs where two groups of one unit do."""
    return digest(content(group)) if group else b""


def pack_prints(units: Mapping[Unit, Group], around: str) -> str:
    """Return the prints of objects in letters that every database has.

    :param around: what else they depend on; prints made under another one cannot be compared
    """
    rows = [
        # Jobs make and drop partitions, not people.
        [*unit, print_of(group).hex(), bool(group[0].get("partition of"))]
        for unit, group in sorted(units.items())
    ]
    packed = zlib.compress(json.dumps([around, rows]).encode(), 6)
    return base64.b64encode(packed).decode("ascii")


@dataclass(frozen=True)
class Prints:
    """What a database had.

    :ivar around: what else the prints depend on
    :ivar units: the print of each object
    :ivar partitions: schema and name of each
    """

    around: str
    units: Mapping[Unit, bytes]
    partitions: frozenset[tuple[str, str]]


def unpack_prints(packed: str) -> Prints:
    """Return what :func:`pack_prints` got.

    :raises ValueError: for what it did not return
    """
    try:
        around, rows = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
        units = {(a, b, c, d, e): bytes.fromhex(one) for a, b, c, d, e, one, _ in rows}
        return Prints(str(around), units, frozenset((row[0], row[1]) for row in rows if row[6]))
    except (zlib.error, TypeError) as exc:
        raise ValueError(packed) from exc
