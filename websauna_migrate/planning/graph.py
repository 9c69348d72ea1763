"""One dependency graph over the independent histories of all packages.

The graph knows scripts only; what is applied where is in :mod:`.state`. It is
checked as a whole when it is built, so that no step of any plan runs while a script of any package
is at fault.

All revisions stand in one canonical order: a depth-first walk from the newest revisions, by package
name and identifier, that visits parents, then dependencies, then requirements. It depends on names,
identifiers and edges alone, keeps the revisions of a package together, and puts what another
package requires right before the revision that requires it. Every plan is a part of this order.

Where that leaves a choice it is the authors' order (:mod:`.authors_order`): the walk visits at last
what a revision's script was written after. These soft orders are in no other way part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import chain

from websauna_migrate.planning.authors_order import SoftOrder, claimed_orders, create_date
from websauna_migrate.planning.circles import without_circles
from websauna_migrate.planning.edges import Edge, cycle_error
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.requirements import Requirement, collect_requirements
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.walks import reach


class Graph:
    """The revisions of all packages and the edges between them.

    A revision is a *node*: its place in the order of package names and identifiers.

    :ivar packages: the packages' names, sorted
    :ivar histories: the revisions of each package
    :ivar revisions: the revisions, by node
    :ivar offsets: of each package the node of its first revision by identifier
    :ivar parents: for each node the nodes that must run before it
    :ivar requirements: what scripts and registrations ask of other packages, resolved
    :ivar cross_parents: for each node with requirements on other packages, the edges by the node
        required
    :ivar cross_dependents: for each node that other packages require, the edges by the dependent
    :ivar soft_orders: which revision was written before which other one, as scripts show it
    :ivar order: the nodes in the canonical order
    :ivar places: the place of each node in that order
    """

    def __init__(
        self,
        packages: Mapping[str, PackageHistory | Iterable[Revision]],
        package_requires: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Connect the packages and check the whole.

        :param packages: the revisions of every registered package, of those without any too
        :param package_requires: for a package the requirements that its registration names, a
            package's name or ``package@revision`` each
        :raises RequirementError: for a requirement that cannot be understood, naming the file
        :raises RevisionCycle: naming every revision on the cycle
        :raises MigrationError: for what is wrong within one package
        """
        package_requires = package_requires or {}
        self._package_requires = package_requires
        self.packages: tuple[str, ...] = tuple(sorted({*packages, *package_requires}))
        self.histories: dict[str, PackageHistory] = {}
        self.revisions: list[Revision] = []
        self.parents: list[Sequence[int]] = []
        self.offsets: dict[str, int] = {}
        for package in self.packages:
            given = packages.get(package, ())
            history = given if isinstance(given, PackageHistory) else PackageHistory(package, given)
            self.histories[package] = history
            self.offsets[package] = offset = len(self.revisions)
            self.revisions.extend(history)
            self.parents.extend([[offset + p for p in parents] for parents in history.all_down])
        self.requirements: Sequence[Requirement] = collect_requirements(
            self.histories, package_requires
        )
        self.cross_parents: dict[int, list[tuple[int, Edge]]] = {}
        self.cross_dependents: dict[int, list[tuple[int, Edge]]] = {}
        self._connect()
        self.soft_orders: Sequence[SoftOrder] = ()
        self._dropped: Sequence[SoftOrder] = ()
        self.order, self.places = self._sort()

    def _connect(self) -> None:
        for requirement in self.requirements:
            dependent = self.node(requirement.dependent)
            for edge in requirement.edges():
                required = self.node(edge.required)
                self.cross_parents.setdefault(dependent, []).append((required, edge))
                self.cross_dependents.setdefault(required, []).append((dependent, edge))
        for node, cross in self.cross_parents.items():
            self.parents[node] = [*self.parents[node], *sorted({required for required, _ in cross})]

    def standing_for(self, rows: Mapping[str, Iterable[str]]) -> Graph:
        """Return the graph that a database goes on by: mostly this one.

        :param rows: of the history tables; see :meth:`.PackageHistory.standing_for`
        """
        changed = {
            package: history
            for package, own in self.histories.items()
            if own.replacements.squashes
            and (history := own.standing_for(rows.get(package, ()))) is not own
        }
        return Graph({**self.histories, **changed}, self._package_requires) if changed else self

    def node(self, revision: Revision) -> int:
        """Return the node of a revision.

        :raises KeyError: for a revision that is not in the graph
        """
        return self.find(revision.package, revision.id)

    def find(self, package: str, revision_id: str) -> int:
        """Return the node of a package's revision, given by its full identifier.

        :raises KeyError: for one that is not in the graph
        """
        return self.offsets[package] + self.histories[package].position(revision_id)

    def children(self, node: int) -> Iterator[int]:
        """Iterate over the nodes of the same package that come right after a node."""
        revision = self.revisions[node]
        offset = self.offsets[revision.package]
        return (offset + p for p in self.histories[revision.package].all_up[node - offset])

    def own_parents(self, node: int) -> Iterator[int]:
        """Iterate over the nodes of the same package that a node comes right after."""
        revision = self.revisions[node]
        offset = self.offsets[revision.package]
        return (offset + p for p in self.histories[revision.package].all_down[node - offset])

    def _sort(self) -> tuple[list[int], list[int]]:
        """Return the nodes in the canonical order, and the place of each in it.

        :raises RevisionCycle: if there is none
        """
        required = {
            node: {other for other, _ in edges} for node, edges in self.cross_parents.items()
        }
        claimed = claimed_orders(self.revisions, self.histories, self.offsets, required)
        if not claimed:
            return self._required_order()
        parents = self._with(claimed)
        order, places = walk(parents)
        if not is_broken(parents, places):
            self.soft_orders = claimed
            return order, places
        self.places = self.required_places
        self._settle(claimed)
        return walk(self._with(self.soft_orders))

    def _required_order(self) -> tuple[list[int], list[int]]:
        """Return the order that there would be if no script were written against another.

        :raises RevisionCycle: if there is none
        """
        order, places = walk(self.parents)
        if is_broken(self.parents, places):
            raise cycle_error(self.parents, self._edge)
        return order, places

    @cached_property
    def required_places(self) -> list[int]:
        """The place of each node in the order that requirements and names alone would give."""
        return self._required_order()[1]

    def parents_in_order(self, *, seen_alone: bool = False) -> list[Sequence[int]]:
        """Return for each node all that runs before it: what it needs, and the authors' order.

        :param seen_alone: of that order, only what the author of the later script had
        """
        return self._with(one for one in self.soft_orders if one.seen or not seen_alone)

    def _with(self, orders: Iterable[SoftOrder]) -> list[Sequence[int]]:
        """Return what each node comes after, soft orders last."""
        soft: dict[int, list[int]] = {}
        for earlier, later, _, _ in orders:
            soft.setdefault(later, []).append(earlier)
        found = list(self.parents)
        for node, earlier_ones in soft.items():
            found[node] = [*found[node], *earlier_ones]
        return found

    def _settle(self, claimed: Iterable[SoftOrder]) -> None:
        """Keep of soft orders those that form no circle."""
        dates = [create_date(revision) or datetime.max for revision in self.revisions]
        age = [0] * len(dates)
        for number, node in enumerate(sorted(range(len(dates)), key=dates.__getitem__)):
            age[node] = number
        self.soft_orders, self._dropped = without_circles(
            claimed,
            self.parents,
            age,
            own_parents=self.own_parents,
            own_children=self.children,
        )

    @cached_property
    def dropped_orders(self) -> tuple[tuple[Revision, Revision], ...]:
        """Pairs of revisions that soft orders put in either order: the older script's counts.

        The first of a pair is the one that would come first by the order that was dropped. Where
        requirements settle it there was no choice.
        """
        pairs = dict.fromkeys((order.earlier, order.later) for order in self._dropped)
        found = ((self.revisions[earlier], self.revisions[later]) for earlier, later in pairs)
        return tuple(pair for pair in found if not self.needs(*pair))

    def _edge(self, later: int, earlier: int) -> Edge:
        for required, edge in self.cross_parents.get(later, ()):
            if required == earlier:
                return edge
        package = self.revisions[later].package
        offset = self.offsets[package]
        return self.histories[package].edge(later - offset, earlier - offset)

    def depended_on(self, nodes: Iterable[int]) -> set[int]:
        """Return some nodes and all that they come after in Alembic's own words.

        These are ``down_revision``, and ``depends_on`` of any package.
        """

        def links(node: int) -> Iterator[int]:
            yield from self.own_parents(node)
            for required, edge in self.cross_parents.get(node, ()):
                if edge.kind == "depends_on":
                    yield required

        return reach(nodes, links)

    def required_by(self, revision: Revision) -> tuple[Edge, ...]:
        """Return the edges to the revisions of other packages that a revision requires."""
        return tuple(edge for _, edge in self.cross_parents.get(self.node(revision), ()))

    def needs(self, revision: Revision, other: Revision) -> bool:
        """Tell whether a revision comes after another one by edges of any kind, in any number."""
        start, goal = self.node(revision), self.node(other)
        parents, places = self.parents, self.places
        # What is older than the goal cannot lead to it.
        return start != goal and goal in reach(
            [start], lambda node: (one for one in parents[node] if places[one] >= places[goal])
        )

    def followers(self, revisions: Iterable[Revision]) -> list[int]:
        """Return the nodes that need some revisions, directly or not, in the canonical order."""
        needed = {self.node(revision) for revision in revisions}
        found = []
        for node in self.order:
            if not needed.isdisjoint(self.parents[node]):
                needed.add(node)
                found.append(node)
        return found

    def written_against(
        self, package: str, requires: Iterable[str] = (), *, known: bool = False
    ) -> dict[str, str | tuple[str, ...]]:
        """Return what a new script of a package records: the heads of what it requires, all told.

        :param requires: requirements of the script
        :param known: whether these are all that it touches; a script that is still to be written
            by hand may touch whatever the revisions before it require
        """
        needed = {text.partition("@")[0] for text in requires} & self.histories.keys()
        if not known:
            needed.add(package)
        heads_of = (self.find(name, head) for name in needed for head in self.histories[name].heads)
        reached = reach(heads_of, self.parents.__getitem__)
        names = {self.revisions[node].package for node in reached} - {package}
        heads = {name: self.histories[name].heads for name in sorted(names)}
        return {name: found if len(found) > 1 else found[0] for name, found in heads.items()}

    def timeline(self, packages: Iterable[str] | None = None) -> tuple[Revision, ...]:
        """Return all revisions of some packages, oldest first, in the canonical order.

        :param packages: names; default all
        """
        wanted = set(self.packages if packages is None else packages)
        revisions = (self.revisions[node] for node in self.order)
        return tuple(revision for revision in revisions if revision.package in wanted)


def walk(parents: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Return nodes in the order of a depth-first walk, and the place of each in it, -1 for none."""
    has_dependents = bytearray(len(parents))
    for node in chain.from_iterable(parents):
        has_dependents[node] = 1
    seen = bytearray(len(parents))
    order: list[int] = []
    # A node is on the stack once as itself, to be opened, and once as its complement, to be
    # put into the order when all that it needs is there.
    stack = [node for node in reversed(range(len(parents))) if not has_dependents[node]]
    while stack:
        node = stack.pop()
        if node < 0:
            order.append(~node)
        elif not seen[node]:
            seen[node] = 1
            stack.append(~node)
            stack.extend([p for p in reversed(parents[node]) if not seen[p]])
    places = [-1] * len(parents)
    for place, node in enumerate(order):
        places[node] = place
    return order, places


def is_broken(parents: Sequence[Sequence[int]], places: Sequence[int]) -> bool:
    """Tell whether a node has no place, or one before a node that it comes after."""
    for node, needed in enumerate(parents):
        place = places[node]
        for parent in needed:
            if not 0 <= places[parent] < place:
                return True
    return False
