"""Plans: what an upgrade, a downgrade or a stamp would do, from scripts and applied rows alone.

Every function takes ``applied``, the rows of each package's history table, and ``targets``, for a
package one target or several, as :mod:`.targets` understands them. No result depends on an order in
which anything was given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.planning.cascade import Cascade, relieves
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.order_checks import Conflicts, order_reasons, refuse_conflicts
from websauna_migrate.planning.requirements import Requirement
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.rows import Rows
from websauna_migrate.planning.state import Applied, State, Targets, lacking, normalize_targets
from websauna_migrate.planning.steps import Adopted, Direction, Plan, Reason, Step
from websauna_migrate.planning.targets import downgrade_set, stamp_rows, upgrade_targets
from websauna_migrate.planning.walks import reach


class DowngradeRefused(MigrationError, RuntimeError):
    """A downgrade would take away what applied revisions of other packages require, or have.

    :ivar kind: ``required``; or ``moved`` where nothing is in the way but a table that belongs to
        another package by now
    :ivar dependents: these revisions, with all that comes after them, in the order in which they
        would have to go
    :ivar reasons: for each of them why it would have to go
    :ivar losses: what would be lost, a clause each
    :ivar drops: the first revision that drops what has moved, where nothing else is in the way
    """

    def __init__(
        self,
        dependents: Sequence[tuple[Revision, tuple[Reason, ...]]],
        losses: Sequence[str] = (),
        drops: Revision | None = None,
        remedy: str | None = None,
    ) -> None:
        """Build the message.

        :param drops: the first revision that drops what has moved, where nothing else is in the way
        :param remedy: what to do where the command has no ``--cascade``
        """
        self.kind = "required" if drops is None else "moved"
        self.drops = drops
        self.dependents = tuple(revision for revision, _ in dependents)
        self.reasons = tuple(reasons for _, reasons in dependents)
        self.losses = tuple(losses)
        if drops is not None:
            lines = "".join(f"\n  {loss}" for loss in losses)
            super().__init__(
                "The downgrade would drop what belongs to another package, and nothing was run:"
                f"{lines}\n"
                + (
                    remedy
                    or f'Keep it: downgrade "{drops.package}" to "{drops.id}" and no further. '
                    "Add `--cascade` to drop it with all that is in it."
                )
            )
            return
        lines = "".join(
            f'\n  "{revision}" ("{revision.path}"): {reasons[0]}'
            for revision, reasons in dependents
        )
        lost = "".join(f"Data would be lost: {loss}.\n" for loss in losses)
        super().__init__(
            "The downgrade would take away what applied revisions of other packages require. "
            f"These would have to go first, in this order:{lines}\n"
            f"{lost}"
            + (
                remedy
                or "Add `--cascade` to take them down too, or downgrade their packages first."
            )
        )


def plan_upgrade(
    graph: Graph,
    applied: Applied,
    targets: Targets | None = None,
    *,
    conflicts: Conflicts | None = None,
) -> Plan:
    """Plan an upgrade: the targets, what they require in any package, and no more.

    :param targets: default the heads of all packages
    :param conflicts: tells whether the order of two revisions matters; ``None`` to leave the
        authors' order of what is not in the plan out of account
    :raises TargetError: if a target means nothing in its package
    :raises HistoryContradicted: if a package that is named or needed has rows that no script
        defines; or if requirements are violated, listing every violation
    :raises OrderViolated: if a step would run before a revision that was written earlier, is left
        out, and conflicts with it
    """
    state = State(graph, applied)
    graph = state.graph
    wanted = normalize_targets(
        graph, dict.fromkeys(graph.packages, "heads") if targets is None else targets
    )
    state.refuse_lost(wanted)
    requested: dict[int, list[Reason]] = {}
    for package, target in _pairs(wanted):
        history = graph.histories[package]
        starts = upgrade_targets(history, target, state.rows[package])
        reason = Reason("requested", f"{package}@{target}")
        offset = graph.offsets[package]
        for position in history.ancestor_positions(starts):
            if not state.applied[offset + position]:
                requested.setdefault(offset + position, []).append(reason)
    parents, done = graph.parents, state.applied
    steps = reach(requested, lambda node: (one for one in parents[node] if not done[one]))
    state.refuse_lost({graph.revisions[node].package for node in steps})
    if violations := state.violations():
        raise lacking(violations)
    if conflicts is not None:
        refuse_conflicts(graph, state, steps, conflicts)
    order = sorted(steps, key=graph.places.__getitem__)
    reasons = _upgrade_reasons(graph, order, requested)
    for node, reason in order_reasons(graph, steps):
        reasons[node] += (reason,)
    return _build(graph, state, order, reasons, "upgrade", wanted)


def _pairs(targets: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(package, target) for package, names in targets.items() for target in names]


def _upgrade_reasons(
    graph: Graph, order: Sequence[int], requested: Mapping[int, Sequence[Reason]]
) -> dict[int, tuple[Reason, ...]]:
    """Say of each step why it is there; what only leads to another step has that one's reasons."""
    reasons: dict[int, tuple[Reason, ...]] = {}
    planned = set(order)
    for node in reversed(order):
        own = list(requested.get(node, ()))
        for dependent, edge in graph.cross_dependents.get(node, ()):
            if dependent in planned:
                revision = edge.dependent
                own.append(Reason("required", edge.text, edge.kind, revision.package, revision.id))
        if not own:
            heir = min(
                (c for c in graph.children(node) if c in planned), key=graph.places.__getitem__
            )
            reasons[node] = reasons[heir]
        else:
            reasons[node] = tuple(own)
    return reasons


