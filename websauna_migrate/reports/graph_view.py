"""The graph of revisions as a picture shows it: chains folded, states and edges of each kind."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from websauna_migrate.base_errors import UsageError
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.accesses import split_name
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_targets import resolve_all
from websauna_migrate.planning.races import Accesses, find_races
from websauna_migrate.reports.race_report import has_several
from websauna_migrate.results import GraphEdge, GraphNode, GraphView
from websauna_migrate.runs.in_progress import at_work, marked_steps
from websauna_migrate.runs.site import Site

#: A chain of fewer revisions is drawn as it is.
WORTH_FOLDING = 3


def view(
    site: Site,
    packages: Packages = None,
    *,
    around: str | None = None,
    distance: int = 4,
    table: str | None = None,
    fold: bool = True,
) -> GraphView:
    """Return what a picture of the graph shows.

    :param packages: whose revisions are shown; default all
    :param around: ``package@revision``; only what is near to it is shown
    :param distance: how many edges away from it, at most
    :param table: ``schema.name`` or name: the scripts that touch it are told apart, not folded, and
        packages without one are left out
    :param fold: draw a chain of revisions without other edges as one node
    :raises UsageError: if ``around`` names no package, no script touches the table, and for a
        distance below 0
    """
    if distance < 0:
        raise UsageError(f"The distance {distance} is below 0: give a number of edges.")
    graph, selected = site.loaded.graph, set(site.select(packages))
    shown = [node for node in graph.order if graph.revisions[node].package in selected]
    races = racing_pairs(site)
    if around is not None:
        near = neighbours(graph, races, centre(site, around), distance)
        shown = [node for node in shown if node in near]
    touching: frozenset[int] = frozenset()
    if table is not None:
        touching = scripts_of(site, table).intersection(shown)
        having = {graph.revisions[node].package for node in touching}
        shown = [node for node in shown if graph.revisions[node].package in having]
    states, lost = states_of(site)
    kept = touching.union(*races)
    groups = folded(graph, shown, states, kept) if fold else [[node] for node in shown]
    edges, hidden = drawn_edges(graph, groups, races)
    nodes = [node_of(site, group, states, touching) for group in groups]
    drawn = {node.package for node in nodes} if around or table else selected
    nodes += [
        GraphNode(package, (row,), "no script defines it", "unknown")
        for package, rows in lost.items()
        for row in rows
        if package in drawn
    ]
    return GraphView(
        packages=tuple(sorted({node.package for node in nodes})),
        nodes=tuple(nodes),
        edges=tuple(edges),
        table=table,
        hidden_orders=hidden,
    )


def centre(site: Site, around: str) -> set[int]:
    """Return the nodes that ``package@revision`` means."""
    package, at, target = around.partition("@")
    (name,) = site.select(package)
    if not at:
        raise UsageError(f'"{around}" names no revision: write "{package}@head", say.')
    history = site.loaded.histories[name]
    return {site.loaded.graph.find(name, one) for one in resolve_all(history, target)}


def neighbours(
    graph: Graph, races: Collection[tuple[int, int]], start: Iterable[int], distance: int
) -> set[int]:
    """Return the nodes that are at most so many edges or races away, in either direction."""
    rivals: dict[int, list[int]] = {}
    for one, other in races:
        rivals.setdefault(one, []).append(other)
        rivals.setdefault(other, []).append(one)
    found = dict.fromkeys(start, 0)
    queue = deque(found)
    while queue:
        node = queue.popleft()
        if found[node] == distance:
            continue
        dependents = [one for one, _ in graph.cross_dependents.get(node, ())]
        for other in (
            *graph.parents[node],
            *graph.children(node),
            *dependents,
            *rivals.get(node, ()),
        ):
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return set(found)


def scripts_of(site: Site, table: str) -> frozenset[int]:
    """Return the nodes of the scripts that touch a table.

    :raises UsageError: if there is none
    """
    graph, key = site.loaded.graph, split_name(table)
    found = frozenset(
        graph.find(*revision)
        for revision, effects in site.loaded.effects.items()
        if any(
            key
            in (
                (one.schema, one.name),
                (one.new_schema, one.new_name),
                (one.target_schema, one.target_table),
            )
            for one in effects
        )
    )
    if not found:
        raise UsageError(f'No script touches a table "{table}", as far as scripts can be read.')
    return found


def states_of(site: Site) -> tuple[Mapping[int, str], Mapping[str, tuple[str, ...]]]:
    """Return the nodes that are not just pending, and the rows that no script defines.

    What such a row may stand for is neither applied nor pending, as far as can be told.
    """
    graph, histories = site.loaded.graph, site.loaded.histories
    with site.reading() as connection:
        if connection is None:
            return {}, {}
        applied, tables = site.read(connection)
        marked = marked_steps(site, connection, tables)
        half_done = at_work(site, connection, tables, marked)[1] if marked else ()
    found = ((name, histories[name].lost(rows)) for name, rows in sorted(applied.items()))
    lost = {name: rows for name, rows in found if rows}
    states = {
        graph.find(name, one): "unknown" for name in lost for one in histories[name].revisions
    }
    states |= {
        graph.find(name, one): "applied"
        for name, rows in applied.items()
        for one in histories[name].standing_for(rows).applied(rows)
        if one in histories[name]
    }
    for entry in marked:
        if entry.package in histories and entry.revision in histories[entry.package]:
            state = "half done" if entry in half_done else "running"
            states[graph.find(entry.package, entry.revision)] = state
    return states, lost


def folded(
    graph: Graph, shown: list[int], states: Mapping[int, str], kept: frozenset[int]
) -> list[list[int]]:
    """Return the nodes in order, those of a chain together.

    A node belongs to a chain if it has one parent, one child and no edge to another package, and
    does not stand out: it is no head, and has the state of its neighbours.
    """
    visible = set(shown)

    def is_plain(node: int) -> bool:
        parents, children = list(graph.own_parents(node)), list(graph.children(node))
        return (
            len(parents) == 1
            and len(children) == 1
            and node not in kept
            and len(graph.parents[node]) == 1
            and node not in graph.cross_dependents
            and {parents[0], children[0]} <= visible
            and states.get(children[0]) == states.get(node)
        )

    groups: list[list[int]] = []
    open_groups: dict[int, list[int]] = {}
    for node in shown:
        parent = next(iter(graph.own_parents(node)), -1)
        plain = is_plain(node)
        group = open_groups.pop(parent, None) if plain else None
        if group is None:
            group = []
            groups.append(group)
        group.append(node)
        if plain:
            open_groups[node] = group
    return [
        part
        for group in groups
        for part in ([group] if len(group) >= WORTH_FOLDING else [[node] for node in group])
    ]


def node_of(
    site: Site, group: list[int], states: Mapping[int, str], touching: frozenset[int]
) -> GraphNode:
    """Return one node of the picture."""
    graph = site.loaded.graph
    first, last = graph.revisions[group[0]], graph.revisions[group[-1]]
    history = site.loaded.histories[last.package]
    return GraphNode(
        package=last.package,
        revisions=tuple(graph.revisions[node].id for node in group),
        message=last.message if len(group) == 1 else f"{first.message} ... {last.message}",
        state=states.get(group[-1], "pending"),
        is_head=history.is_head(last.id),
        is_merge=history.is_merge_point(first.id),
        touches=group[0] in touching,
    )


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
