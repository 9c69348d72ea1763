"""The rows of the ledger by run."""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection

from websauna_migrate.results import LedgerEntry, LogFilter
from websauna_migrate.runs.ledger import FEW, Ledger, readable
from websauna_migrate.runs.ledger_table import column_names

__all__ = ["rows_of_runs"]


def rows_of_runs(
    ledger: Ledger, connection: Connection, wanted: LogFilter
) -> tuple[LedgerEntry, ...]:
    """Return all rows of the runs that are meant.

    How a run ended is for the caller to see, and with that how many there are.
    """
    columns = ledger.table.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.packages is not None:
        conditions.append(columns.package.in_(wanted.packages))
    if wanted.since is not None:
        conditions.append(columns.started >= in_utc(wanted.since))
    if wanted.until is not None:
        conditions.append(columns.started < in_utc(wanted.until))
    if wanted.host is not None:
        conditions.append(columns.host == wanted.host)
    if wanted.run is not None:
        conditions.append(columns.run.startswith(wanted.run, autoescape=True))
    with readable(connection, ledger.table.schema):
        runs = select(columns.run).group_by(columns.run).order_by(func.max(columns.id).desc())
        if wanted.person is not None:
            if columns.installed_by.name not in column_names(connection, ledger.table):
                return ()
            pattern = columns.installed_by.icontains(wanted.person, autoescape=True)
            conditions.append(columns.run.in_(select(columns.run).where(pattern)))
        if wanted.outcome is None:
            runs = runs.limit(wanted.limit)
        names = connection.scalars(runs.where(*conditions)).all()
    found: list[LedgerEntry] = []
    for start in range(0, len(names), FEW):
        found += ledger.read(connection, columns.run.in_(names[start : start + FEW]))
    return tuple(found)


def in_utc(time: datetime) -> datetime:
    """Return a time as the ledger has it: in UTC, without a zone."""
    return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time
