"""Targets of commands, resolved within one package as Alembic resolves them.

A target is ``head``, ``heads``, ``base``, a full identifier, the beginning of one, a branch label,
any of these behind ``label@``, or a number of steps from one of them or from where the database is
(``+1``, ``-2``, ``ae10+3``, ``label@-1``).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.target_errors import (
    ambiguous_revision,
    leads_nowhere,
    not_applied,
    not_on_branch,
    part_of_squash,
    several_heads,
    several_ways,
    unknown_revision,
)

RELATIVE = re.compile(r"(?:(.+?)@)?(\w+)?([+-]\d+)")


def is_relative(target: str) -> bool:
    """Tell whether a target is a number of steps from something."""
    return RELATIVE.fullmatch(target) is not None


def find_revision(history: PackageHistory, name: str, label: str | None = None) -> str:
    """Return the identifier that a full one, the beginning of one or a branch label means.

    As in Alembic, the beginning of an identifier or label of four characters or more will do, if
    there is no other.

    :param label: the branch label, or any name of a revision, that the result must be related to
    :raises TargetError: if there is none, naming the candidates if there are several, and if
        ``label`` is that of another branch
    """
    branch = None if label is None else history.history_of(find_revision(history, label))
    if name in history.revisions:
        found = name
    elif name in history.labels or name in history.replacements.meant:
        found = history.meant_by(name)
    else:
        names = history.long_names
        candidates = []
        place = bisect_left(names, name)
        while name and place < len(names) and names[place].startswith(name):
            candidate = history.meant_by(names[place])
            if branch is None or candidate in branch:
                candidates.append(names[place])
            place += 1
        if not candidates:
            raise unknown_revision(history, name)
        if len(candidates) > 1:
            raise ambiguous_revision(history, name, candidates)
        found = history.meant_by(candidates[0])
    if branch is not None and found not in branch:
        assert label is not None
        raise not_on_branch(history, label, found)
    return found


def resolve(history: PackageHistory, target: str) -> tuple[str, ...]:
    """Return the revisions that an absolute target means: none for ``base``, sorted.

    :raises TargetError: as :func:`find_revision`, and for ``head`` where there are several
    """
    label, symbol = _split(target)
    if symbol == "base":
        if label is not None:
            find_revision(history, label)
        return ()
    if symbol not in ("head", "heads"):
        return (find_revision(history, symbol, label),)
    if label is not None:
        heads = _filter(history, history.heads, label)
    else:
        heads = history.heads if symbol == "head" else history.effective_heads
    if symbol == "head" and len(heads) > 1:
        raise several_heads(history, target, heads)
    return heads


def resolve_one(history: PackageHistory, target: str) -> str | None:
    """Return the one revision that an absolute target means, or ``None`` for ``base``.

    :raises TargetError: as :func:`resolve`, and if the target means several revisions
    """
    found = resolve(history, target)
    if len(found) > 1:
        raise several_heads(history, target, found)
    return found[0] if found else None


def _split(target: str) -> tuple[str | None, str]:
    label, at, symbol = target.partition("@")
    return (label or None, symbol) if at else (None, target)


def refuse_part(history: PackageHistory, target: str) -> None:
    """Refuse a target that is a part of a squash.

    :raises TargetError: naming the squash
    """
    replacements = history.replacements
    name = target.rpartition("@")[2]
    if not replacements.meant or name in history.revisions or name in history.labels:
        return
    found = [
        former
        for former in replacements.meant
        if former == name or (len(name) > 3 and former.startswith(name))
    ]
    if len(found) == 1 and replacements.squash_at(found[0]) is None:
        raise part_of_squash(history, found[0], replacements.meant[found[0]])


def _filter(history: PackageHistory, ids: Iterable[str], label: str) -> tuple[str, ...]:
    """Return those of the revisions that are related to a branch."""
    branch = history.history_of(find_revision(history, label))
    return tuple(id_ for id_ in ids if id_ in branch)


def _walk(
    history: PackageHistory, start: str | None, steps: int, target: str, label: str | None = None
) -> str | None:
    """Follow ``down_revision`` for a number of steps.

    :param start: where to start; ``None`` is before the first revision
    :param steps: up if positive
    :param label: the branch to follow up
    :returns: where it ends, ``None`` for before the first revision
    :raises TargetError: if the way forks or ends before
    """
    here = start
    branch = None if label is None else history.history_of(find_revision(history, label))
    for _ in range(abs(steps)):
        if steps > 0:
            ways: Sequence[str] = history.bases if here is None else history.children(here)
            if branch is not None:
                ways = [way for way in ways if way in branch]
            if not ways:
                raise leads_nowhere(history, target, "goes beyond the newest revision")
        elif here is None:
            raise leads_nowhere(history, target, "goes below the first revision")
        else:
            ways = history.revisions[here].down_revisions
            if not ways:
                here = None
                continue
        if len(ways) > 1:
            raise several_ways(history, target, sorted(ways))
        here = ways[0]
    return here


def upgrade_targets(history: PackageHistory, target: str, rows: Collection[str]) -> tuple[str, ...]:
    """Return the revisions that an upgrade to ``target`` must reach; none for ``base``.

    :param rows: the history table's rows, from which ``+1`` counts
    :raises TargetError: if the target means nothing there
    """
    match = RELATIVE.fullmatch(target)
    if match is None:
        refuse_part(history, target)
        return resolve(history, target)
    label, symbol, number = match.groups()
    steps = int(number)
    if symbol is not None:
        if steps > 0:
            start = resolve_one(history, symbol)
            found = _walk(history, start, steps, target, label)
        else:
            start = resolve_one(history, symbol if label is None else f"{label}@{symbol}")
            found = _walk(history, start, steps, target)
    elif steps > 0:
        start = _only_start(history, target, label, rows)
        found = _walk(history, start, steps, target, label)
    else:
        raise leads_nowhere(history, target, "is no step up")
    if found is None:
        raise leads_nowhere(history, target, "is below the first revision")
    return (found,)


def _only_start(
    history: PackageHistory, target: str, label: str | None, rows: Collection[str]
) -> str | None:
    """Return the revision that steps up count from, or ``None`` for before the first one."""
    starts: Collection[str] = [row for row in rows if row in history]
    if label is not None:
        starts = _filter(history, starts, label)
        if not starts:
            # The branch is applied below other rows: take its newest applied revisions.
            active = _filter(history, history.applied(rows), label)
            below = {d for id_ in active for d in history.normalized_down_revisions(id_)}
            starts = set(active) - below
    if len(starts) > 1:
        raise several_ways(history, target, sorted(starts))
    return next(iter(starts), None)


def downgrade_set(history: PackageHistory, target: str, rows: Collection[str]) -> set[str]:
    """Return the applied revisions that a downgrade to ``target`` takes away.

    Where several rows are there, ``-1`` alone has no meaning that would not depend on their order;
    Alembic warns of it and takes the first. Here it is an error that asks for ``label@-1``.

    :param rows: the history table's rows
    :raises TargetError: if the target means nothing there, or is not below the rows
    """
    label, found = _downgrade_target(history, target, rows)
    roots = set(history.bases if found is None else history.children(found))
    if label is not None and len(roots) > 1:
        roots &= history.ancestors([find_revision(history, label)], dependencies=False)
        if not roots:
            raise not_applied(history, target, rows)
    gone = history.descendants(roots) & history.applied(rows)
    if found is not None and not gone and found not in rows:
        raise not_applied(history, target, rows)
    return gone


def _downgrade_target(
    history: PackageHistory, target: str, rows: Collection[str]
) -> tuple[str | None, str | None]:
    """Return the branch to keep to and the revision to stay, each ``None`` where there is none."""
    match = RELATIVE.fullmatch(target)
    if match is None:
        refuse_part(history, target)
        before, _, symbol = target.rpartition("@")
        if before:
            find_revision(history, before)
        return before or None, resolve_one(history, symbol)
    label, symbol, number = match.groups()
    steps = int(number)
    if symbol is not None:
        if steps >= 0:
            start = resolve_one(history, symbol)
            found = _walk(history, start, steps, target, label)
            if found is None:
                raise leads_nowhere(history, target, "is below the first revision")
            return label, found
        start = resolve_one(history, symbol if label is None else f"{label}@{symbol}")
        return label, _walk(history, start, steps, target)
    if steps >= 0:
        raise leads_nowhere(history, target, "is no step down")
    known = {row for row in rows if row in history}
    # A row beside that of its own descendant is no fork.
    starts: Sequence[str] = sorted(history.reduce(history.ancestors(known)) & known)
    if label is not None:
        related = _filter(history, starts, label)
        # Other branches may be applied below a row that depends on them.
        starts = related or _filter(history, history.current(rows), label)
    if not starts:
        raise leads_nowhere(history, target, "has nothing applied to go down from")
    if len(starts) > 1:
        raise several_ways(history, target, starts)
    return label or starts[0], _walk(history, starts[0], steps, target)


def stamp_rows(
    history: PackageHistory, targets: Sequence[str], rows: Collection[str]
) -> frozenset[str]:
    """Return the rows of the history table after a stamp.

    Rows that are related to a target make room for it; the rows of other branches stay.

    :param targets: absolute targets; together they name the rows that shall be
    :param rows: the rows before
    :raises TargetError: if a target means nothing there
    """
    related: set[str] = set()
    destinations: set[str] = set()
    for target in targets:
        if is_relative(target):
            raise leads_nowhere(history, target, "is not understood by stamp")
        refuse_part(history, target)
        found = resolve(history, target)
        destinations.update(found)
        label, symbol = _split(target)
        if label is None and symbol == "base":
            related.update(rows)
        for name in (*found, *([] if label is None else [find_revision(history, label)])):
            related.update(history.history_of(name, dependencies=True).intersection(rows))
    if not destinations:
        return frozenset(rows) - related
    after = set(rows)
    # Of targets that are each other's ancestors the newest stands for all.
    newest = history.reduce(history.ancestors(destinations)) & destinations
    for destination in newest:
        kin = history.history_of(destination, dependencies=True)
        if destination in related:
            # A row beside that of its own ancestor was copied by hand, say.
            after -= kin.intersection(rows) - newest
            continue
        if not kin.isdisjoint(related):
            after -= related - destinations
        after.add(destination)
    return frozenset(after)
