"""Pictures of the graph from plain data: text, Mermaid, DOT, SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from websauna_migrate.pictures.dot import to_dot
from websauna_migrate.pictures.mermaid import to_mermaid
from websauna_migrate.pictures.svg import to_svg
from websauna_migrate.pictures.text_picture import to_text
from websauna_migrate.results import GraphView

__all__ = ["FORMATS"]

#: Each format with the function that draws it.
FORMATS: Mapping[str, Callable[[GraphView], str]] = {
    "text": to_text,
    "svg": to_svg,
    "mermaid": to_mermaid,
    "dot": to_dot,
}
