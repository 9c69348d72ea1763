"""What links lead to, and the circles that they may form, for numbered nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def reach(starts: Iterable[int], links: Callable[[int], Iterable[int]]) -> set[int]:
    """Return the nodes that links lead to from some nodes, themselves included."""
    found = set(starts)
    stack = list(found)
    while stack:
        for node in links(stack.pop()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found


def in_order(parents: Sequence[Sequence[int]], children: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes so that each comes behind its parents, without those behind a cycle."""
    waiting = [len(needed) for needed in parents]
    order = [node for node, count in enumerate(waiting) if not count]
    for node in order:
        for child in children[node]:
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    return order


def find_cycle(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return a shortest cycle through the smallest node that is on any; each needs the next one.

    The choice depends on the numbers alone: give nodes their numbers in a canonical order.

    :param parents: for each node the nodes that it needs
    :returns: an empty list where there is no cycle
    """
    children: list[list[int]] = [[] for _ in parents]
    for node, needed in enumerate(parents):
        for parent in needed:
            children[parent].append(node)
    apart = {*in_order(parents, children), *in_order(children, parents)}
    for start in (node for node in range(len(parents)) if node not in apart):
        came_from: dict[int, int] = {}
        queue = [start]
        for node in queue:
            for parent in sorted({*parents[node]} - apart - came_from.keys()):
                came_from[parent] = node
                queue.append(parent)
        if start in came_from:
            path = [came_from[start]]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
    return []
