"""How long a step's statements may wait and run, and how often a step is tried again.

A statement that waits for a table's lock makes everybody wait who comes after it, so a step waits
briefly, lets the others go first, and comes again. Patience grows slowly with the time spent: it
stays short while a long report is read, and reaches its limit where a table is never free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

__all__ = ["NAMES", "Timeouts"]

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
