"""One dependency graph over the independent histories of all packages.

The graph knows scripts only; what is applied where is in :mod:`.state`. It is
checked as a whole when it is built, so that no step of any plan runs while a script of any package
is at fault.

All revisions stand in one canonical order: a depth-first walk from the newest revisions, by package
name and identifier, that visits parents, then dependencies, then requirements. It depends on names,
identifiers and edges alone, keeps the revisions of a package together, and puts what another
package requires right before the revision that requires it. Every plan is a part of this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from websauna_migrate.planning.edges import Edge, cycle_error
from websauna_migrate.planning.lineage import Lineage
from websauna_migrate.planning.requirements import Requirement, collect_requirements
from websauna_migrate.planning.revisions import Revision

__all__ = ["Graph"]


class Graph:
    """The revisions of all packages and the edges between them.

    A revision is a *node*: its place in the order of package names and identifiers.

    :ivar packages: the packages' names, sorted
    :ivar lineages: the revisions of each package
    :ivar revisions: the revisions, by node
    :ivar parents: for each node the nodes that must run before it
    :ivar requirements: what scripts and registrations ask of other packages, resolved
    :ivar cross_parents: for each node with requirements on other packages, the edges by the node
        required
    :ivar cross_dependents: for each node that other packages require, the edges by the dependent
    :ivar order: the nodes in the canonical order
    :ivar places: the place of each node in that order
    """

    def __init__(
        self,
        packages: Mapping[str, Lineage | Iterable[Revision]],
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
        self.packages: tuple[str, ...] = tuple(sorted({*packages, *package_requires}))
        self.lineages: dict[str, Lineage] = {}
        self.revisions: list[Revision] = []
        self.parents: list[Sequence[int]] = []
        self._offsets: dict[str, int] = {}
        for package in self.packages:
            given = packages.get(package, ())
            lineage = given if isinstance(given, Lineage) else Lineage(package, given)
            self.lineages[package] = lineage
            self._offsets[package] = offset = len(self.revisions)
            self.revisions.extend(lineage)
            self.parents.extend(
                [
                    (offset + parents[0],) if len(parents) == 1 else [offset + p for p in parents]
                    for parents in lineage.all_down
                ]
            )
        self.requirements: Sequence[Requirement] = collect_requirements(
            self.lineages, package_requires
        )
        self.cross_parents: dict[int, list[tuple[int, Edge]]] = {}
        self.cross_dependents: dict[int, list[tuple[int, Edge]]] = {}
        self._connect()
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

    def node(self, revision: Revision) -> int:
        """Return the node of a revision.

        :raises KeyError: for a revision that is not in the graph
        """
        return self.find(revision.package, revision.id)

    def find(self, package: str, revision_id: str) -> int:
        """Return the node of a package's revision, given by its full identifier.

        :raises KeyError: for one that is not in the graph
        """
        return self._offsets[package] + self.lineages[package].position(revision_id)

    def offset(self, package: str) -> int:
        """Return the node of a package's first revision by identifier."""
        return self._offsets[package]

    def children(self, node: int) -> Iterator[int]:
        """Iterate over the nodes of the same package that come right after a node."""
        revision = self.revisions[node]
        offset = self._offsets[revision.package]
        return (offset + p for p in self.lineages[revision.package].all_up[node - offset])

    def own_parents(self, node: int) -> Iterator[int]:
        """Iterate over the nodes of the same package that a node comes right after."""
        revision = self.revisions[node]
        offset = self._offsets[revision.package]
        return (offset + p for p in self.lineages[revision.package].all_down[node - offset])

    def _sort(self) -> tuple[list[int], list[int]]:
        """Return the nodes in the canonical order, and the place of each in it.

        :raises RevisionCycle: if there is none
        """
        parents = self.parents
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
        for node, needed in enumerate(parents):
            for parent in needed:
                if places[parent] >= places[node] or places[parent] < 0:
                    raise cycle_error(parents, self._edge)
        return order, places

    def _edge(self, later: int, earlier: int) -> Edge:
        for required, edge in self.cross_parents.get(later, ()):
            if required == earlier:
                return edge
        package = self.revisions[later].package
        offset = self._offsets[package]
        return self.lineages[package].edge(later - offset, earlier - offset)

    def required_by(self, revision: Revision) -> tuple[Edge, ...]:
        """Return the edges to the revisions of other packages that a revision requires."""
        return tuple(edge for _, edge in self.cross_parents.get(self.node(revision), ()))

    def dependents_of(self, revision: Revision) -> tuple[Edge, ...]:
        """Return the edges from the revisions of other packages that require a revision."""
        return tuple(edge for _, edge in self.cross_dependents.get(self.node(revision), ()))

    def needs(self, revision: Revision, other: Revision) -> bool:
        """Tell whether a revision comes after another one by edges of any kind, in any number."""
        goal = self.node(other)
        start = self.node(revision)
        seen = {start}
        stack = [start]
        while stack:
            for parent in self.parents[stack.pop()]:
                if parent == goal:
                    return True
                # What is older than the goal cannot lead to it.
                if self.places[parent] > self.places[goal] and parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
        return False

    def timeline(self, packages: Iterable[str] | None = None) -> tuple[Revision, ...]:
        """Return all revisions of some packages, oldest first, in the canonical order.

        :param packages: names; default all
        """
        wanted = set(self.packages if packages is None else packages)
        revisions = (self.revisions[node] for node in self.order)
        return tuple(revision for revision in revisions if revision.package in wanted)
