"""The migration service: every capability behind one utility."""

from __future__ import annotations

import functools
import io
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Table
from sqlalchemy.engine import URL, make_url
from zope.interface import implementer

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.package_environment import AlembicOptions
from websauna_migrate.config.packages import MigrationPackage, RegistrationError, SharedHistoryTable
from websauna_migrate.config.selection import UnknownPackage
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.cache import Cache
from websauna_migrate.database.engines import connect, is_missing_file, make_engine
from websauna_migrate.database.history_tables import HISTORY_PREFIX, list_tables, read_rows
from websauna_migrate.errors import UsageError
from websauna_migrate.interfaces import IMigrationService, Packages, Targets
from websauna_migrate.planning.plan import Plan, pending, plan_stamp, plan_upgrade
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.several import (
    as_targets,
    collect,
    offline_range,
    range_of,
    resolve_all,
    targets_for,
)
from websauna_migrate.results import (
    CheckReport,
    CreatedScript,
    HistoryEntry,
    LintReport,
    PackageState,
    Run,
    StampedPackage,
)
from websauna_migrate.runs.process_lock import PROCESS_LOCK

# What only some of the methods need is imported there: an application that starts up waits for
# neither the ORM nor a comparison, nor for what runs a plan.
if TYPE_CHECKING:
    from websauna_migrate.models.ownership import Ownership
    from websauna_migrate.runs.ledger import Ledger
    from websauna_migrate.runs.repair import InterruptedStep
    from websauna_migrate.runs.runner import Runner, RunOptions

__all__ = ["MigrationService"]


#: From how many steps on it takes less time to look what is known of scripts than to run them.
MANY_STEPS = 20

#: What a SQL script can be of.
OFFLINE = ("upgrade", "downgrade", "stamp", "ensure_version")


