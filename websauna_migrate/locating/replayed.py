"""All scripts replayed in a scratch database, with the facts behind each step.

What was replayed is kept in the user's cache folder, by the texts of the scripts and the server's
version, so that the same scripts are not replayed again. Where a step cannot be replayed, it is
tried each time, and what ran before is run for it; what these made is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL, Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.cache import Cache, program_version
from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.fact import Fact, Facts, Pieces
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.facts.units import Group, Unit, look_again, unit_of
from websauna_migrate.locating.object_histories import (
    ObjectHistories,
    ReplayedStep,
    changes_between,
    is_left_out,
)
from websauna_migrate.planning.plan import plan_upgrade
from websauna_migrate.planning.steps import Plan
from websauna_migrate.replay.fresh import prepare, require_apart
from websauna_migrate.results import NotReplayed
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site

if TYPE_CHECKING:
    from websauna_migrate.events import MigrationStepApplied

#: The name of what is in the cache.
KIND = "replayed"

#: A step, and a digest of its script and of those that ran before it.
Known = tuple[str, ReplayedStep]


@dataclass
class Replayed:
    """The result of a replay.

    :ivar objects: along the steps
    :ivar failed: the steps that could not be replayed
    :ivar scripts: how many scripts ran for it; 0 if all was known
    :ivar digest: of the texts of all scripts, in their order
    """

    objects: ObjectHistories
    failed: list[NotReplayed] = field(default_factory=list)
    scripts: int = 0
    digest: str = ""

    @property
    def blocked(self) -> set[tuple[str, str]]:
        """The revisions that were not replayed, by package."""
        follows = {(one.package, one.revision) for one in self.failed}
        for one in self.failed:
            for name in one.follows:
                package, _, revision = name.rpartition("@")
                follows.add((package, revision))
        return follows


class Replay:
    """Replays the scripts of a site as far as they are not known."""

    def __init__(
        self,
        site: Site,
        service: Service,
        environment: Sequence[str],
        schemas: Collection[str | None] = (),
    ) -> None:
        """Prepare.

        :param environment: what the outcome depends on besides the scripts
        :param schemas: those that models name
        """
        self.site = site
        self.service = service
        self.schemas = {*schemas}
        self.order = site.loaded.graph.timeline()
        self.histories = [package.history_table for package in site.packages.values()]
        self.cache: Cache = site.loaded.cache
        names = sorted(site.packages)
        env = [checksum(str(site.packages[name].script_directory / "env.py")) for name in names]
        self.key = json.dumps([program_version(), names, env, *environment])
        self.texts = {(one.package, one.id): checksum(one.path) for one in self.order}

    def digest_of(self, before: str, package: str, revision: str) -> str:
        """Return a digest of a step's script and of those that ran before it.

        :param before: that of the step before
        """
        text = f"{before} {package} {revision} {self.texts[package, revision]}"
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self) -> Replayed:
        """Return what is known, or replay.

        :raises ScratchRefused: where the scripts would reach beyond a scratch database
        :raises ScratchRefused: if the user may not make one
        """
        wanted: list[str] = []
        for one in self.order:
            wanted.append(self.digest_of(wanted[-1] if wanted else "", one.package, one.id))
        digest = wanted[-1] if wanted else ""
        objects, known = self._known()
        if objects is not None and [one for one, _ in known[: len(wanted)]] == wanted:
            objects.steps = [step for _, step in known[: len(wanted)]]
            return Replayed(objects, digest=digest)
        require_apart(self.site.settings, self.schemas)
        found = Replayed(ObjectHistories("", {}), digest=digest)
        again = True
        while again:
            with scratch_database(self.site.settings) as url:
                replay = ScratchReplay(self, found, url, known)
                again = replay.run()
            known = replay.done
        self._keep(found.objects, known)
        return found

    # What is known

    def _known(self) -> tuple[ObjectHistories | None, list[Known]]:
        """Return what the database had before the first step, and the steps that were replayed."""
        data = self.cache.read(KIND, self.key)
        if not isinstance(data, dict):
            return None, []
        steps = [
            (digest, ReplayedStep(package, revision, dict(map(read_group, changes))))
            for digest, package, revision, changes in data["steps"]
        ]
        return ObjectHistories(
            data["default_schema"], dict(map(read_group, data["initial"]))
        ), steps

    def _keep(self, objects: ObjectHistories, done: Sequence[Known]) -> None:
        """Write what was replayed into the cache."""
        steps = [
            [digest, step.package, step.revision, [*map(write_group, step.changes.items())]]
            for digest, step in done
        ]
        initial = [*map(write_group, objects.initial.items())]
        data = {"default_schema": objects.default_schema, "initial": initial, "steps": steps}
        self.cache.write(KIND, self.key, data)


class ScratchReplay:
    """One replay in one scratch database."""

    def __init__(self, replay: Replay, found: Replayed, url: URL, known: Sequence[Known]) -> None:
        """Take the service of the scratch database.

        :param found: gets what is replayed, and knows what failed in an earlier one
        :param known: what need not be looked at again
        """
        self.replay = replay
        self.found = found
        self.url = url
        self.known = dict(known)
        self.done: list[Known] = []
        self.digest = ""
        service = replay.service.at(url)
        service.on_step = self.look
        self.site = service.site()
        prepare(replay.site.settings, url, replay.order)

    def run(self) -> bool:
        """Replay all that can be; return whether it has to be done once more."""
        self.steps: list[ReplayedStep] = []
        with connect(make_engine(self.url, self.replay.site.settings.engine_options)) as connection:
            self.watch = Watch(connection, self.replay.histories)
            self.found.objects = ObjectHistories(
                self.watch.default_schema, dict(self.watch.state), self.steps
            )
            while True:
                try:
                    Runner(self.site).run("upgrade", self.plan)
                except MigrationError as exc:
                    self.failed(exc)
                    if getattr(exc, "half_done", False):
                        # What it left is in the way of what follows.
                        return True
                else:
                    return False

    def plan(self, applied: Mapping[str, tuple[str, ...]]) -> Plan:
        """Plan all that is not known to fail."""
        blocked = self.found.blocked
        graph = self.site.loaded.graph
        targets = {}
        for name, history in graph.histories.items():
            left = {one.id for one in history if (name, one.id) not in blocked}
            if heads := history.reduce(left):
                targets[name] = tuple(sorted(heads))
        return plan_upgrade(graph, applied, targets)

    def failed(self, exc: MigrationError) -> None:
        """Keep which step failed.

        :raises MigrationError: if it was none
        """
        package, name = getattr(exc, "package", None), getattr(exc, "revision", None)
        history = self.site.loaded.histories.get(str(package))
        if history is None or name not in history or (package, name) in self.found.blocked:
            raise exc
        graph = self.replay.site.loaded.graph
        follows = (graph.revisions[one] for one in graph.followers([history.revisions[str(name)]]))
        problem = str(getattr(exc, "problem", "") or exc).partition("\n")[0]
        self.found.failed.append(
            NotReplayed(str(package), str(name), problem, tuple(map(str, follows)))
        )

    def look(self, step: MigrationStepApplied) -> None:
        """Read what the database is behind a step."""
        self.found.scripts += 1
        self.digest = self.replay.digest_of(self.digest, step.package, step.revision)
        known = self.known.get(self.digest)
        if known is not None:
            self.watch.follow(known.changes)
        else:
            known = ReplayedStep(step.package, step.revision, self.watch.changes())
        self.steps.append(known)
        self.done.append((self.digest, known))


# Plain data


def write_group(pair: tuple[Unit, Group]) -> list[object]:
    """Return a unit and its facts as plain data."""
    unit, group = pair
    return [list(unit), Facts("", group).as_data()["objects"]]


def read_group(data: Sequence[Any]) -> tuple[Unit, Group]:
    """Return what :func:`write_group` wrote."""
    unit, objects = data
    group = Facts.from_data({"default_schema": "", "objects": objects}).objects
    return (unit[0], unit[1], unit[2], unit[3], unit[4]), group


# Looks at the scratch database


class Watch:
    """Tells what changed since the last look, and makes facts of that alone.

    :ivar default_schema: the one whose objects are named without it
    :ivar state: what the database has
    """

    def __init__(self, connection: Connection, histories: Collection[str]) -> None:
        """Look for the first time.

        :param histories: the names of the history tables, which are left out
        """
        self.connection = connection
        self.histories = histories
        self.state: dict[Unit, Group] = {}
        self.look = look_again(connection)
        self.facts: dict[Unit, list[Fact]] = {}
        self.changes()

    def follow(self, changes: Mapping[Unit, Group]) -> None:
        """Take over what is known to have changed, without a look."""
        for unit, group in changes.items():
            if group:
                self.state[unit] = group
            else:
                self.state.pop(unit, None)
        # What was seen is older.
        self.look.forget()
        self.facts = {}

    def changes(self) -> dict[Unit, Group]:
        """Look, and return the units that changed; an empty group for one that went."""
        touched = set() if self.facts else set(self.state)
        self.default_schema, came, gone = self.look.look()
        for unit, fact in self.units(gone):
            self.facts[unit].remove(fact)
            touched.add(unit)
        for unit, fact in self.units(came):
            self.facts.setdefault(unit, []).append(fact)
            touched.add(unit)
        before = {unit: self.state[unit] for unit in touched if unit in self.state}
        after = {
            unit: tuple(sorted(self.facts[unit], key=attrgetter("key")))
            for unit in touched
            if self.facts.get(unit)
        }
        for unit in touched:
            self.state.pop(unit, None)
        self.state.update(after)
        return changes_between(before, after)

    def units(self, pieces: Pieces) -> Iterator[tuple[Unit, Fact]]:
        """Yield facts with their units."""
        for fact in chain.from_iterable(pieces.values()):
            if not is_left_out(fact, self.histories):
                yield unit_of(fact), fact
