"""The graph for a terminal: a section for each package, oldest revision first."""

from __future__ import annotations

from collections.abc import Iterator

from websauna_migrate.pictures.node_labels import (
    WORDS,
    hidden_orders,
    lanes,
    marks_in,
    plain,
    titled,
)
from websauna_migrate.results import GraphEdge, GraphView


def to_text(view: GraphView) -> str:
    """Return the graph as lines of text."""
    return "".join(f"{line}\n" for line in lines(view))


def lines(view: GraphView) -> Iterator[str]:
    """Yield the lines."""
    edges: dict[int, list[GraphEdge]] = {}
    for edge in view.edges:
        edges.setdefault(edge.later, []).append(edge)
        if edge.kind == "race":
            edges.setdefault(edge.earlier, []).append(GraphEdge(edge.later, edge.earlier, "race"))
    for number, (package, nodes) in enumerate(lanes(view).items()):
        if number:
            yield ""
        yield plain(package)
        previous = -1
        for place, node in nodes:
            yield f"  {titled(node)}  {plain(node.message)}"
            for edge in edges.get(place, ()):
                earlier = view.nodes[edge.earlier]
                # The line above says by its place that this one comes after it.
                if edge.kind == "down_revision" and edge.earlier == previous:
                    continue
                other = f"{plain(earlier.package)} " if earlier.package != package else ""
                yield f"      {WORDS[edge.kind]} {other}{plain(earlier.revisions[-1])}"
            previous = place
    if view.nodes:
        yield ""
        yield "  ".join(marks_in(view)) + (f"  * touches {plain(view.table)}" if view.table else "")
    if view.hidden_orders:
        yield f"{hidden_orders(view)}; --whole draws them"
