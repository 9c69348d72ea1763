"""Runs as text: dry runs, and steps that ended half done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from websauna_migrate.cli.render import counted, render_step
from websauna_migrate.results import Run

if TYPE_CHECKING:
    from websauna_migrate.results import InterruptedStep

__all__ = ["render_dry_run", "render_interrupted"]

HOW_TO_REPAIR = """\
See what is there, then tell, with PACKAGE@REVISION where there are several:
  ws-alembic repair --rerun    run the step again, after what it left was removed if need be
  ws-alembic repair --done     the step is done: write it into the history
  ws-alembic repair --undone   nothing of the step is left: the next upgrade runs it"""

SETTLED = {
    "rerun": "was run again",
    "done": "counts as done",
    "undone": "counts as not done",
}


def render_dry_run(run: Run) -> Iterator[str]:
    """Yield the lines that tell what a dry run did, and how long each step took."""
    width = max((len(step.package) for step in run.steps), default=0)
    for number, step in enumerate(run.steps, 1):
        yield render_step(step, number, len(run.steps), width)
    if run.steps:
        seconds = sum(step.seconds for step in run.steps)
        steps = counted(len(run.steps), "step")
        yield f"Dry run: {steps} executed in {seconds:.2f} s and rolled back."
    else:
        yield "Dry run: nothing to do."


def render_interrupted(found: Sequence[InterruptedStep]) -> Iterator[str]:
    """Yield the lines about half done steps: what is known, or how they were settled."""
    if not found:
        yield "Nothing to repair: no step ended half done."
        return
    for one in found:
        if one.action is not None:
            yield f"{one.name} {SETTLED[one.action]}."
        else:
            yield f"{one.name}: {one.entry}"
            yield f"  {one.known}"
    if any(one.action is None for one in found):
        yield HOW_TO_REPAIR
