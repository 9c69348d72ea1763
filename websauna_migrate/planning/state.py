"""What is applied: the rows of all history tables, seen against the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from websauna_migrate.base_errors import UsageError
from websauna_migrate.planning.edges import Edge
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.history_errors import HistoryContradicted
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.requirements import Requirement
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.target_errors import quote

#: The rows of each package's history table.
Applied = Mapping[str, Collection[str]]

#: For a package one target or several.
Targets = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Violation:
    """An applied revision that lacks what it requires.

    :ivar requirement: what it asks
    :ivar missing: the required revisions that are not applied; for a floating requirement the base
        revisions, of which none is
    """

    requirement: Requirement
    missing: tuple[Revision, ...]

    @property
    def dependent(self) -> Revision:
        """The revision that is applied too early."""
        return self.requirement.dependent

    def describe(self) -> str:
        """Return a clause that names both sides, the file and the line."""
        requirement = self.requirement
        edge = Edge(self.dependent, self.missing[0], requirement.kind, requirement.text)
        if requirement.floating:
            return f"{edge.describe()}, but nothing of that package's branch is applied"
        return f"{edge.describe()}, which is not applied"


def lacking(violations: Sequence[Violation]) -> HistoryContradicted:
    """Return the error of applied revisions that lack what they require.

    :param violations: all of them, in canonical order
    """
    lines = "".join(f"\n  {violation.describe()}" for violation in violations)
    missing, dependent = violations[0].missing[0], violations[0].dependent
    below = dependent.down_revisions[0] if dependent.down_revisions else "base"
    return HistoryContradicted(
        "requirements",
        "Applied revisions lack what they require, and nothing was run:"
        f"{lines}\n"
        f'If the schema has what "{missing}" makes, record that with `ws-alembic -x '
        f"packages={missing.package} stamp {missing.id}`. If it has not, take "
        f'"{dependent}" down with `ws-alembic -x packages={dependent.package} downgrade '
        f"{below}` and upgrade again: then the order is right.",
        ((one.dependent.package, one.dependent.id) for one in violations),
    )


def undefined(history: PackageHistory, rows: Sequence[str]) -> HistoryContradicted:
    """Return the error of rows that no script of the package defines."""
    package = history.package
    squash = next(filter(None, map(history.replacements.meant.get, rows)), None)
    rows_text = f"the row {quote(rows)}" if len(rows) == 1 else quote(rows)
    stamp = f"`ws-alembic -x packages={package} stamp --purge"
    if squash is not None:
        last = history.revisions[squash].replaces[-1]
        remedy = (
            f'It was squashed into "{squash}" ("{history.revisions[squash].path}"), and the '
            f'database has a part of that: it lacks what leads to "{last}". Install the last '
            f'release of "{package}" that has the old scripts, upgrade, and come back. If the '
            f"schema has all of it, record that with {stamp} {squash}`."
        )
    else:
        remedy = f'Restore the missing script, or install the release of "{package}" that has it.'
    return HistoryContradicted(
        "unknown",
        f'The history table of "{package}" has {rows_text}, which no script of the '
        f"package defines. {remedy}",
        ((package, row) for row in rows),
    )


class State:
    """The applied revisions of all packages.

    :ivar graph: the graph that the database goes on by, see :meth:`.Graph.standing_for`
    :ivar rows: the rows of each registered package's history table, squashes taken as applied
    :ivar squashed: of the packages of which a squash is taken as applied, the rows that there are
    :ivar partial: True if old scripts stand, of which a database has a part
    :ivar lost: of the packages that have them, the rows that no script defines, sorted
    :ivar applied: for each node 1 if it is applied, else 0
    """

    def __init__(self, graph: Graph, rows: Applied) -> None:
        """Work out what the rows stand for.

        :param rows: the rows of each package's history table; a missing package has none
        """
        self.partial = (standing := graph.standing_for(rows)) is not graph
        self.graph = graph = standing
        self.squashed: dict[str, frozenset[str]] = {}
        self.rows: dict[str, frozenset[str]] = {}
        self.lost: dict[str, tuple[str, ...]] = {}
        self.applied = bytearray(len(graph.revisions))
        for package, history in graph.histories.items():
            self.rows[package] = found = frozenset(rows.get(package, ()))
            if lost := history.lost(found):
                self.lost[package] = lost
            if history.replacements.squashes and (rows_then := history.squashed(found)) != found:
                self.squashed[package] = found
                self.rows[package] = found = rows_then
            if found:
                offset = graph.offsets[package]
                for position in history.applied_positions(found):
                    self.applied[offset + position] = 1

    def is_applied(self, revision: Revision) -> bool:
        """Tell whether a revision of the graph is applied."""
        return bool(self.applied[self.graph.node(revision)])

    def refuse_lost(self, packages: Iterable[str]) -> None:
        """Stop at packages whose rows are not understood.

        :raises HistoryContradicted: for the first of the packages, by name, that has such rows
        """
        for package in sorted(self.lost.keys() & set(packages)):
            raise undefined(self.graph.histories[package], self.lost[package])

    def violations(self) -> tuple[Violation, ...]:
        """Return the applied revisions that lack what they require, in canonical order.

        What a package lacks that has rows which no script defines is not counted: a row that is
        not understood may stand for it.
        """
        return tuple(sorted(self._violations(), key=self._place))

    def _place(self, violation: Violation) -> tuple[int, int, str, str]:
        graph = self.graph
        return (
            graph.places[graph.node(violation.dependent)],
            graph.node(violation.missing[0]),
            violation.requirement.kind,
            violation.requirement.text,
        )

    def _violations(self) -> Iterator[Violation]:
        for requirement in self.graph.requirements:
            if not self.is_applied(requirement.dependent):
                continue
            wanted = requirement.bases if requirement.floating else requirement.required
            if not wanted or wanted[0].package in self.lost:
                continue
            missing = tuple(revision for revision in wanted if not self.is_applied(revision))
            if missing and (not requirement.floating or len(missing) == len(wanted)):
                yield Violation(requirement, missing)

    def pending(self) -> dict[str, tuple[Revision, ...]]:
        """Return the revisions of each package that are not applied, in canonical order."""
        found: dict[str, list[Revision]] = {package: [] for package in self.graph.packages}
        for node in self.graph.order:
            if not self.applied[node]:
                revision = self.graph.revisions[node]
                found[revision.package].append(revision)
        return {package: tuple(revisions) for package, revisions in found.items()}


def normalize_targets(graph: Graph, targets: Targets) -> dict[str, tuple[str, ...]]:
    """Return the targets of each package, packages and targets sorted.

    :raises UsageError: for a package that is not in the graph
    """
    for package in sorted(targets.keys() - graph.histories.keys()):
        raise UsageError(
            f'No package "{package}" is registered for migrations; registered are '
            f"{quote(graph.packages)}."
        )
    return {
        package: (given,) if isinstance(given, str) else tuple(sorted(set(given)))
        for package, given in sorted(targets.items())
    }