def _build(
    graph: Graph,
    state: State,
    order: Iterable[int],
    reasons: Mapping[int, tuple[Reason, ...]],
    direction: Direction,
    packages: Iterable[str] = (),
) -> Plan:
    """Follow the rows of the history tables through the steps.

    :param packages: of which squashes are adopted, besides those of the steps
    """
    walks: dict[str, Rows] = {}
    steps: list[Step] = []
    for node in order:
        revision = graph.revisions[node]
        package = revision.package
        walk = walks.get(package)
        if walk is None:
            walk = walks[package] = Rows(graph.histories[package], state.rows[package])
        steps.append(walk.step(revision, direction, reasons[node]))
    meant = sorted({*packages, *walks} & state.squashed.keys())
    adopted = tuple(adoption(state, package) for package in meant)
    return Plan(tuple(steps), direction, adopted, state.partial)


def adoption(state: State, package: str) -> Adopted:
    """Return the squashes of a package that are taken as applied."""
    before, after = state.squashed[package], state.rows[package]
    revisions = state.graph.histories[package].revisions
    return Adopted(package, tuple(revisions[one] for one in sorted(after - before)), before, after)


def plan_downgrade(
    graph: Graph, applied: Applied, targets: Targets, *, cascade: bool = False
) -> Plan:
    """Plan a downgrade: in each package named what Alembic's own downgrade would take away.

    Packages that are named together go together. A violation of the graph by applied revisions is
    no obstacle for a downgrade that takes away such a revision, or one that depends on it: so the
    way back is always open, however many violations there are.

    :param cascade: take applied dependents in other packages down first, with all that comes
        after them
    :raises TargetError: if a target means nothing in its package, or is not below what is applied
    :raises DowngradeRefused: listing the dependents, if there are any and ``cascade`` is false
    :raises HistoryContradicted: if a package that would be touched has rows that no script
        defines; or if requirements are violated, listing every violation
    """
    state = State(graph, applied)
    graph = state.graph
    wanted = normalize_targets(graph, targets)
    state.refuse_lost(wanted)
    requested: dict[int, list[Reason]] = {}
    for package, target in _pairs(wanted):
        history = graph.histories[package]
        reason = Reason("requested", f"{package}@{target}")
        for revision_id in downgrade_set(history, target, state.rows[package]):
            requested.setdefault(graph.find(package, revision_id), []).append(reason)
    return _take_back(graph, state, requested, cascade)


