"""What was changed by hand since the newest run: the database against the facts kept behind it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.units import Group, Unit, by_unit, print_of
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.results import CheckProblem
from websauna_migrate.runs.kept_facts import ACCEPTED, KeptFacts, kept_facts
from websauna_migrate.runs.ledger import LEDGER_TABLE
from websauna_migrate.runs.site import Site

__all__ = ["changed_by_hand", "kept_by_newest"]

#: Kinds of what is a part of a table, and may have its name.
PARTS = frozenset({"column", "constraint", "index", "trigger", "rule", "policy", "statistics"})


@dataclass(frozen=True)
class Change:
    """An object that is not what it was.

    :ivar object: in words
    :ivar how: ``is new``, ``is gone`` or ``was changed``
    """

    object: str
    how: str


def kept_by_newest(site: Site, connection: Connection) -> Sequence[KeptFacts]:
    """Return the facts that were kept; none if the newest run kept none, as nothing tells then."""
    if LEDGER_TABLE not in list_tables(connection, site.schema):
        return ()
    kept, is_newest = kept_facts(connection, site.ledger.table)
    return kept if is_newest else ()


def changed_by_hand(
    site: Site,
    ownership: Ownership,
    selected: Collection[str],
    kept: Sequence[KeptFacts],
    facts: Facts,
) -> Iterator[CheckProblem]:
    """Yield the objects of packages that are not what they were behind the newest run.

    What a person accepted is left out.

    :param kept: what :func:`kept_by_newest` returned
    :param facts: the database's, by plain names
    """
    looking = Owners(site, ownership, facts.default_schema)
    now = by_unit(facts.objects)
    for name in selected:
        base = next(one for one in kept if one.note != ACCEPTED or one.package == name)
        mine = {
            unit
            for unit in {*now, *base.prints.units}
            if looking.package_of(unit, now.get(unit, ())) == name
        }
        for change in changes(base, now, mine, facts.default_schema):
            yield CheckProblem(
                "database-changed",
                name,
                f'Package "{name}": {change.object} {change.how} since {base.name}, by no run. See '
                f"the SQL that brings it back: ws-alembic -x packages={name} drift --sql. Or keep "
                f"it: ws-alembic -x packages={name} drift --accept",
                details=(change.object, change.how, base.name),
            )


class Owners:
    """Tells whose an object is."""

    def __init__(self, site: Site, ownership: Ownership, default_schema: str) -> None:
        """Keep what tells it."""
        self.ownership = ownership
        self.created = site.loaded.created
        self.default_schema = default_schema

    def package_of(self, unit: Unit, group: Group) -> str | None:
        """Return the package of an object; ``None`` for those of no package."""
        schema = None if unit[0] == self.default_schema else unit[0]
        own, name = self.ownership, unit[1]
        if unit[2] == "sequence" and group and group[0].table:
            # That of a column goes with the table.
            name = group[0].table
        package = own.owners.get((schema, name)) or own.enum_owner(schema, name)
        if package is None:
            package = own.sequence_owner(schema, name)
        if package is not None or (schema, name) in self.created.unsure_tables:
            return package
        origin = self.created.table_origin(schema, name)
        return None if origin is None else origin[0]


def changes(
    base: KeptFacts, now: Mapping[Unit, Group], units: Collection[Unit], default_schema: str
) -> Iterator[Change]:
    """Yield what is not what it was, without the parts of what is new or gone as a whole.

    Jobs make and drop partitions: they are left out.
    """
    then = base.prints.units
    partitions = {unit[:2] for unit, group in now.items() if group[0].get("partition of")}
    partitions |= base.prints.partitions
    differing = [
        unit
        for unit in sorted(units)
        if unit[:2] not in partitions and then.get(unit, b"") != print_of(now.get(unit, ()))
    ]
    wholes = {unit[:2] for unit in differing if is_whole(unit) and (unit in now) != (unit in then)}
    for unit in differing:
        if unit[:2] in wholes and not is_whole(unit):
            continue
        how = "was changed" if unit in then else "is new"
        yield Change(described(unit, default_schema), how if unit in now else "is gone")


def is_whole(unit: Unit) -> bool:
    """True for a table, view or type; false for a part of one."""
    return unit[1] == unit[3] and unit[2] not in PARTS


def described(unit: Unit, default_schema: str) -> str:
    """Return an object in words, as :class:`.facts.differences.Difference` has them."""
    schema, whole, kind, name, unnamed = unit
    table = None if is_whole(unit) else whole
    fact = Fact(kind, schema, name or unnamed_words(unnamed), table)
    return Difference(fact, None, True, False, default_schema=default_schema).object


def unnamed_words(attributes: str) -> str:
    """Return what an object is called whose name the server chose: its definition."""
    found = dict(ast.literal_eval(attributes))
    return str(found.get("definition", "without a name"))
