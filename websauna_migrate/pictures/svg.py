"""The graph as an SVG: lanes are packages, and what runs later stands further to the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.pictures.node_labels import (
    MARKS,
    WORDS,
    hidden_orders,
    marks_in,
    marks_of,
    name_of,
    plain,
    shortened,
    tooltip_of,
)
from websauna_migrate.plain_text import counted
from websauna_migrate.results import GraphEdge, GraphNode, GraphView

#: Sizes in pixels.
NODE_WIDTH, NODE_HEIGHT, GAP_X, GAP_Y = 200, 40, 44, 14
LANE_NAME, LANE_PADDING, TOP = 24, 12, 64

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.name { font-weight: 600 } .message { fill: #59636e; font-size: 11px }
.package { font-size: 13px; font-weight: 700 }
.page { fill: #ffffff } .lane { fill: #f6f8fa } .lane:nth-of-type(odd) { fill: #eef1f4 }
.applied rect, .applied path { fill: #dafbe1; stroke: #1a7f37 }
.pending rect, .pending path { fill: #ffffff; stroke: #59636e; stroke-dasharray: 5 3 }
.running rect, .running path { fill: #fff8c5; stroke: #9a6700; stroke-width: 3 }
.half-done rect, .half-done path { fill: #ffe7e9; stroke: #a40e26; stroke-width: 3 }
.unknown rect, .unknown path { fill: #ffffff; stroke: #9a6700; stroke-dasharray: 2 3 }
.head rect, .head path { stroke-width: 3 } .touches .name { text-decoration: underline }
.edge { fill: none; stroke: #8c959f; stroke-width: 1.5 }
.requires, .package-edge { stroke: #0969da; stroke-width: 2 }
.run_before { stroke: #8250df; stroke-width: 2; stroke-dasharray: 7 4 }
.depends_on { stroke-dasharray: 2 3 }
.authors { stroke: #1b7c83; stroke-width: 2.5; stroke-dasharray: 0.1 5; stroke-linecap: round }
.race { stroke: #cf222e; stroke-width: 3 } #cross path, #ring circle { fill: none; stroke-width: 2 }
#cross path { stroke: #cf222e } #ring circle { stroke: #1b7c83 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .message { fill: #9198a1 }
  .page { fill: #0d1117 } .lane { fill: #151b23 } .lane:nth-of-type(odd) { fill: #1c232d }
  .applied rect, .applied path { fill: #12331d; stroke: #3fb950 }
  .pending rect, .pending path { fill: #0d1117; stroke: #9198a1 }
  .running rect, .running path { fill: #3a2d05; stroke: #d29922 }
  .half-done rect, .half-done path { fill: #3d1419; stroke: #f85149 }
  .unknown rect, .unknown path { fill: #0d1117; stroke: #d29922 }
  .requires, .package-edge { stroke: #4493f8 } .run_before { stroke: #ab7df8 }
  .authors, #ring circle { stroke: #39c5cf } .race, #cross path { stroke: #f85149 }
}
"""


class Layout:
    """The place of each node.

    :ivar x: the left side of each node
    :ivar y: its upper side
    :ivar lanes: the upper side and the height of each package's lane
    """

    def __init__(self, view: GraphView) -> None:
        columns = columns_of(view)
        used: dict[tuple[str, int], int] = {}
        rows = []
        for node, column in zip(view.nodes, columns, strict=True):
            row = used.get((node.package, column), 0)
            used[node.package, column] = row + 1
            rows.append(row)
        depth = dict.fromkeys(view.packages, 1)
        for (package, _), count in used.items():
            depth[package] = max(depth[package], count)
        self.lanes: dict[str, tuple[int, int]] = {}
        top = TOP
        for package in view.packages:
            height = LANE_NAME + depth[package] * (NODE_HEIGHT + GAP_Y) + LANE_PADDING
            self.lanes[package] = (top, height)
            top += height
        self.height = top + LANE_PADDING
        self.width = (max(columns, default=0) + 1) * (NODE_WIDTH + GAP_X) + GAP_X
        self.width = max(self.width, 960)
        self.x = [GAP_X + column * (NODE_WIDTH + GAP_X) for column in columns]
        self.y = [
            self.lanes[node.package][0] + LANE_NAME + row * (NODE_HEIGHT + GAP_Y) + GAP_Y // 2
            for node, row in zip(view.nodes, rows, strict=True)
        ]


def columns_of(view: GraphView) -> list[int]:
    """Return the column of each node: behind all that it comes after."""
    columns = [0] * len(view.nodes)
    earlier: dict[int, list[int]] = {}
    for edge in view.edges:
        if edge.kind != "race":
            earlier.setdefault(edge.later, []).append(edge.earlier)
    # The nodes stand in the order of the plan, so that what comes before has its column already.
    for place in range(len(view.nodes)):
        columns[place] = max((columns[one] + 1 for one in earlier.get(place, ())), default=0)
    return columns


def to_svg(view: GraphView, *, inline: bool = False) -> str:
    """Return the graph as a document of its own, without a script; it follows a dark theme.

    :param inline: for a page that has :data:`STYLE` in a style sheet of its own
    """
    return "".join(f"{line}\n" for line in lines(view, Layout(view), inline=inline))


