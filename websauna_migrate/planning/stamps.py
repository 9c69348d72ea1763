"""Stamps: the rows that history tables shall have, without running a script."""

from __future__ import annotations

from collections.abc import Iterable

from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.requirements import Requirement
from websauna_migrate.planning.state import Applied, State, Targets, normalize_targets
from websauna_migrate.planning.targets import stamp_rows

__all__ = ["plan_stamp"]


def plan_stamp(
    graph: Graph,
    applied: Applied,
    targets: Targets,
    *,
    purge: bool = False,
    with_requirements: bool = False,
) -> dict[str, frozenset[str]]:
    """Return the rows that history tables have after a stamp; nothing runs.

    A stamp is the remedy for a history that violates the graph, so no violation is an obstacle.

    :param purge: take the packages' rows as gone before, even those that no script defines
    :param with_requirements: stamp what the stamped revisions require of other packages too,
        where it is not applied. A floating requirement is met by any applied base revision of its
        package; where there is none its heads are stamped.
    :returns: the rows of the packages named, and of others that change
    :raises TargetError: if a target means nothing in its package
    :raises HistoryContradicted: if a package that would be touched has rows that no script defines
    """
    state = State.of(graph, applied)
    graph = stamped_graph(state, targets)
    wanted = normalize_targets(graph, targets)
    before = {p: frozenset() if purge and p in wanted else r for p, r in state.rows.items()}
    state = State(graph, before)
    state.refuse_lost(wanted)
    after = {
        package: stamp_rows(graph.histories[package], names, before[package])
        for package, names in wanted.items()
    }
    if not with_requirements:
        return after
    stamped = State(graph, {**before, **after})
    raised = _required(graph, stamped, after)
    state.refuse_lost(raised)
    for package, ids in raised.items():
        history = graph.histories[package]
        after[package] = history.reduce(history.applied(stamped.rows[package]) | ids)
    return after


def stamped_graph(state: State, targets: Targets) -> Graph:
    """Return the graph in which targets mean something: a part of a squash is of the old scripts.

    :param targets: as they were given
    """
    names = {
        package: [given] if isinstance(given, str) else [*given]
        for package, given in targets.items()
        if package in state.graph.histories
    }
    return state.graph.standing_for(names)


def _required(graph: Graph, stamped: State, packages: Iterable[str]) -> dict[str, set[str]]:
    """Return what applied revisions of some packages lack, transitively, by package."""
    asked: dict[int, list[Requirement]] = {}
    for requirement in graph.requirements:
        asked.setdefault(graph.node(requirement.dependent), []).append(requirement)
    applied = bytearray(stamped.applied)
    found: dict[str, set[str]] = {}
    floating: list[Requirement] = []
    stack = [graph.node(r) for p in packages for r in graph.histories[p] if stamped.is_applied(r)]
    while stack:
        while stack:
            node = stack.pop()
            needed = set(graph.own_parents(node))
            for requirement in asked.get(node, ()):
                if requirement.floating:
                    floating.append(requirement)
                else:
                    needed.update(map(graph.node, requirement.required))
            for parent in needed:
                if not applied[parent]:
                    applied[parent] = 1
                    revision = graph.revisions[parent]
                    found.setdefault(revision.package, set()).add(revision.id)
                    stack.append(parent)
        # Only now, so that no order of looking decides what meets a floating requirement.
        unmet = [
            requirement
            for requirement in floating
            if requirement.bases and not any(applied[graph.node(b)] for b in requirement.bases)
        ]
        for revision in {revision for requirement in unmet for revision in requirement.required}:
            applied[graph.node(revision)] = 1
            found.setdefault(revision.package, set()).add(revision.id)
            stack.append(graph.node(revision))
    return found
