"""The words and marks that all pictures share, so that no state is told by colour alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from websauna_migrate.plain_text import counted
from websauna_migrate.results import GraphNode, GraphView

#: A mark for each state.
MARKS: Mapping[str, str] = {
    "applied": "✓",
    "pending": "○",
    "running": "▶",
    "half done": "!",
    "unknown": "?",
}

#: The words for each kind of edge.
WORDS: Mapping[str, str] = {
    "down_revision": "comes after",
    "depends_on": "depends on",
    "requires": "requires",
    "run_before": "runs after",
    "package": "its package requires",
    "authors": "written after",
    "race": "races with",
}


def marks_in(view: GraphView) -> list[str]:
    """Return what the marks of a picture mean; what is unknown is only told where it is there."""
    return [
        f"{mark} {state}"
        for state, mark in MARKS.items()
        if state != "unknown" or any(node.state == state for node in view.nodes)
    ]


def plain(text: str) -> str:
    """Return a text in one line without characters that control a terminal or the direction."""
    if text.isprintable():
        return text
    return "".join(
        " " if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn") else one
        for one in text
    )


def lanes(view: GraphView) -> dict[str, list[tuple[int, GraphNode]]]:
    """Return each package's nodes with their places."""
    found: dict[str, list[tuple[int, GraphNode]]] = {package: [] for package in view.packages}
    for place, node in enumerate(view.nodes):
        found[node.package].append((place, node))
    return found


def shortened(text: str, width: int) -> str:
    """Return a text of at most ``width`` characters."""
    text = plain(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def name_of(node: GraphNode) -> str:
    """Return the revision, or how many are folded."""
    if len(node.revisions) == 1:
        return plain(node.revisions[0])
    return f"… {len(node.revisions)} …"


def marks_of(node: GraphNode) -> str:
    """Return what is to be told of a node beside its state."""
    marks = ["head"] if node.is_head else []
    marks += ["merge"] if node.is_merge else []
    return ", ".join(marks)


def titled(node: GraphNode) -> str:
    """Return a node's state, name and marks, with a star if it touches the table that is asked."""
    marks = marks_of(node)
    told = f" ({marks})" if marks else ""
    return f"{MARKS[node.state]} {name_of(node)}{told}{' *' if node.touches else ''}"


def hidden_orders(view: GraphView) -> str:
    """Return how much of the authors' order is inside of folded chains; empty for nothing."""
    count = view.hidden_orders
    if not count:
        return ""
    many = counted(count, "order of authors is", "orders of authors are")
    return f"{many} inside of folded chains"


def tooltip_of(node: GraphNode) -> str:
    """Return all that is known of a node, in one line."""
    ids = node.revisions
    which = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}, {len(ids)} revisions"
    marks = marks_of(node)
    return plain(
        f"{node.package} {which}: {node.message} ({node.state}{', ' * bool(marks)}{marks})"
    )
