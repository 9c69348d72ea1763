"""The lock of one run, and how it is waited for.

A lock is polled, never waited for inside the database: a blocked waiter keeps a snapshot that
CREATE INDEX CONCURRENTLY would wait for.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.stopping import RunStopped, Stop

#: Poll between these many seconds, at random, so that waiters do not come in step.
POLL_SECONDS = (0.05, 0.25)

#: Seconds after which a waiting run says again what it waits for.
TELL_AGAIN_SECONDS = 30.0


class RunBlocked(MigrationError, TimeoutError):
    """Another run, or the caller's own transaction, is in the way of a run; nothing was changed.

    :ivar kind: ``database`` where another run holds the database's lock for longer than
        ``lock_wait``, ``thread`` where another thread of this process runs migrations for as long,
        ``nested`` for a run inside of a run, ``caller`` where the calling thread's own open
        transaction holds what a step waits for
    :ivar holder: who is in the way, in words; empty if it cannot be told
    """

    exit_code = ExitCode.BUSY

    def __init__(self, kind: str, message: str, holder: str = "") -> None:
        self.kind, self.holder = kind, holder
        if kind == "nested":
            # Trying again does not help.
            self.exit_code = ExitCode.FAILED
        super().__init__(message)


class LockLost(Exception):
    """The run's lock is not its own any more; the words say how that came about."""


class RunLock:
    """The lock of one run. This one holds nothing: for databases that know no lock.

    :ivar spans_steps: whether it keeps every other run out from one step to the next. Where it
        does not, each step reads the history again.
    :ivar doing: the command of the run, shown to runs that wait
    :ivar session: number of the server's session with which this run holds it
    :ivar other_session: number of another run's session that holds it; :meth:`holder` finds it
    :ivar other_statement: what that session executes; empty if it does not, or may not be seen
    :ivar other_process: of a lock that is a file's, the process that holds it, in the same way
    """

    spans_steps = False
    doing = ""
    session: int | None = None
    other_session: int | None = None
    other_process: int | None = None
    other_statement: str = ""

    def take(self) -> bool:
        """Try to take the lock, without waiting; True if it is taken."""
        return True

    def release(self) -> None:
        """Let the lock go; it may be lost already."""

    def check(self) -> None:
        """Make sure that the lock is still held.

        :raises LockLost: if it is not
        """

    def join(self, connection: Connection) -> None:
        """Tie the transaction of a step to the lock: called first in each of them.

        :raises LockLost: if the lock is not held any more
        """

    def holder(self) -> str:
        """Return who holds the lock, in words; empty if it cannot be told."""
        return ""


def lock_key(scope: str) -> int:
    """Return the 64 bits that PostgreSQL knows the lock by.

    :param scope: what besides the database the lock is for: the history tables' schema
    """
    digest = hashlib.sha256(f"websauna_migrate:{scope}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def in_brackets(words: str) -> str:
    """Return words to put behind a noun; empty for none."""
    return f" ({words})" if words else ""


@contextmanager
def take(
    lock: RunLock,
    wait: float,
    *,
    tell: Callable[[str], None],
    describe: Callable[[], str],
    stopping: Stop,
) -> Iterator[RunLock]:
    """Hold a lock.

    :param wait: seconds to wait for it, 0 to fail at once
    :param tell: told in words who holds the lock that is waited for, and for how long
    :param describe: says more about the holder than the lock itself knows
    :raises RunBlocked: when the time is over
    :raises RunStopped: when asked to stop meanwhile
    """
    began = time.monotonic()
    deadline = began + wait
    next_words = began
    while not lock.take():
        now = time.monotonic()
        if now >= next_words or now >= deadline:
            holder = ", ".join(filter(None, (lock.holder(), describe())))
            if now >= deadline:
                raise RunBlocked(
                    "database",
                    "Another migration run is in progress on this database"
                    f"{in_brackets(holder)}; gave up after {now - began:.1f} s. Nothing was "
                    "changed. Try again when it is over, or raise the setting "
                    '"websauna_migrate.lock_wait" (seconds).',
                    holder,
                )
            tell(
                f"Another migration run is in progress{in_brackets(holder)}; waiting for it, "
                f"at most {deadline - now:.0f} s."
            )
            next_words = now + TELL_AGAIN_SECONDS
        if stopping.wait(max(0.0, min(random.uniform(*POLL_SECONDS), deadline - now))):
            raise RunStopped(
                "Stopped as asked, while another migration run was in progress. Nothing was "
                "changed.",
                exit_code=stopping.exit_code,
            )
    try:
        yield lock
    finally:
        lock.release()
