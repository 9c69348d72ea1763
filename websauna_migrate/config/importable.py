"""Whether a package of a name could be imported, told without importing anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["is_importable"]


def is_importable(name: str) -> bool:
    """Return True if a package or module of a dotted name is installed.

    The packages around it are not imported, as ``importlib.util.find_spec`` does: the name may come
    from a database.
    """
    path: Sequence[str] | None = None
    done: list[str] = []
    for part in name.split("."):
        done.append(part)
        for finder in sys.meta_path:
            try:
                spec = finder.find_spec(".".join(done), path)
            except (AttributeError, ImportError, ValueError):
                continue
            if spec is not None:
                break
        else:
            return False
        path = spec.submodule_search_locations
        if path is None and len(done) <= name.count("."):
            return False
    return True
