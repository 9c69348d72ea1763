"""Places in revision scripts, for messages."""

from __future__ import annotations

import traceback

__all__ = ["line_of", "place_of"]


def line_of(exc: BaseException, path: str) -> int | None:
    """Return the line of a script that was running when ``exc`` arose; ``None`` if none was."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == path
    ]
    return lines[-1] if lines else None


def place_of(exc: BaseException, path: str) -> str:
    """Return the script's file and the line in it that was running when ``exc`` arose."""
    line = line_of(exc, path)
    return f"{path}, line {line}" if line else path
