"""Settling steps that ended half done: what is to be taken as true."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.database.history_tables import list_tables, write_rows
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.steps import Direction, Plan, Reason, Step
from websauna_migrate.results import InterruptedStep, LedgerEntry
from websauna_migrate.runs.half_done import known_facts, look_closely, one_of
from websauna_migrate.runs.in_progress import is_of, marked_steps, run_in_progress
from websauna_migrate.runs.ledger import DONE, UNDONE
from websauna_migrate.runs.ledger_table import os_user
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site

#: ``rerun`` the step, take it as ``done``, or as ``undone``.
ACTIONS = ("rerun", "done", "undone")


def not_settled(entry: LedgerEntry, problem: str) -> MigrationError:
    """Return the error of a half done step whose scripts are not there any more."""
    return MigrationError(
        f'Revision "{entry.revision}" of package "{entry.package}" cannot be settled: '
        f"{problem} Nothing was changed."
    )


def repair(
    site: Site,
    action: str | None,
    step: str | None,
    *,
    stop: Callable[[], bool] | None = None,
) -> tuple[InterruptedStep, ...]:
    """Settle half done steps, or look at them; parameters as in ``IMigrationService.repair``."""
    if action is not None and action not in ACTIONS:
        raise UsageError(f'A half done step can be {", ".join(ACTIONS)}, not "{action}".')
    if not site.has_database:
        return ()
    if action is None:
        return look(site, step)
    runner = Runner(site, RunOptions(stop=stop))
    with runner.locked_for_repair("repair") as connection:
        entries = choose(runner.marked(connection), step)
        applied = site.read(connection)[0]
        found = tuple(
            InterruptedStep(one_of(marks), known_facts(marks[-1], connection, applied), action)
            for marks in by_step(entries)
        )
        for entry in reversed(entries):
            settle(site, connection, entry, action, applied.get(entry.package))
            applied = site.read(connection)[0]
        connection.commit()
    if action == "rerun" and entries:
        rerun(site, entries, stop)
    return found


def look(site: Site, step: str | None) -> tuple[InterruptedStep, ...]:
    """Return what can be said of the steps that are marked; those of a run at work are running."""
    with site.connecting() as connection:
        marked = marked_steps(site, connection, list_tables(connection, site.schema))
        connection.rollback()
        if step is not None:
            marked = choose(marked, step)
        running = run_in_progress(site, connection, has_ledger=True) if marked else None
        applied = site.read(connection)[0]
        found = []
        for marks in by_step(marked):
            entry = marks[-1]
            known = known_facts(entry, connection, applied)
            if is_of(entry, running):
                found.append(InterruptedStep(entry, known, running=running))
            else:
                one = look_closely(site, connection, marks, known)
                found.append(replace(one, choices=choices(site, entry, applied)))
        connection.rollback()
    return tuple(found)


def choices(site: Site, entry: LedgerEntry, applied: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what each action would do to a step, by action."""
    rows = applied.get(entry.package)
    history = history_of(site.loaded, entry, rows)
    return {action: what_it_does(entry, action, history, rows) for action in ACTIONS}


def what_it_does(
    entry: LedgerEntry, action: str, history: PackageHistory | None, rows: Sequence[str] | None
) -> str:
    """Return what an action would do to a step, or why it cannot be chosen."""
    up = entry.direction == "upgrade"
    try:
        if rows is None:
            if action != "undone":
                return "not possible: the package is not registered"
            return "forgets the mark, and nothing else"
        if action == "rerun":
            require_script(entry, history)
            return (
                f"runs the {entry.direction} from its beginning; remove what it would make a "
                "second time before"
            )
        after = rows_settled(entry, history, rows, applied=up == (action == "done"))
    except MigrationError:
        return "not possible: its script is not there"
    before, wanted = (", ".join(sorted(one)) or "base" for one in (rows, after))
    written = f"writes {wanted} in place of {before}" if wanted != before else f"stays {before}"
    follow = "" if action == "done" else f"; the next {entry.direction} runs the step again"
    if follow and (history is None or entry.revision not in history):
        follow = "; take back by hand what the step left: no script is there to run it again"
    return f"the history {written}{follow}"


def by_step(entries: Sequence[LedgerEntry]) -> list[list[LedgerEntry]]:
    """Return the marks of each step, oldest first: one that was run again has several."""
    found: dict[tuple[str, str], list[LedgerEntry]] = {}
    for entry in entries:
        found.setdefault((entry.package, entry.revision), []).append(entry)
    return [*found.values()]