@implementer(IMigrationService)
class MigrationService:
    """The default service; the contract is on :class:`.IMigrationService`.

    :param settings: what :func:`.parse_settings` read
    :param application: dotted name of the application's package, as Pyramid knows it
    :param notify: gets the events of a run; ``registry.notify``
    :param subscribed: tells whether somebody gets events of a class
    """

    def __init__(
        self,
        settings: Settings,
        *,
        application: str | None = None,
        notify: Callable[[object], None] = lambda event: None,
        subscribed: Callable[[type], bool] = lambda event: True,
    ) -> None:
        self.settings = settings
        self.root_package = application
        self.notify = notify
        self.subscribed = subscribed
        self.options = AlembicOptions()
        #: Told in words when a run has to wait for another one.
        self.on_wait: Callable[[str], None] | None = None
        #: Told of each step soon after it was applied; a subscriber is told before the next begins.
        self.on_step: Callable[[Any], None] | None = None
        #: Read scripts from their text and remember it; else import every script.
        self.use_index = True
        #: In a thread, the scripts as :meth:`one_look` saw them.
        self._look = threading.local()
        self._packages: dict[str, MigrationPackage] = {}

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger of all runs on the database."""
        from websauna_migrate.runs.ledger import Ledger

        return Ledger(self.settings.version_table_schema)

    # Packages

    @property
    def packages(self) -> tuple[MigrationPackage, ...]:
        return tuple(self._packages[name] for name in sorted(self._packages))

    @property
    def application(self) -> str | None:
        root = self.root_package
        candidates = [
            name for name in self._packages if root == name or (root or "").startswith(name + ".")
        ]
        return max(candidates, key=len, default=None)

    @property
    def url(self) -> URL:
        return self.settings.require_url()

    def add_package(self, package: MigrationPackage) -> None:
        """Register a package.

        :raises ConfigurationError: if it is registered already, or shares its history table or its
            script directory with another package
        """
        for other in self._packages.values():
            if other.name == package.name:
                raise RegistrationError(
                    package.name,
                    f"it is registered twice, in {other.place} and in {package.place}.",
                )
            if other.history_table.lower() == package.history_table.lower():
                raise SharedHistoryTable(other, package)
            if (
                other.script_directory == package.script_directory
                and package.script_directory.exists()
            ):
                raise RegistrationError(
                    package.name,
                    f'its script directory "{package.script_directory}" is that of package '
                    f'"{other.name}" (registered in {other.place}). Give each package its own '
                    "with script_location.",
                )
        self._packages[package.name] = package

    def use_ini(
        self,
        path: str | None,
        sections: Mapping[str, Mapping[str, str]],
        main_section: str = "alembic",
        cmd_opts: Any = None,
    ) -> None:
        """Take Alembic's own options from an INI file and a command line.

        :param path: the INI file, absolute
        :param sections: its sections, interpolated
        :param main_section: the one with Alembic's options
        :param cmd_opts: the parsed command line, for scripts that ask for ``-x`` arguments
        """
        self.options = AlembicOptions(path, sections, main_section, cmd_opts)

    # Running

    def upgrade(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        tag: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
        lock_wait: float | None = None,
        lock_timeout_ms: int | None = None,
        lock_budget: float | None = None,
        statement_timeout_ms: int | None = None,
        fail_on_lint: bool = False,
    ) -> Run:
        from websauna_migrate.runs.run_context import RunOptions

        limits = {
            "lock_timeout_ms": lock_timeout_ms,
            "lock_budget": lock_budget,
            "statement_timeout_ms": statement_timeout_ms,
        }
        options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
        lint = self._linter() if fail_on_lint else None
        return self._run("upgrade", revision, packages, options=options, lint=lint)

    def downgrade(
        self,
        revision: Targets,
        *,
        packages: Packages = None,
        cascade: bool = False,
        tag: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
        lock_wait: float | None = None,
        lock_timeout_ms: int | None = None,
        lock_budget: float | None = None,
        statement_timeout_ms: int | None = None,
    ) -> Run:
        from websauna_migrate.runs.run_context import RunOptions

        limits = {
            "lock_timeout_ms": lock_timeout_ms,
            "lock_budget": lock_budget,
            "statement_timeout_ms": statement_timeout_ms,
        }
        options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
        return self._run("downgrade", revision, packages, cascade=cascade, options=options)

    def repair(
        self,
        action: str | None = None,
        step: str | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> tuple[InterruptedStep, ...]:
        from websauna_migrate.runs.repair import (
            ACTIONS,
            InterruptedStep,
            choose,
            known_facts,
            rerun_plan,
            settle,
        )
        from websauna_migrate.runs.run_context import RunOptions

        if action is not None and action not in ACTIONS:
            raise UsageError(f'A half done step can be {", ".join(ACTIONS)}, not "{action}".')
        if is_missing_file(self.url):
            return ()
        snapshot = self._snapshot()
        schema = self.settings.version_table_schema
        runner = self._runner(snapshot, RunOptions(stop=stop))
        with (
            connect(self.make_engine()) if action is None else runner.locked_for_repair("repair")
        ) as connection:
            entries = choose(runner.marked(connection), step)
            applied = runner.read(connection)[0]
            found = tuple(
                InterruptedStep(entry, known_facts(entry, connection, applied), action)
                for entry in entries
            )
            for entry in entries:
                if action is None:
                    break
                settle(
                    connection,
                    self.ledger,
                    entry,
                    action,
                    snapshot=snapshot,
                    rows=applied.get(entry.package),
                    schema=schema,
                )
                applied = runner.read(connection)[0]
            connection.commit()
        if action == "rerun" and entries:
            runner.run(entries[0].direction, lambda applied: rerun_plan(entries, snapshot, applied))
        return found

    def plan(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        cascade: bool = False,
    ) -> Plan:
        snapshot = self._snapshot()
        return self._planner(snapshot, direction, revision, packages, cascade)(
            self._applied(snapshot)
        )

    def lint(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        plan: Plan | None = None,
    ) -> LintReport:
        lint = self._linter()
        if plan is None:
            plan = self.plan(revision, packages=packages)
        if plan.direction != "upgrade":
            raise UsageError("Unsafe changes are found in upgrades; a downgrade takes things away.")
        with PROCESS_LOCK:
            return lint(plan)

    def sql(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        tag: str | None = None,
    ) -> str:
        from websauna_migrate.planning.losses import plan_downgrade_without_loss
        from websauna_migrate.runs.offline import render_rows, render_sql

        if direction not in OFFLINE:
            raise UsageError(f'The direction "{direction}" is none of: {", ".join(OFFLINE)}.')
        self.settings.require_url()
        snapshot = self._snapshot()
        output = io.StringIO()
        if direction == "ensure_version":
            names = self._select(packages)
            render_rows(snapshot, dict.fromkeys(names, ((), ())), output, create=True)
            return output.getvalue()
        applied, targets = offline_range(
            snapshot.graph, revision, self._select(packages), direction
        )
        if direction == "stamp":
            stamped = plan_stamp(snapshot.graph, applied, targets)
            changes = {
                name: (applied[name], rows)
                for name, rows in stamped.items()
                if set(applied[name]) != rows
            }
            render_rows(snapshot, changes, output, create=True)
        else:
            make = plan_upgrade if direction == "upgrade" else plan_downgrade_without_loss
            render_sql(snapshot, make(snapshot.graph, applied, targets), output, tag=tag)
        return output.getvalue()

    def uninstall(self, package: str, *, cascade: bool = False, forget: bool = False) -> Run:
        from websauna_migrate.runs.stamping import write_rows

        if forget or package not in self._packages:
            return self._forget(package, really=forget)
        (name,) = self._select([package])
        run = self._run("downgrade", "base", [name], cascade=cascade)
        if is_missing_file(self.url):
            return run
        table = self._packages[name].history_table
        schema = self.settings.version_table_schema
        with self._runner(self._snapshot()).locked("uninstall") as (connection, read):
            # Another run may have upgraded the package again meanwhile.
            if not read()[name] and table in list_tables(connection, schema):
                write_rows(connection, table, schema, None)
            connection.commit()
        return run

    def _forget(self, package: str, *, really: bool) -> Run:
        """Drop the history table of a package that is gone, or say what else can be done."""
        from websauna_migrate.runs.stamping import write_rows
        from websauna_migrate.runs.uninstalled import (
            NotInstalled,
            StillInstalled,
            find_departed,
            list_departed,
        )

        if package in self._packages:
            raise StillInstalled(package)
        known = {one.history_table for one in self.packages}
        ledger, schema = self.ledger.table, self.settings.version_table_schema
        departed = None
        with self._reading() as connection:
            if connection is not None:
                found = list_departed(connection, known=known, ledger=ledger, schema=schema)
                departed = find_departed(package, found)
        if departed is None:
            raise UnknownPackage(package, sorted(self._packages))
        if not really:
            raise NotInstalled(departed)
        with self._runner(self._snapshot()).locked("uninstall") as (connection, _):
            write_rows(connection, departed.history_table, schema, None)
            connection.commit()
        return Run(uuid.uuid4().hex, "downgrade")

    def stamp(
        self,
        revisions: Targets = "heads",
        *,
        packages: Packages = None,
        purge: bool = False,
        with_requirements: bool = False,
        tag: str | None = None,
    ) -> tuple[StampedPackage, ...]:
        from websauna_migrate.runs.stamping import write_rows

        snapshot = self._snapshot()
        selected = self._select(packages)
        with self._runner(snapshot).locked() as (connection, read):
            before = read()
            stamped = plan_stamp(
                snapshot.graph,
                before,
                targets_for(revisions, selected, snapshot.lineages),
                purge=purge,
                with_requirements=with_requirements,
            )
            after = {name: tuple(sorted(rows)) for name, rows in stamped.items()}
            changed = tuple(
                StampedPackage(name, before[name], after[name])
                for name in sorted(after)
                if after[name] != before[name]
            )
            for one in changed:
                table = self._packages[one.package].history_table
                write_rows(connection, table, self.settings.version_table_schema, one.after)
            connection.commit()
        return changed

    def ensure_version(self, *, packages: Packages = None) -> None:
        from websauna_migrate.runs.stamping import write_rows

        snapshot = self._snapshot()
        with self._runner(snapshot).locked() as (connection, read):
            rows = read()
            for name in self._select(packages):
                table = self._packages[name].history_table
                write_rows(connection, table, self.settings.version_table_schema, rows[name])
            connection.commit()

    # Scripts

    def revision(
        self,
        message: str | None = None,
        *,
        packages: Packages = None,
        autogenerate: bool = False,
        head: str = "head",
        splice: bool = False,
        branch_label: str | None = None,
        version_path: str | None = None,
        rev_id: str | None = None,
        depends_on: str | Sequence[str] | None = None,
        requires: Sequence[str] = (),
        rename_tables: Sequence[str] = (),
        rename_columns: Sequence[str] = (),
        ask: Callable[[Any], bool] | None = None,
        full: bool = False,
    ) -> tuple[CreatedScript, ...]:
        from websauna_migrate.autogenerate import Fingerprints, Renames, ScriptWriter
        from websauna_migrate.config.template import require_editable, require_template

        renames = Renames.parse(rename_tables, rename_columns)
        if renames and not autogenerate:
            raise UsageError("A rename is written with --autogenerate alone.")
        selected = self._select(packages)
        for name in selected:
            require_editable(self._packages[name], Path(version_path) if version_path else None)
            require_template(self._packages[name])
        writer = ScriptWriter(
            packages=[self._packages[name] for name in selected],
            ownership=self.ownership,
            take_snapshot=lambda: self._snapshot(may_be_missing=selected),
            requires=requires,
            keep_types=self.settings.render_types == "keep",
            renames=renames,
            ask=ask,
            fingerprints=Fingerprints(self._cache, self.url, full=full) if autogenerate else None,
            arguments={
                "message": message,
                "head": head,
                "splice": splice,
                "branch_label": branch_label,
                "version_path": version_path,
                "rev_id": rev_id,
                "depends_on": depends_on,
            },
        )
        with PROCESS_LOCK:
            if not autogenerate:
                return writer.write(None, {})
            snapshot = self._snapshot(may_be_missing=selected)
            with self._reading() as connection:
                if connection is not None:
                    applied = self._runner(snapshot).read(connection)[0]
                    connection.rollback()
                    return writer.write(connection, applied)
            # The file of an SQLite database that was never migrated is not made by a look at it.
            with connect(make_engine(Settings(url=make_url("sqlite://")))) as empty:
                writer.fingerprints = None
                return writer.write(empty, {})

    def move_table(
        self, table: str, source: str, target: str
    ) -> tuple[CreatedScript, CreatedScript]:
        from websauna_migrate.move_writer import MoveWriter

        self._select([source, target])
        writer = MoveWriter(
            table,
            self._packages[source],
            self._packages[target],
            ownership=self.ownership,
            take_snapshot=lambda: self._snapshot(may_be_missing=[target]),
        )
        with PROCESS_LOCK:
            return writer.write()

    def merge(
        self,
        revisions: Targets,
        *,
        packages: Packages,
        message: str | None = None,
        branch_label: str | None = None,
        rev_id: str | None = None,
        splice: bool = False,
    ) -> tuple[CreatedScript, ...]:
        from alembic.util import rev_id as new_revision_id
        from alembic.util.exc import CommandError

        from websauna_migrate.autogenerate import RevisionFailed, created
        from websauna_migrate.config.template import require_editable, require_template

        selected = self._select(packages)
        if len(selected) != 1:
            raise UsageError("merge joins the heads of one package; name it with -x packages=NAME.")
        (name,) = selected
        require_editable(self._packages[name])
        require_template(self._packages[name])
        snapshot = self._snapshot()
        lineage = snapshot.lineages[name]
        heads = [
            found for target in as_targets(revisions) for found in resolve_all(lineage, target)
        ]
        if len(set(heads)) < 2:
            raise RevisionFailed(
                name,
                f'a merge needs at least two revisions, and "{" ".join(as_targets(revisions))}" '
                f"means {len(set(heads))}",
            )
        environment = snapshot.environments[name]
        try:
            script = environment.scripts.generate_revision(
                rev_id or new_revision_id(),
                message,
                refresh=True,
                head=heads,
                branch_labels=branch_label,
                splice=splice,
                config=environment.config,
                requires=(),
            )
        except CommandError as exc:
            raise RevisionFailed(name, str(exc)) from exc
        assert script is not None
        return (created(name, script),)

    # Looking

    def current(self, *, packages: Packages = None) -> tuple[PackageState, ...]:
        snapshot = self._snapshot()
        selected = self._select(packages)
        rows: Mapping[str, tuple[str, ...]] = {}
        names: Mapping[str, str] = {}
        with self._reading() as connection:
            if connection is not None:
                schema = self.settings.version_table_schema
                tables = list_tables(connection, schema)
                ours = {package.history_table for package in self.packages}
                histories = {t for t in tables if t.startswith(HISTORY_PREFIX) or t in ours}
                rows = read_rows(connection, histories, schema)
                if not histories <= ours:
                    from websauna_migrate.runs.uninstalled import dotted_names

                    names = dotted_names(connection, self.ledger.table, histories - ours)
        applied = {
            name: rows.get(package.history_table, ()) for name, package in self._packages.items()
        }
        waiting = pending(snapshot.graph, applied)
        states = [
            self._state(snapshot, name, applied[name], len(waiting.get(name, ())))
            for name in selected
        ]
        if packages is None:
            known = {package.history_table for package in self.packages}
            states += [
                PackageState(
                    package=names[table],
                    installed=False,
                    history_table=table,
                    rows=rows[table],
                    unknown=rows[table],
                )
                for table in sorted(set(rows) - known)
            ]
        return tuple(states)

    def _state(
        self, snapshot: LoadedScripts, name: str, rows: tuple[str, ...], waiting: int
    ) -> PackageState:
        lineage = snapshot.lineages[name]
        known = [row for row in rows if row in lineage]
        return PackageState(
            package=name,
            installed=True,
            history_table=self._packages[name].history_table,
            rows=rows,
            applied=tuple(lineage.revisions[row] for row in known),
            unknown=tuple(row for row in rows if row not in lineage),
            implied=tuple(
                lineage.revisions[one] for one in lineage.current(known) if one not in known
            ),
            heads=tuple(lineage.revisions[head] for head in lineage.heads),
            pending=waiting,
        )

    def heads(self, *, packages: Packages = None) -> tuple[Revision, ...]:
        snapshot = self._snapshot()
        return tuple(
            snapshot.lineages[name].revisions[head]
            for name in self._select(packages)
            for head in snapshot.lineages[name].heads
        )

    def history(
        self, rev_range: str | None = None, *, packages: Packages = None
    ) -> tuple[HistoryEntry, ...]:
        snapshot = self._snapshot()
        selected = self._select(packages)
        ordered = list(reversed(snapshot.graph.timeline(selected)))
        if rev_range is not None:
            start, colon, end = rev_range.strip().partition(":")
            if not colon or ":" in end:
                raise UsageError(
                    f'The range "{rev_range}" is not of the form [start]:[end], [start]: or :[end].'
                )
            applied = self._applied(snapshot) if "current" in (start, end) else {}
            inside = collect(
                selected,
                snapshot.lineages,
                lambda lineage: range_of(lineage, start, end, applied.get(lineage.package, ())),
            )
            ordered = [one for one in ordered if one.id in inside.get(one.package, ())]
        return tuple(self._entry(snapshot, revision) for revision in ordered)

    def entries(self, revisions: Iterable[Revision]) -> tuple[HistoryEntry, ...]:
        snapshot = self._snapshot()
        graph = snapshot.graph
        nodes = {graph.node(revision) for revision in revisions}
        ordered = sorted(nodes, key=lambda node: graph.places[node], reverse=True)
        return tuple(self._entry(snapshot, graph.revisions[node]) for node in ordered)

    def show(self, revision: str, *, packages: Packages = None) -> tuple[HistoryEntry, ...]:
        snapshot = self._snapshot()
        selected = self._select(packages)
        applied = self._applied(snapshot) if revision == "current" else {}
        found = collect(
            selected,
            snapshot.lineages,
            lambda lineage: (
                set(applied.get(lineage.package, ())) & set(lineage.ids)
                if revision == "current"
                else set(resolve_all(lineage, revision))
            ),
        )
        return tuple(
            self._entry(snapshot, snapshot.lineages[name].revisions[one])
            for name in selected
            for one in sorted(found.get(name, ()))
        )

    def check(self, *, packages: Packages = None, full: bool = False) -> CheckReport:
        from websauna_migrate.checks.checker import Checker

        return Checker(self, self._snapshot(), self._select(packages), full=full).report(
            everything=packages is None
        )

    def owner_of(self, table: Table) -> str:
        return self.ownership.owner_of(table)

    @property
    def ownership(self) -> Ownership:
        """Which package owns what of the models, as they are now."""
        from websauna_migrate.models.ownership import Ownership

        return Ownership(self.packages)

    def _entry(self, snapshot: LoadedScripts, revision: Revision) -> HistoryEntry:
        lineage = snapshot.lineages[revision.package]
        return HistoryEntry(
            revision=revision,
            labels=tuple(sorted(lineage.labels_of(revision.id))),
            children=lineage.children(revision.id),
            is_head=lineage.is_head(revision.id),
            is_effective_head=lineage.is_effective_head(revision.id),
            is_branch_point=lineage.is_branch_point(revision.id),
            is_merge_point=lineage.is_merge_point(revision.id),
            requires=tuple(
                sorted({str(edge.required) for edge in snapshot.graph.required_by(revision)})
            ),
        )

    # Helpers of the methods above

    def _linter(self) -> Callable[[Plan], LintReport]:
        """Return what finds the unsafe changes of a plan.

        :raises LintNotPossible: if the database is no PostgreSQL
        :raises SquawkMissing: if the linter is not installed
        """
        from websauna_migrate.lint.lint_errors import require_postgresql
        from websauna_migrate.lint.report import lint_plan
        from websauna_migrate.lint.squawk import find_squawk

        require_postgresql(self.url)
        program = find_squawk()

        def lint(plan: Plan) -> LintReport:
            if not plan.steps:
                return LintReport()
            with connect(self.make_engine()) as connection:
                version = connection.dialect.server_version_info or ()
            # Environments that no run uses: a script that is only looked at leaves things behind.
            snapshot = LoadedScripts(
                self.packages, self.settings, self.options, use_index=self.use_index
            )
            return lint_plan(
                snapshot,
                plan,
                program=program,
                server_version=version,
                excluded=self.settings.lint_exclude,
            )

        return lint

    @property
    def _cache(self) -> Cache:
        return Cache.of(self.settings.cache) if self.use_index else Cache(None)

    def _snapshot(self, may_be_missing: Iterable[str] = ()) -> LoadedScripts:
        held: LoadedScripts | None = getattr(self._look, "snapshot", None)
        if held is not None and not may_be_missing:
            return held
        return LoadedScripts(
            self.packages,
            self.settings,
            self.options,
            may_be_missing=may_be_missing,
            use_index=self.use_index,
        )

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Read the scripts once for all that this thread asks within the block."""
        self._look.snapshot = self._snapshot()
        try:
            yield
        finally:
            self._look.snapshot = None

    def make_engine(self) -> Engine:
        """Return a new engine of the service's own: no pool, and SQLite's DDL in transactions."""
        return make_engine(self.settings)

    def compare_options(self, package: str) -> dict[str, Any]:
        """Return the options of Alembic's ``context.configure`` that compare one package alone."""
        from websauna_migrate.autogenerate import OwnedObjects, compare_options

        owned = OwnedObjects(package, self.ownership, self._snapshot())
        return compare_options(owned, keep_types=self.settings.render_types == "keep")

    def _runner(self, snapshot: LoadedScripts, options: RunOptions | None = None) -> Runner:
        from websauna_migrate.runs.runner import Runner

        settings = self.settings
        if options is not None and options.dry_run and is_missing_file(self.url):
            # The file of an SQLite database that was never migrated is not made by a dry run.
            settings = Settings(url=make_url("sqlite://"))
        return Runner(
            make_engine=lambda: make_engine(settings),
            environments=snapshot.environments,
            ledger=lambda: self.ledger,
            settings=self.settings,
            notify=self.notify,
            subscribed=self.subscribed,
            on_wait=self.on_wait,
            on_step=self.on_step,
            options=options,
        )

    @contextmanager
    def _reading(self) -> Any:
        """Give a connection for reading, or ``None`` where an SQLite file does not exist yet."""
        if is_missing_file(self.url):
            yield None
        else:
            with connect(self.make_engine()) as connection:
                yield connection

    def _applied(self, snapshot: LoadedScripts) -> Mapping[str, tuple[str, ...]]:
        with self._reading() as connection:
            if connection is None:
                return dict.fromkeys(self._packages, ())
            return self._runner(snapshot).read(connection)[0]

    def _select(self, packages: Packages) -> tuple[str, ...]:
        """Return the names of the packages meant, sorted, each once.

        :raises UnknownPackage: for a name that is not registered
        """
        known = sorted(self._packages)
        if packages is None:
            return tuple(known)
        names = [packages] if isinstance(packages, str) else list(packages)
        for name in names:
            if name not in self._packages:
                raise UnknownPackage(name, known)
        return tuple(sorted(set(names)))

    def _run(
        self,
        direction: str,
        revision: Targets,
        packages: Packages,
        *,
        cascade: bool = False,
        options: RunOptions | None = None,
        lint: Callable[[Plan], LintReport] | None = None,
    ) -> Run:
        """Run a plan.

        :param lint: refuse a plan in which it finds something
        """
        snapshot = self._snapshot()
        checked: set[tuple[Any, ...]] = set()
        planner = self._planner(snapshot, direction, revision, packages, cascade)
        # The scripts' own faults come first: they need no database.
        _ = snapshot.graph
        if direction == "downgrade" and is_missing_file(self.url):
            return Run(uuid.uuid4().hex, direction)

        def make_plan(applied: Mapping[str, tuple[str, ...]]) -> Plan:
            plan = planner(applied)
            # A script that is broken shall be found before the first step, not between two.
            for step in plan.steps:
                prepared = snapshot.environments[step.package].prepared
                prepared.prepare(
                    step.revision, step.direction, remember=len(plan.steps) >= MANY_STEPS
                )
            steps = tuple((step.package, step.revision.id) for step in plan.steps)
            if lint is not None and steps not in checked:
                report = lint(plan)
                if not report.ok:
                    from websauna_migrate.lint.lint_errors import UnsafeChanges

                    raise UnsafeChanges(report)
                checked.add(steps)
            return plan

        if is_missing_file(self.url):
            # The file of an SQLite database is not made for a run that cannot begin.
            make_plan(dict.fromkeys(self._packages, ()))
        try:
            return self._runner(snapshot, options).run(direction, make_plan)
        finally:
            for environment in snapshot.environments.values():
                environment.save()

    def _planner(
        self,
        snapshot: LoadedScripts,
        direction: str,
        revision: Targets,
        packages: Packages,
        cascade: bool,
    ) -> Callable[[Mapping[str, tuple[str, ...]]], Plan]:
        if direction not in ("upgrade", "downgrade"):
            raise UsageError(f'The direction "{direction}" is neither "upgrade" nor "downgrade".')
        for target in as_targets(revision):
            if ":" in target:
                raise UsageError(
                    f'The range "{target}" is only understood with --sql; name one revision.'
                )
        targets = targets_for(revision, self._select(packages), snapshot.lineages)

        def make_plan(applied: Mapping[str, tuple[str, ...]]) -> Plan:
            if direction == "upgrade":
                return plan_upgrade(snapshot.graph, applied, targets)
            from websauna_migrate.planning.losses import plan_downgrade_without_loss

            return plan_downgrade_without_loss(snapshot.graph, applied, targets, cascade=cascade)

        return make_plan
