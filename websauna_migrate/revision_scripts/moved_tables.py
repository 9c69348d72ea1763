"""What a downgrade would lose: tables that belong to another package than the one going down.

After a move the scripts of the former owner still create the table, and their downgrade drops it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from websauna_migrate.planning.accesses import Key, split_name
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import DowngradeRefused, plan_downgrade, plan_undo
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.state import Applied, Targets
from websauna_migrate.planning.steps import Plan
from websauna_migrate.revision_scripts.script_files import script_text


@dataclass(frozen=True, slots=True)
class Loss:
    """A table, or a column of one, that a downgrade of its former package would drop.

    :ivar table: as the script names it
    :ivar given: the revision that gave it away
    :ivar receiver: the package that has it now
    :ivar dropped: the revision whose downgrade drops it
    :ivar column: the column, ``None`` where the whole table goes
    """

    table: str
    given: Revision
    receiver: str
    dropped: Revision
    column: str | None = None

    def __str__(self) -> str:
        """Return the fact as a clause."""
        what = (
            f'table "{self.table}" with its rows'
            if self.column is None
            else f'column "{self.column}" of table "{self.table}"'
        )
        return (
            f'the downgrade of "{self.dropped}" ("{self.dropped.path}") drops {what}, which '
            f'"{self.given}" gave to "{self.receiver}"'
        )


def find_losses(going: Iterable[Revision], asked: Collection[str] = ()) -> tuple[Loss, ...]:
    """Return the tables of other packages that go when revisions are taken back.

    :param going: the revisions, in the order in which they go
    :param asked: packages that go as well, by the user's own words: what is theirs is no loss
    """
    given: dict[tuple[str, Key], tuple[str, Revision, str] | None] = {}
    found: list[Loss] = []
    for revision in going:
        package = revision.package
        if any(package == giver for giver, _ in given):
            for key, column in dropped_by(revision):
                if move := given.get((package, key)):
                    found.append(Loss(*move, revision, column))
        # What was said last counts: a table may have come back.
        for text, receiver in revision.gives_tables:
            move = None if receiver in asked else (text, revision, receiver)
            given.setdefault((package, split_name(text)), move)
        for text, _ in revision.takes_tables:
            given.setdefault((package, split_name(text)), None)
    return tuple(found)


def dropped_by(revision: Revision) -> Iterator[tuple[Key, str | None]]:
    """Yield the tables, and columns, that the downgrade of a revision drops, by its source."""
    from websauna_migrate.revision_scripts.script_reader import read_effects

    source = script_text(revision.path)
    for effect in read_effects(source, revision.path, "downgrade"):
        if effect.kind in ("drop_table", "drop_column"):
            yield (effect.schema, effect.name), effect.column


def plan_undo_without_loss(
    graph: Graph,
    applied: Applied,
    revisions: Collection[tuple[str, str]],
    *,
    reason: str,
    cascade: bool = False,
) -> Plan:
    """Plan as :func:`.plan_undo` does, and refuse to drop tables that are other packages' now.

    :raises DowngradeRefused: naming the tables that would be lost, or the dependents
    """
    plan = plan_undo(graph, applied, revisions, reason=reason, cascade=cascade)
    return plan if cascade else without_loss(plan)


def plan_downgrade_without_loss(
    graph: Graph, applied: Applied, targets: Targets, *, cascade: bool = False
) -> Plan:
    """Plan a downgrade as :func:`.plan_downgrade` does, and see to what it would drop.

    :param cascade: also allows the loss of tables that belong to other packages
    :raises DowngradeRefused: naming the tables that would be lost, and the dependents
    """
    try:
        plan = plan_downgrade(graph, applied, targets, cascade=cascade)
    except DowngradeRefused as exc:
        whole = plan_downgrade(graph, applied, targets, cascade=True)
        found = find_losses((step.revision for step in whole), targets)
        if not found:
            raise
        dependents = list(zip(exc.dependents, exc.reasons, strict=True))
        raise DowngradeRefused(dependents, [str(loss) for loss in found]) from exc
    return plan if cascade else without_loss(plan, targets)


def without_loss(plan: Plan, asked: Collection[str] = ()) -> Plan:
    """Return a plan that drops no table of another package.

    :param asked: as for :func:`find_losses`
    :raises DowngradeRefused: naming the tables that would be lost
    """
    if found := find_losses((step.revision for step in plan), asked):
        raise DowngradeRefused((), [str(loss) for loss in found], found[0].dropped)
    return plan
