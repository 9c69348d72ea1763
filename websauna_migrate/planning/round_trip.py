"""The steps of a proof: some revisions up, down and up again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_upgrade
from websauna_migrate.planning.rows import Rows
from websauna_migrate.planning.state import Applied, State
from websauna_migrate.planning.steps import Direction, Plan, Step


@dataclass(frozen=True)
class RoundTrip:
    """Revisions that go up, down and up again.

    :ivar first: what they require and is not applied yet; it stays applied
    :ivar there: the revisions go up, with what is pending and stands on them
    :ivar back: the same down
    :ivar again: and up
    """

    first: tuple[Step, ...]
    there: tuple[Step, ...]
    back: tuple[Step, ...]
    again: tuple[Step, ...]

    @property
    def plan(self) -> Plan:
        """All steps as one plan."""
        return Plan((*self.first, *self.there, *self.back, *self.again), "upgrade")


def plan_round_trip(
    graph: Graph, applied: Applied, new: Mapping[str, Collection[str]]
) -> RoundTrip:
    """Plan a round trip in the order in which an upgrade would run the revisions.

    :param new: the identifiers of the revisions, by package; none of them is applied
    :raises MigrationError: as :func:`.plan_upgrade`
    """
    targets = {package: tuple(sorted(ids)) for package, ids in new.items()}
    graph = State(graph, applied).graph
    steps = plan_upgrade(graph, applied, targets).steps
    turning = [step.revision for step in steps if step.revision.id in new.get(step.package, ())]

    def stands_on_new(step: Step) -> bool:
        return step.revision in turning or any(graph.needs(step.revision, one) for one in turning)

    walks: dict[str, Rows] = {}

    def walk(chosen: Iterable[Step], direction: Direction) -> tuple[Step, ...]:
        found = []
        for step in chosen:
            if step.package not in walks:
                walks[step.package] = Rows(graph.histories[step.package], step.rows_before)
            found.append(walks[step.package].step(step.revision, direction, step.reasons))
        return tuple(found)

    moving = [step for step in steps if stands_on_new(step)]
    return RoundTrip(
        walk((step for step in steps if step not in moving), "upgrade"),
        walk(moving, "upgrade"),
        walk(reversed(moving), "downgrade"),
        walk(moving, "upgrade"),
    )
