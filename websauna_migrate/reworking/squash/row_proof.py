"""The rows that scripts leave: of which table how many, and what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import column, func, select, table
from sqlalchemy.engine import Connection

from websauna_migrate.facts.fact import Fact, Facts

#: Of a table with more rows, only their number is compared.
BOUND = 10_000

#: A time as near as this to the present is that of the run; time zones are within it.
PRESENT = timedelta(days=1)

#: So many letters of a row are shown.
SHOWN = 200


@dataclass(frozen=True)
class Rows:
    """The rows of a table.

    :ivar number: how many there are
    :ivar values: those of each row by the name of the column; ``None`` for more than :data:`BOUND`
    """

    number: int
    values: tuple[Mapping[str, str], ...] | None

    def of(self, names: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        """Return the values of some columns, whatever the order of the rows."""
        return Counter(tuple(row[name] for name in names) for row in self.values or ())


def read_rows_of(connection: Connection, facts: Facts) -> dict[str, Rows]:
    """Return the rows of each table, by ``schema.name``.

    :param facts: the database's
    """
    return {
        f"{one.schema}.{one.name}": read_table(connection, one, facts)
        for one in facts.objects
        if one.kind == "table"
    }


def read_table(connection: Connection, fact: Fact, facts: Facts) -> Rows:
    """Return the rows of one table."""
    plain = connection.dialect.name not in ("mysql", "mariadb")
    names = [
        one.name
        for one in facts.objects
        if one.kind == "column" and (one.schema, one.table) == (fact.schema, fact.name)
    ]
    schema = fact.schema if plain else None
    source = table(fact.name, *map(column, names), schema=schema)
    number = connection.scalar(select(func.count()).select_from(source)) or 0
    if number > BOUND or not names:
        return Rows(number, None)
    now = datetime.now()
    found = connection.execute(select(*(source.c[name] for name in names)))
    rows = (dict(zip(names, (written(one, now) for one in row), strict=True)) for row in found)
    return Rows(number, tuple(rows))


def written(value: object, now: datetime) -> str:
    """Return a value as text: the present is the same whenever a script was run."""
    moment = value
    if isinstance(value, str) and value[:2] == f"{now:%Y}"[:2]:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return repr(value)
    if isinstance(moment, date):
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        near = abs(moment.replace(tzinfo=None) - now) <= 2 * PRESENT
        return "the present" if near else repr(value)
    return repr(bytes(value) if isinstance(value, memoryview) else value)


def differing(
    old: Mapping[str, Rows], again: Mapping[str, Rows], new: Mapping[str, Rows]
) -> Iterator[str]:
    """Yield the tables whose rows differ, in words.

    A column that the old scripts themselves fill otherwise each time, say with a random key, is
    left out.

    :param old: the rows that the old scripts leave
    :param again: those that they leave in another database
    :param new: those that the squash leaves
    """
    for name, rows in sorted(old.items()):
        other = new.get(name, Rows(0, ()))
        if rows.number != other.number:
            yield f"{name}: {rows.number} by the old scripts, {other.number} by the squash"
            continue
        twice = again.get(name)
        if not rows.values or not other.values or twice is None:
            continue
        names = tuple(one for one in rows.values[0] if rows.of((one,)) == twice.of((one,)))
        left, right = rows.of(names), other.of(names)
        if left != right:
            here, there = (shown(names, one) for one in (left - right, right - left))
            yield f"{name}: {here} by the old scripts, {there} by the squash"


def shown(names: tuple[str, ...], rows: Counter[tuple[str, ...]]) -> str:
    """Return the first of some rows."""
    values = ", ".join(f"{name}={one}" for name, one in zip(names, min(rows), strict=True))
    return values if len(values) <= SHOWN else f"{values[:SHOWN]}..."
