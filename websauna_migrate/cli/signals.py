"""SIGINT, SIGTERM and SIGHUP during a run: once for its next boundary, twice for now."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from websauna_migrate.database.stopping import Stop, StopNow

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Yield what the service asks whether to stop, and let signals answer.

    Python runs a signal's handler only between two of its own instructions, and a statement that
    the database is at work on is a single one. So a thread reads from a pipe which signals came,
    and can cancel the statement.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    count = 0

    def received(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        # The thread may be held up, and the exit status is that of the first signal.
        stop.signal = stop.signal or number
        # A script that is at work in Python itself has nothing that could be cancelled. A driver
        # has, and would lose its connection if it were interrupted; so would a loop of gevent that
        # waits for it. A greenlet that stands for another thread may be what is interrupted.
        is_main = threading.current_thread() is threading.main_thread()
        if count > 1 and is_main and stop.interruptible and not is_of_others(frame):
            raise StopNow

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    thread = threading.Thread(target=obey, args=(reading, stop), daemon=True)
    thread.start()
    # What is ignored stays so: SIGHUP by nohup, SIGINT in the background of a shell.
    before = {
        number: signal.signal(number, received)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        with contextlib.suppress(BlockingIOError):
            # A pipe that is full of signals ends by being closed.
            os.write(writing, bytes([END]))
        os.close(writing)
        thread.join()
        os.close(reading)


#: What is said of the first signal.
STOPPING = "Stopping when the step is done; a second time stops it at once."


#: What is written into the pipe at the end; no signal has this number.
END = 0


def obey(descriptor: int, stop: Stop) -> None:
    """Read the numbers of signals from a pipe until its end, and ask to stop.

    An application that gevent has patched has a greenlet in place of a thread: it waits by
    ``select``, which lets others work, where a read would stop them all.
    """
    while True:
        select.select([descriptor], [], [])
        numbers = os.read(descriptor, 16)
        for number in numbers:
            if number not in SIGNALS:
                continue
            print("Rolling back." if stop() else STOPPING, file=sys.stderr)
            stop.request(number)
        if not numbers or END in numbers:
            return


def is_of_others(frame: FrameType | None) -> bool:
    """Return True if a frame belongs to SQLAlchemy or gevent, or was called by one of them."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(("sqlalchemy.", "gevent.")):
            return True
        frame = frame.f_back
    return False
