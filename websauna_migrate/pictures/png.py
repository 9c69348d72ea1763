"""The graph as a PNG, drawn from the SVG by CairoSVG."""

from __future__ import annotations

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.pictures.svg import to_svg
from websauna_migrate.results import GraphView

__all__ = ["to_png"]


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