def lines(view: GraphView, layout: Layout, *, inline: bool = False) -> Iterator[str]:
    """Yield the lines of the document."""
    width, height = layout.width, layout.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-labelledby="title">'
    )
    total = sum(len(node.revisions) for node in view.nodes)
    many = f"{counted(total, 'revision')} of {counted(len(view.packages), 'package')}"
    yield f'<title id="title">{many}</title>'
    if not inline:
        yield f"<style>{STYLE}</style>"
    yield f"<defs>{''.join(markers())}</defs>"
    yield f'<rect class="page" width="{width}" height="{height}"/>'
    yield from legend(view)
    for package, (top, lane) in layout.lanes.items():
        yield f'<rect class="lane" x="0" y="{top}" width="{width}" height="{lane}"/>'
        yield f'<text class="package" x="12" y="{top + 17}">{escape(plain(package))}</text>'
    for edge in view.edges:
        yield (race_path if edge.kind == "race" else edge_path)(layout, edge)
    for place, node in enumerate(view.nodes):
        yield node_box(node, layout.x[place], layout.y[place])
    yield "</svg>"


def markers() -> Iterator[str]:
    """Yield the ends of lines: an arrow, a ring for the authors' order, a cross for a race."""
    for name, shape in (
        ("arrow", '<path d="M0 0L8 4L0 8z" fill="#8c959f"/>'),
        ("ring", '<circle cx="4" cy="4" r="3"/>'),
        ("cross", '<path d="M1 1L7 7M7 1L1 7"/>'),
    ):
        yield (
            f'<marker id="{name}" viewBox="0 0 8 8" refX="{4 if name == "cross" else 7}" refY="4" '
            'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" '
            f'orient="auto-start-reverse">{shape}</marker>'
        )


def legend(view: GraphView) -> Iterator[str]:
    """Yield what the marks and the lines mean."""
    states = marks_in(view)
    for number, words in enumerate([*states, "thick border: head"]):
        yield f'<text x="{12 + number * 100}" y="22">{words}</text>'
    end = 142 + len(states) * 100
    yield f'<text x="{end}" y="22">six sides: merge</text>'
    if view.hidden_orders:
        yield f'<text x="{end + 120}" y="22">{escape(hidden_orders(view))}</text>'
    kinds = ("down_revision", "requires", "run_before", "depends_on", "authors", "race")
    for number, kind in enumerate(kinds):
        x = 12 + number * 130
        yield f'<path class="edge {kind}" d="M{x} 42h34" {ends_of(kind)}/>'
        yield f'<text x="{x + 40}" y="46">{WORDS[kind]}</text>'


def ends_of(kind: str) -> str:
    """Return the attributes of a line's ends."""
    if kind == "race":
        return 'marker-start="url(#cross)" marker-end="url(#cross)"'
    return f'marker-end="url(#{"ring" if kind == "authors" else "arrow"})"'


def edge_path(layout: Layout, edge: GraphEdge) -> str:
    """Return the line of an edge: from the right side of a node to the left side of another."""
    x1, y1 = layout.x[edge.earlier] + NODE_WIDTH, layout.y[edge.earlier] + NODE_HEIGHT // 2
    x2, y2 = layout.x[edge.later], layout.y[edge.later] + NODE_HEIGHT // 2
    bend = max(GAP_X // 2, (x2 - x1) // 3)
    css = "package-edge" if edge.kind == "package" else edge.kind
    return (
        f'<path class="edge {css}" {ends_of(edge.kind)} '
        f'd="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}">'
        f"<title>{WORDS[edge.kind]}</title></path>"
    )


def race_path(layout: Layout, edge: GraphEdge) -> str:
    """Return the line of a race: from the lower side of one node to the upper side of the other."""
    upper, lower = sorted((edge.earlier, edge.later), key=layout.y.__getitem__)
    x1, y1 = layout.x[upper] + NODE_WIDTH // 2, layout.y[upper] + NODE_HEIGHT + 5
    x2, y2 = layout.x[lower] + NODE_WIDTH // 2, layout.y[lower] - 5
    bend = max(GAP_Y, (y2 - y1) // 3)
    return (
        f'<path class="edge race" {ends_of("race")} '
        f'd="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}">'
        f"<title>{WORDS['race']}</title></path>"
    )


def node_box(node: GraphNode, x: int, y: int) -> str:
    """Return a node: a box, six-sided for a merge, with the revision above the message."""
    flags: Mapping[str, bool] = {"head": node.is_head, "touches": node.touches}
    state = node.state.replace(" ", "-")
    css = " ".join([state, *(name for name, is_set in flags.items() if is_set)])
    w, h = NODE_WIDTH, NODE_HEIGHT
    if node.is_merge:
        shape = f'<path d="M8 0H{w - 8}L{w} {h // 2}L{w - 8} {h}H8L0 {h // 2}z"/>'
    else:
        shape = f'<rect width="{w}" height="{h}" rx="6"/>'
    marks = marks_of(node)
    name = f"{MARKS[node.state]} {name_of(node)}{' · ' + marks if marks else ''}"
    return (
        f'<g class="{css}" transform="translate({x} {y})">'
        f"<title>{escape(tooltip_of(node))}</title>{shape}"
        f'<text class="name" x="10" y="17">{escape(shortened(name, 25))}</text>'
        f'<text class="message" x="10" y="32">{escape(shortened(node.message, 27))}</text></g>'
    )


def to_png(view: GraphView) -> bytes:
    """Return the graph as a PNG, light.

    :raises MigrationError: if CairoSVG or the library cairo is not installed, or the picture is
        too large for it
    """
    try:
        import cairosvg
    except (ImportError, OSError) as exc:
        # The second is for the library, which CairoSVG looks for while it is imported.
        raise MigrationError(
            "A PNG is drawn by CairoSVG, which cannot be used: "
            'pip install "websauna_migrate[png]", and install the library cairo '
            f"({exc}). --format svg needs neither."
        ) from exc
    try:
        return bytes(cairosvg.svg2png(bytestring=to_svg(view).encode()))
    except (cairosvg.surface.cairo.Error, MemoryError) as exc:
        raise MigrationError(
            "The picture is too large for a PNG. Draw a part of it, with --around or -x packages=, "
            "or use --format svg."
        ) from exc
