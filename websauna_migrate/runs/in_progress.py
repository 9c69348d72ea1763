"""The run that is at work now, seen without taking its lock, and steps that ended half done."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.servers import examine
from websauna_migrate.locks.choice import make_lock
from websauna_migrate.locks.run_lock import RunLock
from websauna_migrate.results import Activity, LedgerEntry, RunInProgress
from websauna_migrate.runs.activity import activity_of
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.statement_log import kind_of


def marked_steps(
    site: Site, connection: Connection, tables: Collection[str]
) -> tuple[LedgerEntry, ...]:
    """Return the steps that the ledger marks as running, oldest first: half done, or at work.

    :param tables: the names of those that exist
    """
    return site.ledger.interrupted(connection) if LEDGER_TABLE in tables else ()


def at_work(
    site: Site,
    connection: Connection,
    tables: Collection[str],
    marked: tuple[LedgerEntry, ...] | None = None,
) -> tuple[RunInProgress | None, tuple[LedgerEntry, ...]]:
    """Return the run in progress, and the steps that ended half done.

    :param tables: the names of those that exist
    :param marked: the steps that the ledger marks as running; default: it is asked
    """
    if marked is None:
        marked = marked_steps(site, connection, tables)
    running = run_in_progress(site, connection, has_ledger=LEDGER_TABLE in tables)
    return running, tuple(entry for entry in marked if not is_of(entry, running))


def is_of(entry: LedgerEntry, running: RunInProgress | None) -> bool:
    """True if a step belongs to the run in progress."""
    return running is not None and running.step is not None and running.step.run == entry.run


def run_in_progress(
    site: Site, connection: Connection, *, has_ledger: bool
) -> RunInProgress | None:
    """Return the run that holds the lock, which is not taken for that; ``None`` if it is free."""
    server = examine(connection)
    lock = make_lock(connection, server, site.make_engine, site.schema)
    holder = lock.holder()
    connection.rollback()
    if not holder:
        return None
    steps = site.ledger.run_of(connection) if has_ledger else ()
    connection.rollback()
    step = steps[-1] if steps and holds(steps[-1], lock) else None
    activity = Activity(kind_of(lock.other_statement))
    # Behind a pooler, and on Galera, the lock is not of the session that does the work.
    session = None if step is None else lock.other_session
    if session and lock.other_statement:
        with contextlib.suppress(DBAPIError):
            activity = activity_of(connection, server, session)
    return RunInProgress(holder, step, activity.statement, activity.waits_for, activity.done)


def holds(step: LedgerEntry, lock: RunLock) -> bool:
    """True if the run of a step holds the lock, as far as that can be told."""
    if lock.other_process is not None:
        return step.process == lock.other_process
    return not lock.other_session or step.session == lock.other_session
