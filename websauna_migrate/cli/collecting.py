"""The collector of reference cycles, in a program that soon ends.

Modules, an application, models and revisions are hundreds of thousands of objects that stay until
the end. Looking through them again and again, and once more when the interpreter ends, takes much
longer than many a command.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator

__all__ = ["collect_from_here", "collect_once_more", "collecting_seldom", "keep_until_exit"]

#: For ``gc.set_threshold``. Garbage of a long run is still collected.
SELDOM = (100_000, 10, 10)


@contextlib.contextmanager
def collecting_seldom() -> Iterator[None]:
    """Keep the collector off until :func:`collect_from_here`, and let it look less often then.

    A collector that is not as Python made it is left alone.
    """
    given = gc.get_threshold()
    if not gc.isenabled() or not 0 < given[0] < SELDOM[0] or gc.get_freeze_count():
        yield
        return
    gc.set_threshold(*SELDOM)
    gc.disable()
    try:
        yield
    finally:
        # Whatever there is becomes old: with the usual threshold all of it would be looked at.
        gc.freeze()
        gc.unfreeze()
        gc.set_threshold(*given)
        gc.enable()


def collect_from_here() -> None:
    """Turn the collector on for what comes; what is there already stays, and is not looked at."""
    # Another threshold is that of a collector which was left alone.
    if gc.get_threshold() == SELDOM and not gc.isenabled():
        gc.freeze()
        gc.enable()


def collect_once_more() -> None:
    """Collect what a run left behind, so that its finalizers are called, and nothing after that.

    What was there before the run is not looked at. The interpreter would do it twice at its end.
    """
    # Nothing is frozen by a collector that was left alone.
    if gc.get_freeze_count():
        gc.collect()
        keep_until_exit()


def keep_until_exit() -> None:
    """Leave to the operating system what is in cycles when the interpreter ends.

    This is for commands that run no scripts: no finalizer of an object in a cycle is called.
    """
    # The first to be registered is the last to be called, and one time is enough.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
