"""Where the packages stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from websauna_migrate.config.packages import is_importable
from websauna_migrate.database.history_tables import HISTORY_PREFIX, list_tables
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.state import State
from websauna_migrate.results import LedgerEntry, PackageState, RunInProgress
from websauna_migrate.runs.in_progress import at_work
from websauna_migrate.runs.other_histories import find_elsewhere
from websauna_migrate.runs.site import Site

if TYPE_CHECKING:
    from websauna_migrate.runs.uninstalling import Departed


def states(site: Site, packages: Packages) -> tuple[PackageState, ...]:
    """Return where packages stand.

    :param packages: ``None`` for all registered ones, and those that left a history table
    """
    selected = site.select(packages)
    applied: Mapping[str, tuple[str, ...]] = dict.fromkeys(site.packages, ())
    elsewhere: dict[str, list[str]] = {}
    left: tuple[Departed, ...] = ()
    running: RunInProgress | None = None
    half_done: tuple[LedgerEntry, ...] = ()
    with site.reading() as connection:
        if connection is not None:
            applied, tables = site.read(connection)
            ours = {package.history_table for package in site.packages.values()}
            if packages is None and any(t.startswith(HISTORY_PREFIX) for t in tables - ours):
                # Mostly, it is not needed.
                from websauna_migrate.runs.uninstalling import list_departed

                left = list_departed(site, connection, list_tables(connection, site.schema))
            if not all(applied[name] for name in selected):
                for one in find_elsewhere(site, connection, applied, selected):
                    elsewhere.setdefault(one.package, []).append(str(one.table))
            running, half_done = at_work(site, connection, tables)
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
    gone = (
        PackageState(
            one.name,
            False,
            one.history_table,
            one.rows,
            unknown=one.rows,
            importable=is_importable(one.name),
        )
        for one in left
    )
    return (*found, *gone)


def revision_at_work(running: RunInProgress | None, package: str) -> str | None:
    """Return the revision of a package that a run is at work on; ``None`` for none."""
    step = None if running is None else running.step
    if step is None or step.package != package or step.ended is not None:
        return None
    return step.revision


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
        pending=None if lost and waiting else waiting,
    )
