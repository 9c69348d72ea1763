"""One package's revisions as Alembic sees them: heads, bases, branch labels, ancestors, rows.

Everything here gives what ``alembic.script.revision.RevisionMap`` gives for the same scripts, in
time linear in their number, and in an order that depends on the identifiers alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter

from websauna_migrate.planning.edges import Edge, cycle_error
from websauna_migrate.planning.history_errors import (
    duplicate_label,
    duplicate_revision,
    illegal_identifier,
    missing_revision,
)
from websauna_migrate.planning.replacements import Replacements
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.walks import in_order, reach


class PackageHistory:
    """The revisions of one package.

    :ivar package: the package's dotted name
    :ivar revisions: the revisions by identifier, sorted by it
    :ivar labels: the identifier of the revision that declares a branch label, by label
    :ivar ids: the identifiers, sorted; the place of one is its *position*
    :ivar down: positions of each position's parents by ``down_revision``, sorted
    :ivar up: positions of each position's children by ``down_revision``, sorted
    :ivar all_down: as ``down``, followed by those that only ``depends_on`` names
    :ivar others: what ``depends_on`` names that is not of the package, by identifier; the graph
        looks for it in the other packages
    :ivar topological: the positions so that each comes after those that it needs
    :ivar all_up: as ``up``, with those that only ``depends_on`` makes children
    :ivar replacements: which scripts stand, and what stands for the others
    """

    def __init__(
        self,
        package: str,
        revisions: Iterable[Revision] = (),
        without: Collection[str] = frozenset(),
    ) -> None:
        """Check and connect the revisions.

        :param without: squashes that are set aside, so that what they replace stands
        :raises HistoryError: naming the file: for an identifier or a branch label that occurs
            twice, or a parent that is missing
        :raises RevisionCycle: naming the revisions on it
        """
        self.package = package
        self.replacements = Replacements(by_identifier(revisions), without)
        by_id = self.replacements.standing
        self.revisions: Mapping[str, Revision] = by_id
        self.ids: tuple[str, ...] = tuple(by_id)
        self.labels: Mapping[str, str] = self._collect_labels()
        self._positions = {id_: position for position, id_ in enumerate(self.ids)}
        self._dependencies: dict[int, tuple[int, ...]] = {}
        self.others: dict[str, tuple[str, ...]] = {}
        self._connect()
        self.topological = self._sort()

    def _collect_labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        for revision in self:
            for label in revision.branch_labels:
                taken = label if label in self.revisions else labels.get(label)
                if taken is not None:
                    raise duplicate_label(label, self.revisions[taken], revision)
                labels[label] = revision.id
        return labels

    def _connect(self) -> None:
        positions = self._positions
        down: list[tuple[int, ...]] = [()] * len(self.ids)
        up: list[list[int]] = [[] for _ in self.ids]
        self.down = self.all_down = down
        self.up = self.all_up = up
        depending: list[tuple[int, Revision]] = []
        for position, revision in enumerate(self.revisions.values()):
            names = revision.down_revisions
            if names:
                try:
                    parents = tuple([positions[id_] for id_ in names])
                except KeyError as exc:
                    raise missing_revision(revision, "down_revision", exc.args[0]) from None
                if len(parents) > 1:
                    parents = tuple(sorted(set(parents)))
                down[position] = parents
                for parent in parents:
                    up[parent].append(position)
            if revision.depends_on:
                depending.append((position, revision))
        if depending:
            self.all_down = list(down)
            self.all_up = [list(children) for children in up]
        for position, revision in depending:
            # As in Alembic: a full identifier or a branch label, no part of one.
            meant = {name: positions.get(self.meant_by(name)) for name in revision.depends_on}
            others = tuple(name for name, found in meant.items() if found is None)
            if others:
                self.others[revision.id] = others
            dependencies = tuple(sorted({found for found in meant.values() if found is not None}))
            self._dependencies[position] = dependencies
            parents = down[position]
            only = tuple(parent for parent in dependencies if parent not in parents)
            self.all_down[position] = parents + only
            for parent in only:
                self.all_up[parent].append(position)

    def _sort(self) -> list[int]:
        """Return the positions so that each comes after what it needs."""
        order = in_order(self.all_down, self.all_up)
        if len(order) < len(self.ids):
            raise cycle_error(self.all_down, self.edge)
        return order

    def edge(self, later: int, earlier: int) -> Edge:
        """Return the edge from a position to one that it needs."""
        dependent, required = self.at(later), self.at(earlier)
        if earlier in self.down[later]:
            return Edge(dependent, required, "down_revision", required.id)
        text = next(
            name for name in dependent.depends_on if self.labels.get(name, name) == required.id
        )
        return Edge(dependent, required, "depends_on", text)

    def at(self, position: int) -> Revision:
        """Return the revision at a position."""
        return self.revisions[self.ids[position]]

    def position(self, revision_id: str) -> int:
        """Return the position of a full identifier.

        :raises KeyError: for one that the package does not have
        """
        return self._positions[revision_id]

    def __len__(self) -> int:
        """Return how many revisions there are."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Revision]:
        """Iterate over the revisions by identifier."""
        return iter(self.revisions.values())

    def __contains__(self, revision_id: object) -> bool:
        """Tell whether a full identifier is one of the package."""
        return revision_id in self.revisions

    def knows(self, revision_id: str) -> bool:
        """Tell whether a full identifier is one of the package, or was before it was squashed."""
        return revision_id in self.revisions or revision_id in self.replacements.meant

    # Alembic's attributes of a revision map

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The revisions that no ``down_revision`` names."""
        return tuple(id_ for id_, children in zip(self.ids, self.up, strict=True) if not children)

    @cached_property
    def effective_heads(self) -> tuple[str, ...]:
        """The heads that no ``depends_on`` names either: the rows of a fully upgraded database."""
        return tuple(
            id_ for id_, children in zip(self.ids, self.all_up, strict=True) if not children
        )

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The revisions without ``down_revision``."""
        return tuple(id_ for id_, parents in zip(self.ids, self.down, strict=True) if not parents)

    @cached_property
    def long_names(self) -> list[str]:
        """The identifiers and labels that Alembic knows by their beginning alone, sorted.

        Those that were squashed are among them.
        """
        names = (*self.ids, *self.labels, *self.replacements.meant)
        return sorted(name for name in names if len(name) > 3)

    def meant_by(self, name: str) -> str:
        """Return the revision that a label, or an identifier that was squashed, means."""
        return self.labels.get(name) or self.replacements.meaning(name)

    def children(self, revision_id: str) -> tuple[str, ...]:
        """Return the revisions that name this one as ``down_revision``."""
        return self._ids(self.up[self._positions[revision_id]])

    def dependencies(self, revision_id: str) -> tuple[str, ...]:
        """Return the revisions of the package that ``depends_on`` means, labels resolved."""
        return self._ids(self._dependencies.get(self._positions[revision_id], ()))

    def is_head(self, revision_id: str) -> bool:
        """Tell whether no ``down_revision`` names a revision."""
        return not self.up[self._positions[revision_id]]

    def is_effective_head(self, revision_id: str) -> bool:
        """Tell whether neither ``down_revision`` nor ``depends_on`` names a revision."""
        return not self.all_up[self._positions[revision_id]]

    def is_branch_point(self, revision_id: str) -> bool:
        """Tell whether several revisions name this one as ``down_revision``."""
        return len(self.up[self._positions[revision_id]]) > 1

    def is_merge_point(self, revision_id: str) -> bool:
        """Tell whether a revision has several parents."""
        return len(self.down[self._positions[revision_id]]) > 1

    def labels_of(self, revision_id: str) -> frozenset[str]:
        """Return the branch labels of a revision, those of its branch included."""
        return self._labels_by_position[self._positions[revision_id]]

    @cached_property
    def _labels_by_position(self) -> list[frozenset[str]]:
        declared = {
            self._positions[id_]: self.revisions[id_].branch_labels for id_ in self.labels.values()
        }
        return spread_labels(declared, self.topological, self.down, self.all_up)

    # Walks

    def ancestors(self, revision_ids: Iterable[str], *, dependencies: bool = True) -> set[str]:
        """Return the revisions themselves and all that they come after.

        :param dependencies: follow ``depends_on`` too, not ``down_revision`` alone
        """
        starts = [self._positions[id_] for id_ in revision_ids]
        links: Sequence[Sequence[int]] = self.all_down if dependencies else self.down
        return {self.ids[p] for p in reach(starts, links.__getitem__)}

    def ancestor_positions(self, revision_ids: Iterable[str]) -> set[int]:
        """Return the positions of :meth:`ancestors`."""
        return reach([self._positions[id_] for id_ in revision_ids], self.all_down.__getitem__)

    def descendants(self, revision_ids: Iterable[str], *, dependencies: bool = True) -> set[str]:
        """Return the revisions themselves and all that come after them."""
        starts = [self._positions[id_] for id_ in revision_ids]
        links: Sequence[Sequence[int]] = self.all_up if dependencies else self.up
        return {self.ids[p] for p in reach(starts, links.__getitem__)}

    def history_of(self, revision_id: str, *, dependencies: bool = False) -> set[str]:
        """Return the ancestors and descendants of a revision, itself included."""
        return self.ancestors([revision_id], dependencies=dependencies) | self.descendants(
            [revision_id], dependencies=dependencies
        )

    def _ids(self, positions: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.ids[position] for position in positions)

    # Rows of the history table

    def standing_for(self, rows: Iterable[str]) -> PackageHistory:
        """Return the history that a database goes on by.

        It is another one where the database has a part of a squash: then the old scripts stand,
        as far as they are there.
        """
        if not self.replacements.squashes:
            return self
        without = self.replacements.partly_applied(rows)
        if without == self.replacements.without:
            return self
        return PackageHistory(self.package, self.replacements.written.values(), without)

    def squashed(self, rows: Iterable[str]) -> frozenset[str]:
        """Return rows as they are when each squash that they show to be applied is taken so."""
        return frozenset(
            row if row in self.revisions else self.replacements.squash_at(row) or row
            for row in rows
        )

    def lost(self, rows: Iterable[str]) -> tuple[str, ...]:
        """Return the rows that no script defines, sorted."""
        return tuple(
            sorted(
                row
                for row in rows
                if row not in self.revisions and self.replacements.squash_at(row) is None
            )
        )

    def applied(self, rows: Iterable[str]) -> set[str]:
        """Return the revisions that rows stand for: themselves and their ancestors.

        Rows that no script defines stand for nothing; see :meth:`lost`.
        """
        return {self.ids[position] for position in self.applied_positions(rows)}

    def applied_positions(self, rows: Iterable[str]) -> set[int]:
        """Return the positions of :meth:`applied`."""
        return self.ancestor_positions(row for row in self.squashed(rows) if row in self.revisions)

    def current(self, rows: Iterable[str]) -> tuple[str, ...]:
        """Return what Alembic's ``current`` prints: applied revisions without an applied child.

        These are more than the rows where a row ``depends_on`` a revision of another branch.
        """
        applied = self.applied(rows)
        return tuple(sorted(id_ for id_ in applied if applied.isdisjoint(self.children(id_))))

    def reduce(self, applied: Collection[str]) -> frozenset[str]:
        """Return the rows that stand for a set of applied revisions: the newest of them."""
        positions = {self._positions[id_] for id_ in applied}
        return frozenset(
            self.ids[position]
            for position in positions
            if positions.isdisjoint(self.all_up[position])
        )

    def normalized_down_revisions(self, revision_id: str) -> tuple[str, ...]:
        """Return the parents without those dependencies that an ancestor already depends on."""
        position = self._positions[revision_id]
        return self._ids(self.down[position] + self._normalized_dependencies(position))

    def _normalized_dependencies(self, position: int) -> tuple[int, ...]:
        parents = self.down[position]
        only = {p for p in self._dependencies.get(position, ()) if p not in parents}
        for parent in parents:
            only.difference_update(self._dependencies.get(parent, ()))
        # A dependency that nothing else has cannot be one of an ancestor: mostly no walk is needed.
        shared = [p for p in only if len(self._depending[p]) > 1]
        if shared:
            older = reach(parents, self.down.__getitem__)
            only.difference_update(p for p in shared if not older.isdisjoint(self._depending[p]))
        return tuple(sorted(only))

    @cached_property
    def _depending(self) -> dict[int, list[int]]:
        """The positions whose ``depends_on`` names a position."""
        found: dict[int, list[int]] = {}
        for position, dependencies in self._dependencies.items():
            for dependency in dependencies:
                found.setdefault(dependency, []).append(position)
        return found

    def rows_after(
        self, rows: Collection[str], revision_id: str, *, upgrade: bool
    ) -> frozenset[str]:
        """Return the history table's rows after a revision ran, as Alembic would write them.

        Alembic leaves a row too many in one case: while several rows are there, a revision goes
        down of which one parent is an ancestor of another. The row is harmless, and what runs the
        step writes it, so it is here too.

        :param rows: the rows before
        :param upgrade: whether the revision was applied or taken away
        """
        down = set(self.normalized_down_revisions(revision_id))
        before = frozenset(rows)
        if upgrade:
            replaced = before & down
            if len(replaced) > 1:
                replaced = frozenset(down - self.applied(before - down))
            return before - replaced | {revision_id}
        others = before - {revision_id}
        if others:
            return others | (down - self.applied(others))
        return self.reduce(self.ancestors(down)) & down if down else others


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
