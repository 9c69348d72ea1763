"""SQLite's lock for runs: a lock on a file beside the database.

SQLite's own write lock ends with each transaction. A step that is not one transaction would lose it
in the middle, and its mark in the ledger could not be told from that of a killed run. The system
frees a file's lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import driver_of
from websauna_migrate.locks.run_lock import RunLock

SUFFIX = "-migrating"


class FileLock(RunLock):
    """A lock on ``<database>-migrating``, which holds who made it and goes with the run.

    Other programs, plain Alembic among them, do not know it. So each step takes SQLite's write
    lock as well, and reads the history again under it: ``spans_steps`` is false.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @classmethod
    def beside(cls, connection: Connection) -> FileLock | None:
        """Return the lock of a connection's database; ``None`` if that is not in a file."""
        file = database_file(driver_of(connection))
        if not file:
            return None
        path = Path(os.path.realpath(file) + SUFFIX)
        return cls(path) if os.access(path.parent, os.W_OK) else None

    def take(self) -> bool:
        """Try to take the lock.

        :raises MigrationError: if the file cannot be written, say on a full disk
        """
        try:
            return self._taken()
        except OSError as exc:
            raise MigrationError(
                f'The lock file "{self.path}" cannot be written: {exc.strerror}. No step was run, '
                "and nothing was changed. Make room on its disk, or let this user write it, and "
                "run the command again."
            ) from exc

    def _taken(self) -> bool:
        # Its mode is the database's, as SQLite does with files of its own: the next run may be
        # another user's.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, self._mode())
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between the two calls.
            taken = os.path.samestat(os.fstat(descriptor), os.stat(self.path))  # noqa: PTH116
        except (BlockingIOError, FileNotFoundError):
            taken = False
        except BaseException:
            os.close(descriptor)
            raise
        if not taken:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        note = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}",
            "doing": self.doing,
        }
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
        except OSError:
            self.release()
            raise
        return True

    def _mode(self) -> int:
        try:
            database = str(self.path).removesuffix(SUFFIX)
            return os.stat(database).st_mode & 0o666  # noqa: PTH116
        except FileNotFoundError:
            return 0o644

    def release(self) -> None:
        """Let the lock go, and remove the file while it is still ours."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str:
        """Return who holds the lock; a process that was killed left its note, and holds nothing."""
        try:
            with self.path.open("rb") as file:
                note = json.loads(file.read())
                process = int(note["process"])
                if self._descriptor is None and not is_held(file.fileno()):
                    return ""
            self.other_process = process
            return (
                f"process {process} on {note['host']}, since {note['since']} UTC, {note['doing']}"
            ).rstrip(", ")
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def is_held(descriptor: int) -> bool:
    """True if a run has locked the file.

    To find out takes a shared lock for a moment, if no run has one; a run that begins in that
    moment tries again.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def database_file(dbapi_connection: DBAPIConnection) -> str:
    """Return the path of a ``sqlite3`` connection's main database; empty if it is in memory."""
    for row in dbapi_connection.execute("PRAGMA database_list"):
        if row[1] == "main":
            return str(row[2] or "")
    return ""
