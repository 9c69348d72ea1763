"""What a run, a stamp or a repair did, and which scripts were written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from websauna_migrate.cli.render.text import joined, name_width, one_line
from websauna_migrate.plain_text import counted
from websauna_migrate.results import AppliedStep, CreatedScript, Run, StampedPackage

if TYPE_CHECKING:
    from websauna_migrate.events import MigrationStepStarted
    from websauna_migrate.results import Activity, InterruptedStep

HOW_TO_REPAIR = "Settle it: ws-alembic repair {}, and PACKAGE@REVISION where there are several."

#: How the words begin of what cannot be chosen.
NOT_POSSIBLE = "not possible"

SETTLED = {
    "rerun": "was run again",
    "done": "counts as done",
    "undone": "counts as not done",
}


def render_step(step: AppliedStep, number: int, total: int, width: int = 0) -> str:
    """Return the line that tells of a step of a run once it is committed.

    :param number: its place in the run, from 1
    :param total: how many steps the run has
    :param width: of the longest package name, so that lines stand below each other
    """
    direction = "" if step.direction == "upgrade" else f"{step.direction} "
    return (
        f"[{number:>{len(str(total))}}/{total}] {direction}{step.package:<{width}}  "
        f"{step.revision}  {one_line(step.message)} ({step.seconds:.2f} s)"
    )


def render_running(
    event: MigrationStepStarted, seconds: float, activity: Activity | None, width: int = 0
) -> tuple[str, str]:
    """Return which step is running, and since when and at what.

    :param event: the :class:`.IMigrationStepStarted` of its start
    :param activity: what it does now, if that is known
    """
    direction = "" if event.direction == "upgrade" else f"{event.direction} "
    step = (
        f"[{event.number:>{len(str(event.total))}}/{event.total}] {direction}"
        f"{event.package:<{width}}  {event.revision}  {one_line(event.step.revision.message)}"
    )
    last = "" if event.expected is None else f", {event.expected:.0f} s the last time"
    does = f": {one_line(str(activity))}" if activity is not None and str(activity) else ""
    return step, f"running for {seconds:.0f} s{last}{does}"


def render_run(
    run: Run,
    packages: Sequence[str] | None,
    *,
    newest: bool = False,
    without: Sequence[str] = (),
) -> str:
    """Return the line that sums up a run.

    :param packages: what the run was asked for, ``None`` for all
    :param newest: its target was the newest revision of them
    :param without: those of the packages that have no revision
    """
    adopted = "".join(f"{one}\n" for one in render_adopted(run))
    if run.steps:
        done = "applied" if run.direction == "upgrade" else "taken back"
        return f"{adopted}{counted(len(run.steps), 'step')} {done} in {seconds(run):.2f} s."
    if adopted:
        return adopted.rstrip("\n")
    if not newest:
        return "Nothing to do: the database is at that revision already."
    others = [name for name in packages or () if name not in without]
    if packages is None:
        at_newest = "all packages are at their newest revision"
    elif not others:
        return f"Nothing to do: {joined(without)} {has(without)} no revision yet."
    else:
        are = "is at its" if len(others) == 1 else "are at their"
        at_newest = f"{joined(others)} {are} newest revision"
    missing = f"; {joined(without)} {has(without)} none yet" if without else ""
    return f"Nothing to do: {at_newest}{missing}."


def has(names: Sequence[str]) -> str:
    """Return the verb for some names."""
    return "has" if len(names) == 1 else "have"


def render_adopted(run: Run) -> Iterator[str]:
    """Yield a line for each package of which squashes were taken as applied."""
    for one in run.adopted:
        squashes = joined(sorted({*one.after} - {*one.before}))
        yield f"{one.package}: squash {squashes} adopted, in place of {joined(one.before)}."


def render_dry_run(run: Run) -> Iterator[str]:
    """Yield the lines that tell what a dry run did, and how long each step took."""
    width = name_width(step.package for step in run.steps)
    for number, step in enumerate(run.steps, 1):
        yield render_step(step, number, len(run.steps), width)
    if run.steps:
        steps = counted(len(run.steps), "step")
        yield f"Dry run: {steps} executed in {seconds(run):.2f} s and rolled back."
    else:
        yield "Dry run: nothing to do."


def seconds(run: Run) -> float:
    """Return how long the steps of a run took."""
    return sum(step.seconds for step in run.steps)


def render_stamped(stamped: Sequence[StampedPackage]) -> Iterator[str]:
    """Yield what a stamp changed in each history table."""
    if not stamped:
        yield "Nothing to do: the history tables say so already."
    for package in stamped:
        before, after = (joined(rows, nothing="<base>") for rows in (package.before, package.after))
        yield f"{package.package}  {before} -> {after}"


def render_created(scripts: Iterable[CreatedScript]) -> Iterator[str]:
    """Yield the path of each script that was written."""
    paths = [script.path for script in scripts]
    yield from paths or ["No changes: no script was written."]


def render_interrupted(found: Sequence[InterruptedStep]) -> Iterator[str]:
    """Yield the lines about half done steps: what is known, or how they were settled."""
    if not found:
        yield "Nothing to repair: no step ended half done."
        return
    for one in found:
        if one.action is not None:
            yield f"{one.name} {SETTLED[one.action]}."
        elif one.running is not None:
            entry = one.entry
            yield (
                f"{one.name} is running on {entry.host} since "
                f"{entry.started:%Y-%m-%d %H:%M:%S} UTC: {one.running}."
            )
        else:
            yield f"{one.name}: {one.entry}"
            yield from (f"  {line}" for line in half_done_lines(one))
    if any(one.action is None and one.running is None for one in found):
        yield HOW_TO_REPAIR.format(possible_choices(found))


def possible_choices(found: Sequence[InterruptedStep]) -> str:
    """Return the options that settle one of some half done steps, with commas and ``or``."""
    options = [
        f"--{action}"
        for action in SETTLED
        if any(not one.choices.get(action, NOT_POSSIBLE).startswith(NOT_POSSIBLE) for one in found)
    ]
    return " or ".join(filter(None, (", ".join(options[:-1]), *options[-1:])))


def half_done_lines(one: InterruptedStep) -> Iterator[str]:
    """Yield what is known of a half done step, and what each choice would do."""
    yield one.known
    if one.failure:
        yield f"It failed: {one.failure}"
    if one.script:
        yield one.script
    if one.entry.statements:
        yield "Statements that ended:"
        yield from (
            f"  {statement.number}  {statement.kind}"
            + (f"  (line {statement.line})" if statement.line else "")
            for statement in one.entry.statements
        )
    if one.not_run:
        yield "Not run, as far as the script can be read:"
        yield from (f"  {line}" for line in one.not_run)
    if one.objects:
        yield "The database has:"
        yield from (f"  {line}" for line in one.objects)
    yield from (f"--{action:<7} {words}" for action, words in one.choices.items())
