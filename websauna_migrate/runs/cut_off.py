"""Runs whose steps ended half done, and what their statements made: no hand changed that."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from sqlalchemy.engine import Connection

from websauna_migrate.facts.units import Unit
from websauna_migrate.results import LedgerEntry
from websauna_migrate.runs.ledger import RUNNING, UNDONE, Ledger
from websauna_migrate.runs.statement_log import IDENTIFIER


class CutOff:
    """The steps of a ledger that ended half done, also those that count as undone since."""

    def __init__(self, ledger: Ledger, connection: Connection) -> None:
        """Read them, oldest first; the ledger must be there."""
        columns = ledger.table.c
        self.entries = ledger.read(connection, columns.outcome.in_([RUNNING, UNDONE]))

    def find(self, units: Collection[Unit], since: datetime) -> LedgerEntry | None:
        """Return the newest one with a statement that is about one of some objects.

        :param since: the start of a run; those before it are left out
        """
        names = {name for unit in units for name in (unit[1], unit[3])}
        for entry in reversed(self.entries):
            words = (re.findall(IDENTIFIER, one.kind)[-1:] for one in entry.statements)
            found = {word.strip('"`[]') for last in words for word in last}
            if entry.started > since and found & names:
                return entry
        return None

    def words(self, units: Collection[Unit], since: datetime) -> str:
        """Return which run changed one of some objects, a clause; empty if none did.

        :param since: as in :meth:`find`
        """
        entry = self.find(units, since)
        if entry is None:
            return ""
        state = "ended half done" if entry.outcome == RUNNING else "was settled as not done"
        name = f"{entry.package}@{entry.revision}"
        return f"by run {entry.run[:8]}, whose {entry.direction} of {name} {state}"
