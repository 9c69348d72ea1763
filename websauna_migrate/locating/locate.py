"""``locate``: the database's facts against the models, and against those behind each revision."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference, differences
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.model_comparison import compare_with_models
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_databases import scratch_settings
from websauna_migrate.facts.units import Group, Unit, by_unit, digest, print_of, read_plain, unit_of
from websauna_migrate.interfaces import Packages
from websauna_migrate.locating.likely_revisions import (
    Candidate,
    PackageCandidates,
    with_requirements,
)
from websauna_migrate.locating.object_histories import ObjectHistories, grouped
from websauna_migrate.locating.replayed import Replay, Replayed
from websauna_migrate.planning.accesses import UNREADABLE
from websauna_migrate.replay.fresh import entities_of
from websauna_migrate.reports.verification import verify_one
from websauna_migrate.results import FoundDifference, Located, Location
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import last_applied

IN_DATABASE = "in the database"


def locate(site: Site, service: Service, packages: Packages) -> Location:
    """Return where a database stands.

    :raises ScratchRefused: if there can be no scratch database
    """
    with site.reading() as connection:
        locator = Locator(site, service, packages, connection)
        found = locator.location(connection)
        if connection is not None:
            connection.rollback()
        return found


class Locator:
    """Locates a database, once or again."""

    def __init__(
        self,
        site: Site,
        service: Service,
        packages: Packages,
        connection: Connection | None,
    ) -> None:
        """Replay what is not known.

        :param connection: to the database, ``None`` for an SQLite file that is not there yet
        """
        self.site = site
        self.ownership = ownership = service.ownership
        self.selected = site.select(packages)
        self.tables = ownership.tables
        self.live: Mapping[Unit, Group] = {}
        schemas = {table.schema for table in self.tables}
        environment, self.server = known_of(site, connection)
        replay = Replay(site, service, environment, schemas)
        self.replayed: Replayed = replay.run()

    @property
    def objects(self) -> ObjectHistories:
        """What was replayed."""
        return self.replayed.objects

    def location(self, connection: Connection | None) -> Location:
        """Compare the database with what was replayed, as it is now."""
        live = self.live = self.read(connection)
        problems: list[str] = []
        equal_models = self.equal_models(connection, problems)
        compared = {
            name: PackageCandidates(name, history, self.objects, live)
            for name, history in self.site.loaded.histories.items()
        }
        equal = {name: one.equal() for name, one in compared.items()}
        narrowed = with_requirements(
            self.site.loaded.graph, {name: found for name, found in equal.items() if found}
        )
        applied = self.applied(connection)
        found = []
        for name in self.selected:
            looking = Looking(self, compared[name], connection)
            places = narrowed.get(name, [])
            found.append(looking.located(places, applied.get(name, ()), name in equal_models))
        unowned = tuple(name for _, name in self.unowned_units(live))
        return Location(
            tuple(self.or_ahead(connection, one, bool(unowned)) for one in found),
            tuple(self.replayed.failed),
            unowned,
            self.replayed.scripts,
            tuple(problems),
        )

    def or_ahead(self, connection: Connection | None, one: Located, others: bool) -> Located:
        """Return where a package stands, and doubt it where a script ran that is not here.

        What that did may be in no table of the other scripts: a further table, or rows.

        :param others: whether the database has objects that no script made
        """
        history = self.site.loaded.histories[one.package].standing_for(one.recorded)
        lost = history.lost(one.recorded)
        between = tuple(f"{one.package}@{row}" for row in lost)
        if one.verdict == "nearest":
            return replace(one, between=between)
        ran = (last_applied(self.site, connection, one.package, row) for row in lost if connection)
        if not (one.is_proven and lost and (others or any(ran))):
            return one
        return replace(one, verdict="ahead", between=between)

    def read(self, connection: Connection | None) -> Mapping[Unit, Group]:
        """Return what the database has."""
        histories = [package.history_table for package in self.site.packages.values()]
        return {} if connection is None else grouped(read_plain(connection), histories)

    def applied(self, connection: Connection | None) -> Mapping[str, tuple[str, ...]]:
        """Return the rows of the history tables."""
        return {} if connection is None else self.site.read(connection)[0]

    def equal_models(self, connection: Connection | None, problems: list[str]) -> set[str]:
        """Return the packages whose tables are as the models say.

        :param problems: gets why that cannot be said
        """
        owners = {self.ownership.owner_of(table) for table in self.tables}
        found = self.against_models(connection, problems)
        if found is None:
            return set()
        return owners - {owner for one, owner in found if owner is not None and not one.note}

    def against_models(
        self, connection: Connection | None, problems: list[str]
    ) -> list[tuple[Difference, str | None]] | None:
        """Return how the database and the models differ, with the packages; ``None`` if unknown.

        :param problems: gets why that cannot be said
        """
        if connection is None or not self.tables:
            return None
        models = Models(self.tables, entities_of(self.site.loaded), self.ownership.owner_of)
        try:
            compared = compare_with_models(
                models, self.site.settings, connection, read_facts(connection), self.ownership
            )
            return [(one, compared.owner_of(one.fact)) for one in compared.found]
        except MigrationError as exc:
            problems.append(f"The models were not compared: {str(exc).partition(chr(10))[0]}")
            return None

    def unowned_units(self, live: Mapping[Unit, Group]) -> Iterator[tuple[Unit, str]]:
        """Yield the objects of the database that no step made, in words too."""
        for unit, group in live.items():
            if unit[:2] not in self.objects.owners and unit not in self.objects.initial:
                one = Difference(
                    group[0], None, True, False, default_schema=self.objects.default_schema
                )
                if group[0].table is None or self.is_extra_sequence(group[0]):
                    yield unit, one.object

    def is_extra_sequence(self, fact: Fact) -> bool:
        """True for a sequence that a column of a script's table owns."""
        of_script = (fact.schema, fact.table) in self.objects.owners
        return fact.kind == "sequence" and not fact.get("identity") and of_script


