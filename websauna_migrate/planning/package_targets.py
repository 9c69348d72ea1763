"""What the targets of a command mean where it is about several packages."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from websauna_migrate.base_errors import UsageError
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.plan import plan_stamp
from websauna_migrate.planning.target_errors import TargetError, unknown_everywhere
from websauna_migrate.planning.targets import is_relative, resolve, upgrade_targets

#: What revision arguments take: one target or several.
Targets: TypeAlias = str | Sequence[str]


#: Targets that mean something in every package.
SYMBOLS = frozenset({"head", "heads", "base", "current"})


def targets_for(
    revision: Targets,
    selected: Sequence[str],
    histories: Mapping[str, PackageHistory],
) -> dict[str, tuple[str, ...]]:
    """Say for each package what of some targets is meant for it.

    :param revision: one target or several; ``package@target`` is meant for that package alone
    :param selected: the packages that all other targets are meant for
    :param histories: of all registered packages
    :raises TargetError: if none of the packages has a revision of that name
    """
    targets: dict[str, list[str]] = {name: [] for name in selected}
    for target in as_targets(revision):
        package, at, rest = target.partition("@")
        if at and package in histories:
            targets.setdefault(package, []).append(rest)
        elif len(selected) == 1 or is_symbol(target):
            for name in selected:
                targets[name].append(target)
        else:
            found = collect(selected, histories, functools.partial(find_all, target))
            for name in found:
                targets[name].append(target)
    return {name: tuple(found) for name, found in targets.items() if found}


def collect(
    selected: Sequence[str],
    histories: Mapping[str, PackageHistory],
    find: Callable[[PackageHistory], set[str]],
) -> dict[str, set[str]]:
    """Ask each package for revisions; one that has none of the name is no error by itself.

    :raises TargetError: if no package has it: the first one's error
    """
    found: dict[str, set[str]] = {}
    errors: list[TargetError] = []
    for name in selected:
        try:
            found[name] = find(histories[name])
        except TargetError as exc:
            errors.append(exc)
    if errors and not found:
        if len(errors) == 1:
            raise errors[0]
        raise unknown_everywhere(errors)
    return found


def offline_range(
    graph: Graph,
    revision: Targets,
    selected: Sequence[str],
    direction: str,
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return where a SQL script begins, package by package, and its targets.

    :param revision: targets, or ranges ``from:to``; what the starting points require of other
        packages is there as well
    :raises UsageError: for a downgrade without a range
    """
    histories = graph.histories
    applied: dict[str, tuple[str, ...]] = dict.fromkeys(histories, ())
    ends: list[str] = []
    for target in as_targets(revision):
        start, colon, end = target.partition(":")
        if not colon:
            if direction == "downgrade":
                raise UsageError(
                    "A downgrade with --sql needs a range: <from revision>:<to revision>."
                )
            ends.append(target)
            continue
        ends.append(end or "heads")
        for name, rows in targets_for(start or "base", selected, histories).items():
            applied[name] += tuple(f for row in rows for f in resolve_all(histories[name], row))
    stamped = plan_stamp(
        graph,
        dict.fromkeys(histories, ()),
        {name: rows for name, rows in applied.items() if rows},
        with_requirements=True,
    )
    applied.update({name: tuple(sorted(rows)) for name, rows in stamped.items()})
    return applied, targets_for(tuple(ends), selected, histories)


def is_symbol(target: str) -> bool:
    """Tell whether a target means something in every package: ``heads``, ``+1``, ``head-2``."""
    start = re.split("[+-]", target, maxsplit=1)[0]
    return target in SYMBOLS or (is_relative(target) and start in {"", *SYMBOLS})


def as_targets(revision: Targets) -> tuple[str, ...]:
    """Return one target or several as a tuple."""
    return (revision,) if isinstance(revision, str) else tuple(revision)


def resolve_all(history: PackageHistory, target: str) -> tuple[str, ...]:
    """Return the revisions of a package that a target means, relative ones included."""
    if is_relative(target):
        return tuple(upgrade_targets(history, target, ()))
    return tuple(resolve(history, target))


def find_all(target: str, history: PackageHistory) -> set[str]:
    """Return the revisions of a package that a target means."""
    return set(resolve_all(history, target))


def range_of(history: PackageHistory, start: str, end: str, rows: Sequence[str]) -> set[str]:
    """Return the revisions of one package in a range, both ends included, as Alembic does."""

    def ids(symbol: str) -> tuple[str, ...]:
        if symbol == "current":
            return tuple(row for row in rows if row in history)
        return resolve_all(history, symbol)

    upper = ids(end or "heads")
    if not start or start == "base":
        return set(history.ancestors(upper))
    if start.startswith("-") and len(upper) == 1:
        start = f"{upper[0]}{start}"
    lower = ids(start)
    inside = set(history.ancestors(upper))
    if not lower:
        return inside
    return (inside - set(history.ancestors(lower)) | set(lower)) & set(
        history.descendants(lower, dependencies=False)
    )
