"""The authors' order: what a script was written against, as orders between revisions.

A script records the heads of other packages that its author had: ``written_against = {"aaa":
"a1"}``. So it comes after ``a1``, and before every revision of ``aaa`` that its author had not.
Where nothing is recorded, Alembic's ``Create Date`` gives the same for the packages that the script
itself requires: it comes after their revisions of an earlier date, and before those of a later one.

Such an order is *soft*: it orders steps that are pending, and nothing else. It brings no step in,
and no applied row is wrong because of it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property, reduce
from operator import itemgetter, or_
from typing import NamedTuple

from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision

CREATE_DATE = re.compile(r"^Create Date:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


class SoftOrder(NamedTuple):
    """One revision was written before another, as the script of one of them shows.

    :ivar earlier: node of the earlier one
    :ivar later: node of the later one
    :ivar seen: the later script's author had the earlier one; else the earlier one's author did not
        have the later one
    :ivar dated: told from ``Create Date`` alone
    """

    earlier: int
    later: int
    seen: bool
    dated: bool

    @property
    def witness(self) -> int:
        """The node whose script shows it."""
        return self.later if self.seen else self.earlier


class Claim(NamedTuple):
    """What one script shows of one other package, in positions of that package.

    :ivar node: the script's node
    :ivar package: the other package
    :ivar had: the newest revisions that its author had
    :ivar known: the newest revisions that may not come later
    :ivar dated: told from ``Create Date`` alone
    """

    node: int
    package: str
    had: tuple[int, ...]
    known: tuple[int, ...]
    dated: bool


def create_date(revision: Revision) -> datetime | None:
    """Return the ``Create Date`` of a script's docstring, in UTC if it has a time zone."""
    found = CREATE_DATE.search(revision.doc) if "Create Date:" in revision.doc else None
    if found is None:
        return None
    try:
        date = datetime.fromisoformat(found[1])
        return date.astimezone(timezone.utc).replace(tzinfo=None) if date.tzinfo else date
    except (ValueError, OverflowError):
        return None


def claimed_orders(
    revisions: Sequence[Revision],
    histories: Mapping[str, PackageHistory],
    offsets: Mapping[str, int],
    required: Mapping[int, Collection[int]],
) -> list[SoftOrder]:
    """Return what all scripts show of each other, in a canonical order.

    :param revisions: by node
    :param offsets: each package's first node
    :param required: for a node the nodes of other packages that it requires
    """
    views = {name: _PackageView(history, offsets[name]) for name, history in histories.items()}
    claims = [
        claim
        for node, revision in enumerate(revisions)
        if revision.written_against or node in required
        for claim in _claims(node, revision, views, required.get(node, ()), revisions)
    ]
    asked: dict[str, set[tuple[int, ...]]] = {}
    for claim in claims:
        asked.setdefault(claim.package, set()).add(claim.known)
    later = {name: views[name].not_had(known) for name, known in asked.items()}
    found: list[SoftOrder] = []
    order = SoftOrder._make
    for node, package, had, known, dated in claims:
        view = views[package]
        offset, hard = view.offset, required.get(node, ())
        for position in had:
            if offset + position not in hard:
                found.append(order((offset + position, node, True, dated)))
        for position in later[package][known]:
            if not dated or position in view.with_date:
                found.append(order((node, offset + position, False, dated)))
    return found


def _claims(
    node: int,
    revision: Revision,
    views: Mapping[str, _PackageView],
    required: Collection[int],
    revisions: Sequence[Revision],
) -> Iterable[Claim]:
    """Yield what one script shows of each other package."""
    needed: dict[str, list[int]] = {}
    for other in required:
        name = revisions[other].package
        needed.setdefault(name, []).append(other - views[name].offset)
    recorded: dict[str, list[int]] = {}
    for name, id_ in revision.written_against:
        view = views.get(name)
        if view is not None and name != revision.package:
            position = view.find(id_)
            if position is not None:
                recorded.setdefault(name, []).append(position)
    for name, positions in recorded.items():
        # What a script requires its author had, whenever that line was written.
        had = tuple(sorted({*positions, *needed.pop(name, ())}))
        yield Claim(node, name, had, had, dated=False)
    date = create_date(revision) if needed else None
    if date is None:
        return
    for name, positions in sorted(needed.items()):
        view = views[name]
        yield Claim(
            node,
            name,
            view.newest(date, same=False),
            tuple(sorted({*positions, *view.newest(date, same=True)})),
            dated=True,
        )


class _PackageView:
    """One package as other packages' scripts see it."""

    def __init__(self, history: PackageHistory, offset: int) -> None:
        self.history, self.offset = history, offset

    def find(self, revision_id: str) -> int | None:
        """Return the position of a recorded revision, or of what it was squashed into."""
        meant = self.history.replacements.meaning(revision_id)
        return self.history.position(meant) if meant in self.history else None

    # Dates

    @cached_property
    def _dated(self) -> tuple[list[datetime], list[int]]:
        """The positions by date, those that are needed first; a date counts for what it needs."""
        history = self.history
        dates = [create_date(revision) for revision in history]
        for position in reversed(history.topological):
            date = dates[position]
            if date is not None:
                for parent in history.all_down[position]:
                    known = dates[parent]
                    dates[parent] = date if known is None else min(known, date)
        pairs = [(date, p) for p in history.topological if (date := dates[p]) is not None]
        pairs.sort(key=itemgetter(0))
        return [date for date, _ in pairs], [position for _, position in pairs]

    @cached_property
    def with_date(self) -> frozenset[int]:
        """The positions of which the date is known."""
        return frozenset(self._dated[1])

    @cached_property
    def _newest(self) -> list[tuple[int, ...]]:
        """The newest positions among the first by date, for each number of them."""
        newest: dict[int, None] = {}
        found: list[tuple[int, ...]] = [()]
        for position in self._dated[1]:
            for parent in self.history.all_down[position]:
                newest.pop(parent, None)
            newest[position] = None
            found.append(tuple(sorted(newest)))
        return found

    def newest(self, date: datetime, *, same: bool) -> tuple[int, ...]:
        """Return the newest positions of an earlier date, or of the same date too."""
        return self._newest[(bisect_right if same else bisect_left)(self._dated[0], date)]

    # What comes later

    def not_had(
        self, asked: Iterable[tuple[int, ...]]
    ) -> Mapping[tuple[int, ...], tuple[int, ...]]:
        """Return for each set of newest positions the oldest ones that it does not lead to.

        It walks from one set to the next, which is near it.
        """
        history = self.history
        bits = [0] * len(history)
        for position in history.topological:
            own = 1 << position
            for parent in history.all_down[position]:
                own |= bits[parent]
            bits[position] = own
        inside = 0
        oldest = {p for p, parents in enumerate(history.all_down) if not parents}
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        sets = {known: reduce(or_, (bits[position] for position in known), 0) for known in asked}
        for known, wanted in sorted(sets.items(), key=lambda pair: (pair[1].bit_count(), pair)):
            changed, inside = inside ^ wanted, wanted
            while changed:
                position = changed.bit_length() - 1
                changed ^= 1 << position
                for one in (position, *history.all_up[position]):
                    outside = not inside >> one & 1
                    if outside and all(inside >> p & 1 for p in history.all_down[one]):
                        oldest.add(one)
                    else:
                        oldest.discard(one)
            found[known] = tuple(sorted(oldest))
        return found
