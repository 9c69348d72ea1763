"""Where packages stand, what a plan does, and what checks and the linter found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from websauna_migrate.cli.render.text import NOTHING, Table, joined, one_line, shortened
from websauna_migrate.plain_text import counted, plural
from websauna_migrate.results import (
    CheckProblem,
    CheckReport,
    LintReport,
    Loss,
    PackageState,
    Plan,
    Verification,
)


def status_table(states: Iterable[PackageState]) -> Table:
    """Return where the packages stand: applied and newest revisions, and how many are pending."""
    states = tuple(states)
    rows = tuple(
        (
            state.package,
            joined(state.rows),
            joined((one_line(revision.message) for revision in state.applied), "; "),
            joined(revision.id for revision in state.heads) if state.installed else NOTHING,
            pending(state),
        )
        for state in states
    )
    behind = frozenset(
        number for number, state in enumerate(states) if state.pending or state.unknown
    )
    headings = ("PACKAGE", "APPLIED", "MESSAGE", "NEWEST", "PENDING")
    return Table(headings, rows, behind, frozenset({"MESSAGE", "PENDING"}))


def pending(state: PackageState) -> str:
    """Return how many revisions of a package are pending, or why that cannot be said."""
    if not state.installed:
        return "not included" if state.importable else "not installed"
    if state.unknown:
        many = "?" if state.pending is None else state.pending
        return f"{many} (no script defines {joined(state.unknown)})"
    if state.adopts:
        return f"{state.pending} ({joined(state.adopts)} adopted at the next upgrade)"
    notes = [] if state.heads else ["no script"]
    if state.elsewhere:
        notes.append(f"its revisions are in {joined(state.elsewhere)}")
    return f"{state.pending} ({'; '.join(notes)})" if notes else str(state.pending)


def render_elsewhere(states: Iterable[PackageState]) -> Iterator[str]:
    """Yield what to do about histories that stand in tables which are not the packages' own."""
    tables: dict[str, list[PackageState]] = {}
    for state in states:
        for table in state.elsewhere:
            tables.setdefault(table, []).append(state)
    for table, found in tables.items():
        own = f'table "{found[0].history_table}" of package "{found[0].package}" is'
        if len(found) > 1:
            own = f"tables of {len(found)} packages are"
        whose = "its" if len(found) == 1 else "their"
        yield (
            f'The history {own} empty, but "{table}" has {whose} revisions. To take it over: '
            f"ws-alembic -x packages={','.join(one.package for one in found)} adopt"
        )


def plan_table(plan: Plan) -> Table:
    """Return the steps of a plan, numbered from 1, each with the reason why it is in it."""
    rows = tuple(
        (
            str(number),
            step.package,
            step.revision.id,
            one_line(step.revision.message),
            step.reason,
        )
        for number, step in enumerate(plan.steps, 1)
    )
    headings = (plan.direction.upper(), "PACKAGE", "REVISION", "MESSAGE", "REASON")
    return Table(headings, rows, prose=frozenset({"MESSAGE", "REASON"}))


#: So many notes of one kind are printed; of more, as many and how many there are.
NOTES = 4


def render_losses(losses: Iterable[Loss]) -> Iterator[str]:
    """Yield what a plan would lose, and of what cannot be read one line for each of some steps."""
    steps = group_by_step(one for one in losses if one.kind == "unreadable")
    told = {*list(steps)[: len(steps) if len(steps) == NOTES + 1 else NOTES]}
    for loss in losses:
        key = (loss.package, loss.revision, loss.accepted)
        if loss.kind != "unreadable":
            yield str(loss)
        elif steps[key][0] is loss and key in told:
            lines = sorted({one.line for one in steps[key]})
            where = plural(len(lines), "line") + " " + ", ".join(map(str, lines))
            yield str(loss).replace(f", line {loss.line})", f", {where})", 1)
    if more := len(steps) - len(told):
        yield f"{more} more steps may do anything in the same way. With --json each is told."


