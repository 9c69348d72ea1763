"""Pictures of the graph: what is in them, and that hostile names stay text."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from apps import Workshop
from websauna_migrate.errors import MigrationError, UsageError
from websauna_migrate.pictures import FORMATS
from websauna_migrate.results import GraphEdge, GraphNode, GraphView

HOSTILE = "a <script>alert(\"1\")</script> & 'q' \u202e ] } --> end\x1b[31m"


@pytest.fixture
def service(workshop: Workshop, tmp_path: Path) -> Any:
    """Two packages: a chain with branch and merge, and one that requires its middle."""
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a0", message=HOSTILE, upgrade="op.execute('CREATE TABLE t (x INT)')")
    for number in range(1, 8):
        workshop.script("aaa", f"a{number}", f"a{number - 1}")
    workshop.script("aaa", "left", "a7")
    workshop.script("aaa", "right", "a7")
    workshop.script("aaa", "joined", ["left", "right"])
    workshop.script(
        "bbb", "b1", requires=["aaa@a5"], upgrade="op.add_column('t', sa.Column('y', sa.Integer))"
    )
    workshop.script("bbb", "b2", "b1", run_before=["aaa@right"])
    return workshop.service(f"sqlite:///{tmp_path / 'db.sqlite'}")


def test_chains_are_folded_up_to_what_others_require(service: Any) -> None:
    view = service.graph()
    shown = {node.revisions: node for node in view.nodes}
    assert ("a1", "a2", "a3", "a4") in shown and ("a5",) in shown and ("a6",) in shown
    assert shown["joined",].is_head and shown["joined",].is_merge
    assert {node.state for node in view.nodes} == {"pending"}
    edges = {
        (view.nodes[e.earlier].revisions[-1], view.nodes[e.later].revisions[0], e.kind)
        for e in view.edges
    }
    assert {
        ("a0", "a1", "down_revision"),
        ("a4", "a5", "down_revision"),
        ("a5", "b1", "requires"),
        ("b2", "right", "run_before"),
        ("left", "joined", "down_revision"),
    } <= edges
    assert len(service.graph(fold=False).nodes) == 13


def test_states_are_told(service: Any) -> None:
    service.upgrade("b1", packages="bbb")
    view = service.graph()
    states = {one: node.state for node in view.nodes for one in node.revisions}
    assert [states[one] for one in ("a0", "a5", "a6", "b1", "b2")] == [
        "applied", "applied", "pending", "applied", "pending",
    ]  # fmt: skip


def test_around_and_table(service: Any) -> None:
    near = service.graph(around="bbb@b1", distance=1)
    assert {one for node in near.nodes for one in node.revisions} == {"a5", "b1", "b2"}
    touched = service.graph(table="t")
    assert {node.revisions for node in touched.nodes if node.touches} >= {("b1",)}
    assert service.graph(table="t", packages="bbb").packages == ("bbb",)
    with pytest.raises(UsageError, match='No script touches a table "u"'):
        service.graph(table="u")
    with pytest.raises(MigrationError, match="nothing"):
        service.graph(around="bbb@nothing")
    with pytest.raises(MigrationError, match='No package "ccc"'):
        service.graph(around="ccc@head")
    with pytest.raises(MigrationError, match='write "bbb@head"'):
        service.graph(around="bbb")


def test_authors_orders_and_races(workshop: Workshop, tmp_path: Path) -> None:
    """They are told apart from requirements in every format, and what is folded is counted."""
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.package("ccc")
    made = 'op.create_table("users", sa.Column("id", sa.Integer), sa.Column("nick", sa.Text))'
    workshop.script("aaa", "a1", upgrade=made)
    for number in range(2, 14):
        drop = 'op.drop_column("users", "nick")' if number == 8 else "pass"
        workshop.script("aaa", f"a{number}", f"a{number - 1}", upgrade=drop)
    read = 'op.execute("SELECT nick FROM users")'
    script = workshop.script("bbb", "b1", requires=["aaa@a1"], upgrade=read)
    recorded = '\nwritten_against = {"aaa": "a7"}\n\n\ndef upgrade'
    script.write_text(script.read_text().replace("\n\n\ndef upgrade", recorded))
    script = workshop.script("bbb", "b2", "b1")
    recorded = recorded.replace("a7", "a10")
    script.write_text(script.read_text().replace("\n\n\ndef upgrade", recorded))
    workshop.script("ccc", "c1", requires=["aaa@a1"], upgrade=read)
    view = workshop.service(f"sqlite:///{tmp_path / 'db.sqlite'}").graph()
    names = [node.revisions[-1] for node in view.nodes]
    edges = {(names[e.earlier], names[e.later], e.kind) for e in view.edges}
    # What b2 was written against is inside of the chain from a9 to a12.
    assert view.hidden_orders == 2
    assert {edge for edge in edges if edge[2] in ("authors", "race")} == {
        ("a7", "b1", "authors"),
        ("b1", "a8", "authors"),
        ("a8", "c1", "race"),
    }
    text = FORMATS["text"](view)
    assert text.endswith("2 orders of authors are inside of folded chains; --whole draws them\n")
    assert "○ b1  Revision b1\n      requires aaa a1\n      written after aaa a7\n" in text
    assert "a8  Revision a8\n      written after bbb b1\n      races with ccc c1\n" in text
    assert "c1 (head)  Revision c1\n      requires aaa a1\n      races with aaa a8\n" in text
    svg = FORMATS["svg"](view)
    assert svg.count('class="edge race"') == 2 and svg.count('class="edge authors"') == 3
    assert " x--x|" in FORMATS["mermaid"](view) and " --o|" in FORMATS["mermaid"](view)


def test_svg_is_well_formed_and_its_names_are_text(service: Any) -> None:
    service.upgrade("a3", packages="aaa")
    svg = FORMATS["svg"](service.graph(fold=False))
    root = ElementTree.fromstring(svg)
    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert "script" not in names and {"rect", "path", "title"} <= names
    texts = " ".join(element.text or "" for element in root.iter())
    assert "<script>" in texts and "\u202e" not in texts and "\x1b" not in texts
    boxes = [g for g in root.iter() if g.tag.endswith("}g")]
    places = [tuple(map(int, re.findall(r"\d+", g.get("transform", "")))) for g in boxes]
    assert len(set(places)) == len(places) == 13
    # A picture of later steps stands to the right of what they come after.
    x = {title_of(g): place[0] for g, place in zip(boxes, places, strict=True)}
    assert x["aaa a5"] < x["bbb b1"] < x["bbb b2"] < x["aaa right"] < x["aaa joined"]


def title_of(group: ElementTree.Element) -> str:
    return (group[0].text or "").partition(":")[0]


def test_mermaid_escapes_and_stays_below_its_limit(workshop: Workshop, tmp_path: Path) -> None:
    for number in range(30):
        workshop.package(f"pkg{number:02}")
        for step in range(20):
            requires = [f"pkg{number - 1:02}@r{step:02}"] if number else []
            workshop.script(
                f"pkg{number:02}",
                f"r{step:02}",
                f"r{step - 1:02}" if step else None,
                message=HOSTILE,
                requires=requires,
            )
    view = workshop.service(f"sqlite:///{tmp_path / 'db.sqlite'}").graph()
    assert len(view.edges) > 400
    text = FORMATS["mermaid"](view)
    arrows = [line for line in text.splitlines() if "==>" in line or "-->" in line]
    assert len(arrows) == 29 and "20 revisions, 20 pending" in text
    assert "script" not in text.replace("#60;script", "")


def test_every_format_has_every_revision(service: Any) -> None:
    view = service.graph(fold=False)
    for name, draw in FORMATS.items():
        text = draw(view)
        for node in view.nodes:
            assert node.revisions[0] in text, name
        assert "\x1b" not in text and "\u202e" not in text


def test_text(service: Any) -> None:
    service.upgrade("b1", packages="bbb")
    lines = FORMATS["text"](service.graph(packages="bbb")).splitlines()
    assert lines[:4] == ["bbb", "  ✓ b1  Revision b1", "  ○ b2 (head)  Revision b2", ""]
    assert lines[4] == "✓ applied  ○ pending  ▶ running  ! half done"
    text = FORMATS["text"](service.graph())
    assert "  ✓ … 4 …  Revision a1 ... Revision a4\n" in text
    assert "  ✓ b1  Revision b1\n      requires aaa a5\n" in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_dot(service: Any) -> None:
    dot = FORMATS["dot"](service.graph())
    done = subprocess.run(["dot", "-Tsvg"], input=dot, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_an_empty_graph(workshop: Workshop, tmp_path: Path) -> None:
    workshop.package("aaa")
    service = workshop.service(f"sqlite:///{tmp_path / 'db.sqlite'}")
    for draw in FORMATS.values():
        assert isinstance(draw(service.graph()), str)
    assert not (tmp_path / "db.sqlite").exists()


def has_cairo() -> bool:
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


needs_cairo = pytest.mark.skipif(not has_cairo(), reason="the library cairo is not installed")


@needs_cairo
def test_png_that_is_too_large(service: Any) -> None:
    from websauna_migrate.pictures.svg import to_png

    nodes = tuple(GraphNode("aaa", (f"r{number}",), "", "pending") for number in range(300))
    edges = tuple(GraphEdge(number, number + 1, "down_revision") for number in range(299))
    with pytest.raises(MigrationError, match="too large for a PNG"):
        to_png(GraphView(("aaa",), nodes, edges))


@needs_cairo
def test_png(service: Any) -> None:
    """It has the SVG's size."""
    from websauna_migrate.pictures.svg import to_png

    view = service.graph()
    png, svg = to_png(view), FORMATS["svg"](view)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert f'width="{width}" height="{height}"' in svg


@needs_cairo
def test_png_on_the_command_line(tmp_path: Path, run: Any) -> None:
    shutil.copy(Path(__file__).parent.parent / "development.ini", tmp_path)
    program = ["ws-alembic", "-c", "development.ini", "graph", "--format", "png"]
    done = run(program, cwd=tmp_path, text=False)
    assert (done.returncode, done.stdout[:4]) == (0, b"\x89PNG")
    (tmp_path / "cairosvg.py").write_text("raise ImportError('no library called cairo')")
    done = run(program, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert 'pip install "websauna_migrate[png]"' in done.stderr


def test_a_distance_below_0(service: Any) -> None:
    with pytest.raises(UsageError, match="The distance -1 is below 0"):
        service.graph(around="aaa@head", distance=-1)
    assert [node.revisions for node in service.graph(around="bbb@b1", distance=0).nodes] == [
        ("b1",)
    ]
