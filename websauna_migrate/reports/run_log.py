"""What the ledger tells of runs: who ran what, when, where, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import groupby
from operator import attrgetter

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import UsageError
from websauna_migrate.results import LedgerEntry, LedgerRun, LogFilter
from websauna_migrate.runs.in_progress import is_of, run_in_progress
from websauna_migrate.runs.ledger import Ledger, readable
from websauna_migrate.runs.ledger_table import FEW, column_names
from websauna_migrate.runs.migrating import is_applied_by
from websauna_migrate.runs.site import Site

#: Among how many runs ``last`` is looked for.
NEWEST = 50

#: How a run ended is how its worst step did; these from the worst on.
WORST = (
    *("half-done", "running", "failed", "stopped", "unfinished", "undone", "planned"),
    *("done", "taken over"),
)


def runs_of(site: Site, wanted: LogFilter) -> tuple[LedgerRun, ...]:
    """Return the runs that the ledger has, newest first.

    :param wanted: which of them
    """
    with site.reading() as connection:
        if connection is None or not site.ledger.is_there(connection):
            return ()
        found = as_runs(site, connection, rows_of_runs(site.ledger, connection, wanted))
        connection.rollback()
    return tuple(run for run in found if wanted.outcome in (None, run.outcome))[: wanted.limit]


def find_run(site: Site, name: str) -> LedgerRun:
    """Return one run with all of its steps.

    :param name: its identifier, the beginning of it, or ``last``
    :raises UsageError: if there is none, or several begin so
    """
    found = runs_of(site, LogFilter(limit=2, run=None if name == "last" else name))
    if not found:
        raise UsageError(f'The ledger has no run "{name}". "ws-alembic log" lists those it has.')
    if len(found) > 1 and name != "last":
        both = ", ".join(run.id for run in found)
        raise UsageError(f'Several runs begin with "{name}", such as {both}: write more of it.')
    return found[0]


def run_to_undo(site: Site, name: str) -> LedgerRun:
    """Return the run that is to be taken back.

    :param name: as in :func:`find_run`; ``last`` is the newest that applied a revision
    :raises UsageError: if there is none
    """
    if name != "last":
        return find_run(site, name)
    for run in runs_of(site, LogFilter(limit=NEWEST)):
        if any(map(is_applied_by, run.steps)):
            return run
    raise UsageError(
        f"None of the last {NEWEST} runs applied a revision. "
        '"ws-alembic log" lists the runs: name one.'
    )


def as_runs(site: Site, connection: Connection, entries: Sequence[LedgerEntry]) -> list[LedgerRun]:
    """Return rows of the ledger by run, the newest run first."""
    running = None
    by_run = sorted(entries, key=attrgetter("run", "number"))
    groups = [tuple(steps) for _, steps in groupby(by_run, key=attrgetter("run"))]
    groups.sort(key=lambda steps: max(step.id for step in steps), reverse=True)
    # A run at work is the newest.
    if any(step.outcome == "running" for step in entries) or any(map(is_short, groups[:1])):
        connection.rollback()
        running = run_in_progress(site, connection, has_ledger=True)
    found = []
    for ordered in groups:
        first = ordered[0]
        outcomes = {step.outcome for step in ordered}
        if not is_of(first, running):
            ordered = tuple(
                replace(step, outcome="half-done") if step.outcome == "running" else step
                for step in ordered
            )
            outcomes = {step.outcome for step in ordered}
            if is_short(ordered):
                # The step that it was killed in was only planned.
                ordered = tuple(
                    replace(step, outcome="unfinished") if step.outcome == "planned" else step
                    for step in ordered
                )
                outcomes = outcomes - {"planned"} | {"unfinished"}
        # In UTC, without a zone.
        ends = [step.ended for step in ordered if step.ended is not None]
        found.append(
            LedgerRun(
                id=first.run,
                direction=first.direction,
                outcome=min(outcomes, key=WORST.index),
                started=first.started.replace(tzinfo=timezone.utc),
                ended=max(ends).replace(tzinfo=timezone.utc) if len(ends) == len(ordered) else None,
                host=first.host,
                process=first.process,
                version=first.version,
                installed_by=next((s.installed_by for s in ordered if s.installed_by), ""),
                steps=ordered,
            )
        )
    return found


def is_short(steps: Sequence[LedgerEntry]) -> bool:
    """Whether a run has not got to the end of its last step, by its rows in their order."""
    return steps[0].outcome == "planned" or len(steps) < (steps[0].steps or 0)


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
