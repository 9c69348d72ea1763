"""Revisions as lists: heads, history, and those that a symbol names."""

from __future__ import annotations

from collections.abc import Iterable

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.base_errors import UsageError
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.package_targets import collect, range_of, resolve_all
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import HistoryEntry
from websauna_migrate.runs.site import Site


def heads(site: Site, packages: Packages) -> tuple[Revision, ...]:
    """Return the newest revisions of packages."""
    histories = site.loaded.histories
    return tuple(
        histories[name].revisions[head]
        for name in site.select(packages)
        for head in histories[name].heads
    )


def history(site: Site, rev_range: str | None, packages: Packages) -> tuple[HistoryEntry, ...]:
    """Return the revisions of packages, newest first.

    :param rev_range: ``start:end``, both included; ``None`` for all
    :raises UsageError: for a range of another form
    """
    loaded, selected = site.loaded, site.select(packages)
    ordered = list(reversed(loaded.graph.timeline(selected)))
    if rev_range is not None:
        start, colon, end = rev_range.strip().partition(":")
        if not colon or ":" in end:
            raise UsageError(
                f'The range "{rev_range}" is not of the form [start]:[end], [start]: or :[end].'
            )
        applied = site.applied() if "current" in (start, end) else {}
        inside = collect(
            selected,
            loaded.histories,
            lambda history: range_of(history, start, end, applied.get(history.package, ())),
        )
        ordered = [one for one in ordered if one.id in inside.get(one.package, ())]
    return tuple(entry(loaded, revision) for revision in ordered)


def entries(site: Site, revisions: Iterable[Revision]) -> tuple[HistoryEntry, ...]:
    """Return what listings say of revisions, newest first."""
    graph = site.loaded.graph
    nodes = {graph.node(revision) for revision in revisions}
    ordered = sorted(nodes, key=lambda node: graph.places[node], reverse=True)
    return tuple(entry(site.loaded, graph.revisions[node]) for node in ordered)


def show(site: Site, revision: str, packages: Packages) -> tuple[HistoryEntry, ...]:
    """Return the revisions that a symbol names, ``current`` included."""
    loaded, selected = site.loaded, site.select(packages)
    applied = site.applied() if revision == "current" else {}
    found = collect(
        selected,
        loaded.histories,
        lambda history: (
            set(history.squashed(applied.get(history.package, ()))) & set(history.ids)
            if revision == "current"
            else set(resolve_all(history, revision))
        ),
    )
    return tuple(
        entry(loaded, loaded.histories[name].revisions[one])
        for name in selected
        for one in sorted(found.get(name, ()))
    )


def entry(loaded: LoadedScripts, revision: Revision) -> HistoryEntry:
    """Return what listings say of a revision."""
    history = loaded.histories[revision.package]
    return HistoryEntry(
        revision=revision,
        labels=tuple(sorted(history.labels_of(revision.id))),
        children=history.children(revision.id),
        is_head=history.is_head(revision.id),
        is_effective_head=history.is_effective_head(revision.id),
        is_branch_point=history.is_branch_point(revision.id),
        is_merge_point=history.is_merge_point(revision.id),
        requires=tuple(sorted({str(edge.required) for edge in loaded.graph.required_by(revision)})),
    )
