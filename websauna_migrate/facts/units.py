"""Objects of a database by what they are known by, and a short print of what each is."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping

from sqlalchemy.engine import Connection

from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.fact import POSITION, Fact, Facts

__all__ = [
    "Group",
    "Unit",
    "by_unit",
    "content",
    "pack_prints",
    "print_of",
    "prints",
    "read_plain",
    "unit_of",
    "unpack_prints",
]

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
    if connection.dialect.name not in ("mysql", "mariadb"):
        return read_facts(connection)
    return read_facts(connection, names={str(connection.engine.url.database): PLAIN})


def unit_of(fact: Fact) -> Unit:
    """Return what an object is known by."""
    schema, whole, kind, name = fact.key
    if fact.server_named:
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


def prints(units: Mapping[Unit, Group]) -> dict[bytes, bytes]:
    """Return the prints of objects, by the digests of their units."""
    return {digest(unit): print_of(group) for unit, group in units.items()}


def pack_prints(found: Mapping[bytes, bytes]) -> str:
    """Return prints in letters that every database has."""
    joined = b"".join(unit + found[unit] for unit in sorted(found))
    return base64.b64encode(zlib.compress(joined, 6)).decode("ascii")


def unpack_prints(packed: str) -> dict[bytes, bytes]:
    """Return what :func:`pack_prints` got.

    :raises ValueError: for what it did not return
    """
    try:
        joined = zlib.decompress(base64.b64decode(packed, validate=True))
    except zlib.error as exc:
        raise ValueError(packed) from exc
    parts = [joined[at : at + SIZE] for at in range(0, len(joined), SIZE)]
    return dict(zip(parts[::2], parts[1::2], strict=True))
