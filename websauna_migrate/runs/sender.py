"""A thread that does what it is given, one after the other, while its owner prepares more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Sender"]

T = TypeVar("T")

#: Seconds after which the owner looks for what was done meanwhile, though there is enough to do
#: still: somebody may watch the run.
LOOK_SECONDS = 0.02


class Sender(Generic[T]):
    """Sends things in the order in which they are put, until one of them fails.

    Whoever sleeps until each single one is sent is woken as often, which takes longer than to
    prepare the next one. So the owner may be ahead by several, and is woken when half of them are
    left. To be used with ``with``: its end waits for what is being sent, and what was not begun
    is dropped.

    :ivar error: what the sending of the newest one raised; ``None`` if it was sent
    """

    def __init__(
        self, send: Callable[[T], None], *, ahead: int, stop: Callable[[], bool] | None = None
    ) -> None:
        """Prepare; the thread is started by ``with``.

        :param send: sends one thing; called in the thread
        :param ahead: how many may be on their way at most, 1 or more
        :param stop: asked in the thread before each whether to begin no more
        """
        self.ahead = ahead
        self.error: BaseException | None = None
        self._send = send
        self._stop = stop
        self._given: SimpleQueue[T | None] = SimpleQueue()
        self._over: deque[T] = deque()
        self._left = 0
        self._ended = threading.Event()
        self._news = threading.Event()
        # Nobody waits for it at the interpreter's end, if ever :meth:`close` was not come to.
        self._thread = threading.Thread(target=self._work, name="websauna_migrate", daemon=True)

    def __len__(self) -> int:
        """Return how many were put and not taken from :meth:`over` since."""
        return self._left

    def put(self, one: T) -> None:
        """Give one to be sent."""
        self._left += 1
        self._given.put(one)

    def over(self, left: int) -> Iterator[T]:
        """Yield what has been sent, and at last what failed; see :attr:`error` then.

        The newest is yielded again by the next call if the iteration was not gone on with.

        :param left: how many may still be on their way when the iteration ends
        """
        while True:
            self._news.clear()
            # What ended is added before it is said that nothing follows.
            ended = self._ended.is_set()
            while self._over:
                yield self._over[0]
                self._over.popleft()
                self._left -= 1
            if self._left <= left or ended:
                return
            self._news.wait(LOOK_SECONDS)

    def close(self) -> None:
        """Begin no more, and wait for what is being sent.

        Whoever interrupts that is heard when the thread has ended: until then it uses what others
        would tidy up.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                self._stop = always
                self._given.put(None)
                # Python takes a thread to be over whose join() was interrupted.
                self._ended.wait()
                self._thread.join()
                break
            except BaseException as exc:
                interrupt = exc
        if interrupt is not None:
            raise interrupt

    def __enter__(self) -> Sender[T]:
        """Start the thread."""
        try:
            self._thread.start()
        except BaseException:
            # It may begin all the same.
            self._given.put(None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        """Wait for what is being sent."""
        self.close()

    def _work(self) -> None:
        """Send one after the other."""
        few = self.ahead // 2
        try:
            while (one := self._given.get()) is not None:
                if self._stop is not None and self._stop():
                    break
                try:
                    self._send(one)
                except BaseException as exc:
                    self.error = exc
                self._over.append(one)
                if self.error is not None:
                    break
                if self._given.qsize() <= few:
                    self._news.set()
        finally:
            self._ended.set()
            self._news.set()


def always() -> bool:
    """Return ``True``."""
    return True