def plan_undo(
    graph: Graph,
    applied: Applied,
    revisions: Iterable[tuple[str, str]],
    *,
    reason: str,
    cascade: bool = False,
) -> Plan:
    """Plan to take back revisions and no others; those that are not applied any more are left out.

    :param revisions: package and identifier of each
    :param reason: why, for the plan
    :param cascade: as in :func:`plan_downgrade`; here also for later revisions of the packages
    :raises HistoryContradicted: if a package has rows that no script defines
    :raises DowngradeRefused: listing what stands on them, if ``cascade`` is false
    """
    state = State(graph, applied)
    graph = state.graph
    wanted = tuple(revisions)
    packages = {package for package, _ in wanted}
    state.refuse_lost({package for package in packages if package in graph.histories})
    requested: dict[int, list[Reason]] = {}
    for package, revision in wanted:
        history = graph.histories.get(package)
        if history is not None and revision in history:
            node = graph.find(package, revision)
            if state.applied[node]:
                requested[node] = [Reason("requested", reason)]
    return _take_back(graph, state, requested, cascade)


def _take_back(
    graph: Graph,
    state: State,
    requested: Mapping[int, list[Reason]],
    cascade: bool,
) -> Plan:
    """Plan to take back what is requested, and with ``cascade`` what stands on it."""
    violations = state.violations()
    because = Cascade(graph, state, violations).run(requested)
    going = requested.keys() | because.keys()
    if going and violations and not relieves(graph, state, violations, going):
        raise lacking(violations)
    order = sorted(going, key=graph.places.__getitem__, reverse=True)
    reasons = _downgrade_reasons(graph, order, requested, because)
    extra = [node for node in order if node not in requested]
    if extra and not cascade:
        raise DowngradeRefused([(graph.revisions[node], reasons[node]) for node in extra])
    state.refuse_lost({graph.revisions[node].package for node in order})
    return _build(graph, state, order, reasons, "downgrade")


def _downgrade_reasons(
    graph: Graph,
    order: Sequence[int],
    requested: Mapping[int, Sequence[Reason]],
    because: Mapping[int, Sequence[Reason]],
) -> dict[int, tuple[Reason, ...]]:
    """Say of each step why it is there; what stands on a step that goes has that one's reasons."""
    reasons: dict[int, tuple[Reason, ...]] = {}
    for node in reversed(order):
        own = (*requested.get(node, ()), *sorted(because.get(node, ()), key=_reason_key))
        if not own:
            parents = [p for p in graph.parents[node] if p in reasons]
            own = reasons[parents[0]]
        reasons[node] = tuple(own)
    return reasons


def _reason_key(reason: Reason) -> tuple[str, ...]:
    return reason.package or "", reason.revision or "", reason.kind or "", reason.text


def plan_stamp(
    graph: Graph,
    applied: Applied,
    targets: Targets,
    *,
    purge: bool = False,
    with_requirements: bool = False,
) -> dict[str, frozenset[str]]:
    """Return the rows that history tables have after a stamp; nothing runs.

    A stamp is the remedy for a history that violates the graph, so no violation is an obstacle.

    :param purge: take the packages' rows as gone before, even those that no script defines
    :param with_requirements: stamp what the stamped revisions require of other packages too,
        where it is not applied. A floating requirement is met by any applied base revision of its
        package; where there is none its heads are stamped.
    :returns: the rows of the packages named, and of others that change
    :raises TargetError: if a target means nothing in its package
    :raises HistoryContradicted: if a package that would be touched has rows that no script defines
    """
    state = State(graph, applied)
    # A target that is a part of a squash means something in the graph of the old scripts.
    names = {
        package: [given] if isinstance(given, str) else [*given]
        for package, given in targets.items()
        if package in state.graph.histories
    }
    graph = state.graph.standing_for(names)
    wanted = normalize_targets(graph, targets)
    before = {p: frozenset() if purge and p in wanted else r for p, r in state.rows.items()}
    state = State(graph, before)
    state.refuse_lost(wanted)
    after = {
        package: stamp_rows(graph.histories[package], names, before[package])
        for package, names in wanted.items()
    }
    if not with_requirements:
        return after
    stamped = State(graph, {**before, **after})
    raised = _required(graph, stamped, after)
    state.refuse_lost(raised)
    for package, ids in raised.items():
        history = graph.histories[package]
        after[package] = history.reduce(history.applied(stamped.rows[package]) | ids)
    return after


