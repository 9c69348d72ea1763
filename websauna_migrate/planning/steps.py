"""A plan as data: steps, in order, each with the reasons why it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from websauna_migrate.planning.revisions import Revision

Direction = Literal["upgrade", "downgrade"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a step is in a plan.

    :ivar why: ``requested`` for a target of the command; ``required`` for what an upgrade brings
        in; ``cascade`` for a dependent that a downgrade takes along; ``order`` for the place of a
        step that another one put where it is
    :ivar text: the target as ``package@target``, the requirement as written, or the order in words
    :ivar kind: of a requirement, see :class:`websauna_migrate.planning.edges.Edge`; of an order,
        ``written_against`` or ``create_date``
    :ivar package: the package at the other end of a requirement or an order
    :ivar revision: the identifier of the revision at that end
    """

    why: Literal["requested", "required", "cascade", "order"]
    text: str
    kind: str | None = None
    package: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """Return the reason as a fragment of a sentence."""
        if self.why == "requested":
            return "requested"
        if self.why == "required":
            return f"required by {self.package} {self.revision}"
        if self.why == "order":
            return self.text
        return f"requires {self.package} {self.revision}, which goes"


@dataclass(frozen=True, slots=True)
class Step:
    """One revision to run.

    :ivar package: the package's dotted name
    :ivar revision: the revision
    :ivar direction: ``upgrade`` or ``downgrade``
    :ivar reasons: why it is in the plan, at least one
    :ivar rows_before: the rows of the package's history table before the step
    :ivar rows_after: the rows that Alembic leaves after it
    """

    package: str
    revision: Revision
    direction: Direction
    reasons: tuple[Reason, ...]
    rows_before: frozenset[str]
    rows_after: frozenset[str]

    @property
    def reason(self) -> str:
        """The reasons as a fragment of a sentence, no more than three of them."""
        texts = list(dict.fromkeys(map(str, self.reasons)))
        more = [f"{len(texts) - 3} more"] if len(texts) > 3 else []
        return "; ".join(texts[:3] + more)

    @property
    def replaces_row(self) -> bool:
        """Whether it replaces one row of its history table and does nothing else to it."""
        before, after = self.rows_before, self.rows_after
        return len(before - after) == len(after - before) == 1

    def as_data(self) -> dict[str, object]:
        """Return the step as what JSON knows."""
        return {
            "package": self.package,
            "revision": self.revision.id,
            "direction": self.direction,
            "message": self.revision.message,
            "path": self.revision.path,
            "reason": self.reason,
            "reasons": [asdict(reason) for reason in self.reasons],
            "rows_before": sorted(self.rows_before),
            "rows_after": sorted(self.rows_after),
        }


@dataclass(frozen=True, slots=True)
class Adopted:
    """Squashes of a package that a run takes as applied, for the database has all they replace.

    :ivar squashes: the squashes
    :ivar rows_before: the rows of the history table
    :ivar rows_after: the same with the squashes
    """

    package: str
    squashes: tuple[Revision, ...]
    rows_before: frozenset[str]
    rows_after: frozenset[str]

    @property
    def note(self) -> str:
        """What the ledger says of it."""
        names = ", ".join(one.id for one in self.squashes)
        return f"squash {names} adopted: was at {', '.join(sorted(self.rows_before))}"

    def as_data(self) -> dict[str, object]:
        """Return it as what JSON knows."""
        return {
            "package": self.package,
            "squashes": [one.id for one in self.squashes],
            "rows_before": sorted(self.rows_before),
            "rows_after": sorted(self.rows_after),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps that a command would run; the same for the same scripts and rows.

    :ivar adopted: the squashes that are taken as applied before the first step
    :ivar partial: True if old scripts are run of which the database has a part; once they are
        done, their squash may be adopted
    """

    steps: tuple[Step, ...]
    direction: Direction
    adopted: tuple[Adopted, ...] = ()
    partial: bool = False

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the steps in order."""
        return iter(self.steps)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the plan touches, sorted."""
        return tuple(sorted({step.package for step in self.steps}))

    @property
    def rows_after(self) -> dict[str, frozenset[str]]:
        """The rows of each touched package's history table at the end."""
        return {step.package: step.rows_after for step in self.steps}

    def as_data(self) -> dict[str, object]:
        """Return the plan as what JSON knows."""
        return {
            "direction": self.direction,
            "steps": [step.as_data() for step in self.steps],
            "adopted": [one.as_data() for one in self.adopted],
        }


def is_transactional(module: object) -> bool:
    """Tell whether a script lets its step be one transaction: not if ``transactional = False``."""
    return getattr(module, "transactional", True) is not False