def group_by_step(losses: Iterable[Loss]) -> dict[tuple[str, str, str | None], list[Loss]]:
    """Return losses by package, revision and what its script says of them."""
    found: dict[tuple[str, str, str | None], list[Loss]] = {}
    for loss in losses:
        found.setdefault((loss.package, loss.revision, loss.accepted), []).append(loss)
    return found


def render_check(report: CheckReport) -> Iterator[str]:
    """Yield what a check found, what is only worth knowing last and not all of a kind."""
    told: Counter[object] = Counter()
    kinds = Counter(kind_of_note(one) for one in report.problems if not one.fatal)
    for problem in sorted(report.problems, key=lambda problem: not problem.fatal):
        text = problem.message
        if problem.package is not None and problem.package not in text:
            text = f"{problem.package}: {text}"
        if problem.fatal:
            yield text
            continue
        kind = kind_of_note(problem)
        told[kind] += 1
        # One more takes no more lines than to say so.
        if told[kind] <= NOTES or kinds[kind] == NOTES + 1:
            yield f"note: {text}"
        elif told[kind] == NOTES + 1:
            yield f"note: {kinds[kind] - NOTES} more like the last one. With --json each is told."
    if report.ok:
        yield "No new upgrade operations detected."


def kind_of_note(note: CheckProblem) -> object:
    """Return what notes have in common that say the same of other objects, of any package."""
    details = note.details
    differs = note.kind == "fresh-differs" and isinstance(details, tuple)
    return note.kind, details[-1] if differs else None


def render_verifications(found: Sequence[Verification]) -> Iterator[str]:
    """Yield what does not hold, or cannot be asked any more, and how many were asked."""
    for one in found:
        if one.outcome != "holds":
            place = one.path if one.line is None else f"{one.path}, line {one.line}"
            note = "note: " if one.outcome == "outdated" else ""
            yield f"{note}{one.package} {one.revision} ({place}): {one.problem}"
    held = sum(one.outcome == "holds" for one in found)
    yield f"{held} of {len(found)} verified."


def render_not_at_head(states: Iterable[PackageState]) -> Iterator[str]:
    """Yield a line for each package that is not at its heads, and what to do."""
    behind = []
    for state in states:
        heads = joined((revision.id for revision in state.heads), nothing="<base>")
        rows = joined(state.rows, nothing="<base>")
        if state.installed and (state.pending or state.unknown):
            yield f'Package "{state.package}" is at {rows}, not on all head revisions: {heads}.'
            if not state.unknown:
                behind.append(state.package)
    if behind:
        yield f"Run: ws-alembic -x packages={','.join(behind)} upgrade"


#: What of a statement is shown: enough to tell it from its neighbours.
STATEMENT_LENGTH = 120


def render_lint(report: LintReport) -> Iterator[str]:
    """Yield the unsafe changes, statement by statement, and what was not checked."""
    if not report.steps:
        yield "Nothing to check: no step is pending."
        return
    of_steps = groupby(report.findings, key=attrgetter("package", "revision", "message"))
    for (package, revision, message), of_step in of_steps:
        yield f"{package} {revision}  {one_line(message)}".rstrip()
        of_statements = groupby(of_step, key=attrgetter("path", "line", "statement"))
        for (path, line, statement), found in of_statements:
            yield f"  {path}:{line}"
            yield f"    {shortened(one_line(statement), STATEMENT_LENGTH)}"
            for one in found:
                yield f"    {one.rule}: {one_line(one.text)}"
                if one.help:
                    yield f"      {one_line(one.help)}"
        yield ""
    for left in report.unchecked:
        place = left.path if left.line is None else f"{left.path}:{left.line}"
        yield f"{left.package} {left.revision}  not checked: {place}: {one_line(left.reason)}"
    if report.unchecked:
        yield ""
    yield summary(report)


def summary(report: LintReport) -> str:
    """Return the line that sums up a report."""
    number = len(report.findings)
    text = counted(number, "unsafe change") if number else "No unsafe changes"
    text += f" in {counted(report.steps, 'pending step')}"
    if report.accepted:
        text += f", {len(report.accepted)} accepted"
    if report.unchecked:
        names = {(one.package, one.revision) for one in report.unchecked}
        text += f", {counted(len(names), 'step')} not checked to the end"
    return text + "."
