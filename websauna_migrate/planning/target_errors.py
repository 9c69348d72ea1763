"""What can be wrong with a target of a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.package_history import PackageHistory


class TargetError(MigrationError, LookupError):
    """A target means nothing, or more than one thing, in a package.

    :ivar kind: ``unknown``, ``ambiguous``, ``several_heads``, ``several_ways``, ``not_on_branch``,
        ``leads_nowhere``, ``not_applied``, ``squashed``, or ``unknown_everywhere`` where several
        packages were asked
    :ivar package: the package's dotted name
    :ivar target: the target, or that part of it which is at fault
    :ivar problem: what is wrong, a clause without a full stop
    :ivar remedy: what to do, a sentence
    :ivar found: the revisions or labels that the target may mean, or that look like it; for
        ``not_applied`` the rows of the history table
    """

    def __init__(
        self,
        kind: str,
        package: str,
        target: str,
        problem: str,
        remedy: str,
        found: Iterable[str] = (),
    ) -> None:
        self.kind, self.package, self.target = kind, package, target
        self.problem, self.remedy, self.found = problem, remedy, tuple(found)
        super().__init__(f"{problem[:1].upper()}{problem[1:]}{'. ' if remedy else ''}{remedy}")


def unknown_revision(history: PackageHistory, target: str) -> TargetError:
    """Return the error of a revision or branch label that a package does not have."""
    close = get_close_matches(target, _similar(history, target), cutoff=0.6)
    hint = f"; close to it: {quote(close)}" if close else ""
    return TargetError(
        "unknown",
        history.package,
        target,
        f'package "{history.package}" has no revision or branch label "{target}"{hint}',
        f"`ws-alembic -x packages={history.package} history` lists what it has.",
        close,
    )


def unknown_everywhere(errors: Sequence[TargetError]) -> TargetError:
    """Return the error of a revision that none of several packages has."""
    lines = "".join(f"\n  {error}" for error in errors)
    problem = f"None of the packages has the revision that was asked for:{lines}"
    return TargetError("unknown_everywhere", "", errors[0].target, problem, "")


def ambiguous_revision(
    history: PackageHistory, target: str, candidates: Iterable[str]
) -> TargetError:
    """Return the error of a target with which several identifiers or labels begin."""
    found = tuple(candidates)
    return TargetError(
        "ambiguous",
        history.package,
        target,
        f'"{target}" is the beginning of several revisions of "{history.package}": {quote(found)}',
        "Write more of the identifier.",
        found,
    )


def several_heads(history: PackageHistory, target: str, heads: Iterable[str]) -> TargetError:
    """Return the error of one head that was asked for where there are several."""
    found = tuple(heads)
    return TargetError(
        "several_heads",
        history.package,
        target,
        f'"{target}" of package "{history.package}" means several revisions: {quote(found)}',
        "Say `heads` for all of them or `label@head` for one branch, or join them with "
        f"`ws-alembic -x packages={history.package} merge heads`.",
        found,
    )


def not_on_branch(history: PackageHistory, label: str, revision_id: str) -> TargetError:
    """Return the error of ``label@revision`` where the revision is not on that branch."""
    return TargetError(
        "not_on_branch",
        history.package,
        f"{label}@{revision_id}",
        f'revision "{revision_id}" of "{history.package}" is not on the branch "{label}"',
        "Leave the label away, or name a revision of that branch.",
    )


def several_ways(history: PackageHistory, target: str, ways: Iterable[str]) -> TargetError:
    """Return the error of a number of steps where the way forks."""
    found = tuple(ways)
    return TargetError(
        "several_ways",
        history.package,
        target,
        f'"{target}" has more than one meaning in "{history.package}", where the way forks '
        f"between {quote(found)}",
        "Say which branch is meant with `label@`, or name a revision.",
        found,
    )


def leads_nowhere(history: PackageHistory, target: str, problem: str) -> TargetError:
    """Return the error of a number of steps that is too many, or not understood in this place."""
    return TargetError(
        "leads_nowhere",
        history.package,
        target,
        f'"{target}" {problem} in package "{history.package}"',
        "Name a revision.",
    )


def part_of_squash(history: PackageHistory, target: str, squash: str) -> TargetError:
    """Return the error of a revision that was squashed with later ones, and is none by itself."""
    return TargetError(
        "squashed",
        history.package,
        target,
        f'"{target}" of package "{history.package}" is a part of the squash "{squash}"',
        f'Name "{squash}", or what is before it.',
        [squash],
    )


def not_applied(history: PackageHistory, target: str, rows: Iterable[str]) -> TargetError:
    """Return the error of a downgrade to what is not applied, or not below what is."""
    found = sorted(rows)
    at = f"is at {quote(found)}" if found else "has nothing applied"
    return TargetError(
        "not_applied",
        history.package,
        target,
        f'"{history.package}" cannot go down to "{target}": it {at}',
        f"`ws-alembic -x packages={history.package} current` shows what is applied.",
        found,
    )


def quote(names: Iterable[str]) -> str:
    """Return names in quotes and with commas, no more than ten of them."""
    names = list(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return in_quotes(names[:10]) + more


def _similar(history: PackageHistory, target: str) -> list[str]:
    """Return the names that a typing error may have started from; not too many of them."""
    names = [*history.labels, *history.ids]
    if len(names) <= 2000:
        return names
    return [name for name in names if name[:2] == target[:2]][:2000]
