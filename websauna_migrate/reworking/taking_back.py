"""Taking revisions back so that their scripts can be changed; never where rows would be lost."""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.planning.plan import DowngradeRefused
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import Run
from websauna_migrate.runs.losses import LossRefused, find_losses
from websauna_migrate.runs.migrating import make_taker, run_planner
from websauna_migrate.runs.site import Site


def applied_of(site: Site, revisions: Sequence[Revision]) -> tuple[Revision, ...]:
    """Return those of one package's revisions that are applied."""
    if not revisions:
        return ()
    package = revisions[0].package
    applied = site.loaded.histories[package].applied(site.applied()[package])
    return tuple(one for one in revisions if one.id in applied)


def take_back(site: Site, revisions: Sequence[Revision], reason: str, remedy: str) -> Run | None:
    """Take back those of some revisions that are applied, and nothing else.

    :param reason: why, for the plan
    :param remedy: what to do where that is refused
    :returns: the run; ``None`` if none is applied
    :raises LossRefused: if rows or values would be lost, with their number
    :raises DowngradeRefused: if other applied revisions stand on them
    """
    if not applied_of(site, revisions):
        return None
    planner = make_taker(site, [(one.package, one.id) for one in revisions], reason)

    def refuse(plan: Plan) -> None:
        if found := tuple(loss for loss in find_losses(site, plan) if loss.is_loss):
            raise LossRefused(found, remedy=remedy)

    try:
        return run_planner(site, "downgrade", planner, (), None, [refuse])
    except DowngradeRefused as exc:
        # The oldest of each package is the last.
        last = {one.package: one for one in exc.dependents}
        first = [f"ws-alembic -x packages={name} downgrade {below(last[name])}" for name in last]
        others = f"Take these back first: {', '.join(first)}" if first else remedy
        dependents = [*zip(exc.dependents, exc.reasons, strict=True)]
        raise DowngradeRefused(dependents, exc.losses, exc.drops, others) from exc


def below(revision: Revision) -> str:
    """Return what a downgrade that takes a revision back is told to end at."""
    return revision.down_revisions[0] if revision.down_revisions else "base"
