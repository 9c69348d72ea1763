"""The migration service: every capability behind one utility."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Table
from sqlalchemy.engine import URL, Connection
from zope.interface import implementer

from websauna_migrate import results
from websauna_migrate.base_errors import UsageError
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import make_engine
from websauna_migrate.database.given_connections import the_given
from websauna_migrate.interfaces import (
    Given,
    IMigrationService,
    Packages,
    Question,
    RunKeywords,
    Targets,
)
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.run_context import run_options
from websauna_migrate.runs.site import Site

# What only some of the methods need is imported there: an application that starts up waits for
# neither the ORM nor a comparison, nor for what runs a plan.
if TYPE_CHECKING:
    from typing_extensions import Unpack

    from websauna_migrate.reports.readiness import ReadinessWatch


@implementer(IMigrationService)
class MigrationService(Service):
    """The default service; the contract is on :class:`.IMigrationService`.

    Of methods, ``**given`` is ``connection`` or ``engine``, what to work on; ``**asked`` is that as
    well, and of what :meth:`upgrade` tells ``tag``, ``atomic``, ``dry_run``, ``stop``,
    ``lock_wait``, ``lock_timeout_ms``, ``lock_budget`` and ``statement_timeout_ms``.

    :param settings: what :func:`.parse_settings` read, or a function that reads it when the service
        is first used
    :param application: dotted name of the application's package, as Pyramid knows it
    :param notify: gets the events of a run; ``registry.notify``
    """

    @property
    def is_protected(self) -> bool:
        return self.settings.protected

    # Running

    def upgrade(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        fail_on_lint: bool = False,
        ignore_order: bool = False,
        plan: results.RecordedPlan | None = None,
        max_loss: int | None = None,
        **asked: Unpack[RunKeywords],
    ) -> results.Run:
        from websauna_migrate.runs.migrating import upgrade

        options, given = run_options(**asked)
        site, looks = self._complete_site(given, options.tag), []
        if fail_on_lint:
            from websauna_migrate.lint.report import Linter

            looks.append(Linter(site).refuse_unsafe)
        return upgrade(
            site,
            revision,
            packages,
            options,
            looks,
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
        **asked: Unpack[RunKeywords],
    ) -> results.Run:
        from websauna_migrate.runs.migrating import downgrade

        options, given = run_options(**asked)
        site = self.site(given=given, tag=options.tag)
        return downgrade(site, revision, packages, options, cascade=cascade)

    def undo(
        self, run: str = "last", *, cascade: bool = False, **asked: Unpack[RunKeywords]
    ) -> results.Run:
        from websauna_migrate.reports.run_log import run_to_undo
        from websauna_migrate.runs.migrating import make_undoer, run_planner

        options, given = run_options(**asked)
        site = self.site(given=given, tag=options.tag)
        planner = make_undoer(site, run_to_undo(site, run), cascade=cascade)
        return run_planner(site, "downgrade", planner, (), options)

    def plan_undo(
        self, run: str = "last", *, cascade: bool = False, **given: Unpack[Given]
    ) -> Plan:
        from websauna_migrate.reports.run_log import run_to_undo
        from websauna_migrate.runs.migrating import make_undoer

        site = self.site(given=the_given(**given))
        return make_undoer(site, run_to_undo(site, run), cascade=cascade)(site.applied())

    def repair(
        self,
        action: str | None = None,
        step: str | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        **given: Unpack[Given],
    ) -> tuple[results.InterruptedStep, ...]:
        from websauna_migrate.runs.repair import repair

        site = self.site(given=the_given(**given))
        return repair(site, action, step, stop=stop)

    def plan(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        cascade: bool = False,
        ignore_order: bool = False,
        **given: Unpack[Given],
    ) -> Plan:
        from websauna_migrate.runs.migrating import plan

        whole = self._complete_site if direction == "upgrade" else self.site
        site = whole(given=the_given(**given))
        return plan(site, direction, revision, packages, cascade=cascade, ignore_order=ignore_order)

    def losses(self, plan: Plan, **given: Unpack[Given]) -> tuple[results.Loss, ...]:
        if not plan:
            return ()
        from websauna_migrate.runs.losses import find_losses

        return find_losses(self.site(given=the_given(**given)), plan)

    def record_plan(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        ignore_order: bool = False,
        **given: Unpack[Given],
    ) -> results.RecordedPlan:
        from websauna_migrate.runs.migrating import plan
        from websauna_migrate.runs.plan_records import record_plan

        site = self._complete_site(the_given(**given))
        found = plan(site, "upgrade", revision, packages, ignore_order=ignore_order)
        return record_plan(site, found, revision, packages, ignore_order=ignore_order)

    def lint(
        self, revision: Targets = "heads", *, packages: Packages = None, plan: Plan | None = None
    ) -> results.LintReport:
        from websauna_migrate.lint.report import Linter

        linter = Linter(self.site())
        return linter.report(plan or self.plan(revision, packages=packages))

    def sql(
        self,
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        tag: str | None = None,
        plan: Plan | None = None,
        **given: Unpack[Given],
    ) -> str:
        from websauna_migrate.runs.offline import sql, sql_of_plan

        if plan is not None:
            return sql_of_plan(self.site(given=the_given(**given)), plan, tag=tag)
        return sql(self.site(), revision, packages, direction, tag=tag)

    def step_sql(self, step: Step) -> results.StepSql:
        from websauna_migrate.lint.recorded_sql import step_sql

        return step_sql(self.site(), step)

    def uninstall(
        self,
        package: str,
        *,
        cascade: bool = False,
        forget: bool = False,
        stop: Callable[[], bool] | None = None,
        **given: Unpack[Given],
    ) -> results.Run:
        from websauna_migrate.runs.uninstalling import uninstall

        site = self.site(given=the_given(**given))
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
        **given: Unpack[Given],
    ) -> tuple[results.StampedPackage, ...]:
        from websauna_migrate.runs.stamping import stamp

        site = self.site(given=the_given(**given), tag=tag)
        if verified:
            from websauna_migrate.locating.verified_stamp import stamp_verified

            return stamp_verified(site, self, revisions, packages)
        return stamp(site, revisions, packages, purge=purge, with_requirements=with_requirements)

    def locate(self, *, packages: Packages = None, **given: Unpack[Given]) -> results.Location:
        from websauna_migrate.locating.locate import locate

        site = self._complete_site(the_given(**given))
        return locate(site, self, packages)

    def drift(
        self, *, packages: Packages = None, accept: bool = False, **given: Unpack[Given]
    ) -> results.DriftReport:
        from websauna_migrate.locating.drift import accept_drift, find_drift

        site = self._complete_site(the_given(**given))
        found = find_drift(site, self, packages)
        if accept:
            accept_drift(site, packages)
        return found

    def record_who(self, *, stop: bool = False, **given: Unpack[Given]) -> None:
        from websauna_migrate.runs.change_log import record_who

        site = self.site(given=the_given(**given))
        record_who(site, stop=stop)

    def adopt(
        self,
        *,
        packages: Packages = None,
        table: str | None = None,
        keep: bool = False,
        replace_env: bool = False,
        dry_run: bool = False,
        undo: bool = False,
        **given: Unpack[Given],
    ) -> results.Adoption:
        from websauna_migrate.reworking.adopt import adopt, undo_adoption
        from websauna_migrate.reworking.findings import Wanted

        there = the_given(**given)
        selected = self.site(self._packages).select(packages)
        if undo:
            return undo_adoption(self, selected, there)
        wanted = Wanted(table, keep, replace_env)
        return adopt(self, selected, wanted, there, dry_run=dry_run)

    def ensure_version(self, *, packages: Packages = None, **given: Unpack[Given]) -> None:
        from websauna_migrate.runs.stamping import ensure_version

        ensure_version(self.site(given=the_given(**given)), packages)

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
        ask: Callable[[Question], bool | None] | None = None,
        allow_drops: bool = False,
        full: bool = False,
        prove: str | None = None,
        keep: bool = False,
        **given: Unpack[Given],
    ) -> tuple[results.CreatedScript, ...]:
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
        return new_scripts(self, packages, asked, the_given(**given))

    def move_table(
        self, table: str | Sequence[str], source: str, target: str
    ) -> tuple[results.CreatedScript, results.CreatedScript]:
        from websauna_migrate.autogenerate.write.move_writer import MoveWriter

        self.site().select([source, target])
        writer = MoveWriter(
            [table] if isinstance(table, str) else table,
            self._packages[source],
            self._packages[target],
            ownership=self.ownership,
            take_snapshot=lambda: self._snapshot(may_be_missing=[target]),
        )
        with PROCESS_LOCK.held():
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
    ) -> tuple[results.CreatedScript, ...]:
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
        rename_tables: Sequence[str] = (),
        rename_columns: Sequence[str] = (),
        allow_drops: bool = False,
        **given: Unpack[Given],
    ) -> results.Redone:
        from websauna_migrate.autogenerate.renames import Renames
        from websauna_migrate.reworking.redo import redo

        revise = functools.partial(
            self.revision,
            rename_tables=rename_tables,
            rename_columns=rename_columns,
            allow_drops=allow_drops,
            **given,
        )
        site = functools.partial(self.site_anew, the_given(**given))
        given_renames = Renames.parse(rename_tables, rename_columns)
        return redo(site, packages, revise, message, given_renames)

    def rebase(
        self,
        revision: str | None = None,
        *,
        packages: Packages = None,
        onto: str | None = None,
        downgrade: bool = False,
        **given: Unpack[Given],
    ) -> results.Rebased:
        from websauna_migrate.reworking.rebase import rebase

        site = functools.partial(self.site_anew, the_given(**given))
        return rebase(site, packages, revision, onto=onto, downgrade=downgrade)

    def squash(
        self,
        rev_range: str | None = None,
        *,
        packages: Packages = None,
        message: str | None = None,
        rev_id: str | None = None,
    ) -> results.Squashed:
        from websauna_migrate.reworking.squash.squash import squash

        return squash(self, packages, rev_range, message=message, rev_id=rev_id)

    def switch(
        self,
        revision: str | None = None,
        *,
        packages: Packages = None,
        from_ledger: bool = False,
        cascade: bool = False,
        **asked: Unpack[RunKeywords],
    ) -> results.Switched:
        from websauna_migrate.reworking.lost_scripts import TakeDown, take_down_unknown

        options, given = run_options(**asked)
        wanted = TakeDown(
            revision, from_ledger, cascade, options.dry_run, replace(options, dry_run=False)
        )
        return take_down_unknown(self, self.site().select(packages), wanted, given)

    # Looking

    def status(
        self, *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.PackageState, ...]:
        from websauna_migrate.reports.status import states

        return states(self._complete_site(the_given(**given)), packages)

    current = status

    def heads(self, *, packages: Packages = None) -> tuple[Revision, ...]:
        from websauna_migrate.reports.listings import heads

        return heads(self.site(), packages)

    def history(
        self, rev_range: str | None = None, *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.HistoryEntry, ...]:
        from websauna_migrate.reports.listings import history

        return history(self.site(given=the_given(**given)), rev_range, packages)

    def entries(self, revisions: Iterable[Revision]) -> tuple[results.HistoryEntry, ...]:
        from websauna_migrate.reports.listings import entries

        return entries(self.site(), revisions)

    def show(self, revision: str, *, packages: Packages = None) -> tuple[results.HistoryEntry, ...]:
        from websauna_migrate.reports.listings import show

        return show(self.site(), revision, packages)

    def readiness(self, **given: Unpack[Given]) -> results.Readiness:
        from websauna_migrate.reports.readiness import look

        return look(self.site(given=the_given(**given)))

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
        self, wanted: results.LogFilter | None = None, **given: Unpack[Given]
    ) -> tuple[results.LedgerRun, ...]:
        from websauna_migrate.reports.run_log import runs_of

        return runs_of(self.site(given=the_given(**given)), wanted or results.LogFilter())

    def find_run(self, name: str, **given: Unpack[Given]) -> results.LedgerRun:
        from websauna_migrate.reports.run_log import find_run

        return find_run(self.site(given=the_given(**given)), name)

    def graph(
        self,
        *,
        packages: Packages = None,
        around: str | None = None,
        distance: int = 4,
        table: str | None = None,
        fold: bool = True,
    ) -> results.GraphView:
        from websauna_migrate.reports.graph_view import view

        site = self.site()
        return view(site, packages, around=around, distance=distance, table=table, fold=fold)

    def check(
        self,
        *,
        packages: Packages = None,
        full: bool = False,
        fresh: bool = False,
        **given: Unpack[Given],
    ) -> results.CheckReport:
        ignore_full(full)
        there = the_given(**given)
        if fresh:
            if there is not None:
                raise UsageError("check(fresh=True) makes a database of its own: give none.")
            from websauna_migrate.replay.fresh import check_fresh

            return check_fresh(self, packages)
        from websauna_migrate.reports.check import check

        return check(self._complete_site(there), self.ownership, packages)

    def verify(
        self, *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.Verification, ...]:
        from websauna_migrate.reports.verification import verify

        return verify(self.site(given=the_given(**given)), packages)

    def without_scripts(self, *, packages: Packages = None) -> tuple[str, ...]:
        from websauna_migrate.reports.table_problems import without_scripts

        return without_scripts(self.site(self._packages), self.ownership, packages)

    def races(
        self, *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.CheckProblem, ...]:
        if len(self.packages) < 2:
            return ()
        from websauna_migrate.reports.race_report import races

        return races(self.site(given=the_given(**given)), packages)

    def owner_of(self, table: Table) -> str:
        return self.ownership.owner_of(table)

    def link_foreign_keys(self) -> None:
        """Let foreign keys name tables of other packages' ``MetaData`` by strings.

        Called when the application's configuration ends, before relationships look for them.
        """
        from websauna_migrate.models.table_order import link_foreign_keys

        metadata = [one for package in self.packages for one in package.metadata]
        link_foreign_keys(metadata, lambda found: self.ownership.true_definition(found))

    # Helpers of the methods above

    def at(self, url: URL) -> MigrationService:
        """Return a service of the same packages for another database, which tells no subscriber."""
        settings = replace(self.settings, url=url, home=self.settings.home or self.settings.url)
        return self._alike(settings, self.packages)

    def with_changes(
        self, settings: Settings, packages: Sequence[MigrationPackage]
    ) -> MigrationService:
        """Return a service with other settings and packages, which tells the same subscribers."""
        other = self._alike(settings, packages)
        other.notify, other.on_wait, other.on_step = self.notify, self.on_wait, self.on_step
        return other

    def _alike(self, settings: Settings, packages: Sequence[MigrationPackage]) -> MigrationService:
        other = MigrationService(settings, application=self.root_package)
        other.options, other.use_index = self.options, self.use_index
        for package in packages:
            other.add_package(package)
        return other

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

    def compare_options(self, package: str) -> dict[str, object]:
        """Return the options of Alembic's ``context.configure`` that compare one package alone."""
        from websauna_migrate.autogenerate.comparison import compare_options
        from websauna_migrate.autogenerate.package_objects import PackageObjects

        owned = PackageObjects(package, self.ownership, self._snapshot())
        keep = self.settings.render_types == "keep"
        databases = self.settings.databases_of(package)
        return compare_options(owned, keep_types=keep, databases=databases)


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
