"""Whether the history tables and the ledger agree about the steps of a plan.

The ledger tells of each revision that a run applied or took back. Where it says the opposite of the
history table, one of them was changed by other means, and running the step may do it twice. What
the ledger says nothing of agrees with everything: it is younger than many databases. A stamp is
the user's own word about a package: what the ledger said of that package before is void.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from websauna_migrate.planning.history_errors import HistoryContradicted
from websauna_migrate.planning.steps import Plan, Step


class Recorded(NamedTuple):
    """What the ledger says of one step, or of one stamp.

    :ivar revision: of a stamp the rows of the history table, with spaces between, or ``base``
    :ivar direction: ``upgrade``, ``downgrade`` or ``stamp``
    :ivar outcome: ``done``, ``undone`` for a half done step that counts as not done, or another
        one, which changed nothing
    :ivar started: when it began, in UTC
    :ivar ended: when it ended
    """

    package: str
    revision: str
    direction: str
    outcome: str
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` where that is not known."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


def contradicted(plan: Plan, steps: Sequence[Step]) -> HistoryContradicted:
    """Return the error of a plan with steps that the ledger says are done."""
    up = plan.direction == "upgrade"
    again, applied = ("applied again", "applied") if up else ("taken back again", "not applied")
    lines = "".join(
        f'\n  "{step.revision}" ("{step.revision.path}") would be {again}: the ledger says '
        f"that it is {applied}, the history table that it is {'not' if up else 'applied'}"
        for step in steps
    )
    remedies = ""
    for package, of_package in groupby(sorted(steps, key=PACKAGE), PACKAGE):
        last = [*of_package][-1]
        first = next(step for step in plan if step.package == package)
        stamp = f"`ws-alembic -x packages={package} stamp"
        remedies += (
            f'\nIf the schema of "{package}" is as the ledger says, record that with {stamp} '
            f"{_target(last.rows_after)}`; if it is as the history table says, with {stamp} "
            f"{_target(first.rows_before)}`."
        )
    return HistoryContradicted(
        "ledger",
        f"The history and the ledger contradict each other, and nothing was run:{lines}"
        f"{remedies} Then run the command again.",
        ((step.package, step.revision.id) for step in steps),
    )


PACKAGE = attrgetter("package")


def _target(rows: Iterable[str]) -> str:
    return " ".join(sorted(rows)) or "base"


def refuse_contradictions(plan: Plan, entries: Iterable[Recorded]) -> None:
    """Refuse a plan with steps that the ledger says are done.

    :param entries: what the ledger says of the plan's packages, oldest first
    :raises HistoryContradicted: naming all of them
    """
    applied: dict[tuple[str, str], bool] = {}
    for package, revision, direction, outcome, *_ in entries:
        if direction == "stamp":
            for known in [key for key in applied if key[0] == package]:
                del applied[known]
            applied.update({(package, row): True for row in revision.split()})
        elif outcome in ("done", "undone"):
            applied[package, revision] = (direction == "upgrade") == (outcome == "done")
    up = plan.direction == "upgrade"
    found = [step for step in plan if applied.get((step.package, step.revision.id)) == up]
    if found:
        raise contradicted(plan, found)
