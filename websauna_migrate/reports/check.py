"""What ``check`` looks at: scripts, histories, models and database, each against the others."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import HISTORY_PREFIX, list_tables
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.units import read_plain
from websauna_migrate.interfaces import Packages
from websauna_migrate.models.ownership_errors import OwnershipError
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.accesses import DEFAULT_SCHEMAS, Access
from websauna_migrate.planning.plan import pending, plan_upgrade
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.reports.changed_by_hand import changed_by_hand, kept_by_newest
from websauna_migrate.reports.model_differences import describe, differences_of
from websauna_migrate.reports.race_report import order_problems, unreadable_operations
from websauna_migrate.reports.table_claims import claimed_by_schema_and_without
from websauna_migrate.reports.unrecorded import first_script_missing, unrecorded
from websauna_migrate.results import CheckProblem, CheckReport
from websauna_migrate.revision_scripts.moves import full_name, split_name
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.revision_scripts.squash_digest import digest_of, proven_digest
from websauna_migrate.runs.in_progress import find_at_work
from websauna_migrate.runs.kept_scripts import kept_script
from websauna_migrate.runs.ledger import LEDGER_TABLE
from websauna_migrate.runs.other_histories import OtherHistories, OtherHistory, remedy_for
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.uninstalled import list_departed
from websauna_migrate.runs.unknown_revisions import explain

if TYPE_CHECKING:
    from websauna_migrate.models.ownership import Ownership

__all__ = ["Checker"]

#: What needs the table of another package, in words.
VERBS = {
    "foreign_key": "has a foreign key to",
    "read_table": "reads",
    "insert_rows": "inserts into",
    "write_table": "writes",
    "create_view": "has a view of",
    "create_index": "makes an index of",
    "add_constraint": "adds a constraint to",
    "add_column": "adds a column to",
    "alter_column": "changes a column of",
    "restrict_column": "changes a column of",
    "rename_column": "renames a column of",
    "drop_column": "drops a column of",
    "drop_table": "drops",
    "rename_table": "renames",
    "use_table": "uses",
    "comment_on": "comments on",
}


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
        #: Packages whose tables are there without a history, once found.
        self.unrecorded: set[str] = set()

    def report(self) -> CheckReport:
        """Return all problems that were found."""
        applied = self.site.applied()
        plan_upgrade(self.snapshot.graph, applied, {})
        problems = [
            *self.several_heads(),
            *self.changed_squashes(),
            *self.missing_requirements(),
            *order_problems(self.snapshot, self.selected, applied, self.missing),
            *unreadable_operations(self.snapshot, self.selected),
        ]
        claims = [*self.claims_at_odds()]
        problems += claims
        elsewhere: set[str] = set()
        with self.site.reading() as connection:
            problems += self.unknown_revisions(connection, applied)
            if connection is not None:
                others = OtherHistories(self.snapshot, self.site.settings)
                found = others.find(connection, applied, self.selected)
                problems += histories_elsewhere(found)
                elsewhere = {one.package for one in found}
                at_work = [*self.at_work(connection)]
                problems += at_work
                problems += self.changed_scripts(connection, applied)
                default = connection.dialect.default_schema_name
                if self.everything:
                    problems += self.departed_packages(connection)
                if not claims:
                    if not at_work:
                        problems += self.changed_by_hand(connection)
                    twice = [*claimed_by_schema_and_without(self.ownership.owners, default)]
                    problems += twice
                    # What is claimed twice cannot be created once.
                    problems += () if twice else self.drift(connection, applied, elsewhere)
                if self.everything and not claims:
                    problems += self.moved_tables()
                    problems += self.nobodys(connection)
        problems += self.pending_revisions(applied, elsewhere | self.unrecorded)
        return CheckReport(tuple(problems))

    def at_work(self, connection: Connection) -> Iterator[CheckProblem]:
        """Find steps that ended half done, and a run in progress."""
        tables = list_tables(connection, self.site.schema)
        running, half_done = find_at_work(self.site, connection, tables)
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
                        "has it. If you know which revision the schema is at: ws-alembic -x "
                        f"packages={name} stamp --purge REVISION\n"
                        + explain(self.site, connection, name, row),
                        details=row,
                    )

    def several_heads(self) -> Iterator[CheckProblem]:
        """Find packages with heads that no branch labels tell apart."""
        for name in self.selected:
            history = self.snapshot.histories[name]
            alike: dict[frozenset[str], list[str]] = {}
            for head in history.effective_heads:
                alike.setdefault(history.labels_of(head), []).append(head)
            for heads in alike.values():
                if len(heads) > 1:
                    shown = ", ".join(f'"{head}"' for head in heads)
                    yield CheckProblem(
                        "heads",
                        name,
                        f'Package "{name}" has {len(heads)} heads: {shown}. Join them by a script: '
                        f"ws-alembic -x packages={name} merge heads. Or put your own revisions "
                        f"behind the other ones: ws-alembic -x packages={name} rebase",
                        details=tuple(heads),
                    )

    def pending_revisions(
        self, applied: Mapping[str, tuple[str, ...]], elsewhere: Collection[str]
    ) -> Iterator[CheckProblem]:
        """Find revisions that are not applied.

        :param elsewhere: packages whose revisions may be, see :mod:`.runs.other_histories`
        """
        waiting = pending(self.snapshot.graph, applied)
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

    def missing_requirements(self) -> Iterator[CheckProblem]:
        """Find what scripts use of other packages' tables without a requirement."""
        for name in self.selected:
            for revision in self.snapshot.histories[name]:
                told: set[tuple[Revision, str]] = set()
                for effect in self.snapshot.effects[name, revision.id]:
                    found = self.missing_requirement(revision, effect)
                    if found is None or (effect.kind != "foreign_key" and found in told):
                        continue
                    told.add(found)
                    target, what = found
                    self.missing.add((name, revision.id, target.package))
                    uses = VERBS[effect.kind]
                    yield CheckProblem(
                        "requirement",
                        name,
                        f'Revision "{revision.id}" of package "{name}" ("{revision.path}", '
                        f'line {effect.line}) {uses} "{what}", which revision '
                        f'"{target.id}" of package "{target.package}" creates. Add to the script: '
                        f'requires = ("{target}",)',
                        details=str(target),
                    )

    def missing_requirement(
        self, revision: Revision, effect: Access
    ) -> tuple[Revision, str] | None:
        """Return what a foreign key, or a statement about rows, should require and does not.

        :returns: the newest of the revisions that introduced the table and its columns, and which
            of these that is
        """
        if effect.kind not in VERBS:
            return None
        created, graph = self.snapshot.created, self.snapshot.graph
        key, columns = effect.key, effect.columns
        if effect.kind == "foreign_key":
            key = (effect.target_schema, effect.target_table or "")
            columns = effect.target_columns
        missing: dict[int, str] = {}
        for column in (None, *columns):
            origins = created.origins(*key, column)
            for schema in DEFAULT_SCHEMAS if key[0] in DEFAULT_SCHEMAS else ():
                origins = origins or created.origins(schema, key[1], column)
            if revision.package in {package for package, _ in origins}:
                continue
            # The present owner of a table that moved, or a former one: each had the table.
            targets = [self.snapshot.histories[p].revisions[one] for p, one in origins]
            if targets and not any(graph.needs(revision, target) for target in targets):
                what = full_name(*key) if column is None else f"{full_name(*key)}.{column}"
                missing.setdefault(graph.node(targets[0]), what)
        if not missing:
            return None
        newest = max(missing, key=graph.places.__getitem__)
        return graph.revisions[newest], missing[newest]

    def moved_tables(self) -> Iterator[CheckProblem]:
        """Find tables that models and scripts have in different packages."""
        owners = self.ownership.owners
        for key, (package, revision) in self.snapshot.created.tables.items():
            owner = owners.get(key)
            if owner is not None and owner != package:
                table = full_name(*key)
                script = self.snapshot.histories[package].revisions[revision]
                moved = key in [split_name(text) for text, _ in script.takes_tables]
                remedy = (
                    f'Move its class to "{package}", or name the owner there: info={{"package": '
                    f'"{package}"}}.'
                    if moved
                    else f"Hand it over with: ws-alembic move-table {table} {package} {owner}, or "
                    f'move its class back to "{package}".'
                )
                yield CheckProblem(
                    "moved",
                    owner,
                    f'Table "{table}" is in the models of package "{owner}", but by the scripts '
                    f'it belongs to package "{package}" since revision "{revision}". {remedy}',
                    fatal=False,
                    details=key,
                )

    def changed_squashes(self) -> Iterator[CheckProblem]:
        """Find squashes that were changed after their proof, or whose old scripts were."""
        for name in self.selected:
            replacements = self.snapshot.histories[name].replacements
            written = replacements.written
            for squash in replacements.squashes.values():
                replaced = [written[one] for one in squash.replaces if one in written]
                if len(replaced) < len(squash.replaces):
                    continue
                if proven_digest(squash) not in (None, digest_of(squash, replaced)):
                    yield CheckProblem(
                        "squash-changed",
                        name,
                        f'The squash "{squash.id}" of package "{name}" ("{squash.path}"), or a '
                        "script that it replaces, was changed after its proof. Write it anew: "
                        f"remove it, and ws-alembic -x packages={name} squash",
                        fatal=False,
                        details=squash.id,
                    )

    def changed_scripts(
        self, connection: Connection, applied: Mapping[str, tuple[str, ...]]
    ) -> Iterator[CheckProblem]:
        """Find scripts that are not what they were when they were applied."""
        if LEDGER_TABLE not in list_tables(connection, self.site.schema):
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

    def changed_by_hand(self, connection: Connection) -> Iterator[CheckProblem]:
        """Find objects that no run changed since the newest one."""
        if kept := kept_by_newest(self.site, connection):
            facts = read_plain(connection)
            yield from changed_by_hand(self.site, self.ownership, self.selected, kept, facts)
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
        from websauna_migrate.autogenerate import (
            FactComparison,
            PackageObjects,
            Reflection,
            find_changes,
        )

        waiting = pending(self.snapshot.graph, applied)
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
            package = self.snapshot.packages[name]
            environment = self.snapshot.environments[name]
            if not package.metadata or name in elsewhere:
                continue
            is_unrecorded = bool(waiting.get(name)) and self.has_tables_only(
                connection, name, applied[name]
            )
            if waiting.get(name) and not is_unrecorded:
                continue
            if not environment.exists:
                tables = ownership.tables_of(name)
                if self.has_tables_only(connection, name, applied[name]):
                    yield CheckProblem("no-scripts", name, first_script_missing(name))
                elif tables:
                    yield CheckProblem(
                        "no-scripts",
                        name,
                        f'Package "{name}" has {counted(len(tables), "table")} in its models but '
                        f'no script directory ("{package.script_directory}"). Run: ws-alembic -x '
                        f'packages={name} revision --autogenerate -m "..."',
                    )
                continue
            with PROCESS_LOCK:
                changes = find_changes(environment, all_owned[name], reflection, applied[name])
            if is_unrecorded:
                self.unrecorded.add(name)
                yield unrecorded(name, [describe(one) for one in differences_of(changes)])
                continue
            for diff in differences_of(changes):
                message = f'Package "{name}": {describe(diff)}'
                yield CheckProblem("drift", name, message, details=diff)

    def has_tables_only(self, connection: Connection, name: str, rows: Collection[str]) -> bool:
        """True if tables of a package are in the database, and its history is empty."""
        if rows:
            return False
        tables = self.ownership.tables_of(name)
        schemas = {table.schema for table in tables}
        existing = {schema: list_tables(connection, schema) for schema in schemas}
        return any(table.name in existing[table.schema] for table in tables)

    def departed_packages(self, connection: Connection) -> Iterator[CheckProblem]:
        """Find packages that are gone and left their history tables."""
        for one in list_departed(
            connection,
            known={package.history_table for package in self.site.packages.values()},
            ledger=self.site.ledger.table,
            schema=self.site.schema,
        ):
            rows = ", ".join(one.rows) or "no revision"
            yield CheckProblem(
                "not-installed",
                None,
                f'Package "{one.name}" {one.absence}; its history table '
                f'"{one.history_table}" has {rows}.',
                fatal=False,
                details=one.rows,
            )

    def nobodys(self, connection: Connection) -> Iterator[CheckProblem]:
        """Find tables that belong to no package."""
        schema = self.site.schema
        known = {package.history_table for package in self.site.packages.values()}
        known.add(LEDGER_TABLE)
        owners = self.ownership.owners
        default = inspect(connection).default_schema_name
        schemas = {schema_ for schema_, _ in owners} | {None, schema}
        for one in sorted(schemas, key=lambda s: s or ""):
            if one is not None and one == default:
                continue
            for table in sorted(list_tables(connection, one)):
                if one == schema and (table in known or table.startswith(HISTORY_PREFIX)):
                    continue
                if (one, table) in owners:
                    continue
                name = f"{one}.{table}" if one else table
                if (doubt := self.snapshot.created.unsure_tables.get((one, table))) is not None:
                    yield self.unsure(name, *doubt)
                elif not self.snapshot.created.table_origin(one, table):
                    yield CheckProblem(
                        "unowned",
                        None,
                        f'The table "{name}" belongs to no package: it is left alone.',
                        fatal=False,
                    )

    def unsure(self, table: str, package: str, revision: str, line: int) -> CheckProblem:
        """Return that a table in no models may belong to a package, by a script of it."""
        path = self.snapshot.histories[package].revisions[revision].path
        return CheckProblem(
            "unsure",
            package,
            f'The table "{table}" may belong to package "{package}": revision "{revision}" '
            f'("{path}", line {line}) leaves open whether it made the table, or whether the table '
            "is still the one that was made. It is left alone; a drop is written by hand.",
            fatal=False,
            details=table,
        )


def difference(applied: bytes, path: str) -> tuple[str, ...]:
    """Return how a script differs from what was applied, lines of a unified diff."""
    now = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    then = applied.decode("utf-8", "replace").splitlines()
    return tuple(difflib.unified_diff(then, now, "applied", "now", n=1, lineterm=""))


def histories_elsewhere(found: Sequence[OtherHistory]) -> Iterator[CheckProblem]:
    """Tell of packages whose revisions stand in a version table that is not theirs."""
    for one in found:
        yield CheckProblem(
            "history-elsewhere",
            one.package,
            f"{one}\n{remedy_for([one])}",
            details=one.revisions,
        )
