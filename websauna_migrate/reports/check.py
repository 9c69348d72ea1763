"""What ``check`` looks at: scripts, histories, models and database, each against the others."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.models import models_named
from websauna_migrate.facts.units import read_plain
from websauna_migrate.interfaces import Packages
from websauna_migrate.models.ownership_errors import OwnershipError
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.plan import plan_upgrade
from websauna_migrate.planning.state import State
from websauna_migrate.reports.changed_by_hand import (
    HandChange,
    changed_by_hand,
    kept_by_newest,
    moved_by_no_run,
    told_once,
)
from websauna_migrate.reports.model_differences import AlembicDiff, describe, differences_of
from websauna_migrate.reports.race_report import order_problems, unreadable_operations
from websauna_migrate.reports.script_problems import (
    changed_squashes,
    missing_requirements,
    several_heads,
)
from websauna_migrate.reports.table_problems import (
    claimed_twice,
    departed_packages,
    first_script_missing,
    moved_tables,
    own_tables,
    unowned_tables,
    unrecorded,
)
from websauna_migrate.results import CheckProblem, CheckReport
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.runs.change_log import Changes
from websauna_migrate.runs.cut_off import CutOff
from websauna_migrate.runs.in_progress import at_work
from websauna_migrate.runs.kept_facts import KeptFacts
from websauna_migrate.runs.kept_scripts import kept_script
from websauna_migrate.runs.other_histories import OtherHistory, by_table, find_elsewhere
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import explain, explained

if TYPE_CHECKING:
    from websauna_migrate.autogenerate.package_objects import PackageObjects
    from websauna_migrate.autogenerate.reflection import Reflection
    from websauna_migrate.autogenerate.revision_errors import RevisionFailed
    from websauna_migrate.models.ownership import Ownership
    from websauna_migrate.revision_scripts.table_origins import CreatedObjects


def check(site: Site, ownership: Ownership, packages: Packages) -> CheckReport:
    """Return all problems that are found."""
    with models_named(site.settings, ownership):
        return Checker(site, ownership, packages).report()


class Checker:
    """One check of some packages."""

    def __init__(self, site: Site, ownership: Ownership, packages: Packages) -> None:
        """Prepare the check.

        :param packages: ``None`` for all, with the packages and tables that belong to none of them
        """
        self.site = site
        self.ownership = ownership
        self.snapshot = site.loaded
        self.selected = site.select(packages)
        self.everything = packages is None
        #: Package, revision and required package of each missing requirement, once found.
        self.missing: set[tuple[str, str, str]] = set()
        #: The database's, once they were read by the names that models have.
        self.facts: Facts | None = None
        #: What the applied revisions made, once it was asked for.
        self.made: CreatedObjects | None = None
        #: Packages whose tables are there without a history, once found.
        self.unrecorded: set[str] = set()
        #: Packages whose histories no run has changed, with what was kept behind the newest one.
        self.moved: Mapping[str, KeptFacts] = {}

    def report(self) -> CheckReport:
        """Return all problems that were found."""
        applied = self.site.applied()
        with explained(self.site):
            plan_upgrade(self.snapshot.graph, applied, {})
        problems = [
            *several_heads(self.snapshot, self.selected),
            *changed_squashes(self.snapshot, self.selected),
            *missing_requirements(self.snapshot, self.selected, self.missing),
            *order_problems(self.snapshot, self.selected, applied, self.missing),
            *unreadable_operations(self.snapshot, self.selected),
        ]
        claims = [*self.claims_at_odds()]
        problems += claims
        elsewhere: set[str] = set()
        with self.site.reading() as connection:
            problems += self.unknown_revisions(connection, applied)
            if connection is not None:
                found = find_elsewhere(self.site, connection, applied, self.selected)
                problems += histories_elsewhere(found)
                elsewhere = {one.package for one in found}
                unfinished = [*self.at_work(connection)]
                problems += unfinished
                problems += self.changed_scripts(connection, applied)
                if self.everything:
                    problems += departed_packages(self.site, connection)
                if not claims:
                    by_hand = [] if unfinished else [*self.changed_by_hand(connection, applied)]
                    problems += map(history_moved, self.moved, self.moved.values())
                    twice = [*claimed_twice(self.ownership.owners, connection)]
                    problems += twice
                    # What is claimed twice cannot be created once.
                    drift = () if twice else self.drift(connection, applied, elsewhere)
                    changes = self.changes(connection, by_hand)
                    cut_off = CutOff(self.site.ledger, connection) if by_hand else None
                    problems += told_once(by_hand, drift, changes, cut_off)
                    problems += moved_tables(self.snapshot, self.ownership, self.selected)
                    if self.everything:
                        problems += unowned_tables(self.site, self.ownership, connection)
            elif not claims:
                for name in self.selected:
                    if not self.snapshot.histories[name].ids:
                        problems += self.without_scripts(name, ())
        problems += self.pending_revisions(applied, elsewhere | self.unrecorded)
        return CheckReport(tuple(problems))

    def at_work(self, connection: Connection) -> Iterator[CheckProblem]:
        """Find steps that ended half done, and a run in progress."""
        tables = list_tables(connection, self.site.schema)
        running, half_done = at_work(self.site, connection, tables)
        for entry in half_done:
            yield CheckProblem(
                "half-done",
                entry.package,
                f"Half done: {entry}. See what is there: ws-alembic repair",
                details=entry,
            )
        if running is not None:
            text = f"Running: {running}."
            yield CheckProblem("running", None, text, fatal=False, details=running)

    def claims_at_odds(self) -> Iterator[CheckProblem]:
        """Find tables whose owner the models do not say, or say twice."""
        try:
            _ = self.ownership.owners
        except OwnershipError as exc:
            yield CheckProblem("ownership", None, str(exc))

    def unknown_revisions(
        self, connection: Connection | None, applied: Mapping[str, tuple[str, ...]]
    ) -> Iterator[CheckProblem]:
        """Find rows of history tables that no script defines."""
        for name in self.selected:
            history = self.snapshot.histories[name].standing_for(applied[name])
            for row in applied[name]:
                if history.lost([row]):
                    table = self.snapshot.packages[name].history_table
                    yield CheckProblem(
                        "unknown-revision",
                        name,
                        f'The history table "{table}" of package "{name}" has revision "{row}", '
                        "which no script defines. Restore the script, or install the release that "
                        f"has it.\n{explain(self.site, connection, name, row)}",
                        details=row,
                    )

    def pending_revisions(
        self, applied: Mapping[str, tuple[str, ...]], elsewhere: Collection[str]
    ) -> Iterator[CheckProblem]:
        """Find revisions that are not applied.

        :param elsewhere: packages whose revisions may be, see :mod:`.runs.other_histories`
        """
        waiting = State(self.snapshot.graph, applied).pending()
        for name in self.selected:
            history = self.snapshot.histories[name].standing_for(applied[name])
            # What is applied by a script that is gone has to be settled first.
            if name in elsewhere or history.lost(frozenset(applied[name])):
                continue
            revisions = waiting.get(name, ())
            if revisions:
                many = counted(len(revisions), "revision that is", "revisions that are")
                yield CheckProblem(
                    "pending",
                    name,
                    f'Package "{name}" has {many} not applied. Run: ws-alembic -x packages={name} '
                    "upgrade",
                    details=tuple(revision.id for revision in revisions),
                )

    def changed_scripts(
        self, connection: Connection, applied: Mapping[str, tuple[str, ...]]
    ) -> Iterator[CheckProblem]:
        """Find scripts that are not what they were when they were applied."""
        if not self.site.ledger.is_there(connection):
            return
        newest = self.site.ledger.newest(connection)
        for name in self.selected:
            history = self.snapshot.histories[name].standing_for(applied[name])
            for one in sorted(history.applied(applied[name])):
                entry = newest.get((name, one))
                path = history.revisions[one].path
                if (
                    entry is not None
                    and entry.direction == "upgrade"
                    and entry.checksum
                    and entry.checksum != checksum(path)
                ):
                    kept = kept_script(connection, self.site.ledger.table, entry.checksum)
                    diff = () if kept is None else difference(kept, path)
                    yield CheckProblem(
                        "script-changed",
                        name,
                        f'The script of revision "{one}" of package "{name}" ("{path}") was '
                        f"changed after it was applied on {entry.started:%Y-%m-%d %H:%M} UTC."
                        + "".join(f"\n  {line}" for line in diff),
                        fatal=False,
                        details=diff,
                    )

    def changes(self, connection: Connection, by_hand: Sequence[HandChange]) -> Changes | None:
        """Return who changed the database since the oldest facts that objects differ of."""
        since = min((one.since.started for one in by_hand), default=None)
        return Changes(connection, self.site.schema, since) if since else None

    def changed_by_hand(
        self, connection: Connection, applied: Mapping[str, tuple[str, ...]]
    ) -> Iterator[HandChange]:
        """Find objects that no run changed since the newest one."""
        if kept := kept_by_newest(self.site, connection):
            facts = read_plain(connection)
            self.moved = moved_by_no_run(self.site, connection, kept, applied, self.selected)
            known = [name for name in self.selected if name not in self.moved]
            yield from changed_by_hand(self.site, self.ownership, known, kept, facts)
            if connection.dialect.name not in ("mysql", "mariadb"):
                self.facts = facts

    def drift(
        self,
        connection: Connection,
        applied: Mapping[str, tuple[str, ...]],
        elsewhere: Collection[str],
    ) -> Iterator[CheckProblem]:
        """Find differences between models and database, in packages that are up to date.

        :param elsewhere: packages whose revisions may be applied by another history; what is to be
            done about them comes first
        """
        from websauna_migrate.autogenerate.compare.by_hand import told_besides
        from websauna_migrate.autogenerate.fact_comparison import FactComparison
        from websauna_migrate.autogenerate.package_objects import PackageObjects
        from websauna_migrate.autogenerate.reflection import Reflection

        waiting = State(self.snapshot.graph, applied).pending()
        ownership = self.ownership
        default_schema = connection.dialect.default_schema_name
        if not self.selected:
            return
        ownership.require_targets(self.selected)
        first = PackageObjects(self.selected[0], ownership, self.snapshot, default_schema)
        all_owned = {name: first.beside(name) for name in self.selected}
        # One look at the database for all packages.
        facts = FactComparison(connection, self.site.settings, ownership, self.facts)
        keys = {key for owned in all_owned.values() for key in owned.keys}
        reflection = Reflection(connection, keys, facts)
        for name in self.selected:
            environment = self.snapshot.environments[name]
            has_scripts = len(self.snapshot.histories[name]) > 0
            known = self.snapshot.packages[name].metadata or ownership.tables_of(name)
            if not known or name in elsewhere:
                continue
            if applied[name] and not has_scripts:
                # None of its rows is known, which is told already.
                continue
            begun = applied[name] and not (
                waiting.get(name) and environment.reader.make_nothing(applied[name])
            )
            there = () if begun else self.own_tables_there(connection, name, applied)
            is_unrecorded = bool(waiting.get(name) and there)
            if waiting.get(name) and not is_unrecorded:
                continue
            if not environment.exists or (not has_scripts and there):
                yield from self.without_scripts(name, there)
                continue
            yield from self.compared(all_owned[name], reflection, applied[name], is_unrecorded)
        if self.everything and facts.was_asked and not any(waiting.values()):
            yield from map(made_besides, told_besides(facts.under(), ownership))

    def compared(
        self,
        owned: PackageObjects,
        reflection: Reflection,
        rows: tuple[str, ...],
        is_unrecorded: bool,
    ) -> Iterator[CheckProblem]:
        """Compare one package.

        :param rows: of its history
        :param is_unrecorded: whether its tables are there and no applied script made any
        """
        from websauna_migrate.autogenerate.comparison import find_changes
        from websauna_migrate.autogenerate.revision_errors import RevisionFailed

        name = owned.package
        databases = () if is_unrecorded else self.site.settings.databases_of(name)
        try:
            with PROCESS_LOCK.held():
                changes = find_changes(
                    self.snapshot.environments[name], owned, reflection, rows, databases
                )
        except RevisionFailed as exc:
            yield not_rendered(name, exc)
            return
        if is_unrecorded:
            differences = [describe(one) for one in differences_of(changes)]
            # Where a history begins with scripts that do nothing, the others may well be pending.
            if not (rows and differences):
                self.unrecorded.add(name)
                yield unrecorded(name, rows, differences)
            return
        yield from differing(name, differences_of(changes))

    def without_scripts(
        self, name: str, unrecorded_tables: tuple[str, ...]
    ) -> Iterator[CheckProblem]:
        """Tell of a package that has tables and no script.

        :param unrecorded_tables: those of its own that are in the database without a history
        """
        tables = own_tables(self.snapshot, self.ownership, name)
        directory = self.snapshot.packages[name].script_directory
        lacking = "script in its directory" if directory.is_dir() else "script directory"
        if unrecorded_tables:
            yield CheckProblem(
                "no-scripts", name, first_script_missing(name), details=unrecorded_tables
            )
        elif tables:
            yield CheckProblem(
                "no-scripts",
                name,
                f'Package "{name}" has {counted(len(tables), "table")} in its models but no '
                f'{lacking} ("{directory}"). Run: ws-alembic -x packages={name} revision '
                '--autogenerate -m "..."',
            )

    def own_tables_there(
        self, connection: Connection, name: str, applied: Mapping[str, Sequence[str]]
    ) -> tuple[str, ...]:
        """Return the tables of a package that are there, but for those of other packages' scripts.

        What it takes over by a pending script was made by another package's.
        """
        tables = own_tables(self.snapshot, self.ownership, name)
        schemas = {table.schema for table in tables}
        existing = {schema: list_tables(connection, schema) for schema in schemas}
        found = [table for table in tables if table.name in existing[table.schema]]
        if not found:
            return ()
        if self.made is None:
            histories = self.snapshot.histories
            self.made = self.snapshot.created_by(
                {one: histories[one].applied(applied.get(one, ())) for one in histories}
            )
        origins = {table: self.made.table_origin(table.schema, table.name) for table in found}
        return tuple(one.name for one in found if (origins[one] or (name,))[0] == name)


def not_rendered(name: str, exc: RevisionFailed) -> CheckProblem:
    """Return what is told of a change that no script can have.

    :raises RevisionFailed: if it is another failure
    """
    if exc.kind != "cannot-render":
        raise exc
    message = f'Package "{name}": {exc.problem}'
    return CheckProblem("drift", name, message, details=("change_by_hand", exc.problem))


def differing(name: str, diffs: Iterable[AlembicDiff]) -> Iterator[CheckProblem]:
    """Yield what is told of differences of a package, each words of them once."""
    for words, diff in {describe(diff): diff for diff in diffs}.items():
        yield CheckProblem("drift", name, f'Package "{name}": {words}', details=diff)


def history_moved(package: str, since: KeptFacts) -> CheckProblem:
    """Return what is told of a history that no run has changed."""
    message = (
        f'Package "{package}": its history was changed since {since.name} by no run, by SQL or by '
        "plain Alembic. What was changed by hand as well is told once the next run is done."
    )
    return CheckProblem("history-changed", package, message, fatal=False, details=since.name)


def made_besides(words: str) -> CheckProblem:
    """Return what is told of an object that a listener of the models makes beside them."""
    message = f"Made by a listener of the models, which no script writes: {words}"
    return CheckProblem("drift", None, message, details=("change_by_hand", words))


def difference(applied: bytes, path: str) -> tuple[str, ...]:
    """Return how a script differs from what was applied, lines of a unified diff."""
    now = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    then = applied.decode("utf-8", "replace").splitlines()
    return tuple(difflib.unified_diff(then, now, "applied", "now", n=1, lineterm=""))


def histories_elsewhere(found: Sequence[OtherHistory]) -> Iterator[CheckProblem]:
    """Tell of packages whose revisions stand in a version table that is not theirs."""
    for one in by_table(found):
        name: str | None = None
        if isinstance(one, OtherHistory):
            name, revisions = one.package, one.revisions
        else:
            revisions = tuple(
                f"{each.package}@{row}" for each in one.found for row in each.revisions
            )
        yield CheckProblem("history-elsewhere", name, f"{one}\n{one.remedy}", details=revisions)
