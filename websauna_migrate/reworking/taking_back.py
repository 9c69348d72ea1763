"""Taking revisions back so that their scripts can be changed; never where rows would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from websauna_migrate.planning.plan import Plan
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import Run
from websauna_migrate.revision_scripts.moved_tables import plan_undo_without_loss
from websauna_migrate.runs.losses import LossRefused, find_losses
from websauna_migrate.runs.migrating import run_planner
from websauna_migrate.runs.site import Site

__all__ = ["applied_of", "take_back"]

REMEDY = (
    "Leave the script as it is and write a further revision, or take it back yourself: ws-alembic "
    "downgrade"
)


def applied_of(site: Site, revisions: Sequence[Revision]) -> tuple[Revision, ...]:
    """Return those of one package's revisions that are applied."""
    if not revisions:
        return ()
    package = revisions[0].package
    applied = site.loaded.histories[package].applied(site.applied()[package])
    return tuple(one for one in revisions if one.id in applied)


def take_back(site: Site, revisions: Sequence[Revision], reason: str) -> Run | None:
    """Take back those of some revisions that are applied, and nothing else.

    :param reason: why, for the plan
    :returns: the run; ``None`` if none is applied
    :raises LossRefused: if rows or values would be lost, with their number
    :raises DowngradeRefused: if other applied revisions stand on them
    """
    if not applied_of(site, revisions):
        return None
    wanted = [(one.package, one.id) for one in revisions]

    def planner(applied: Mapping[str, tuple[str, ...]]) -> Plan:
        return plan_undo_without_loss(site.loaded.graph, applied, wanted, reason=reason)

    def refuse(plan: Plan) -> None:
        if found := tuple(loss for loss in find_losses(site, plan) if loss.is_loss):
            raise LossRefused(found, remedy=REMEDY)

    return run_planner(site, "downgrade", planner, (), None, [refuse])
