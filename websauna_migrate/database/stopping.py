"""Ending a run early: between two steps at the first request, within the step at the second."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from websauna_migrate.base_errors import MigrationError

#: Seconds between two calls of a function that says whether to stop.
POLL_SECONDS = 0.05


class StopNow(BaseException):
    """Raised inside a script that shall end now; ``except Exception`` does not catch it."""


class RunStopped(MigrationError, RuntimeError):
    """A run ended early because it was asked to.

    :ivar done: how many steps were applied before
    :ivar half_done: whether parts of the running step may have been committed; the exit code is 3
    """

    def __init__(
        self, message: str, *, exit_code: int, done: int = 0, half_done: bool = False
    ) -> None:
        self.exit_code = exit_code
        self.done = done
        self.half_done = half_done
        super().__init__(message)


class Stop:
    """A request to stop, to be made from any thread.

    The service calls it, as any function that returns True to stop. The first :meth:`request` ends
    the run when the running step is done; the second cancels the running statement and rolls the
    step back.

    :ivar signal: number of the signal that asked, if one did
    """

    def __init__(self, function: Callable[[], bool] | None = None) -> None:
        """Prepare.

        :param function: asked as well; once it has returned True it is not called again
        """
        self._function = function
        self.signal: int | None = None
        self._asked = threading.Event()
        self._at_once = threading.Event()
        self._cancel: Callable[[], None] | None = None
        #: Whether a script runs, in which :class:`StopNow` may be raised.
        self.interruptible = False

    @classmethod
    def of(cls, asked: Callable[[], bool] | None) -> Stop:
        """Return what a caller gave to ask, as a request to stop."""
        return asked if isinstance(asked, Stop) else cls(asked)

    def __call__(self) -> bool:
        """True if a stop was requested."""
        if self._function is not None and not self._asked.is_set() and self._function():
            self.request()
        return self._asked.is_set()

    @property
    def exit_code(self) -> int:
        """The exit status of a program that a signal ended; that of SIGINT if there was none."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def at_once(self) -> bool:
        """True if the running step has to end too."""
        return self._at_once.is_set()

    def request(self, signal_number: int | None = None) -> None:
        """Ask to stop; for the second time, at once. Not to be called from a signal handler."""
        if self.signal is None:
            self.signal = signal_number
        if not self._asked.is_set():
            self._asked.set()
            return
        self._at_once.set()
        cancel = self._cancel
        if cancel is not None:
            with suppress(Exception):
                cancel()

    def wait(self, seconds: float) -> bool:
        """Wait until a stop is requested, at most some seconds; True if it was."""
        if self._function is None:
            return self._asked.wait(seconds)
        deadline = time.monotonic() + seconds
        while not self():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(remaining, POLL_SECONDS))
        return True

    @contextmanager
    def running(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Let a second request cancel what the connection is doing, and end the script that runs.

        :param cancel: called in the thread that asks
        """
        with self.cancelable(cancel):
            self.interruptible = True
            try:
                yield
            finally:
                self.interruptible = False

    @contextmanager
    def cancelable(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Let a second request cancel what the connection is doing, where no script runs."""
        before, self._cancel = self._cancel, cancel
        try:
            yield
        finally:
            self._cancel = before
