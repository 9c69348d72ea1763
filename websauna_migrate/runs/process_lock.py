"""One run at a time in a process: Alembic's ``context`` and ``op`` are module globals."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websauna_migrate.locks.run_lock import RunBlocked


class ProcessLock:
    """A lock that tells a thread which holds it already instead of waiting for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @property
    def is_held_here(self) -> bool:
        """True if the calling thread holds it."""
        return self._owner == threading.get_ident()

    def forget_threads(self) -> None:
        """Let go of what another thread held when this process was forked: it is not there."""
        if not self.is_held_here:
            self._lock, self._owner = threading.Lock(), None

    @contextmanager
    def held(self, wait: float = -1) -> Iterator[None]:
        """Hold the lock.

        :param wait: seconds to wait for it, 0 to fail at once, -1 for as long as it takes
        :raises RunBlocked: when the time is over, and if the calling thread holds it already
        """
        if self.is_held_here:
            raise RunBlocked(
                "nested",
                "A migration run is in progress in this very thread, and a second one cannot run "
                "inside of it. Call the service when the run is over.",
            )
        if not self._lock.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):
            raise RunBlocked(
                "thread",
                f"Another thread of this process runs migrations; gave up after {wait:g} s. "
                "Nothing was changed. Try again, or raise the setting "
                '"websauna_migrate.lock_wait" (seconds).',
            )
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()


#: Held by whatever enters an environment of Alembic's.
PROCESS_LOCK = ProcessLock()

os.register_at_fork(after_in_child=PROCESS_LOCK.forget_threads)
