"""The graph in Graphviz's language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from websauna_migrate.pictures.node_labels import WORDS, lanes, plain, shortened, titled, tooltip_of
from websauna_migrate.results import GraphNode, GraphView

STYLES: Mapping[str, str] = {
    "down_revision": "color=gray40",
    "depends_on": "color=gray40, style=dashed",
    "requires": "penwidth=2",
    "package": "penwidth=2",
    "run_before": "penwidth=2, style=dashed",
    "authors": 'color="#1b7c83", style=dotted, penwidth=2',
    "race": 'color="#cf222e:#cf222e", dir=none, constraint=false',
}

FILLS: Mapping[str, str] = {
    "applied": 'style="filled", fillcolor="#d7f0dd"',
    "pending": 'style="dashed"',
    "running": 'style="filled,bold", fillcolor="#fff3c4"',
    "half done": 'style="filled,bold", fillcolor="#ffd7d9"',
    "unknown": 'style="dotted"',
}


def to_dot(view: GraphView) -> str:
    """Return the graph for ``dot``, a cluster for each package."""
    return "".join(f"{line}\n" for line in lines(view))


def quoted(text: str) -> str:
    """Return a text as a quoted identifier of DOT."""
    return '"' + plain(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def lines(view: GraphView) -> Iterator[str]:
    """Yield the lines."""
    yield "digraph revisions {"
    yield '  rankdir=LR; node [shape=box, fontname="sans-serif"]; edge [fontname="sans-serif"];'
    for number, (package, nodes) in enumerate(lanes(view).items()):
        yield f"  subgraph cluster_{number} {{"
        yield f"    label={quoted(package)};"
        for place, node in nodes:
            yield f"    n{place} [{attributes(node)}];"
        yield "  }"
    for edge in view.edges:
        label = "" if edge.kind == "down_revision" else f", label={quoted(WORDS[edge.kind])}"
        yield f"  n{edge.earlier} -> n{edge.later} [{STYLES[edge.kind]}{label}];"
    yield "}"


def attributes(node: GraphNode) -> str:
    """Return the attributes of a node."""
    label = f"{titled(node)}\n{shortened(node.message, 40)}"
    shape = "hexagon" if node.is_merge else "box"
    sides = ", peripheries=2" if node.is_head else ""
    lines_ = r"\n".join(quoted(line)[1:-1] for line in label.split("\n"))
    return (
        f'label="{lines_}", tooltip={quoted(tooltip_of(node))}, shape={shape}{sides}, '
        f"{FILLS[node.state]}"
    )
