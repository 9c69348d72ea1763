"""What of a history may become one script."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.walks import reach


@dataclass(frozen=True)
class SquashRange:
    """Revisions of a package that become one.

    :ivar revisions: in the order in which they run; the last one leads to all others
    :ivar parents: the revisions of the package that they come after
    :ivar requires: what they require of other packages, as written
    :ivar run_before: what is to run after one of them, as written
    :ivar depends_on: what they depend on of their own package, and do not come after
    :ivar labels: their branch labels
    """

    package: str
    revisions: tuple[Revision, ...]
    parents: tuple[str, ...]
    requires: tuple[str, ...]
    run_before: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def replaces(self) -> tuple[str, ...]:
        """The identifiers that the squash stands for, those of former squashes included."""
        names = (name for one in self.revisions for name in (*one.replaces, one.id))
        return tuple(dict.fromkeys(names))

    @property
    def last(self) -> Revision:
        """The revision that leads to all others."""
        return self.revisions[-1]


def squash_ranges(graph: Graph, package: str, ids: Collection[str]) -> tuple[SquashRange, ...]:
    """Return the ranges into which revisions fall: one, or more where other packages come between.

    A revision of another package that needs one of them and that a later one needs comes between.

    :raises MigrationError: for revisions that cannot be one script, naming the one in the way
    """
    history = graph.histories[package]
    ordered = [one for one in graph.timeline([package]) if one.id in ids]
    refuse_moves(ordered)
    offset = graph.offsets[package]
    inside = {history.position(one.id) for one in ordered}
    heads = [one for one in ordered if inside.isdisjoint(history.all_up[history.position(one.id)])]
    if len(heads) != 1:
        names = in_quotes(one.id for one in heads)
        raise MigrationError(
            f'The range of package "{package}" has {len(heads)} heads: {names}. Join them first: '
            f"ws-alembic -x packages={package} merge heads"
        )
    # The head comes last, whatever order the rest has.
    ordered.sort(key=lambda one: one is heads[0])
    for one in ordered:
        outside = [p for p in history.all_up[history.position(one.id)] if p not in inside]
        if outside and one is not heads[0]:
            raise MigrationError(
                f'"{history.at(outside[0]).id}" of package "{package}" comes right after '
                f'"{one.id}", which would be in the middle of the squash. End the range at '
                f'"{one.id}", or take both in.'
            )
    ranges: list[list[Revision]] = [[]]
    for one in ordered:
        here = [graph.node(revision) for revision in ranges[-1]]
        if ranges[-1] and comes_between(graph, here, offset + history.position(one.id)):
            ranges.append([])
        ranges[-1].append(one)
    return tuple(make_range(graph, package, revisions) for revisions in ranges)


def comes_between(graph: Graph, earlier: Collection[int], later: int) -> bool:
    """Return whether a node needs another package's that itself needs one of some nodes."""
    own = set(earlier)

    def others(node: int) -> set[int]:
        return {*graph.parents[node]} - own

    return any(not own.isdisjoint(graph.parents[one]) for one in reach(others(later), others))


def make_range(graph: Graph, package: str, revisions: Sequence[Revision]) -> SquashRange:
    """Return a range with what its squash says of others."""
    inside = {one.id for one in revisions}

    def outside(names: Iterable[str]) -> tuple[str, ...]:
        meant = (graph.histories[package].meant_by(name) for name in names)
        return tuple(dict.fromkeys(name for name in meant if name not in inside))

    parents = outside(name for one in revisions for name in one.down_revisions)
    # Of parents that lead to each other the newest stands for all.
    history = graph.histories[package]
    newest = tuple(sorted(history.reduce(history.ancestors(parents)) & {*parents}))
    depends_on = outside(
        name
        for one in revisions
        for name in one.depends_on
        if name not in history.others.get(one.id, ())
    )
    # Alembic, which writes the script, would look for these in the package itself.
    others = {
        str(edge.required)
        for one in revisions
        for edge in graph.required_by(one)
        if edge.kind == "depends_on"
    }
    below = history.ancestors(newest)
    return SquashRange(
        package,
        tuple(revisions),
        newest,
        tuple(sorted({text for one in revisions for text in one.requires} | others)),
        tuple(sorted({text for one in revisions for text in one.run_before})),
        tuple(sorted(name for name in depends_on if name not in below)),
        tuple(sorted({label for one in revisions for label in one.branch_labels})),
    )


def refuse_moves(revisions: Iterable[Revision]) -> None:
    """Refuse revisions that hand tables over between packages.

    :raises MigrationError: naming the first one
    """
    for one in revisions:
        if one.gives_tables or one.takes_tables or one.gives_types or one.takes_types:
            raise MigrationError(
                f'"{one.id}" of package "{one.package}" ("{one.path}") hands a table or type over '
                "to another package, or takes it: which package has it when would be lost. Let the "
                f'range end before "{one.id}", or begin behind it.'
            )
