"""Which identifiers the revisions of one package may have, and which branch labels they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from websauna_migrate.planning.history_errors import duplicate_revision, illegal_identifier
from websauna_migrate.planning.revisions import Revision

#: The first four, Alembic's own list, mean something in a target. Alembic puts an identifier into
#: its statements as ``'%s'``, unescaped, where the other two would end it.
ILLEGAL_CHARACTERS = frozenset("@-+:'\\")


def by_identifier(revisions: Iterable[Revision]) -> dict[str, Revision]:
    """Return revisions by identifier, sorted by it.

    :raises HistoryError: for the first identifier that occurs twice, or has a character that it
        may not have
    """
    given = [*revisions]
    found = {revision.id: revision for revision in sorted(given, key=attrgetter("id"))}
    # All at once: there are ten thousand, and mostly nothing is wrong with any.
    if len(found) < len(given) or not is_legal("".join(found)):
        refuse(given)
    return found


def is_legal(characters: str) -> bool:
    """Tell whether identifiers may have some characters."""
    return characters.isprintable() and not any(one in characters for one in ILLEGAL_CHARACTERS)


def refuse(revisions: Iterable[Revision]) -> None:
    """Raise what is to be said of the first identifier that is not legal, or not the only one."""
    known: dict[str, Revision] = {}
    for revision in sorted(revisions, key=attrgetter("id", "path")):
        if revision.id in known:
            raise duplicate_revision(known[revision.id], revision)
        if not is_legal(revision.id):
            raise illegal_identifier(revision)
        known[revision.id] = revision


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
