"""The linter of one call: it is looked for once, and asked for the plans of that call."""

from __future__ import annotations

from websauna_migrate.errors import UsageError
from websauna_migrate.lint.lint_errors import UnsafeChanges, require_postgresql
from websauna_migrate.lint.report import lint_plan
from websauna_migrate.lint.squawk import find_squawk
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import LintReport
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

__all__ = ["Linter"]


class Linter:
    """Finds the unsafe changes of plans."""

    def __init__(self, site: Site) -> None:
        """Look for the linter.

        :raises LintNotPossible: if the database is no PostgreSQL
        """
        require_postgresql(site.settings.require_url())
        self.site = site
        self.program = find_squawk()

    def report(self, plan: Plan) -> LintReport:
        """Return the unsafe changes of an upgrade.

        :raises UsageError: for a downgrade
        """
        if plan.direction != "upgrade":
            raise UsageError("Unsafe changes are found in upgrades; a downgrade takes things away.")
        with PROCESS_LOCK:
            return self._report(plan)

    def refuse_unsafe(self, plan: Plan) -> None:
        """Raise if a plan has an unsafe change; called within the run.

        :raises UnsafeChanges: naming each
        """
        report = self._report(plan)
        if not report.ok:
            raise UnsafeChanges(report)

    def _report(self, plan: Plan) -> LintReport:
        if not plan.steps:
            return LintReport()
        with self.site.connecting() as connection:
            version = connection.dialect.server_version_info or ()
        return lint_plan(
            # Environments that no run uses: a script that is only looked at changes them.
            self.site.loaded.again(),
            plan,
            program=self.program,
            server_version=version,
            excluded=self.site.settings.lint_exclude,
        )
