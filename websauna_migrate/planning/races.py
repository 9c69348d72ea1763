"""Steps of different packages that conflict, and that nothing puts in an order.

The graph says what happens before what; what scripts do are accesses. Two accesses that conflict,
without a path between their revisions, may run in either order: on a new database, on one that
skipped a deploy and on one that grew with the code. That is a data race. The authors' order is a
path as well: all databases keep it. Where authors contradict each other it is dropped, and the pair
is a race.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import (
    DEFAULT_SCHEMAS,
    UNREADABLE,
    Access,
    Origin,
    Touch,
    do_conflict,
    touches,
)
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.revisions import Revision

Thing: TypeAlias = tuple[str, str, str]

DESTROYS = frozenset({"destroy", "destroy column"})
MAKES = frozenset({"make", "make column"})


@dataclass(frozen=True, slots=True)
class Race:
    """Two revisions of different packages that conflict and may run in either order.

    :ivar first: the one that is better first: it makes what the other uses, or uses what the other
        destroys; else that of the canonical order
    :ivar second: the other
    :ivar before: what ``first`` does
    :ivar after: what ``second`` does
    :ivar makes: ``first`` makes what ``second`` uses: a requirement is missing
    :ivar script: the revision into whose script the line goes that settles it
    :ivar line: that line
    :ivar soft_line: in its place, for databases on which the two ran in the other order already;
        empty where there is none
    """

    first: Revision
    second: Revision
    before: Access
    after: Access
    makes: bool
    script: Revision
    line: str
    soft_line: str = ""

    def __str__(self) -> str:
        """Return what conflicts, where, and what to write."""
        soft = (
            f'. A database that has "{self.second}" and not "{self.first}" is refused then; where '
            f"there are such, write in its place: {self.soft_line}"
        )
        return (
            f"{done(self.first, self.before)}, {done(self.second, self.after)}, and no requirement "
            f'says which of them comes first. Write into "{self.script.path}": {self.line}'
            f"{soft if self.soft_line else ''}"
        )


@dataclass(frozen=True, slots=True)
class LateStep:
    """A pending revision that needs what an applied one of another package destroyed here.

    :ivar pending: the revision that cannot run
    :ivar needs: what it does
    :ivar applied: the revision that is applied already
    :ivar destroyed: what that did
    """

    pending: Revision
    needs: Access
    applied: Revision
    destroyed: Access

    def __str__(self) -> str:
        """Return why it cannot run, and what its author can do."""
        pending = self.pending
        if self.needs.sure:
            what = (
                "the pending step cannot run here. Let its script look whether what it needs is "
                "still there, and do without; or, if"
            )
        else:
            what = (
                "the pending step can run here only if its script looks whether what it needs is "
                "still there, and does without. If"
            )
        return (
            f"{done(pending, self.needs)} and is pending, but {done(self.applied, self.destroyed)} "
            f"and is applied on this database: {what} nothing of it is wanted here, mark it as "
            f"applied: ws-alembic -x packages={pending.package} stamp {pending.id}"
        )


def done(revision: Revision, access: Access) -> str:
    """Return that a revision does something, with the line of its script."""
    may = "" if access.sure else "perhaps "
    return (
        f'revision "{revision.id}" of package "{revision.package}" ("{revision.path}", line '
        f"{access.line}) {may}{access}"
    )


def unreadable_lines(accesses: Iterable[Access]) -> tuple[int, ...]:
    """Return the lines of operations that could not be read, in order.

    What a script that drops the default schema takes with it has no schema in other scripts.
    """
    return tuple(
        sorted(
            one.line
            for one in accesses
            if one.kind in UNREADABLE or (one.kind == "drop_schema" and one.name in DEFAULT_SCHEMAS)
        )
    )


class Accesses:
    """Which revisions touch what, as far as several packages do."""

    def __init__(self, graph: Graph, accesses: Mapping[Origin, Sequence[Access]]) -> None:
        """Look for what several packages touch.

        :param accesses: what each revision does, by package and identifier
        """
        self.graph = graph
        found: dict[Thing, list[tuple[int, Touch, Access]]] = {}
        packages: dict[Thing, set[str]] = {}
        for (package, revision), access in shared_by_name(accesses):
            for touch in touches(access):
                node = graph.find(package, revision)
                found.setdefault(touch.thing, []).append((node, touch, access))
                packages.setdefault(touch.thing, set()).add(package)
        self.shared = {thing: one for thing, one in found.items() if len(packages[thing]) > 1}
        nodes = sorted({node for touched in self.shared.values() for node, _, _ in touched})
        self._bits = {node: 1 << number for number, node in enumerate(nodes)}
        self._before = self._ancestors(graph.parents_in_order()) if nodes else []
        #: Pairs of which one script says what the order of all steps contradicts.
        self._contradicted = {
            (graph.node(earlier), graph.node(later)) for earlier, later in graph.dropped_orders
        }

    @cached_property
    def _surely_before(self) -> list[int]:
        """For each node the touching ones that it requires, or whose author it had."""
        return self._ancestors(self.graph.parents_in_order(seen_alone=True))

    def _ancestors(self, parents: Sequence[Sequence[int]]) -> list[int]:
        """Return for each node the touching ones before it, as a set of bits."""
        before = [0] * len(parents)
        bits = self._bits
        for node in self.graph.order:
            found = 0
            for parent in parents[node]:
                found |= before[parent] | bits.get(parent, 0)
            before[node] = found
        return before

    def comes_before(self, one: int, other: int) -> bool:
        """Return whether requirements, or the authors, put a touching node before another one."""
        return bool(self._before[other] & self._bits[one])

    def in_order(self, one: int, other: int) -> bool:
        """Return whether it is known which of two touching nodes comes first.

        Of two authors who did not have each other's script, each says that theirs comes first. The
        plan follows one of them, and that tells nothing.
        """
        for first, second in ((one, other), (other, one)):
            if self.comes_before(first, second):
                return (second, first) not in self._contradicted or bool(
                    self._surely_before[second] & self._bits[first]
                )
        return False

    def pairs(self) -> Iterator[tuple[tuple[int, Touch, Access], tuple[int, Touch, Access]]]:
        """Yield the conflicts of revisions of different packages."""
        revisions = self.graph.revisions
        for touched in self.shared.values():
            for number, one in enumerate(touched):
                package = revisions[one[0]].package
                for other in touched[:number]:
                    if revisions[other[0]].package != package and do_conflict(one[1], other[1]):
                        yield one, other


def shared_by_name(
    accesses: Mapping[Origin, Sequence[Access]],
) -> Iterator[tuple[Origin, Access]]:
    """Yield the accesses to names that several packages use, which are few of all."""
    first: dict[str | None, str] = {}
    shared: set[str | None] = set()
    for (package, _), done_there in accesses.items():
        for access in done_there:
            for name in (access.name, access.new_name, access.target_table, access.schema):
                if name and first.setdefault(name, package) != package:
                    shared.add(name)
    for origin, done_there in accesses.items():
        for access in done_there:
            names = (access.name, access.new_name, access.target_table, access.schema)
            if not shared.isdisjoint(names):
                yield origin, access


def find_races(known: Accesses) -> tuple[Race, ...]:
    """Return the pairs of revisions that conflict without a path between them.

    Of several that one line settles, only the one is returned that the line is about.
    """
    graph = known.graph
    found: dict[tuple[int, int], tuple[Access, Access, bool]] = {}
    for one, other in known.pairs():
        if known.in_order(one[0], other[0]):
            continue
        before, after = in_order(graph, one, other)
        nodes = (before[0], after[0])
        makes = before[1].role in MAKES and after[1].role not in DESTROYS
        if nodes[::-1] not in found and (nodes not in found or (before[2].sure and after[2].sure)):
            found.setdefault(nodes, (before[2], after[2], makes))
    depends = {
        (graph.revisions[node].package, edge.required.package)
        for node, edges in graph.cross_parents.items()
        for _, edge in edges
    }
    return tuple(
        race_of(graph.revisions[first], graph.revisions[second], *found[first, second], depends)
        for first, second in sorted(
            independent(known, found), key=lambda pair: [graph.places[node] for node in pair]
        )
    )


def in_order(
    graph: Graph, one: tuple[int, Touch, Access], other: tuple[int, Touch, Access]
) -> tuple[tuple[int, Touch, Access], tuple[int, Touch, Access]]:
    """Return a conflict with the access first that is better first."""
    for first, second in ((one, other), (other, one)):
        if second[1].role in DESTROYS and first[1].role not in DESTROYS:
            return first, second
    for first, second in ((one, other), (other, one)):
        if first[1].role in MAKES and second[1].role not in MAKES:
            return first, second
    return (one, other) if graph.places[one[0]] < graph.places[other[0]] else (other, one)


def independent(known: Accesses, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs that no other pair settles: by a later first one and an earlier second."""
    revisions = known.graph.revisions
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for pair in pairs:
        first, second = (revisions[node].package for node in pair)
        groups.setdefault((first, second), []).append(pair)

    def settles(pair: tuple[int, int], other: tuple[int, int]) -> bool:
        return (
            pair != other
            and (pair[0] == other[0] or known.comes_before(other[0], pair[0]))
            and (pair[1] == other[1] or known.comes_before(pair[1], other[1]))
        )

    kept: list[tuple[int, int]] = []
    for group in groups.values():
        strongest: list[tuple[int, int]] = []
        for pair in group:
            if not any(settles(one, pair) for one in strongest):
                strongest = [one for one in strongest if not settles(pair, one)] + [pair]
        kept += strongest
    return kept


