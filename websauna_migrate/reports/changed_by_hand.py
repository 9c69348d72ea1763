"""What was changed by hand since the newest run: the database against the facts kept behind it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.units import Group, Unit, by_unit, print_of, unit_of
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.models.sqlalchemy_internals import words_of
from websauna_migrate.reports.model_differences import AlembicDiff, Said, describe
from websauna_migrate.results import CheckProblem
from websauna_migrate.runs.change_log import Changes
from websauna_migrate.runs.cut_off import CutOff
from websauna_migrate.runs.kept_facts import ACCEPTED, HISTORY, KeptFacts, history_fact, kept_facts
from websauna_migrate.runs.site import Site

#: Kinds of what is a part of a table, and may have its name.
PARTS = frozenset({"column", "constraint", "index", "trigger", "rule", "policy", "statistics"})


@dataclass(frozen=True, eq=False)
class HandChange:
    """An object that is not what it was.

    :ivar unit: what it is known by
    :ivar object: in words
    :ivar how: ``is new``, ``is gone`` or ``was changed``
    :ivar since: the facts that were kept, of which it differs
    """

    package: str
    unit: Unit
    object: str
    how: str
    since: KeptFacts

    def problem(self, who: str, models: Sequence[str], run: str = "") -> CheckProblem:
        """Return it for a report.

        :param who: who did it and with what, a clause; empty if nothing tells
        :param run: which run did it, in a step that ended half done, a clause; empty for none
        :param models: what a script would do to have the object as the models say
        """
        by = f"{run}." if run else f"by no run, but {who}" if who else "by no run."
        otherwise = f" The models differ: {'; '.join(models)}." if models else ""
        scope = f"ws-alembic -x packages={self.package}"
        _, whole, kind, name, _ = self.unit
        # A new table may be what a script made whose revision was lost: no SQL drops it then.
        is_new_table = self.how == "is new" and kind == "table" and whole == name
        sight = "what is known of it" if is_new_table else "the SQL that brings it back"
        command = "drift" if is_new_table else "drift --sql"
        return CheckProblem(
            "database-changed",
            self.package,
            f'Package "{self.package}": {self.object} {self.how} since {self.since.name}, {by}'
            f"{otherwise} See {sight}: {scope} {command}. Or keep it: "
            f"{scope} drift --accept",
            details=(self.object, self.how, self.since.name, who),
        )


def kept_by_newest(site: Site, connection: Connection) -> Sequence[KeptFacts]:
    """Return the facts that were kept; none if the newest run kept none, as nothing tells then."""
    if not site.ledger.is_there(connection):
        return ()
    kept, is_newest = kept_facts(connection, site.ledger.table)
    return kept if is_newest else ()


def moved_by_no_run(
    site: Site,
    connection: Connection,
    kept: Sequence[KeptFacts],
    applied: Mapping[str, Sequence[str]],
    selected: Collection[str],
) -> dict[str, KeptFacts]:
    """Return packages whose histories are others than behind the newest run, and what was kept.

    SQL or plain Alembic did that; a stamp since then is the service's own.

    :param kept: what :func:`kept_by_newest` returned
    :param applied: the rows of each history table
    """
    moved: dict[str, KeptFacts] = {}
    for name in selected:
        base = base_of(kept, name)
        then = base.prints.units
        # What an earlier version kept says nothing of histories.
        if not any(unit[2] == HISTORY for unit in then):
            continue
        now = history_fact(name, applied[name])
        before = then.get(unit_of(now), print_of((history_fact(name, ()),)))
        if print_of((now,)) != before:
            moved[name] = base
    # Mostly there is none, and stamps need not be read. The last one of a package counts.
    stamps = {one.package: one for one in site.ledger.stamps(connection)} if moved else {}
    return {
        name: base
        for name, base in moved.items()
        if (stamp := stamps.get(name)) is None
        or stamp.started < base.started
        or {*stamp.revision.split()} - {"base"} != {*applied[name]}
    }


def base_of(kept: Sequence[KeptFacts], package: str) -> KeptFacts:
    """Return the facts that a package is compared with: its own, if a person accepted them."""
    return next(one for one in kept if one.note != ACCEPTED or one.package == package)


def changed_by_hand(
    site: Site,
    ownership: Ownership,
    selected: Collection[str],
    kept: Sequence[KeptFacts],
    facts: Facts,
) -> Iterator[HandChange]:
    """Yield the objects of packages that are not what they were behind the newest run.

    What a person accepted is left out.

    :param kept: what :func:`kept_by_newest` returned
    :param facts: the database's, by plain names
    """
    looking = Owners(site, ownership, facts.default_schema)
    now = by_unit(facts.objects)
    partitions = {unit[:2] for unit, group in now.items() if group[0].get("partition of")}
    units = {unit for base in kept for unit in base.prints.units if unit[2] != HISTORY}.union(now)
    owned: dict[str | None, list[Unit]] = {}
    for unit in units:
        owned.setdefault(looking.package_of(unit, now.get(unit, ())), []).append(unit)
    for name in selected:
        base = base_of(kept, name)
        for unit, how in changes(base, now, owned.get(name, ()), partitions):
            yield HandChange(name, unit, described(unit, facts.default_schema), how, base)


def told_once(
    by_hand: Sequence[HandChange],
    drift: Iterable[CheckProblem],
    changes: Changes | None,
    cut_off: CutOff | None = None,
) -> list[CheckProblem]:
    """Return the problems of both, of which each tells an object that the other does not.

    :param drift: how the models differ, with Alembic's tuples as ``details``
    :param changes: who changed what
    :param cut_off: the steps that ended half done
    """
    models: dict[HandChange, list[str]] = {one: [] for one in by_hand}
    left = []
    for problem in drift:
        same = None
        if problem.kind == "drift":
            mine = [one for one in by_hand if one.package == problem.package]
            same = next((one for one in mine if speaks_of(problem.details, one)), None)
        if same is None:
            left.append(problem)
        else:
            models[same].append(describe(problem.details))
    found = []
    for one, words in models.items():
        who = "" if changes is None else changes.of([one.unit], one.since.started)
        run = "" if cut_off is None else cut_off.words([one.unit], one.since.started)
        found.append(one.problem(who, words, run))
    return found + left


def speaks_of(diff: AlembicDiff, change: HandChange) -> bool:
    """True if a difference between models and database is of an object that a hand changed."""
    _, whole, kind, name, _ = change.unit
    words = {*words_of([part for part in diff if not isinstance(part, Said)])}
    if whole not in words:
        return False
    if is_whole(change.unit):
        is_part = re.search(r"_(column|constraint|fk|index|nullable|type|default)$", first(diff))
        return change.how != "was changed" or kind != "table" or not is_part
    if name:
        return name in words
    told = any(f", {kind} " in word for word in words)
    return told or kind in first(diff) or first(diff).endswith("_fk")


def first(diff: AlembicDiff) -> str:
    """Return what a difference is, as Alembic's tuples say it first."""
    return first(diff[0]) if isinstance(diff, list) else str(diff[0])


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
        own, name, default = self.ownership, unit[1], self.default_schema
        if unit[2] == "sequence" and group and group[0].table:
            # That of a column goes with the table.
            name = group[0].table
        package = own.owners.get((schema, name)) or own.enum_owner(schema, name, default)
        if package is None:
            package = own.sequence_owner(schema, name, default)
        if package is not None or (schema, name) in self.created.unsure_tables:
            return package
        origin = self.created.table_origin(schema, name)
        return None if origin is None else origin[0]


