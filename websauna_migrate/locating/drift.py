"""``drift``: what was changed by hand, what the models have and no script, what is not applied."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from sqlalchemy.engine import Connection

from websauna_migrate.facts.differences import Difference, differences
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.units import Unit, print_of, unit_of
from websauna_migrate.interfaces import Packages
from websauna_migrate.locating.likely_revisions import Candidate, PackageCandidates
from websauna_migrate.locating.locate import IN_DATABASE, Locator
from websauna_migrate.locating.mending import mender_for
from websauna_migrate.locating.mending.names_back import renames_in
from websauna_migrate.locating.mending.statements import Mender, NotWritten, Statement
from websauna_migrate.locating.object_histories import NO_REVISION
from websauna_migrate.planning.state import State
from websauna_migrate.results import Drift, DriftReport
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.change_log import Changes
from websauna_migrate.runs.cut_off import CutOff
from websauna_migrate.runs.kept_facts import ACCEPTED, KeptFacts, keep_facts, kept_facts
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site


def find_drift(site: Site, service: Service, packages: Packages) -> DriftReport:
    """Return how the database, its scripts and the models differ.

    :raises ScratchRefused: if there can be no scratch database
    """
    with site.reading() as connection:
        if connection is None:
            return DriftReport(tuple(pending_ones(site, site.select(packages), {})))
        looking = DriftLook(Locator(site, service, packages, connection), connection)
        found = looking.report()
        connection.rollback()
        return found


def accept_drift(site: Site, packages: Packages) -> None:
    """Keep the database as it is now as what a person accepted.

    The ledger gets a row for each package, of the revisions that its history table has.
    """
    with Runner(site).locked() as (connection, read):
        rows = read()
        site.ledger.create(connection)
        runs = [
            site.ledger.stamp(
                connection, name, site.packages[name].history_table, rows[name], ACCEPTED
            )
            for name in site.select(packages)
        ]
        connection.commit()
        keep_facts(connection, site.ledger.table, rows, *runs)


@dataclass(frozen=True, slots=True)
class ByHand:
    """What differs of a package that could be compared.

    :ivar here: the package's part of the database
    :ivar there: what it is to be
    """

    here: Facts
    there: Facts
    found: tuple[tuple[Drift, Difference], ...]


class DriftLook:
    """One look."""

    def __init__(self, locator: Locator, connection: Connection) -> None:
        self.locator = locator
        self.site = locator.site
        self.connection = connection
        self.live = locator.live = locator.read(connection)
        self.applied = locator.applied(connection)
        self.changes = Changes(connection, self.site.schema)
        self.kept: list[KeptFacts] = []
        self.newest_run = False
        self.cut_off: CutOff | None = None
        if self.site.ledger.is_there(connection):
            self.kept, self.newest_run = kept_facts(connection, self.site.ledger.table)
            self.cut_off = CutOff(self.site.ledger, connection)
        #: What was kept behind runs, not where a person accepted something.
        self.runs = [one for one in self.kept if one.note != ACCEPTED]
        #: The objects that were changed by hand.
        self.changed: set[tuple[str, str, str, str]] = set()
        self.problems: list[str] = []
        #: What mends what was changed by hand.
        self.sql: list[Statement] = []

    def report(self) -> DriftReport:
        """Return all that was found."""
        found: list[Drift] = []
        compared = [one for name in self.locator.selected for one in self.by_hand(name)]
        # A table may have parts of several packages: one statement may have to make all of them.
        mender = self.mender([one for one in compared if isinstance(one, ByHand)])
        for one in compared:
            if isinstance(one, Drift):
                found.append(one)
                continue
            for drift, difference in one.found:
                self.changed.add(difference.fact.key)
                found.append(self.mended(drift, difference, mender))
        found += self.models()
        found += pending_ones(self.site, self.locator.selected, self.applied)
        found += (
            Drift(
                "unowned",
                None,
                name,
                f"{name} is of no script",
                who=self.changes.of([unit], None),
            )
            for unit, name in self.locator.unowned_units(self.live)
        )
        sqlite = self.connection.dialect.name == "sqlite"
        keys = sqlite and self.connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
        sql = mender.script(self.sql, keys=bool(keys))
        return DriftReport(tuple(found), tuple(self.problems), tuple(sql))

    def by_hand(self, package: str) -> Iterator[Drift | ByHand]:
        """Yield what is not as the applied scripts of a package make it, or why that is unknown."""
        history = self.site.loaded.histories[package]
        rows = self.applied.get(package, ())
        if lost := history.lost(rows):
            listed = ", ".join(lost)
            text = f'package "{package}" has {listed} applied, which no script defines'
            yield Drift("not-compared", package, listed, text)
            return
        applied = history.applied(rows)
        blocked = self.locator.replayed.blocked
        if unknown := sorted(one for one in applied if (package, one) in blocked):
            text = f'package "{package}" has {unknown[0]} applied, which could not be replayed'
            yield Drift("not-compared", package, ", ".join(unknown), text)
            return
        compared = PackageCandidates(package, history, self.locator.objects, self.live)
        place = compared.candidate(applied)
        if compared.count(applied) is None:
            text = f'package "{package}": its branches were applied in an order of no replay'
            yield Drift("not-compared", package, place.name, text)
            return
        here, there = compared.sides(place)
        found = tuple(
            (self.changed_by_hand(one, package, place), one)
            for one in differences(here, there)
            if not one.note
        )
        yield ByHand(here, there, found)

    def mender(self, packages: Sequence[ByHand]) -> Mender:
        """Return what writes the statements; what was accepted stays as it is."""
        pairs = [pair for each in packages for pair in each.found]
        stays = {
            fact.key
            for drift, one in pairs
            for fact in (one.fact, one.other)
            if drift.accepted and fact is not None
        }
        schema = packages[0].here.default_schema if packages else ""
        whole = Facts.make(schema, chain.from_iterable(self.live.values()))
        now = {one for each in packages for one in each.here.objects if one.key not in stays}
        mended = (one for each in packages for one in each.there.objects if one.key not in stays)
        wanted = Facts.make(schema, {*whole.objects} - now | {*mended})
        unowned = [self.live[unit][0] for unit, _ in self.locator.unowned_units(self.live)]
        differing = [one for drift, one in pairs if not drift.accepted]
        renamed = renames_in(differing, unowned, whole, wanted)
        return mender_for(self.connection.dialect, whole, wanted, renamed)

    def mended(self, found: Drift, one: Difference, mender: Mender) -> Drift:
        """Return a difference with the SQL that mends it, or why there is none."""
        is_new_table = one.attribute is None and bool(one.left) and one.fact.kind == "table"
        if is_new_table and found.made != NO_REVISION:
            # Where the history was lost, it would drop all that there is.
            why = f"{found.made}; if that ran, let stamp --verified record it"
            return replace(found, not_written=why)
        try:
            statements = mender.mend(one)
        except NotWritten as exc:
            return replace(found, not_written=str(exc))
        if not found.accepted:
            self.sql += statements
        return replace(found, sql=tuple(each.text for each in statements))

    def changed_by_hand(self, one: Difference, package: str, place: Candidate) -> Drift:
        """Return a difference with what made the object, and when it was changed."""
        facts = [fact for fact in (one.fact, one.other) if fact is not None]
        units = list(dict.fromkeys(unit_of(fact) for fact in facts))
        made = self.locator.objects.made_by(units, package, place.applied)
        if made == NO_REVISION and self.cut_off is not None and self.runs:
            # Its script may not be one that can be replayed.
            half = self.cut_off.find(units, self.runs[0].started)
            made = made if half is None else f"{half.package}@{half.revision} makes it"
        return Drift(
            "database-changed",
            package,
            one.object,
            one.describe(IN_DATABASE, f'behind "{place.name}"'),
            made,
            self.when(units),
            self.is_accepted(package, units),
            who=self.changes.of(units, self.same_until(units)),
        )

    def same_until(self, units: Collection[Unit]) -> datetime | None:
        """Return the start of the newest run behind which objects were not yet what they are."""
        return next((one.started for one in self.runs if not self.is_now(one, units)), None)

    def is_accepted(self, package: str, units: Collection[Unit]) -> bool:
        """True if the objects are what they were when a person accepted a package's drift."""
        rows = (one for one in self.kept if one.note == ACCEPTED and one.package == package)
        accepted = next(rows, None)
        return accepted is not None and self.is_now(accepted, units)

    def is_now(self, kept: KeptFacts, units: Collection[Unit]) -> bool:
        """True if objects are what they were."""
        return all(
            kept.prints.units.get(unit, b"") == print_of(self.live.get(unit, ())) for unit in units
        )

    def when(self, units: Collection[Unit]) -> str:
        """Return after which run objects were changed, a clause."""
        before = ""
        for number, one in enumerate(self.runs):
            if not self.is_now(one, units):
                if before:
                    return f"changed after {one.name} and before {before}"
                if number == 0 and self.newest_run:
                    cut_off = "" if self.cut_off is None else self.cut_off.words(units, one.started)
                    return f"changed after {one.name}, {cut_off or 'by no run'}"
                return f"changed after {one.name}"
            before = one.name
        return f"so already behind {before}" if before else ""

    def models(self) -> Iterator[Drift]:
        """Yield what the models have and no script makes, of packages that are up to date."""
        waiting = State(self.site.loaded.graph, self.applied).pending()
        for one, owner in self.locator.against_models(self.connection, self.problems) or ():
            if owner not in self.locator.selected or one.note or waiting.get(str(owner)):
                continue
            fact = self.plain(one.fact.key)
            whole = {key[:2] for key in self.changed if key[1] == key[3]}
            if fact not in self.changed and fact[:2] not in whole:
                text = one.describe(IN_DATABASE, "in the models")
                yield Drift("models-changed", owner, one.object, text)

    def plain(self, key: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
        """Return a key as it is on every other database."""
        if self.connection.dialect.name in ("mysql", "mariadb"):
            return (self.locator.objects.default_schema, *key[1:])
        return key


def pending_ones(
    site: Site, selected: Collection[str], applied: Mapping[str, tuple[str, ...]]
) -> Iterator[Drift]:
    """Yield the packages with revisions that are not applied."""
    waiting = State(site.loaded.graph, applied).pending()
    for name in selected:
        if waiting.get(name) and not site.loaded.histories[name].lost(applied.get(name, ())):
            listed = ", ".join(one.id for one in waiting[name])
            yield Drift("pending", name, listed, f'package "{name}" has not applied {listed}')
