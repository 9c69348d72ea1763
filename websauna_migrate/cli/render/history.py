"""Revisions as Alembic prints them, word for word, with the requirements that only we know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from websauna_migrate.cli.render.text import name_width, one_line
from websauna_migrate.plain_text import counted, word
from websauna_migrate.results import (
    NOT_BEGUN,
    HistoryEntry,
    LedgerEntry,
    LedgerRun,
    PackageState,
    Revision,
)


@dataclass(frozen=True)
class Layout:
    """How revisions are shown: a line each, or a paragraph each.

    :ivar verbose: a paragraph, as ``show`` and ``--verbose`` print it
    :ivar several: name the package, because there are several
    :ivar width: of the longest package name, so that lines stand below each other
    :ivar branches: show the branch labels in a line
    :ivar doc: show the message in a line
    :ivar parents: show in a line what the revision stands upon, its requirements included
    :ivar tree: show in a line where branches part and meet
    """

    verbose: bool = False
    several: bool = False
    width: int = 0
    branches: bool = False
    doc: bool = False
    parents: bool = False
    tree: bool = True

    def show(self, entry: HistoryEntry, *, current: bool = False) -> str:
        """Return the line or the paragraph of a revision; say if it is the applied one."""
        if self.verbose:
            return self.paragraph(entry, current=current)
        return self.prefixed(self.line(entry, current=current), entry.revision.package)

    def prefixed(self, line: str, package: str) -> str:
        """Return a line that begins with its package's name where there are several packages."""
        return f"{package:<{self.width}}  {line}" if self.several else line

    def line(self, entry: HistoryEntry, *, current: bool = False) -> str:
        """Return the line of a revision."""
        revision = entry.revision
        text = revision.id
        if self.parents:
            depends = f" ({', '.join(revision.depends_on)})" if revision.depends_on else ""
            text = f"{format_parents(revision)}{depends} -> {text}"
        if self.branches and entry.labels:
            text += f" ({', '.join(entry.labels)})"
        text += marks(
            head=entry.is_effective_head,
            effective_head=entry.is_head and not entry.is_effective_head,
            current=current,
            branchpoint=self.tree and entry.is_branch_point,
            mergepoint=self.tree and entry.is_merge_point,
        )
        if self.doc:
            text += f", {revision.message}"
        if self.parents and entry.requires:
            text += f" [requires {', '.join(entry.requires)}]"
        return text

    def paragraph(self, entry: HistoryEntry, *, current: bool = False) -> str:
        """Return the paragraph of a revision."""
        revision = entry.revision
        flags = marks(
            head=entry.is_head,
            branchpoint=entry.is_branch_point,
            mergepoint=entry.is_merge_point,
            current=current,
        )
        facts = {
            "Package": (revision.package,) if self.several else (),
            "Rev": (revision.id + flags,),
            "Merges" if entry.is_merge_point else "Parent": (format_parents(revision),),
            "Also depends on": revision.depends_on,
            "Requires": entry.requires,
            "Branches into": entry.children if entry.is_branch_point else (),
            "Branch names": entry.labels,
            "Path": (revision.path,),
        }
        lines = [f"{key}: {', '.join(values)}" for key, values in facts.items() if values]
        doc = "\n".join(f"    {line}" for line in revision.doc.splitlines())
        return "\n".join([*lines, "", doc, ""])


def render_current(
    states: Collection[PackageState],
    entries: Iterable[HistoryEntry],
    *,
    url: str = "",
    verbose: bool = False,
    several: bool = False,
) -> Iterator[str]:
    """Yield what is applied.

    :param entries: at least the applied revisions, from the packages' histories
    :param url: of the database, without its password
    """
    known = {(entry.revision.package, entry.revision.id): entry for entry in entries}
    layout = Layout(verbose, several, name_width(state.package for state in states))
    if verbose:
        yield f"Current revision(s) for {url}:"
    for state in states:
        for revision in (*state.applied, *state.implied):
            entry = known.get((revision.package, revision.id), HistoryEntry(revision))
            yield layout.show(entry)
        for line in odd_lines(state, several):
            if verbose and several:
                yield f"Package: {state.package}\nRev: {line}\n"
            else:
                yield layout.prefixed(line, state.package)


def odd_lines(state: PackageState, several: bool) -> Iterator[str]:
    """Yield what Alembic has no words for: rows without a script, and nothing at all."""
    for row in state.unknown:
        why = "no script defines it" if state.installed else "not installed"
        yield f"{word(row)} ({why})"
    if several and not state.rows:
        yield "<base>"


def render_heads(
    entries: Collection[HistoryEntry], *, verbose: bool = False, several: bool = False
) -> Iterator[str]:
    """Yield the newest revisions."""
    layout = Layout(verbose, several, width_of(entries), branches=True, tree=False)
    yield from map(layout.show, entries)


