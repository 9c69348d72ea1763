"""The graph in Mermaid's language, which GitHub and GitLab draw in a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from websauna_migrate.pictures.node_labels import WORDS, lanes, plain, shortened, titled
from websauna_migrate.plain_text import counted
from websauna_migrate.results import GraphNode, GraphView

#: Mermaid draws 500 edges at most.
EDGE_LIMIT = 400

ARROWS: Mapping[str, str] = {
    "down_revision": "-->",
    "depends_on": "-->",
    "requires": "==>",
    "package": "==>",
    "run_before": "-.->",
    "authors": "--o",
    "race": "x--x",
}


def to_mermaid(view: GraphView) -> str:
    """Return the graph as a Mermaid flowchart; with too many edges, of packages alone."""
    make = of_revisions if len(view.edges) <= EDGE_LIMIT else of_packages
    return "".join(f"{line}\n" for line in make(view))


def escaped(text: str) -> str:
    """Return a text as Mermaid takes it inside of quotes: all but plain characters as entities."""
    return "".join(
        one if one.isalnum() or one in " .,:;()-_/…✓○▶!?@*" else f"#{ord(one)};"
        for one in plain(text)
    )


def of_revisions(view: GraphView) -> Iterator[str]:
    """Yield a flowchart with a box for each package."""
    yield "flowchart LR"
    for number, (package, nodes) in enumerate(lanes(view).items()):
        yield f'  subgraph p{number}["{escaped(package)}"]'
        for place, node in nodes:
            yield f"    n{place}{shape(node)}"
        yield "  end"
    for edge in view.edges:
        label = "" if edge.kind == "down_revision" else f'|"{WORDS[edge.kind]}"|'
        yield f"  n{edge.earlier} {ARROWS[edge.kind]}{label} n{edge.later}"
    for state, style in (
        ("applied", "fill:#d7f0dd,stroke:#1a7f37,color:#111"),
        ("pending", "fill:#fff,stroke:#57606a,stroke-dasharray:4 3,color:#111"),
        ("running", "fill:#fff3c4,stroke:#9a6700,stroke-width:3px,color:#111"),
        ("half done", "fill:#ffd7d9,stroke:#a40e26,stroke-width:3px,color:#111"),
        ("unknown", "fill:#fff,stroke:#9a6700,stroke-dasharray:2 3,color:#111"),
    ):
        names = ",".join(f"n{p}" for p, node in enumerate(view.nodes) if node.state == state)
        if names:
            name = state.replace(" ", "_")
            yield f"  classDef {name} {style}"
            yield f"  class {names} {name}"


def shape(node: GraphNode) -> str:
    """Return a node in the brackets of its shape: round for a head, six sides for a merge."""
    label = f'"{escaped(titled(node))}<br>{escaped(shortened(node.message, 40))}"'
    if node.is_merge:
        return "{{" + label + "}}"
    return f"([{label}])" if node.is_head else f"[{label}]"


def of_packages(view: GraphView) -> Iterator[str]:
    """Yield a flowchart with one node for each package, and how many edges lead between them."""
    yield "flowchart LR"
    place = {package: number for number, package in enumerate(view.packages)}
    for package, lane in lanes(view).items():
        number, nodes = place[package], [node for _, node in lane]
        known = [node for node in nodes if node.state not in ("applied", "unknown")]
        pending = str(sum(len(node.revisions) for node in known))
        if any(node.state == "unknown" for node in nodes):
            pending = "? unknown, " + pending
        total = sum(len(node.revisions) for node in nodes)
        many = f"{counted(total, 'revision')}, {pending} pending"
        yield f'  p{number}["{escaped(package)}<br>{many}"]'
    crossings: dict[tuple[int, int], int] = {}
    for edge in view.edges:
        key = (place[view.nodes[edge.earlier].package], place[view.nodes[edge.later].package])
        if key[0] != key[1]:
            crossings[key] = crossings.get(key, 0) + 1
    busiest = sorted(crossings, key=lambda key: (-crossings[key], key))[:EDGE_LIMIT]
    for earlier, later in sorted(busiest):
        yield f'  p{earlier} ==>|"{crossings[earlier, later]}"| p{later}'
    if len(crossings) > EDGE_LIMIT:
        yield f"  %% {counted(len(crossings) - EDGE_LIMIT, 'more edge')} between packages"
