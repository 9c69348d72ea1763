"""Orders that contradict each other: which of them are kept.

Hard edges always are. Soft orders are taken one after the other, those that count most first: what
was recorded before what only dates tell, what an author had before what an author had not, older
before newer. One that closes a circle with those before it is dropped, and the next revision of the
same package is tried in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush

from websauna_migrate.planning.authors_order import SoftOrder
from websauna_migrate.planning.walks import reach


def without_circles(
    orders: Iterable[SoftOrder],
    parents: Sequence[Sequence[int]],
    age: Sequence[int],
    *,
    own_parents: Callable[[int], Iterable[int]],
    own_children: Callable[[int], Iterable[int]],
) -> tuple[list[SoftOrder], list[SoftOrder]]:
    """Return the orders that are kept, and those that are dropped.

    :param parents: for each node those that it must follow; without a circle
    :param age: a number of each node, that of an older one is less, never twice the same
    :param own_parents: of a node, in its package
    :param own_children: of a node, in its package
    """
    line = _Line(parents, age)
    kept: list[SoftOrder] = []
    dropped: list[SoftOrder] = []

    def rank(order: SoftOrder) -> int:
        earlier, later, seen, dated = order
        kind = 2 * dated + (not seen)
        return kind * len(age) + age[later if seen else earlier]

    for order in sorted(orders, key=rank):
        waiting, tried = [order], {order}
        while waiting:
            one = waiting.pop()
            if line.add(one.earlier, one.later):
                kept.append(one)
                continue
            dropped.append(one)
            if one.seen:
                more = {one._replace(earlier=node) for node in own_parents(one.earlier)}
            else:
                more = {one._replace(later=node) for node in own_children(one.later)}
            waiting += sorted(more - tried)
            tried |= more
    return kept, dropped


class _Line:
    """All nodes in one line that no edge goes back in, kept while edges are added.

    After Pearce and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs": an
    edge that goes back in the line has only the nodes between its ends looked at.
    """

    def __init__(self, parents: Sequence[Sequence[int]], age: Sequence[int]) -> None:
        """Begin with the oldest node that waits for nothing, so that few orders go back."""
        self.before: list[list[int]] = [list(needed) for needed in parents]
        self.after: list[list[int]] = [[] for _ in parents]
        for node, needed in enumerate(parents):
            for parent in needed:
                self.after[parent].append(node)
        self.place = [0] * len(parents)
        waiting = [len(needed) for needed in parents]
        ready = [(age[node], node) for node, count in enumerate(waiting) if not count]
        heapify(ready)
        for number in range(len(parents)):
            node = heappop(ready)[1]
            self.place[node] = number
            for child in self.after[node]:
                waiting[child] -= 1
                if not waiting[child]:
                    heappush(ready, (age[child], child))

    def add(self, earlier: int, later: int) -> bool:
        """Add an edge, unless it closes a circle."""
        place = self.place
        if place[earlier] >= place[later]:
            low, high = place[later], place[earlier]
            ahead = self._reach(later, self.after, low, high)
            if earlier in ahead:
                return False
            behind = self._reach(earlier, self.before, low, high)
            moved = [*sorted(behind, key=place.__getitem__), *sorted(ahead, key=place.__getitem__)]
            for node, number in zip(moved, sorted(map(place.__getitem__, moved)), strict=True):
                place[node] = number
        self.after[earlier].append(later)
        self.before[later].append(earlier)
        return True

    def _reach(self, start: int, links: Sequence[Sequence[int]], low: int, high: int) -> set[int]:
        """Return the nodes that links lead to within a part of the line."""
        place = self.place
        return reach(
            [start], lambda node: [one for one in links[node] if low <= place[one] <= high]
        )
