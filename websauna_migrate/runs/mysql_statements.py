"""MariaDB and MySQL: DDL commits what was before it, so statements wait for locks one by one."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from sqlalchemy.engine import Connection

from websauna_migrate.database.lock_errors import error_number
from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.runs.statement_words import COMMENTS

LOCK_WAIT_TIMEOUT = 1205

#: Statements of MariaDB that do not commit implicitly. Any other is taken to do so.
KEEPS_TRANSACTION = re.compile(
    rf"^{COMMENTS}\(*(?:INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH|VALUES|DO|SET|SHOW|DESCRIBE|DESC|"
    r"EXPLAIN|CALL|USE|SAVEPOINT|RELEASE|EXECUTE|PREPARE|DEALLOCATE|HANDLER|KILL|"
    r"ROLLBACK\s+TO)\b",
    re.IGNORECASE | re.DOTALL,
)

#: Statements of MariaDB that change nothing.
ONLY_LOOKS = re.compile(
    rf"^{COMMENTS}\(*(?:SELECT|SET|SHOW|DESCRIBE|DESC|EXPLAIN|USE|SAVEPOINT|RELEASE)\b",
    re.IGNORECASE | re.DOTALL,
)

#: Statements of MariaDB that do all or nothing. A DROP of several tables does not.
ALL_OR_NOTHING = re.compile(
    rf"^{COMMENTS}(?:CREATE(?!\s+OR\s+REPLACE)|ALTER|RENAME|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)

#: An online ALTER that failed at its end has done this many seconds of work for nothing; from
#: then on it may wait for a share of that.
EXPENSIVE_SECONDS = 2.0
SHARE_OF_EXPENSIVE = 0.1
LONGEST_WAIT_SECONDS = 60


class MySQLStatements:
    """What a step's statements need on MariaDB and MySQL.

    :ivar published: whether the running step is no longer one transaction
    :ivar untouched: whether a published step failed before it changed anything: its first
        statement was one that does all or nothing
    """

    def __init__(
        self,
        connection: Connection,
        lock: RunLock,
        wait: Callable[[float], bool],
        *,
        mariadb: bool,
    ) -> None:
        """Prepare; for ``wait`` see :class:`.StatementGuard`."""
        self.connection = connection
        self.lock = lock
        self.wait = wait
        self.mariadb = mariadb
        self.timeouts = Timeouts()
        self.published = False
        self.untouched = False
        self._changes = 0
        self._session_settings = ""

    def begin_step(self, timeouts: Timeouts, waited: float) -> None:
        """Say that a step's statements come now, after seconds of waiting for locks."""
        self.timeouts = timeouts
        self.published = False
        self.untouched = False
        self._changes = 0
        self.set_limits(waited)

    def execute(self, statement: str, execute: Callable[[], object]) -> bool:
        """Look after a statement, and tell whether it was executed here."""
        if ends_transaction(statement):
            # A run that lost its lock must not publish anything any more.
            self.lock.check()
            self.published = True
        changes = not ONLY_LOOKS.match(statement)
        if not self.published:
            self._changes += changes
            return False
        waited = 0.0
        while True:
            began = time.monotonic()
            try:
                execute()
                break
            except Exception as exc:
                took = time.monotonic() - began
                waited += took
                self.untouched = not self._changes and bool(ALL_OR_NOTHING.match(statement))
                # A deadlock's victim was rolled back as a whole: it cannot go on from here.
                if error_number(exc) != LOCK_WAIT_TIMEOUT:
                    raise
                paused = time.monotonic()
                if not self.wait(waited):
                    raise
                waited += time.monotonic() - paused
                self.set_limits(waited, took)
        self.untouched = False
        self._changes += changes
        if waited:
            self.set_limits(0.0)
        return True

    def set_limits(self, waited: float, took: float = 0.0) -> None:
        """Let the session's statements wait for locks as long as they may by now.

        A table's lock is waited for in whole seconds. On MariaDB 0 means not at all, so that
        no other statement has to queue behind: that comes first.

        :param took: seconds that the last attempt took before it failed
        """
        milliseconds = self.timeouts.lock_ms_after(waited)
        parts = []
        if milliseconds:
            seconds = round(milliseconds / 1000) if milliseconds >= 500 else 0
            if took > EXPENSIVE_SECONDS:
                share = math.ceil(took * SHARE_OF_EXPENSIVE)
                seconds = max(seconds, min(LONGEST_WAIT_SECONDS, share))
            if not self.mariadb:
                seconds = max(1, seconds)
            parts.append(f"lock_wait_timeout = {seconds}")
            # Statements that only read do not queue for a row's lock.
            parts.append(f"innodb_lock_wait_timeout = {max(1, seconds)}")
        if self.mariadb:
            limit = self.timeouts.statement_timeout_ms / 1000
            parts.append(f"max_statement_time = {limit:.3f}")
        settings = ", ".join(f"SESSION {part}" for part in parts)
        if not settings or settings == self._session_settings:
            return
        cursor = self.connection.connection.cursor()
        try:
            # Past SQLAlchemy, which would begin a transaction for it.
            cursor.execute(f"SET {settings}")
        finally:
            cursor.close()
        self._session_settings = settings


def ends_transaction(statement: str) -> bool:
    """True if a statement commits what was before it."""
    return not KEEPS_TRANSACTION.match(statement)