def race_of(
    first: Revision,
    second: Revision,
    before: Access,
    after: Access,
    makes: bool,
    depends: set[tuple[str, str]],
) -> Race:
    """Return a race with the line that settles it, in the package that knows of the other."""
    knows = (first.package, second.package) in depends
    if knows and not makes and (second.package, first.package) not in depends:
        script, name, texts = first, "run_before", (*first.run_before, str(second))
        # What is before the second, its author had.
        soft_line = against(first, second.package, second.down_revisions)
    else:
        script, name, texts = second, "requires", (*second.requires, str(first))
        had = {id_ for package, id_ in second.written_against if package == first.package}
        had -= set(first.down_revisions)
        soft_line = against(second, first.package, [*sorted(had), first.id])
    line = f"{name} = {written(texts)}"
    return Race(first, second, before, after, makes, script, line, "" if makes else soft_line)


def against(revision: Revision, package: str, ids: Sequence[str]) -> str:
    """Return the line that says that a script was written against other revisions of a package.

    :returns: an empty text for no revisions: nothing can be said of these
    """
    if not ids:
        return ""
    heads: dict[str, list[str]] = {}
    for name, id_ in revision.written_against:
        heads.setdefault(name, []).append(id_)
    heads[package] = list(ids)
    told = {name: found[0] if len(found) == 1 else tuple(found) for name, found in heads.items()}
    inner = ", ".join(
        f'"{name}": ' + (f'"{found}"' if isinstance(found, str) else written(found))
        for name, found in sorted(told.items())
    )
    return f"written_against = {{{inner}}}"


