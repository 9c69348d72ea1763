"""The rows of one package's history table, followed through the steps of a plan."""

from __future__ import annotations

from collections.abc import Collection

from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Direction, Reason, Step
from websauna_migrate.planning.walks import reach


class Rows:
    """The rows of a history table while revisions go up or down, one at a time.

    It gives what :meth:`PackageHistory.rows_after` gives, but in constant time for almost every
    step, so that a plan of any length is followed in linear time.

    :ivar rows: the rows now
    """

    def __init__(self, history: PackageHistory, rows: Collection[str]) -> None:
        """Start from the rows that a history table has; all of them are revisions of the history.

        A revision that goes up must have its parents applied, and one that goes down must have no
        applied child.
        """
        self.history = history
        self.rows = frozenset(rows)
        positions = {history.position(row) for row in self.rows}
        self._applied = {history.position(id_) for id_ in history.applied(self.rows)}
        #: How many applied children an applied revision has.
        self._children: dict[int, int] = dict.fromkeys(self._applied, 0)
        for position in self._applied:
            for parent in history.all_down[position]:
                self._children[parent] += 1
        # A row that is an ancestor of another comes from hands or from a quirk of Alembic's.
        self._reduced = not any(self._children[position] for position in positions)

    def step(self, revision: Revision, direction: Direction, reasons: tuple[Reason, ...]) -> Step:
        """Go up or down by a revision and return the step."""
        before = self.rows
        move = self.upgrade if direction == "upgrade" else self.downgrade
        return Step(revision.package, revision, direction, reasons, before, move(revision.id))

    def upgrade(self, revision_id: str) -> frozenset[str]:
        """Apply a revision and return the rows after it."""
        history = self.history
        position = history.position(revision_id)
        if self._reduced:
            gone = {history.ids[parent] for parent in history.all_down[position]}
            self.rows = self.rows - gone | {revision_id}
        else:
            self.rows = history.rows_after(self.rows, revision_id, upgrade=True)
        self._applied.add(position)
        self._children[position] = 0
        for parent in history.all_down[position]:
            self._children[parent] += 1
        return self.rows

    def downgrade(self, revision_id: str) -> frozenset[str]:
        """Take a revision away and return the rows after it."""
        history = self.history
        position = history.position(revision_id)
        self._applied.discard(position)
        parents = history.all_down[position]
        for parent in parents:
            self._children[parent] -= 1
        others = self.rows - {revision_id}
        back = [history.ids[parent] for parent in parents if not self._children[parent]]
        if others and len(back) < len(parents) > 1:
            back += self._too_many(revision_id, parents, others)
        self.rows = others.union(back)
        return self.rows

    def _too_many(
        self, revision_id: str, parents: Collection[int], others: frozenset[str]
    ) -> list[str]:
        """Return the parents that Alembic makes rows though they have applied children."""
        history = self.history
        found = [
            history.ids[parent]
            for parent in parents
            if self._children[parent] and not self._stands_below(parent, others)
        ]
        if found:
            normalized = history.normalized_down_revisions(revision_id)
            found = [parent for parent in found if parent in normalized]
            self._reduced = self._reduced and not found
        return found

    def _stands_below(self, position: int, rows: frozenset[str]) -> bool:
        """Tell whether a revision is one of the rows or an ancestor of one."""
        history = self.history
        above = reach([position], lambda one: self._applied.intersection(history.all_up[one]))
        return not rows.isdisjoint(history.ids[one] for one in above)
