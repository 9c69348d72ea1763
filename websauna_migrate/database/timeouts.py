"""How long a step's statements may wait and run, and how often a step is tried again.

A statement that waits for a table's lock makes everybody wait who comes after it, so a step waits
briefly, lets the others go first, and comes again. Patience grows slowly with the time spent: it
stays short while a long report is read, and reaches its limit where a table is never free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from sqlalchemy.engine import Connection

from websauna_migrate.database.engines import SESSION

#: Seconds of waiting after which a statement waits as long as it ever may.
PATIENT_AFTER = 180.0

#: Seconds between two attempts, at most. A lock that comes free is used within this time.
LONGEST_PAUSE = 0.8


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limits of one step; each can be set for all, a package, a script and a run.

    :ivar lock_timeout_ms: milliseconds that a statement first waits for a table's lock, 0 for no
        limit
    :ivar lock_timeout_max_ms: up to what that rises while the budget is used up
    :ivar lock_budget: seconds for which a step is tried again while a lock is taken
    :ivar statement_timeout_ms: milliseconds that a statement may run, 0 for no limit
    """

    lock_timeout_ms: float = 100
    lock_timeout_max_ms: float = 1000
    lock_budget: float = 600.0
    statement_timeout_ms: float = 0

    def changed(self, values: Mapping[str, float | None]) -> Timeouts:
        """Return these limits with others in place of some; ``None`` stands for no change."""
        given = {name: value for name, value in values.items() if value is not None}
        return replace(self, **given) if given else self

    def lock_ms_after(self, waited: float) -> int:
        """Return how many milliseconds a statement may wait, after seconds of waiting before."""
        start = self.lock_timeout_ms
        rise = max(0.0, self.lock_timeout_max_ms - start)
        share = min(1.0, waited / PATIENT_AFTER)
        # PostgreSQL reads 0 as "no limit", which was not asked for.
        return max(1, round(start + rise * share)) if start else 0

    def pause_after(self, waited: float) -> float:
        """Return how many seconds to let the others go first, at random within bounds."""
        base = max(50, self.lock_ms_after(waited)) / 1000
        return min(LONGEST_PAUSE, base * random.uniform(1.0, 3.0))


#: What a script may set as a module attribute, a package by a setting, and a run by an argument.
NAMES = tuple(field.name for field in fields(Timeouts))


def env_limited(limits: Timeouts, connection: Connection) -> Timeouts:
    """Return limits as far as those that ``env.py`` set on its connection allow.

    How long a statement may wait for a lock there, a step is tried again here. A setting of this
    package's comes before a ``statement_timeout`` of ``env.py``.
    """
    found = connection.info.get(SESSION, {})
    changes: dict[str, float | None] = {}
    waits = [
        float(found[name]) * seconds
        for name, seconds in WAITS.items()
        if name in found and float(found[name]) > 0
    ]
    if waits:
        changes["lock_budget"] = min(limits.lock_budget, *waits)
    if not limits.statement_timeout_ms:
        for name, milliseconds in LASTS.items():
            if name in found:
                changes["statement_timeout_ms"] = float(found[name]) * milliseconds
    return limits.changed(changes)


#: Settings of a session that bound the wait for a lock, with what their unit is in seconds.
WAITS = {"lock_timeout": 0.001, "lock_wait_timeout": 1.0, "innodb_lock_wait_timeout": 1.0}

#: Those that bound a statement, with what their unit is in milliseconds.
LASTS = {"statement_timeout": 1.0, "max_statement_time": 1000.0}
