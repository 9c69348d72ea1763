"""Upgrades and downgrades: the plan that is asked for, and its run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import UsageError
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.package_targets import as_targets, targets_for
from websauna_migrate.planning.plan import plan_upgrade
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import LedgerEntry, LedgerRun, RecordedPlan, Run
from websauna_migrate.revision_scripts.script_files import refuse_unproven
from websauna_migrate.runs.other_histories import refuse_elsewhere, scripts_left_out
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import explained

#: Makes the plan from the rows of the history tables.
Planner = Callable[[Mapping[str, tuple[str, ...]]], Plan]


def make_planner(
    site: Site,
    direction: str,
    revision: Targets,
    packages: Packages,
    *,
    cascade: bool = False,
    ignore_order: bool = False,
) -> Planner:
    """Return a function that plans what is asked for.

    :param direction: ``"upgrade"`` or ``"downgrade"``
    :param ignore_order: plan a step too that conflicts with a pending revision which was written
        before it and is not part of the plan
    :raises UsageError: for another direction, and for a range
    """
    if direction not in ("upgrade", "downgrade"):
        raise UsageError(f'The direction "{direction}" is neither "upgrade" nor "downgrade".')
    for target in as_targets(revision):
        if ":" in target:
            raise UsageError(
                f'The range "{target}" is only understood with --sql; name one revision.'
            )
    loaded = site.loaded
    targets = targets_for(revision, site.select(packages), loaded.histories)
    if direction == "downgrade":
        from websauna_migrate.revision_scripts.moved_tables import plan_downgrade_without_loss

        return partial(plan_downgrade_without_loss, loaded.graph, targets=targets, cascade=cascade)

    def plan(applied: Mapping[str, tuple[str, ...]]) -> Plan:
        conflicts = None if ignore_order else loaded.conflict
        found = plan_upgrade(loaded.graph, applied, targets, conflicts=conflicts)
        refuse_unproven(found)
        return found

    return plan


def upgrade(
    site: Site,
    revision: Targets,
    packages: Packages,
    options: RunOptions | None = None,
    inspect: Sequence[Callable[[Plan], None]] = (),
    *,
    ignore_order: bool = False,
    recorded: RecordedPlan | None = None,
    max_loss: int | None = None,
) -> Run:
    """Plan an upgrade under the lock, and run the plan; else as :func:`run_planner`.

    :param recorded: the plan that has to be the one that runs; it says what is asked for
    :param max_loss: how many rows or values may be lost at the most
    """
    looks = [*inspect]
    if recorded is not None:
        from websauna_migrate.runs.plan_records import refuse_missing, refuse_outdated

        refuse_missing(site, recorded)
        revision, packages = recorded.targets, recorded.packages
        ignore_order = recorded.ignore_order
        looks.append(partial(refuse_outdated, site, recorded))
    if max_loss is not None:
        from websauna_migrate.runs.losses import refuse_losses

        looks.append(partial(refuse_losses, site, max_loss))
    planner = make_planner(site, "upgrade", revision, packages, ignore_order=ignore_order)
    return run_planner(site, "upgrade", planner, site.select(packages), options, looks)


def downgrade(
    site: Site, revision: Targets, packages: Packages, options: RunOptions, *, cascade: bool
) -> Run:
    """Plan a downgrade under the lock, and run the plan."""
    planner = make_planner(site, "downgrade", revision, packages, cascade=cascade)
    return run_planner(site, "downgrade", planner, site.select(packages), options)


def plan(
    site: Site,
    direction: str,
    revision: Targets,
    packages: Packages,
    *,
    cascade: bool = False,
    ignore_order: bool = False,
) -> Plan:
    """Return the plan of what is asked for; parameters as for :func:`make_planner`."""
    planner = make_planner(
        site, direction, revision, packages, cascade=cascade, ignore_order=ignore_order
    )
    with explained(site):
        applied = site.applied()
        found = planner(applied)
        names = {*site.select(packages), *found.packages}
        if not all(applied[name] for name in names):
            with site.reading() as connection:
                if connection is not None:
                    refuse_elsewhere(site, connection, applied, names)
        return found


def make_undoer(site: Site, run: LedgerRun, *, cascade: bool = False) -> Planner:
    """Return a function that plans to take back what a run applied.

    :raises UsageError: if it applied nothing, or revisions that no script defines any more
    """
    steps = [(step.package, step.revision) for step in run.steps if is_applied_by(step)]
    if not steps:
        raise UsageError(f'The run "{run.id}" applied no revision: there is nothing to take back.')
    histories = site.loaded.histories
    lost = [
        f"{package}@{revision}"
        for package, revision in steps
        if package not in histories or revision not in histories[package]
    ]
    if lost:
        raise UsageError(
            f'The run "{run.id}" applied revisions that no script defines any more: '
            f"{', '.join(lost)}. Restore the scripts, or install the package again."
        )
    return make_taker(site, steps, f"run {run.id}", cascade=cascade)


def make_taker(
    site: Site, revisions: Collection[tuple[str, str]], reason: str, *, cascade: bool = False
) -> Planner:
    """Return a function that plans to take back some revisions, as far as they are applied.

    :param revisions: package and identifier of each
    :param reason: why, for the plan
    """
    from websauna_migrate.revision_scripts.moved_tables import plan_undo_without_loss

    return partial(
        plan_undo_without_loss,
        site.loaded.graph,
        revisions=revisions,
        reason=reason,
        cascade=cascade,
    )


def is_applied_by(step: LedgerEntry) -> bool:
    """True if a row of the ledger says that a revision was applied."""
    return step.direction == "upgrade" and step.outcome == "done"


def run_steps(site: Site, steps: Collection[Step]) -> None:
    """Run steps of one direction that were planned for a database that nothing else changes."""
    if steps:
        plan = Plan(tuple(steps), next(iter(steps)).direction)
        for step in steps:
            site.loaded.environments[step.package].reader.imported(step.revision)
        Runner(site).run(plan.direction, lambda applied: plan)


def run_planner(
    site: Site,
    direction: str,
    planner: Planner,
    selected: Sequence[str],
    options: RunOptions | None = None,
    inspect: Sequence[Callable[[Plan], None]] = (),
) -> Run:
    """Plan under the lock, and run the plan.

    :param selected: packages whose histories may not stand in other tables, besides the plan's
    :param inspect: functions that get each plan that has other steps or rows than those
        before; they raise to refuse it
    """
    loaded = site.loaded
    inspected: set[tuple[object, ...]] = set()
    # The scripts' own faults come first: they need no database.
    _ = loaded.graph
    if direction == "downgrade" and not site.has_database:
        return Run(uuid.uuid4().hex, direction)

    def make_plan(applied: Mapping[str, tuple[str, ...]]) -> Plan:
        plan = planner(applied)
        if direction == "upgrade":
            kind = site.settings.require_url().get_backend_name()
            site.settings.require_database(plan.packages, kind)
        # A script that is broken shall be found before the first step, not between two.
        for step in plan.steps:
            loaded.environments[step.package].reader.imported(step.revision)
        steps = tuple((s.package, s.revision.id, s.rows_before) for s in plan.steps)
        if steps not in inspected:
            for look in inspect:
                look(plan)
            inspected.add(steps)
        return plan

    if not site.has_database:
        # The file of an SQLite database is not made for a run that cannot begin.
        make_plan(dict.fromkeys(site.packages, ()))

    def refuse(connection: Connection, applied: Mapping[str, tuple[str, ...]], plan: Plan) -> None:
        refuse_elsewhere(site, connection, applied, {*selected, *plan.packages})
        here = (connection.dialect.default_schema_name,)
        for name in plan.packages:
            named = site.named_histories().get(name, {})
            loaded.environments[name].refuse_other_history(named, here)

    with explained(site):
        runner = Runner(site, options, refuse)
        run = runner.run(direction, make_plan)
    if direction == "upgrade" and not run.steps:
        for line in scripts_left_out(site, selected):
            runner.tell(line)
    return run
