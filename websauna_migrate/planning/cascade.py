"""What has to go when something goes: applied revisions that require it, in whatever package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.requirements import Requirement
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.state import State, Violation
from websauna_migrate.planning.steps import Reason
from websauna_migrate.planning.walks import reach


class Cascade:
    """Finds the applied revisions that cannot stay when others go."""

    def __init__(self, graph: Graph, state: State, violations: Iterable[Violation]) -> None:
        self.graph, self.state = graph, state
        self.watches: dict[int, list[Requirement]] = {}
        for requirement in graph.requirements:
            if requirement.floating and state.is_applied(requirement.dependent):
                for base in requirement.bases:
                    self.watches.setdefault(graph.node(base), []).append(requirement)
        # What is missing hides what it stands on: then that is required in its place.
        self.instead: dict[int, list[Requirement]] = {}
        for violation in violations:
            for node in self._beneath(violation.missing):
                self.instead.setdefault(node, []).append(violation.requirement)

    def _beneath(self, missing: Iterable[Revision]) -> set[int]:
        parents, applied = self.graph.parents, self.state.applied
        hidden = reach(
            map(self.graph.node, missing),
            lambda node: (one for one in parents[node] if not applied[one]),
        )
        return {one for node in hidden for one in parents[node] if applied[one]}

    def run(self, starts: Iterable[int]) -> dict[int, list[Reason]]:
        """Return the nodes that must go too, with the reasons of those in other packages."""
        because: dict[int, list[Reason]] = {}
        gone = set(starts)
        stack = sorted(gone)
        while stack:
            node = stack.pop()
            for dependent, reason in self._dependents(node, gone):
                because.setdefault(dependent, []).append(reason)
                if dependent not in gone:
                    gone.add(dependent)
                    stack.append(dependent)
            for child in self.graph.children(node):
                if self.state.applied[child] and child not in gone:
                    because.setdefault(child, [])
                    gone.add(child)
                    stack.append(child)
        return because

    def _dependents(self, node: int, gone: Collection[int]) -> list[tuple[int, Reason]]:
        graph, applied = self.graph, self.state.applied
        if not (node in graph.cross_dependents or node in self.watches or node in self.instead):
            return []
        revision = graph.revisions[node]
        found = [
            (dependent, Reason("cascade", edge.text, edge.kind, revision.package, revision.id))
            for dependent, edge in graph.cross_dependents.get(node, ())
            if applied[dependent] and not edge.floating
        ]
        watching = [
            requirement
            for requirement in self.watches.get(node, ())
            if all(base in gone or not applied[base] for base in map(graph.node, requirement.bases))
        ]
        for requirement in (*watching, *self.instead.get(node, ())):
            reason = Reason(
                "cascade", requirement.text, requirement.kind, revision.package, revision.id
            )
            found.append((graph.node(requirement.dependent), reason))
        return found


def relieves(
    graph: Graph, state: State, violations: Iterable[Violation], going: Collection[int]
) -> bool:
    """Tell whether a violating revision goes, or one that stands on it."""

    def above(node: int) -> Iterator[int]:
        others = (dependent for dependent, _ in graph.cross_dependents.get(node, ()))
        return (one for one in (*graph.children(node), *others) if state.applied[one])

    starts = (graph.node(violation.dependent) for violation in violations)
    return not reach(starts, above).isdisjoint(going)
