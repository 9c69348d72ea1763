"""The authors' order in one upgrade: why a step stands where it does, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.planning.authors_order import SoftOrder
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.state import State
from websauna_migrate.planning.steps import Reason
from websauna_migrate.planning.walks import reach

#: Tells why the order of two revisions matters: something whose ``str`` is a clause, or ``None``.
Conflicts: TypeAlias = Callable[[Revision, Revision], object | None]


class OrderViolated(MigrationError, RuntimeError):
    """An upgrade would leave out a revision that was written before one of its steps.

    :ivar pairs: the revisions that are left out, each with a step that conflicts with it
    """

    def __init__(self, found: Sequence[tuple[Revision, Revision, object]]) -> None:
        self.pairs = tuple((left_out, step) for left_out, step, _ in found)
        lines = "".join(
            f'\n  "{left_out}" ("{left_out.path}") was written before "{step}" ("{step.path}"), '
            f"is not applied, and would run after it: {conflict}"
            for left_out, step, conflict in found
        )
        names = ",".join(sorted({one.package for pair in self.pairs for one in pair}))
        super().__init__(
            f"The upgrade would change the order in which revisions were written:{lines}\n"
            "Nothing was run. Upgrade these packages together with `ws-alembic -x "
            f"packages={names} upgrade`, or all with `-x packages=all`. With `--ignore-order` the "
            "upgrade runs all the same; what was left out may fail afterwards, or miss data."
        )


def order_reasons(graph: Graph, planned: Collection[int]) -> Iterator[tuple[int, Reason]]:
    """Yield the steps that stand where they do because of the authors' order, each with a reason.

    :param planned: the nodes of a plan
    """
    if not graph.soft_orders:
        return
    places = graph.required_places
    for order in graph.soft_orders:
        # Mostly, requirements and names alone give the same.
        if places[order.earlier] < places[order.later]:
            continue
        if order.earlier in planned and order.later in planned:
            yield order.witness, _reason(graph, order)


def _reason(graph: Graph, order: SoftOrder) -> Reason:
    witness = graph.revisions[order.witness]
    other = graph.revisions[order.earlier if order.seen else order.later]
    name = f"{other.package} {other.id}"
    if order.dated:
        text = f"{'after' if order.seen else 'before'} {name} by their Create Date"
    elif order.seen:
        text = f"after {name}: written against it"
    else:
        recorded = [id_ for package, id_ in witness.written_against if package == other.package]
        text = f"before {name}: written against {other.package} {', '.join(recorded)}"
    kind = "create_date" if order.dated else "written_against"
    return Reason("order", text, kind, other.package, other.id)


def refuse_conflicts(
    graph: Graph, state: State, planned: Collection[int], conflicts: Conflicts
) -> None:
    """Refuse an upgrade that would run a step before a conflicting one that was written earlier.

    :param planned: the nodes of the plan
    :raises OrderViolated: naming each pair
    """
    if not planned or len(planned) + sum(state.applied) == len(graph.revisions):
        return
    pairs = {pair for order in graph.soft_orders for pair in _pairs(graph, state, planned, order)}
    places = graph.places
    found = []
    for left_out, step in sorted(pairs, key=lambda pair: (places[pair[0]], places[pair[1]])):
        revisions = graph.revisions[left_out], graph.revisions[step]
        conflict = conflicts(*revisions)
        if conflict is not None:
            found.append((*revisions, conflict))
    if found:
        raise OrderViolated(found)


def _pairs(
    graph: Graph, state: State, planned: Collection[int], order: SoftOrder
) -> Iterator[tuple[int, int]]:
    """Yield what a plan leaves out, each with a step that is to come after it."""

    def is_left_out(node: int) -> bool:
        return not state.applied[node] and node not in planned

    if order.seen:
        if order.later in planned:
            for node in _inside(order.earlier, graph.own_parents, is_left_out):
                yield node, order.later
    elif is_left_out(order.earlier):
        for node in _inside(order.later, graph.children, planned.__contains__):
            yield order.earlier, node


def _inside(
    start: int, links: Callable[[int], Iterable[int]], inside: Callable[[int], bool]
) -> set[int]:
    """Return the nodes of a package that links lead to, as far as they are of interest."""
    return reach(filter(inside, [start]), lambda node: filter(inside, links(node)))
