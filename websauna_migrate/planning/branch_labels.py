"""Branch labels: which revisions have one that another revision of their branch declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["spread_labels"]


def spread_labels(
    declared: Mapping[int, Iterable[str]],
    order: Sequence[int],
    down: Sequence[Sequence[int]],
    all_up: Sequence[Sequence[int]],
) -> list[frozenset[str]]:
    """Return the labels of each position, spread as Alembic does.

    A label goes up to all descendants by ``down_revision``. It also goes down, to ancestors as far
    as the next branch or merge point, if nothing but one unbranched line comes after it. Sets are
    shared between positions, since labels are few.

    :param declared: the labels that scripts declare, by position
    :param order: all positions, each after those that it needs
    :param down: each position's parents by ``down_revision``
    :param all_up: each position's children, those by ``depends_on`` included
    """
    nothing: frozenset[str] = frozenset()
    found = [nothing] * len(order)
    for position, labels in declared.items():
        found[position] = frozenset(labels)
    for position in order:
        for parent in down[position]:
            if not found[parent] <= found[position]:
                found[position] |= found[parent]
    # A position is linear if it is neither branch nor merge point, nor is any that follows it.
    linear = bytearray([1]) * len(order)
    for position in reversed(order):
        if len(down[position]) > 1 or len(all_up[position]) > 1:
            linear[position] = 0
        if not linear[position]:
            for parent in down[position]:
                linear[parent] = 0
    for position in reversed(order):
        if linear[position]:
            for parent in down[position]:
                if linear[parent] and not found[position] <= found[parent]:
                    found[parent] |= found[position]
    return found