class Looking:
    """One package of one look."""

    def __init__(
        self, locator: Locator, compared: PackageCandidates, connection: Connection | None
    ) -> None:
        self.locator = locator
        self.compared = compared
        self.connection = connection
        self.package = compared.package
        self.history = compared.history

    def located(
        self, places: Sequence[Candidate], recorded: Sequence[str], equals_models: bool
    ) -> Located:
        """Return where the package stands.

        :param places: those that equal the database
        :param recorded: the rows of its history table
        """
        behind = self.not_replayed_behind(places[-1]) if places else []
        if not places or (behind and (equals_models or not places[-1].applied)):
            return self.elsewhere(tuple(recorded), equals_models)
        asked: list[str] = []
        places = self.verified(places, asked)
        newest, verdict = places[-1], "proven"
        if len(places) > 1 or behind:
            verdict = "several"
            told = [one for one in places if one.rows == tuple(sorted(recorded))]
            if told and not behind:
                # Nothing else can tell, and nothing speaks against it.
                newest, verdict = told[0], "recorded"
        here, _ = self.compared.sides(newest)
        missing = frozenset.intersection(*(one.applied for one in places))
        between = [
            f"{self.package}@{one.id}"
            for one in self.locator.site.loaded.graph.timeline([self.package])
            if any(one.id in place.applied for place in places) and one.id not in missing
        ]
        return Located(
            self.package,
            verdict,
            newest.rows,
            tuple(recorded),
            tuple(one.rows for one in places),
            (*between, *behind),
            tuple(asked),
            tuple(one for one in self.differences(newest) if one.note),
            self.proof("replay", here),
        )

    def not_replayed_behind(self, place: Candidate) -> list[str]:
        """Return the revisions right behind a place whose objects are not known."""
        blocked = self.locator.replayed.blocked
        return [
            str(one)
            for one in self.history
            if (self.package, one.id) in blocked and place.applied.issuperset(one.down_revisions)
        ]

    def elsewhere(self, recorded: tuple[str, ...], equals_models: bool) -> Located:
        """Return where a package stands that equals no revision."""
        if equals_models:
            place = self.compared.candidate(self.history.ids)
            heads = place.rows
            here, _ = self.compared.sides(place)
            proof = self.proof("models", here)
            return Located(self.package, "models", heads, recorded, (heads,), proof=proof)
        if not self.locator.objects.numbers(self.package) and len(self.history):
            return Located(self.package, "unknown", (), recorded)
        near = self.compared.nearest()
        return Located(
            self.package,
            "nearest",
            near[-1].rows,
            recorded,
            tuple(one.rows for one in near),
            differences=tuple(self.differences(near[-1])),
        )

    def proof(self, by: str, facts: Facts) -> str:
        """Return by what a place is proven, for the ledger."""
        prints = sorted((unit, print_of(group)) for unit, group in by_unit(facts.objects).items())
        print_ = digest(prints).hex()
        scripts = self.locator.replayed.digest[:16]
        return f"located by {by}: facts {print_}, scripts {scripts}, {self.locator.server}"

    def differences(self, place: Candidate) -> Iterator[FoundDifference]:
        """Yield what differs from a place."""
        here, there = self.compared.sides(place)
        for one in differences(here, there):
            units = [unit_of(fact) for fact in (one.fact, one.other) if fact is not None]
            made = self.locator.objects.made_by(units, self.package, place.applied)
            yield FoundDifference(
                self.package,
                one.fact.kind,
                one.object,
                one.attribute,
                one.describe(IN_DATABASE, f'behind "{place.name}"'),
                made,
                one.note,
            )

    def verified(self, places: Sequence[Candidate], asked: list[str]) -> Sequence[Candidate]:
        """Return the places that the ``verify()`` of the scripts between them leaves.

        A script's ``verify()`` says what holds once it ran: where it holds there is nothing left
        for the script to do. Where it fails the script did not run, or one behind it has changed
        rows since.

        :param asked: gets what was asked
        """
        if self.connection is None:
            return places
        order = self.locator.site.loaded.graph.timeline([self.package])
        for number, revision in enumerate(order):
            with_it = [one for one in places if revision.id in one.applied]
            if not with_it or len(with_it) == len(places):
                continue
            later = {
                one.id
                for one in order[number + 1 :]
                for effect in self.locator.site.loaded.effects.get((one.package, one.id), ())
                if effect.kind in (*UNREADABLE, "insert_rows", "write_table")
            }
            for answer in verify_one(self.locator.site, self.connection, revision, []):
                asked.append(f"verify() of {revision} {answer.outcome}")
                if answer.outcome == "holds":
                    places = with_it
                elif answer.outcome == "fails":
                    places = [
                        one
                        for one in places
                        if revision.id not in one.applied or later & one.applied
                    ]
        return places


def known_of(site: Site, connection: Connection | None) -> tuple[list[str], str]:
    """Return what a replay depends on besides scripts, and the server in words."""
    if connection is None:
        # An SQLite file that is not there.
        version = sqlite3.sqlite_version
        return ["sqlite", version, "main"], f"sqlite {version}"
    facts = read_plain(connection)
    around = [f"{one.kind} {one.name}" for one in facts.objects if one.kind in AROUND]
    version = version_of(connection)
    if site.settings.scratch_url is not None:
        settings = scratch_settings(site.settings)
        with connect(make_engine(settings.require_url(), settings.engine_options)) as scratch:
            version = version_of(scratch)
    names = [connection.dialect.name, version, facts.default_schema]
    return [*names, *sorted(around)], f"{connection.dialect.name} {version}"


#: What a scratch database gets from the real one.
AROUND = frozenset({"schema", "extension"})


def version_of(connection: Connection) -> str:
    """Return the server's version."""
    return re.sub(r"[^0-9.]", "", ".".join(map(str, connection.dialect.server_version_info or ())))
