"""The collector of reference cycles, in a program that soon ends.

Models are hundreds of thousands of objects that stay until the end. Looking through them again and
again, and once more when the interpreter ends, takes much longer than many a command.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator

__all__ = ["collecting_seldom", "keep_until_exit"]

#: For ``gc.set_threshold``. Garbage of a long run is still collected.
SELDOM = (100_000, 10, 10)


@contextlib.contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector look less often meanwhile, if it is as Python made it."""
    given = gc.get_threshold()
    if given[0] and given[0] < SELDOM[0]:
        gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*given)


def keep_until_exit() -> None:
    """Leave to the operating system what is in cycles when the interpreter ends.

    This is for commands that change no database: no finalizer of an object in a cycle is called.
    """
    # The first to be registered is the last to be called, and one time is enough.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
