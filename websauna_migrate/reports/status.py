"""Where the packages stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlalchemy.engine import Connection

from websauna_migrate.config.packages import is_importable
from websauna_migrate.database.history_tables import (
    HISTORY_PREFIX,
    list_tables,
    read_left,
    read_rows,
)
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.state import State
from websauna_migrate.results import LedgerEntry, PackageState, RunInProgress
from websauna_migrate.runs.in_progress import find_at_work
from websauna_migrate.runs.site import Site


def states(site: Site, packages: Packages) -> tuple[PackageState, ...]:
    """Return where packages stand.

    :param packages: ``None`` for all registered ones, and those that left a history table
    """
    selected = site.select(packages)
    ours = {package.history_table for package in site.packages.values()}
    rows: Mapping[str, tuple[str, ...]] = {}
    names: Mapping[str, str] = {}
    elsewhere: dict[str, list[str]] = {}
    running: RunInProgress | None = None
    half_done: tuple[LedgerEntry, ...] = ()
    with site.reading() as connection:
        if connection is not None:
            tables = list_tables(connection, site.schema)
            histories = {t for t in tables if t.startswith(HISTORY_PREFIX) or t in ours}
            rows = read_rows(connection, histories & ours, site.schema)
            if not histories <= ours:
                # Mostly, it is not needed.
                from websauna_migrate.runs.uninstalling import dotted_names

                left = read_left(connection, histories - ours, site.schema)
                rows = {**rows, **left}
                names = dotted_names(connection, site.ledger.table, left)
            if not all(rows.get(site.packages[name].history_table) for name in selected):
                elsewhere = histories_elsewhere(site, connection, rows, selected)
            running, half_done = find_at_work(site, connection, tables)
    applied = {name: rows.get(one.history_table, ()) for name, one in site.packages.items()}
    waiting = State(site.loaded.graph, applied).pending()
    found = [
        replace(
            installed(site, name, applied[name], len(waiting.get(name, ()))),
            elsewhere=tuple(elsewhere.get(name, ())),
            half_done=tuple(one.revision for one in half_done if one.package == name),
            running=revision_at_work(running, name),
        )
        for name in selected
    ]
    if packages is None:
        found += [
            PackageState(
                names[table],
                False,
                table,
                rows[table],
                unknown=rows[table],
                importable=is_importable(names[table]),
            )
            for table in sorted(set(rows) - ours)
        ]
    return tuple(found)


def revision_at_work(running: RunInProgress | None, package: str) -> str | None:
    """Return the revision of a package that a run is at work on; ``None`` for none."""
    step = None if running is None else running.step
    at_work = step is not None and step.package == package and step.ended is None
    return step.revision if step is not None and at_work else None


def histories_elsewhere(
    site: Site,
    connection: Connection,
    rows: Mapping[str, tuple[str, ...]],
    selected: Collection[str],
) -> dict[str, list[str]]:
    """Return other version tables that have the revisions of packages whose own has none."""
    from websauna_migrate.runs.other_histories import OtherHistories

    applied = {name: rows.get(one.history_table, ()) for name, one in site.packages.items()}
    found: dict[str, list[str]] = {}
    for one in OtherHistories(site.loaded, site.settings).find(connection, applied, selected):
        found.setdefault(one.package, []).append(str(one.table))
    return found


def installed(site: Site, name: str, rows: tuple[str, ...], waiting: int) -> PackageState:
    """Return where a registered package stands.

    :param rows: of its history table
    :param waiting: how many of its revisions are not applied
    """
    history = site.loaded.histories[name].standing_for(rows)
    lost = history.lost(rows)
    now = history.squashed(rows)
    known = sorted(now - {*lost})
    return PackageState(
        package=name,
        installed=True,
        history_table=site.packages[name].history_table,
        rows=rows,
        applied=tuple(history.revisions[row] for row in known),
        unknown=lost,
        adopts=tuple(sorted(now - {*rows})),
        implied=tuple(history.revisions[one] for one in history.current(known) if one not in known),
        heads=tuple(history.revisions[head] for head in history.heads),
        pending=waiting,
    )