def render_history(
    entries: Collection[HistoryEntry],
    *,
    verbose: bool = False,
    applied: Collection[tuple[str, str]] = (),
    several: bool = False,
) -> Iterator[str]:
    """Yield the entries in the order given.

    :param applied: package and identifier of those to mark as current
    """
    layout = Layout(verbose, several, width_of(entries), branches=True, doc=True, parents=True)
    for entry in entries:
        revision = entry.revision
        yield layout.show(entry, current=(revision.package, revision.id) in applied)


def render_branches(
    entries: Collection[HistoryEntry], *, verbose: bool = False, several: bool = False
) -> Iterator[str]:
    """Yield the revisions at which branches part, each with those that follow it."""
    known = {(entry.revision.package, entry.revision.id): entry for entry in entries}
    point = Layout(verbose, several, branches=True)
    child = Layout(several=several and not verbose, branches=True, doc=verbose)
    for entry in entries:
        if not entry.is_branch_point:
            continue
        revision = entry.revision
        yield point.show(entry)
        for name in entry.children:
            line = child.line(known[revision.package, name])
            yield child.prefixed(f"{' ' * len(revision.id)} -> {line}", revision.package)
        yield ""


def render_show(entries: Iterable[HistoryEntry], *, several: bool = False) -> Iterator[str]:
    """Yield the paragraphs of revisions."""
    yield from map(Layout(several=several).paragraph, entries)


def format_parents(revision: Revision) -> str:
    """Return what a revision stands upon in its own package."""
    return ", ".join(revision.down_revisions) or "<base>"


def marks(**flags: bool) -> str:
    """Return the names of the flags that are set, each as `` (name)``."""
    return "".join(f" ({name.replace('_', ' ')})" for name, is_set in flags.items() if is_set)


def width_of(entries: Iterable[HistoryEntry]) -> int:
    """Return the length of the longest package name."""
    return name_width(entry.revision.package for entry in entries)


#: How many digits of a run's identifier a list shows, and how many of its steps.
SHORT, STEPS = 8, 10


def render_log(runs: Sequence[LedgerRun]) -> Iterator[str]:
    """Yield a line for each run, and below it one for each of its steps, newest first."""
    if not runs:
        yield "The ledger has no such run."
    for run in runs:
        yield headline(run, run.id[:SHORT])
        newest = run.steps[::-1]
        for step in newest[:STEPS]:
            yield f"  {step_line(step)}"
            if step.error:
                yield f"    {one_line(step.error)}{step.failed_at}"
        if len(newest) > STEPS:
            rest = counted(len(newest) - STEPS, "earlier step")
            yield f"  {rest}: ws-alembic log {run.id[:SHORT]}"


def render_logged_run(run: LedgerRun) -> Iterator[str]:
    """Yield all that the ledger has of a run, its steps in the order in which they ran."""
    yield headline(run, run.id)
    yield f"process {run.process}, websauna_migrate {run.version}"
    for step in run.steps:
        yield f"  {step.number}  {step_line(step)}"
        if step.error:
            yield f"     {one_line(step.error)}{step.failed_at}"
        if step.note and step.note != NOT_BEGUN:
            yield f"     {one_line(step.note)}"
        for statement in step.statements:
            yield f"     ended: {statement.number}  {statement.kind}  (line {statement.line})"


def headline(run: LedgerRun, name: str) -> str:
    """Return the line of a run."""
    took = "" if run.seconds is None else f"  {run.seconds:.2f} s"
    by = f" by {run.installed_by}" if run.installed_by else ""
    return (
        f"{name}  {run.started:%Y-%m-%d %H:%M:%S} UTC  {run.direction}  {run.outcome}  "
        f"{run.count}{took}  on {run.host}{by}"
    )


def step_line(step: LedgerEntry) -> str:
    """Return the line of a step."""
    duration = "" if step.seconds is None else f"  {step.seconds:.2f} s"
    by = f" by {step.settled_by}" if step.settled_by else ""
    outcome = NOT_BEGUN if step.note == NOT_BEGUN else step.outcome
    return f"{step.package}  {step.revision}  {step.direction}  {outcome}{by}{duration}"


def run_data(run: LedgerRun) -> dict[str, object]:
    """Return a run as what JSON knows, with the seconds that it and its steps took."""
    names = ("id", "direction", "outcome", "started", "ended", "seconds", "host", "process")
    steps = ("number", "package", "revision", "direction", "outcome", "started", "ended")
    about = ("error", "line", "statement", "kind", "note", "checksum", "statements")
    return {
        **{name: getattr(run, name) for name in (*names, "version", "installed_by")},
        "steps": [
            {
                **{name: getattr(step, name) for name in steps},
                "seconds": step.seconds,
                **{name: getattr(step, name) for name in about},
            }
            for step in run.steps
        ],
    }