def changes(
    base: KeptFacts,
    now: Mapping[Unit, Group],
    units: Iterable[Unit],
    partitions: Collection[tuple[str, str]],
) -> Iterator[tuple[Unit, str]]:
    """Yield what is not what it was, and how, without the parts of what is new or gone as a whole.

    Jobs make and drop partitions: they are left out. So is a name that the server chose, and
    another one in its place.

    :param units: those that may have changed
    :param partitions: schema and name of those of now
    """
    then = base.prints.units
    left_out = {*partitions, *base.prints.partitions}
    differing = [
        unit
        for unit in sorted(units)
        if unit[:2] not in left_out and then.get(unit, b"") != print_of(now.get(unit, ()))
    ]
    wholes = {unit[:2] for unit in differing if is_whole(unit) and (unit in now) != (unit in then)}
    prints = {unit: print_of(now.get(unit, ())) for unit in differing}
    named = {(*unit[:3], prints[unit]): unit for unit in differing if unit not in then}
    unnamed = {(*unit[:3], then[unit]): unit for unit in differing if not (unit in now or unit[3])}
    alike = {one for key in named.keys() & unnamed.keys() for one in (named[key], unnamed[key])}
    # One without a name is known by all that is said of it: by its definition it is the same.
    here, there = (
        {
            (*unit[:3], unnamed_words(unit[4])): unit
            for unit in differing
            if unit[4] and unit in side
        }
        for side in (now, then)
    )
    pairs = {here[one]: there[one] for one in here.keys() & there.keys()}
    for unit in differing:
        if unit in alike or (unit[:2] in wholes and not is_whole(unit)) or unit in pairs.values():
            continue
        how = "was changed" if unit in then or unit in pairs else "is new"
        yield unit, how if unit in now else "is gone"


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
