"""The edges of a picture: what comes before what, by the scripts or by their authors, and races."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.races import Accesses, find_races
from websauna_migrate.reports.race_report import has_several
from websauna_migrate.results import GraphEdge
from websauna_migrate.runs.site import Site

__all__ = ["drawn_edges", "racing_pairs"]


def racing_pairs(site: Site) -> tuple[tuple[int, int], ...]:
    """Return the pairs of nodes that conflict and that nothing puts in an order."""
    loaded = site.loaded
    if not has_several(loaded):
        return ()
    found = find_races(Accesses(loaded.graph, loaded.effects))
    return tuple((loaded.graph.node(one.first), loaded.graph.node(one.second)) for one in found)


def drawn_edges(
    graph: Graph, groups: Sequence[Sequence[int]], races: Iterable[tuple[int, int]]
) -> tuple[list[GraphEdge], int]:
    """Return the edges between the nodes of a picture, by their places in it.

    Of the authors' order those are drawn that no other edges lead to.

    :param groups: the revisions of each node of the picture, in the order of the plan
    :returns: the edges, and how many of the authors' order are inside of folded chains
    """
    place = {node: number for number, group in enumerate(groups) for node in group}
    edges = list(hard_edges(graph, groups, place))
    told, hidden = authors_edges(graph, groups, place)
    edges += needed(told, edges, len(groups))
    edges += (
        GraphEdge(min(places), max(places), "race")
        for pair in races
        for places in [[place[one] for one in pair if one in place]]
        if len(places) == 2
    )
    return edges, hidden


def hard_edges(
    graph: Graph, groups: Sequence[Sequence[int]], place: dict[int, int]
) -> Iterator[GraphEdge]:
    """Yield what scripts and registrations require."""
    seen = set()
    for number, group in enumerate(groups):
        for node in group:
            found = [("down_revision", parent) for parent in graph.own_parents(node)]
            found += [(edge.kind, one) for one, edge in graph.cross_parents.get(node, ())]
            for kind, parent in found:
                edge = GraphEdge(place.get(parent, number), number, kind)
                if edge.earlier != number and edge not in seen:
                    seen.add(edge)
                    yield edge


def authors_edges(
    graph: Graph, groups: Sequence[Sequence[int]], place: dict[int, int]
) -> tuple[set[GraphEdge], int]:
    """Return the authors' order between ends of chains, and how much more there is."""
    told, hidden = set(), 0
    for earlier, later, _, _ in graph.soft_orders:
        if earlier in place and later in place:
            one, other = place[earlier], place[later]
            if groups[one][-1] == earlier and groups[other][0] == later:
                told.add(GraphEdge(one, other, "authors"))
            else:
                hidden += 1
    return told, hidden


def needed(
    told: Collection[GraphEdge], edges: Iterable[GraphEdge], count: int
) -> Iterator[GraphEdge]:
    """Yield those of the authors' order that tell more than the other edges do."""
    parents: list[set[int]] = [set() for _ in range(count)]
    for edge in (*edges, *told):
        parents[edge.later].add(edge.earlier)
    before = [0] * count
    for number, found in enumerate(parents):
        for parent in found:
            before[number] |= before[parent] | 1 << parent
    hard = {(edge.earlier, edge.later) for edge in edges}
    for edge in sorted(told, key=lambda one: (one.later, one.earlier)):
        others = parents[edge.later] - {edge.earlier}
        if (edge.earlier, edge.later) not in hard and not any(
            before[other] >> edge.earlier & 1 for other in others
        ):
            yield edge
