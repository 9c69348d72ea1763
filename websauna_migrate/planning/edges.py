"""Edges of the graph, with the line that made each of them, and the error of a cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.walks import find_cycle


class Edge(NamedTuple):
    """One revision must run before another, and why.

    :ivar dependent: the revision that comes later
    :ivar required: the revision that must be applied before it
    :ivar kind: ``down_revision``, ``depends_on``, ``requires``, ``run_before``, or ``package`` for
        what the package's registration says for all of its base revisions
    :ivar text: as written; for ``run_before`` it is written in the script of ``required``
    :ivar floating: ``text`` names no certain revision but, say, the package's heads, which move on
    """

    dependent: Revision
    required: Revision
    kind: str
    text: str
    floating: bool = False

    def describe(self) -> str:
        """Return ``"a@1" ("/file") requires "b@2" (requires = "b@head")``."""
        if self.kind == "down_revision":
            verb, origin = "comes after", "its down_revision"
        elif self.kind == "depends_on":
            verb, origin = "depends on", f'depends_on = "{self.text}"'
        elif self.kind == "requires":
            verb, origin = "requires", f'requires = "{self.text}"'
        elif self.kind == "run_before":
            verb = "comes after"
            origin = f'run_before = "{self.text}" in "{self.required.path}"'
        else:
            verb = "requires"
            origin = f'depends_on = "{self.text}" of the package "{self.dependent.package}"'
        return f'"{self.dependent}" ("{self.dependent.path}") {verb} "{self.required}" ({origin})'


class RevisionCycle(MigrationError, ValueError):
    """Revisions wait for each other in a circle.

    :ivar edges: the circle; each edge's ``required`` is the next one's ``dependent``
    :ivar revisions: the revisions on it, in that order
    """

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges = tuple(edges)
        self.revisions = tuple(edge.dependent for edge in self.edges)
        lines = "".join(f"\n  {edge.describe()}" for edge in self.edges)
        packages = {revision.package for revision in self.revisions}
        if len(packages) == 1:
            remedy = f'Correct one of these lines in the scripts of "{packages.pop()}".'
        else:
            remedy = (
                "Remove one of these requirements; in place of a head or a whole package, "
                "require the one revision that is needed."
            )
        super().__init__(
            f"These revisions wait for each other in a circle, so none can run:{lines}\n{remedy}"
        )


def cycle_error(
    parents: Sequence[Sequence[int]], edge: Callable[[int, int], Edge]
) -> RevisionCycle:
    """Return the error that names the cycle which :func:`find_cycle` finds.

    :param edge: returns the edge from a node to one that it needs
    """
    cycle = find_cycle(parents)
    return RevisionCycle(map(edge, cycle, [*cycle[1:], *cycle[:1]]))
