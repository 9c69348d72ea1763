"""What can be wrong with a target of a command."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from websauna_migrate.errors import MigrationError
from websauna_migrate.planning.lineage import Lineage

__all__ = [
    "AmbiguousRevision",
    "AmbiguousWalk",
    "NotOnBranch",
    "RelativeTargetError",
    "SeveralHeads",
    "TargetError",
    "TargetNotApplied",
    "UnknownRevision",
    "quote",
]


class TargetError(MigrationError, LookupError):
    """A target means nothing, or more than one thing, in a package.

    :ivar package: the package's dotted name
    :ivar target: the target, or that part of it which is at fault
    :ivar problem: what is wrong, a clause without a full stop
    :ivar remedy: what to do, a sentence
    """

    def __init__(self, package: str, target: str, problem: str, remedy: str) -> None:
        self.package, self.target, self.problem, self.remedy = package, target, problem, remedy
        super().__init__(f"{problem[:1].upper()}{problem[1:]}. {remedy}")


class UnknownRevision(TargetError):
    """A package has no such revision or branch label.

    :ivar close: what looks like it
    """

    def __init__(self, lineage: Lineage, target: str) -> None:
        self.close = tuple(get_close_matches(target, _similar(lineage, target), cutoff=0.6))
        hint = f"; close to it: {quote(self.close)}" if self.close else ""
        super().__init__(
            lineage.package,
            target,
            f'package "{lineage.package}" has no revision or branch label "{target}"{hint}',
            f"`ws-alembic -x packages={lineage.package} history` lists what it has.",
        )


class AmbiguousRevision(TargetError):
    """Several identifiers or labels of a package begin like this.

    :ivar candidates: all of them
    """

    def __init__(self, lineage: Lineage, target: str, candidates: Iterable[str]) -> None:
        self.candidates = tuple(candidates)
        super().__init__(
            lineage.package,
            target,
            f'"{target}" is the beginning of several revisions of "{lineage.package}": '
            f"{quote(self.candidates)}",
            "Write more of the identifier.",
        )


class SeveralHeads(TargetError):
    """One head was asked for, and there are several.

    :ivar heads: their identifiers
    """

    def __init__(self, lineage: Lineage, target: str, heads: Iterable[str]) -> None:
        self.heads = tuple(heads)
        super().__init__(
            lineage.package,
            target,
            f'"{target}" of package "{lineage.package}" means several revisions: '
            f"{quote(self.heads)}",
            "Say `heads` for all of them or `label@head` for one branch, or join them with "
            f"`ws-alembic -x packages={lineage.package} merge heads`.",
        )


class NotOnBranch(TargetError):
    """``label@revision``, but the revision is not on that branch."""

    def __init__(self, lineage: Lineage, label: str, revision_id: str) -> None:
        self.label, self.revision_id = label, revision_id
        super().__init__(
            lineage.package,
            f"{label}@{revision_id}",
            f'revision "{revision_id}" of "{lineage.package}" is not on the branch "{label}"',
            "Leave the label away, or name a revision of that branch.",
        )


class AmbiguousWalk(TargetError):
    """A number of steps was asked for where the way forks."""

    def __init__(self, lineage: Lineage, target: str, ways: Iterable[str]) -> None:
        self.ways = tuple(ways)
        super().__init__(
            lineage.package,
            target,
            f'"{target}" has more than one meaning in "{lineage.package}", where the way forks '
            f"between {quote(self.ways)}",
            "Say which branch is meant with `label@`, or name a revision.",
        )


class RelativeTargetError(TargetError):
    """A number of steps leads nowhere, or is not understood in this place."""

    def __init__(self, lineage: Lineage, target: str, problem: str) -> None:
        super().__init__(
            lineage.package,
            target,
            f'"{target}" {problem} in package "{lineage.package}"',
            "Name a revision.",
        )


class TargetNotApplied(TargetError):
    """A downgrade to something that is not applied, or not below what is."""

    def __init__(self, lineage: Lineage, target: str, rows: Iterable[str]) -> None:
        self.rows = tuple(sorted(rows))
        at = f"is at {quote(self.rows)}" if self.rows else "has nothing applied"
        super().__init__(
            lineage.package,
            target,
            f'"{lineage.package}" cannot go down to "{target}": it {at}',
            f"`ws-alembic -x packages={lineage.package} current` shows what is applied.",
        )


def quote(names: Iterable[str]) -> str:
    """Return names in quotes and with commas, no more than ten of them."""
    names = list(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(f'"{name}"' for name in names[:10]) + more


def _similar(lineage: Lineage, target: str) -> list[str]:
    """Return the names that a typing error may have started from; not too many of them."""
    names = [*lineage.labels, *lineage.ids]
    if len(names) <= 2000:
        return names
    return [name for name in names if name[:2] == target[:2]][:2000]