def written(texts: Sequence[str]) -> str:
    """Return a tuple as a person writes it."""
    inner = in_quotes(texts)
    return f"({inner},)" if len(texts) == 1 else f"({inner})"


def find_late_steps(known: Accesses, applied: Mapping[str, Iterable[str]]) -> tuple[LateStep, ...]:
    """Return the pending revisions that need what an applied one of another package destroyed.

    :param applied: the applied revisions of each package, all of them
    """
    graph = known.graph
    there = {graph.find(package, one) for package, ids in applied.items() for one in ids}
    found: dict[tuple[int, int], LateStep] = {}
    for one, other in known.pairs():
        for pending, gone in ((one, other), (other, one)):
            if pending[0] in there or gone[0] not in there or gone[1].role not in DESTROYS:
                continue
            if pending[1].role in MAKES | DESTROYS:
                continue
            if known.comes_before(gone[0], pending[0]) and known.in_order(gone[0], pending[0]):
                continue
            if not made_again(known, there, gone):
                revisions = graph.revisions[pending[0]], graph.revisions[gone[0]]
                late = LateStep(revisions[0], pending[2], revisions[1], gone[2])
                found.setdefault((pending[0], gone[0]), late)
    return tuple(found[pair] for pair in sorted(found))


def made_again(known: Accesses, there: set[int], gone: tuple[int, Touch, Access]) -> bool:
    """Return whether an applied revision made again what another one destroyed."""
    places = known.graph.places
    return any(
        node in there and places[node] > places[gone[0]] and touch.role in MAKES
        for node, touch, _ in known.shared[gone[1].thing]
        if touch.role == "make" or touch.columns == gone[1].columns
    )
