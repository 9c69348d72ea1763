"""Which identifiers the revisions of one package may have."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from websauna_migrate.planning.history_errors import duplicate_revision, illegal_identifier
from websauna_migrate.planning.revisions import Revision

__all__ = ["ILLEGAL_CHARACTERS", "by_identifier"]

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