def _required(graph: Graph, stamped: State, packages: Iterable[str]) -> dict[str, set[str]]:
    """Return what applied revisions of some packages lack, transitively, by package."""
    asked: dict[int, list[Requirement]] = {}
    for requirement in graph.requirements:
        asked.setdefault(graph.node(requirement.dependent), []).append(requirement)
    applied = bytearray(stamped.applied)
    found: dict[str, set[str]] = {}
    floating: list[Requirement] = []
    stack = [graph.node(r) for p in packages for r in graph.histories[p] if stamped.is_applied(r)]
    while stack:
        while stack:
            node = stack.pop()
            needed = set(graph.own_parents(node))
            for requirement in asked.get(node, ()):
                if requirement.floating:
                    floating.append(requirement)
                else:
                    needed.update(map(graph.node, requirement.required))
            for parent in needed:
                if not applied[parent]:
                    applied[parent] = 1
                    revision = graph.revisions[parent]
                    found.setdefault(revision.package, set()).add(revision.id)
                    stack.append(parent)
        # Only now, so that no order of looking decides what meets a floating requirement.
        unmet = [
            requirement
            for requirement in floating
            if requirement.bases and not any(applied[graph.node(b)] for b in requirement.bases)
        ]
        for revision in {revision for requirement in unmet for revision in requirement.required}:
            applied[graph.node(revision)] = 1
            found.setdefault(revision.package, set()).add(revision.id)
            stack.append(graph.node(revision))
    return found


@dataclass(frozen=True)
class RoundTrip:
    """Revisions that go up, down and up again.

    :ivar first: what they require and is not applied yet; it stays applied
    :ivar there: the revisions go up, with what is pending and stands on them
    :ivar back: the same down
    :ivar again: and up
    """

    first: tuple[Step, ...]
    there: tuple[Step, ...]
    back: tuple[Step, ...]
    again: tuple[Step, ...]

    @property
    def plan(self) -> Plan:
        """All steps as one plan."""
        return Plan((*self.first, *self.there, *self.back, *self.again), "upgrade")


def plan_round_trip(
    graph: Graph, applied: Applied, new: Mapping[str, Collection[str]]
) -> RoundTrip:
    """Plan a round trip in the order in which an upgrade would run the revisions.

    :param new: the identifiers of the revisions, by package; none of them is applied
    :raises MigrationError: as :func:`.plan_upgrade`
    """
    targets = {package: tuple(sorted(ids)) for package, ids in new.items()}
    graph = State(graph, applied).graph
    steps = plan_upgrade(graph, applied, targets).steps
    turning = [step.revision for step in steps if step.revision.id in new.get(step.package, ())]

    def stands_on_new(step: Step) -> bool:
        return step.revision in turning or any(graph.needs(step.revision, one) for one in turning)

    walks: dict[str, Rows] = {}

    def walk(chosen: Iterable[Step], direction: Direction) -> tuple[Step, ...]:
        found = []
        for step in chosen:
            if step.package not in walks:
                walks[step.package] = Rows(graph.histories[step.package], step.rows_before)
            found.append(walks[step.package].step(step.revision, direction, step.reasons))
        return tuple(found)

    moving = [step for step in steps if stands_on_new(step)]
    return RoundTrip(
        walk((step for step in steps if step not in moving), "upgrade"),
        walk(moving, "upgrade"),
        walk(reversed(moving), "downgrade"),
        walk(moving, "upgrade"),
    )
