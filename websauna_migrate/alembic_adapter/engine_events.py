"""Events of all engines of the process, while something runs in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def calling(name: str, function: Callable[..., None]) -> Iterator[None]:
    """Call a function at each event of a name within the block, if it is of this thread."""
    thread = threading.get_ident()

    def call(*args: Any) -> None:
        if threading.get_ident() == thread:
            function(*args)

    event.listen(Engine, name, call)
    try:
        yield
    finally:
        event.remove(Engine, name, call)
