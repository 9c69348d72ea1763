"""The migration service: every capability behind one utility."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Table
from sqlalchemy.engine import URL, Connection
from zope.interface import implementer

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.package_environment import AlembicOptions
from websauna_migrate.base_errors import UsageError
from websauna_migrate.config.packages import MigrationPackage, refuse_conflict
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import make_engine
from websauna_migrate.database.given_connections import the_given
from websauna_migrate.interfaces import IMigrationService, Packages, Question, Targets
from websauna_migrate.planning.plan import Plan
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Step
from websauna_migrate.results import (
    Adoption,
    CheckProblem,
    CheckReport,
    CreatedScript,
    DriftReport,
    GraphView,
    HistoryEntry,
    InterruptedStep,
    LedgerRun,
    LintReport,
    Location,
    LogFilter,
    Loss,
    PackageState,
    Readiness,
    Rebased,
    RecordedPlan,
    Redone,
    Run,
    Squashed,
    StampedPackage,
    StepSql,
    Switched,
    Verification,
)
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Hooks, Site

# What only some of the methods need is imported there: an application that starts up waits for
# neither the ORM nor a comparison, nor for what runs a plan.
if TYPE_CHECKING:
    from argparse import Namespace

    from websauna_migrate.events import MigrationStepApplied
    from websauna_migrate.lint.report import Linter
    from websauna_migrate.models.ownership import Ownership
    from websauna_migrate.reports.readiness import ReadinessWatch
    from websauna_migrate.runs.ledger import Ledger

__all__ = ["MigrationService"]


@implementer(IMigrationService)
class MigrationService:
    """The default service; the contract is on :class:`.IMigrationService`.

    :param settings: what :func:`.parse_settings` read, or a function that reads it when the service
        is first used
    :param application: dotted name of the application's package, as Pyramid knows it
    :param notify: gets the events of a run; ``registry.notify``
    """

    def __init__(
        self,
        settings: Settings | Callable[[], Settings],
        *,
        application: str | None = None,
        notify: Callable[[object], None] = lambda event: None,
    ) -> None:
        self._read_settings = settings if callable(settings) else lambda: settings
        self.root_package = application
        self.notify = notify
        self.options = AlembicOptions()
        #: Told in words when a run has to wait for another one.
        self.on_wait: Callable[[str], None] | None = None
        #: Told of each step that was applied, before the next one begins.
        self.on_step: Callable[[MigrationStepApplied], None] | None = None
        #: Read scripts from their text and remember it; else import every script.
        self.use_index = True
        #: In a thread, the scripts as :meth:`one_look` saw them.
        self._look = threading.local()
        #: What the newest of them has read.
        self._looked: LoadedScripts | None = None
        self._packages: dict[str, MigrationPackage] = {}
        #: What the packages' ``env.py`` set on their connections, and for which of them.
        self._known_session: tuple[object, Mapping[str, str]] | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        """What the service is configured with."""
        return self._read_settings()

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
        root = self.settings.package or self.root_package
        candidates = [
            name for name in self._packages if root == name or (root or "").startswith(name + ".")
        ]
        return max(candidates, key=len, default=None)

    @property
    def url(self) -> URL:
        return self.settings.require_url()

    @property
    def is_protected(self) -> bool:
        return self.settings.protected

    def add_package(self, package: MigrationPackage) -> None:
        """Register a package.

        :raises ConfigurationError: if it is registered already, or shares its history table or its
            script directory with another package
        """
        refuse_conflict(package, self._packages.values())
        self._packages[package.name] = package

    def use_ini(
        self,
        path: str | None,
        sections: Mapping[str, Mapping[str, str]],
        main_section: str = "alembic",
        cmd_opts: Namespace | None = None,
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
        ignore_order: bool = False,
        plan: RecordedPlan | None = None,
        max_loss: int | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Run:
        from websauna_migrate.runs.migrating import upgrade
        from websauna_migrate.runs.run_context import RunOptions, limits_of

        limits = limits_of(lock_timeout_ms, lock_budget, statement_timeout_ms)
        options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
        site = self._complete_site(the_given(connection, engine), tag)
        return upgrade(
            site,
            revision,
            packages,
            options,
            [self._linter(site).refuse_unsafe] if fail_on_lint else [],
            ignore_order=ignore_order,
            recorded=plan,
            max_loss=max_loss,
        )

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
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Run:
        from websauna_migrate.runs.migrating import downgrade
        from websauna_migrate.runs.run_context import RunOptions, limits_of

        limits = limits_of(lock_timeout_ms, lock_budget, statement_timeout_ms)
        options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
        site = self.site(given=the_given(connection, engine), tag=tag)
        return downgrade(site, revision, packages, options, cascade=cascade)

    def undo(
        self,
        run: str = "last",
        *,
        cascade: bool = False,
        tag: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
        lock_wait: float | None = None,
        lock_timeout_ms: int | None = None,
        lock_budget: float | None = None,
        statement_timeout_ms: int | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Run:
        from websauna_migrate.reports.run_log import run_to_undo
        from websauna_migrate.runs.migrating import make_undoer, run_planner
        from websauna_migrate.runs.run_context import RunOptions, limits_of

        limits = limits_of(lock_timeout_ms, lock_budget, statement_timeout_ms)
        options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
        site = self.site(given=the_given(connection, engine), tag=tag)
        planner = make_undoer(site, run_to_undo(site, run), cascade=cascade)
        return run_planner(site, "downgrade", planner, (), options)

    def plan_undo(
        self,
        run: str = "last",
        *,
        cascade: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Plan:
        from websauna_migrate.reports.run_log import run_to_undo
        from websauna_migrate.runs.migrating import make_undoer

        site = self.site(given=the_given(connection, engine))
        return make_undoer(site, run_to_undo(site, run), cascade=cascade)(site.applied())

    def repair(
        self,
        action: str | None = None,
        step: str | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[InterruptedStep, ...]:
        from websauna_migrate.runs.repair import repair

        site = self.site(given=the_given(connection, engine))
        return repair(site, action, step, stop=stop)

    def plan(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        cascade: bool = False,
        ignore_order: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Plan:
        from websauna_migrate.runs.migrating import plan

        given = the_given(connection, engine)
        site = self._complete_site(given) if direction == "upgrade" else self.site(given=given)
        return plan(site, direction, revision, packages, cascade=cascade, ignore_order=ignore_order)

    def losses(
        self,
        plan: Plan,
        *,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[Loss, ...]:
        if not plan:
            return ()
        from websauna_migrate.runs.losses import find_losses

        return find_losses(self.site(given=the_given(connection, engine)), plan)

    def record_plan(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        ignore_order: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> RecordedPlan:
        from websauna_migrate.runs.migrating import plan
        from websauna_migrate.runs.plan_records import record_plan

        site = self._complete_site(the_given(connection, engine))
        found = plan(site, "upgrade", revision, packages, ignore_order=ignore_order)
        return record_plan(site, found, revision, packages, ignore_order=ignore_order)

    def lint(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        plan: Plan | None = None,
    ) -> LintReport:
        linter = self._linter(self.site())
        return linter.report(plan or self.plan(revision, packages=packages))

    def sql(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        tag: str | None = None,
        plan: Plan | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> str:
        from websauna_migrate.runs.offline import sql, sql_of_plan

        if plan is not None:
            return sql_of_plan(self.site(given=the_given(connection, engine)), plan, tag=tag)
        return sql(self.site(), revision, packages, direction, tag=tag)

    def step_sql(self, step: Step) -> StepSql:
        from websauna_migrate.lint.recorded_sql import step_sql

        return step_sql(self.site(), step)

    def uninstall(
        self,
        package: str,
        *,
        cascade: bool = False,
        forget: bool = False,
        stop: Callable[[], bool] | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Run:
        from websauna_migrate.runs.uninstalling import uninstall

        site = self.site(given=the_given(connection, engine))
        return uninstall(site, package, cascade=cascade, forget=forget, stop=stop)

    def stamp(
        self,
        revisions: Targets = "heads",
        *,
        packages: Packages = None,
        purge: bool = False,
        with_requirements: bool = False,
        verified: bool = False,
        tag: str | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[StampedPackage, ...]:
        from websauna_migrate.runs.stamping import stamp

        site = self.site(given=the_given(connection, engine), tag=tag)
        if verified:
            from websauna_migrate.locating.verified_stamp import stamp_verified

            return stamp_verified(site, self.ownership, revisions, packages, self.at)
        return stamp(site, revisions, packages, purge=purge, with_requirements=with_requirements)

    def locate(
        self,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Location:
        from websauna_migrate.locating.locate import locate

        site = self._complete_site(the_given(connection, engine))
        return locate(site, self.ownership, packages, self.at)

    def drift(
        self,
        *,
        packages: Packages = None,
        accept: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> DriftReport:
        from websauna_migrate.locating.drift import accept_drift, find_drift

        site = self._complete_site(the_given(connection, engine))
        found = find_drift(site, self.ownership, packages, self.at)
        if accept:
            accept_drift(site, packages)
        return found

    def record_who(
        self,
        *,
        stop: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> None:
        from websauna_migrate.runs.change_log import record_who, stop_recording

        site = self.site(given=the_given(connection, engine))
        (stop_recording if stop else record_who)(site)

    def adopt(
        self,
        *,
        packages: Packages = None,
        table: str | None = None,
        keep: bool = False,
        replace_env: bool = False,
        dry_run: bool = False,
        undo: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Adoption:
        from websauna_migrate.reworking.adopt import adopt, undo_adoption
        from websauna_migrate.reworking.findings import Wanted

        given = the_given(connection, engine)
        selected = self.site(self._packages).select(packages)
        if undo:
            return undo_adoption(self, selected, given)
        wanted = Wanted(table, keep, replace_env)
        return adopt(self, selected, wanted, given, dry_run=dry_run)

    def ensure_version(
        self,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> None:
        from websauna_migrate.runs.stamping import ensure_version

        ensure_version(self.site(given=the_given(connection, engine)), packages)

    # Scripts

    def init(self, *, packages: Packages = None) -> tuple[str, ...]:
        from websauna_migrate.config.template import complete_script_directory

        chosen = [self._packages[name] for name in self.site().select(packages)]
        return tuple(str(path) for one in chosen for path in complete_script_directory(one))

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
        ask: Callable[[Question], bool] | None = None,
        allow_drops: bool = False,
        full: bool = False,
        prove: str | None = None,
        keep: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[CreatedScript, ...]:
        from websauna_migrate.proving.new_scripts import Asked, new_scripts

        ignore_full(full)
        alembic: dict[str, object] = {
            "message": message,
            "head": head,
            "splice": splice,
            "rev_id": rev_id,
            "branch_label": branch_label,
            "version_path": version_path,
            "depends_on": depends_on,
        }
        renames = (rename_tables, rename_columns)
        asked = Asked(alembic, autogenerate, requires, *renames, ask, allow_drops, prove, keep)
        return new_scripts(self, packages, asked, the_given(connection, engine))

    def move_table(
        self, table: str | Sequence[str], source: str, target: str
    ) -> tuple[CreatedScript, CreatedScript]:
        from websauna_migrate.autogenerate import MoveWriter

        self.site().select([source, target])
        writer = MoveWriter(
            [table] if isinstance(table, str) else table,
            self._packages[source],
            self._packages[target],
            ownership=self.ownership,
            take_snapshot=lambda: self._snapshot(may_be_missing=[target]),
        )
        with PROCESS_LOCK:
            return writer.write(application=self.application)

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
        from websauna_migrate.autogenerate.write.merge import write_merge

        script = write_merge(
            self.site(),
            revisions,
            packages,
            message=message,
            branch_label=branch_label,
            rev_id=rev_id,
            splice=splice,
        )
        return (script,)

    def redo(
        self,
        message: str | None = None,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Redone:
        from websauna_migrate.reworking.redo import redo

        revise = functools.partial(self.revision, connection=connection, engine=engine)
        site = functools.partial(self.site_anew, the_given(connection, engine))
        return redo(site, packages, revise, message)

    def rebase(
        self,
        revision: str | None = None,
        *,
        packages: Packages = None,
        onto: str | None = None,
        downgrade: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Rebased:
        from websauna_migrate.reworking.rebase import rebase

        given = the_given(connection, engine)
        site = functools.partial(self.site_anew, given)
        return rebase(site, packages, revision, onto=onto, downgrade=downgrade)

    def squash(
        self,
        rev_range: str | None = None,
        *,
        packages: Packages = None,
        message: str | None = None,
        rev_id: str | None = None,
    ) -> Squashed:
        from websauna_migrate.reworking.squash.squash import squash

        return squash(self, packages, rev_range, message=message, rev_id=rev_id)

    def switch(
        self,
        revision: str | None = None,
        *,
        packages: Packages = None,
        from_ledger: bool = False,
        cascade: bool = False,
        tag: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
        lock_wait: float | None = None,
        lock_timeout_ms: int | None = None,
        lock_budget: float | None = None,
        statement_timeout_ms: int | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Switched:
        from websauna_migrate.reworking.lost_scripts import TakeDown, take_down_unknown
        from websauna_migrate.runs.run_context import RunOptions, limits_of

        given = the_given(connection, engine)
        selected = self.site().select(packages)
        limits = limits_of(lock_timeout_ms, lock_budget, statement_timeout_ms)
        options = RunOptions(tag, atomic, False, stop, lock_wait, limits)
        asked = TakeDown(revision, from_ledger, cascade, dry_run, options)
        return take_down_unknown(self, selected, asked, given)

    # Looking

    def status(
        self,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[PackageState, ...]:
        from websauna_migrate.reports.status import states

        return states(self._complete_site(the_given(connection, engine)), packages)

    current = status

    def heads(self, *, packages: Packages = None) -> tuple[Revision, ...]:
        from websauna_migrate.reports.listings import heads

        return heads(self.site(), packages)

    def history(
        self,
        rev_range: str | None = None,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[HistoryEntry, ...]:
        from websauna_migrate.reports.listings import history

        return history(self.site(given=the_given(connection, engine)), rev_range, packages)

    def entries(self, revisions: Iterable[Revision]) -> tuple[HistoryEntry, ...]:
        from websauna_migrate.reports.listings import entries

        return entries(self.site(), revisions)

    def show(self, revision: str, *, packages: Packages = None) -> tuple[HistoryEntry, ...]:
        from websauna_migrate.reports.listings import show

        return show(self.site(), revision, packages)

    def readiness(
        self,
        *,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> Readiness:
        from websauna_migrate.reports.readiness import look

        return look(self.site(given=the_given(connection, engine)))

    def watch_readiness(self) -> ReadinessWatch:
        from websauna_migrate.reports.readiness import ReadinessWatch

        return ReadinessWatch(
            self.site,
            # A probe is not to wait for a server that is still starting.
            lambda: make_engine(
                self.url, self.settings.engine_options, session=self._session(), keeps_one=True
            ),
        )

    def log(
        self,
        wanted: LogFilter | None = None,
        *,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[LedgerRun, ...]:
        from websauna_migrate.reports.run_log import runs_of

        return runs_of(self.site(given=the_given(connection, engine)), wanted or LogFilter())

    def find_run(
        self,
        name: str,
        *,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> LedgerRun:
        from websauna_migrate.reports.run_log import find_run

        return find_run(self.site(given=the_given(connection, engine)), name)

    def graph(
        self,
        *,
        packages: Packages = None,
        around: str | None = None,
        distance: int = 4,
        table: str | None = None,
        fold: bool = True,
    ) -> GraphView:
        from websauna_migrate.reports.graph_view import view

        site = self.site()
        return view(site, packages, around=around, distance=distance, table=table, fold=fold)

    def check(
        self,
        *,
        packages: Packages = None,
        full: bool = False,
        fresh: bool = False,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> CheckReport:
        ignore_full(full)
        given = the_given(connection, engine)
        if fresh:
            if given is not None:
                raise UsageError("check(fresh=True) makes a database of its own: give none.")
            from websauna_migrate.replay.fresh import check_fresh

            return check_fresh(self, packages)
        from websauna_migrate.reports.check import check

        return check(self._complete_site(given), self.ownership, packages)

    def verify(
        self,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[Verification, ...]:
        from websauna_migrate.reports.verification import verify

        return verify(self.site(given=the_given(connection, engine)), packages)

    def without_scripts(self, *, packages: Packages = None) -> tuple[str, ...]:
        from websauna_migrate.reports.table_problems import own_tables

        site, ownership = self.site(self._packages), self.ownership
        return tuple(
            name
            for name in site.select(packages)
            if not site.loaded.histories[name].ids and own_tables(site.loaded, ownership, name)
        )

    def races(
        self,
        *,
        packages: Packages = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> tuple[CheckProblem, ...]:
        if len(self.packages) < 2:
            return ()
        from websauna_migrate.reports.race_report import races

        return races(self.site(given=the_given(connection, engine)), packages)

    def owner_of(self, table: Table) -> str:
        return self.ownership.owner_of(table)

    @property
    def ownership(self) -> Ownership:
        """Which package owns what of the models, as they are now."""
        from websauna_migrate.models.ownership import Ownership

        return Ownership(self.packages)

    def link_foreign_keys(self) -> None:
        """Let foreign keys name tables of other packages' ``MetaData`` by strings.

        Called when the application's configuration ends, before relationships look for them.
        """
        from websauna_migrate.models.foreign_key_links import link_foreign_keys

        metadata = [one for package in self.packages for one in package.metadata]
        link_foreign_keys(metadata, lambda found: self.ownership.true_definition(found))

    # Helpers of the methods above

    def at(self, url: URL) -> MigrationService:
        """Return a service of the same packages for another database, which tells no subscriber."""
        settings = replace(self.settings, url=url, home=self.settings.home or self.settings.url)
        other = MigrationService(settings, application=self.root_package)
        other.options, other.use_index = self.options, self.use_index
        for package in self.packages:
            other.add_package(package)
        return other

    def with_changes(
        self, settings: Settings, packages: Sequence[MigrationPackage]
    ) -> MigrationService:
        """Return a service with other settings and packages, which tells the same subscribers."""
        other = MigrationService(settings, application=self.root_package, notify=self.notify)
        other.options, other.use_index = self.options, self.use_index
        other.on_wait, other.on_step = self.on_wait, self.on_step
        for package in packages:
            other.add_package(package)
        return other

    def _linter(self, site: Site) -> Linter:
        """Return what finds the unsafe changes of plans.

        :raises LintNotPossible: if the database is no PostgreSQL, or squawk is not installed or
            fails
        """
        from websauna_migrate.lint.report import Linter

        return Linter(site)

    def _complete_site(
        self, given: Connection | Engine | None = None, tag: str | None = None
    ) -> Site:
        """Return what a call works on, if no package's wheel left its scripts out.

        :raises ScriptDirectoryError: naming the package
        """
        site = self.site(given=given, tag=tag)
        found = site.loaded.histories
        without = [site.packages[name] for name, history in found.items() if not len(history)]
        if without:
            from websauna_migrate.config.packages import require_scripts

            require_scripts(without, found, lambda name: self.ownership.tables_of(name))
        return site

    def _snapshot(
        self, may_be_missing: Iterable[str] = (), settings: Settings | None = None
    ) -> LoadedScripts:
        held: LoadedScripts | None = getattr(self._look, "snapshot", None)
        same = settings is None or (held is not None and settings.url == held.settings.url)
        if held is not None and same and not may_be_missing:
            return held
        return LoadedScripts(
            self.packages,
            settings or self.settings,
            self.options,
            may_be_missing=may_be_missing,
            use_index=self.use_index,
        )

    @contextmanager
    def one_look(self, given: Connection | Engine | None = None) -> Iterator[None]:
        """Read the scripts once for all that this thread asks within the block.

        And not again in the next one, of any thread, if no file has changed until then.

        :param given: what the calls within it are given to work on
        """
        loaded = self.site(given=given).loaded
        if self._looked is not None:
            loaded.take_over(self._looked)
        self._look.snapshot = loaded
        try:
            yield
        finally:
            self._look.snapshot = None
            self._looked = loaded

    def site_anew(self, given: Connection | Engine | None = None) -> Site:
        """Return what a call works on that changes scripts: they are read again."""
        self._look.snapshot = None
        return self.site(given=given)

    def make_engine(self, tag: str | None = None) -> Engine:
        """Return a new engine of the service's own: no pool, and SQLite's DDL in transactions.

        :param tag: for ``env.py`` scripts, as Alembic's ``--tag``
        """
        return self._make_engine(self._session(tag))

    def _make_engine(
        self, session: Mapping[str, str] | None = None, *, transactional: bool = True
    ) -> Engine:
        settings = self.settings
        return make_engine(
            self.url,
            settings.engine_options,
            connect_retries=settings.connect_retries,
            session=session,
            transactional=transactional,
        )

    def _session(self, tag: str | None = None) -> Mapping[str, str]:
        """Return what the packages' ``env.py`` set on their connections, for the service's own."""
        files = [package.script_directory / "env.py" for package in self.packages]
        stamps = [file.stat().st_mtime_ns if file.is_file() else 0 for file in files]
        # An env.py may read any variable.
        key = (self.options, tag, stamps, dict(os.environ))
        if self._known_session is None or self._known_session[0] != key:
            from websauna_migrate.runs.env_sessions import find_settings

            environments = self._snapshot(may_be_missing=self._packages).environments
            make_engine = functools.partial(self._make_engine, transactional=False)
            found = find_settings(environments, make_engine, tag)
            self._known_session = (key, found)
        return self._known_session[1]

    def compare_options(self, package: str) -> dict[str, Any]:
        """Return the options of Alembic's ``context.configure`` that compare one package alone."""
        from websauna_migrate.autogenerate import PackageObjects, compare_options

        owned = PackageObjects(package, self.ownership, self._snapshot())
        keep = self.settings.render_types == "keep"
        databases = self.settings.databases_of(package)
        return compare_options(owned, keep_types=keep, databases=databases)

    def site(
        self,
        may_be_missing: Iterable[str] = (),
        given: Connection | Engine | None = None,
        tag: str | None = None,
    ) -> Site:
        """Return what a call works on: the scripts as they are now, and the database.

        :param given: what the caller gave to work on, in place of ``sqlalchemy.url``
        :param tag: for ``env.py`` scripts, as Alembic's ``--tag``
        """
        make = self.make_engine if tag is None else functools.partial(self.make_engine, tag)
        settings = None
        if given is not None:
            settings = replace(self.settings, url=given.engine.url)
            make = functools.partial(self.at(given.engine.url).make_engine, tag)
        return Site(
            self._snapshot(may_be_missing, settings),
            settings or self.settings,
            make_engine=make,
            hooks=Hooks(self.notify, self.on_wait, self.on_step),
            ledger=lambda: self.ledger,
            given=given,
        )


def describe_methods() -> None:
    """Give each method the documentation that the interface has of it, for ``help()``."""
    for name, described in IMigrationService.namesAndDescriptions():
        own = vars(MigrationService).get(name)
        if own is not None and not own.__doc__:
            own.__doc__ = described.__doc__


describe_methods()


def ignore_full(full: bool) -> None:
    """Say that ``full=True`` has no meaning any more."""
    if full:
        warnings.warn(
            "full=True has no meaning any more: every comparison looks at all tables.",
            FutureWarning,
            stacklevel=3,
        )