def rerun(site: Site, entries: Sequence[LedgerEntry], stop: Callable[[], bool] | None) -> None:
    """Run a half done step again; its marks stay until that has succeeded.

    :param entries: the marks of the one step, oldest first
    """
    marks = {entry.id: settled_by("rerun") for entry in entries}
    runner = Runner(site, RunOptions(stop=stop, marks=marks))
    newest = entries[-1]
    runner.run(newest.direction, lambda applied: rerun_plan(newest, site.loaded, applied))


def choose(entries: Sequence[LedgerEntry], step: str | None) -> tuple[LedgerEntry, ...]:
    """Return the marks of the step that is meant, oldest first.

    :param step: ``package@revision``; ``None`` for the only one
    :raises UsageError: if there are several and none is named, or no such step is half done
    """
    names = list(dict.fromkeys(f"{entry.package}@{entry.revision}" for entry in entries))
    listed = ", ".join(names) or "none"
    if step is None and len(names) > 1:
        raise UsageError(f"Several steps ended half done; name the one that is meant: {listed}")
    if step is not None and step not in names:
        raise UsageError(f'No step "{step}" ended half done. Those that did: {listed}.')
    return tuple(e for e in entries if step in (None, f"{e.package}@{e.revision}"))


def settle(
    site: Site,
    connection: Connection,
    entry: LedgerEntry,
    action: str,
    rows: Sequence[str] | None,
) -> None:
    """Write down, in the current transaction, what is to be taken as true of a step.

    The history table is made to say whether the revision is applied, and the ledger who said so.

    :param action: one of :data:`ACTIONS`; for a step that is going to be run again the history
        says that it is undone, and the mark stays
    :param rows: of the package's history table; ``None`` for a package that is not registered
    :raises MigrationError: if the history would have to change and the scripts are not there
    """
    shall_be_applied = (entry.direction == "upgrade") == (action == "done")
    if rows is not None:
        history = history_of(site.loaded, entry, rows)
        if action == "rerun":
            require_script(entry, history)
        wanted = rows_settled(entry, history, rows, applied=shall_be_applied)
        if wanted != frozenset(rows):
            # Not the table that the ledger's row names: any program may have written that.
            table = site.packages[entry.package].history_table
            write_rows(connection, table, site.schema, tuple(sorted(wanted)))
    elif action != "undone":
        raise not_settled(
            entry, "the package is not registered any more. Install it again, or use --undone."
        )
    if action != "rerun":
        outcome = DONE if action == "done" else UNDONE
        site.ledger.end(connection, entry.id, outcome, settled_by(action))


def history_of(
    loaded: LoadedScripts, entry: LedgerEntry, rows: Sequence[str] | None
) -> PackageHistory | None:
    """Return the history that a step is of; one of old scripts, in the middle of a squash."""
    history = loaded.histories.get(entry.package)
    return None if history is None else history.standing_for([entry.revision, *(rows or ())])


def rows_settled(
    entry: LedgerEntry, history: PackageHistory | None, rows: Sequence[str], *, applied: bool
) -> frozenset[str]:
    """Return the rows that a history table shall have.

    :param applied: whether the revision is to be among what they stand for
    """
    if (history is None or entry.revision not in history) and (entry.revision in rows) == applied:
        return frozenset(rows)
    history = require_script(entry, history)
    known = [row for row in rows if row in history]
    if (entry.revision in history.applied(known)) == applied:
        return frozenset(rows)
    return history.rows_after(rows, entry.revision, upgrade=applied)


def require_script(entry: LedgerEntry, history: PackageHistory | None) -> PackageHistory:
    """Return the history of a step's package, which has the step's script.

    :raises MigrationError: if it has not
    """
    if history is None or entry.revision not in history:
        raise not_settled(
            entry,
            "no script of the package defines this revision. Restore the script first, or take "
            "back by hand what the step left and use --undone.",
        )
    return history


def rerun_plan(
    entry: LedgerEntry, snapshot: LoadedScripts, applied: Mapping[str, Sequence[str]]
) -> Plan:
    """Return the plan that runs a half done step again, and nothing else."""
    history = history_of(snapshot, entry, applied[entry.package])
    assert history is not None
    before = frozenset(applied[entry.package])
    up = entry.direction == "upgrade"
    direction: Direction = "upgrade" if up else "downgrade"
    if (entry.revision in history.applied(before)) == up:
        # Another run was faster.
        return Plan((), direction)
    reasons = (Reason("requested", f"{entry.package}@{entry.revision}"),)
    revision = history.revisions[entry.revision]
    after = history.rows_after(before, entry.revision, upgrade=up)
    return Plan((Step(entry.package, revision, direction, reasons, before, after),), direction)


def settled_by(action: str) -> str:
    """Return the ledger's note about a half done step that was settled."""
    return f"repair --{action} by {os_user()} (process {os.getpid()})"
