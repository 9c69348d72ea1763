"""Revisions as Alembic prints them, word for word, with the requirements that only we know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from websauna_migrate.cli.render.text import name_width, word
from websauna_migrate.results import HistoryEntry, PackageState, Revision

__all__ = [
    "format_block",
    "format_entry",
    "format_line",
    "render_branches",
    "render_current",
    "render_heads",
    "render_history",
    "render_show",
]


def format_line(
    entry: HistoryEntry,
    *,
    branches: bool = False,
    doc: bool = False,
    parents: bool = False,
    tree: bool = True,
    current: bool = False,
) -> str:
    """Return the one line of a revision.

    :param branches: show the branch labels
    :param doc: show the message
    :param parents: show what the revision stands upon, its requirements included
    :param tree: show where branches part and meet
    :param current: say that the revision is the applied one
    """
    revision = entry.revision
    text = revision.id
    if parents:
        depends = f" ({', '.join(revision.depends_on)})" if revision.depends_on else ""
        text = f"{format_parents(revision)}{depends} -> {text}"
    if branches and entry.labels:
        text += f" ({', '.join(entry.labels)})"
    text += marks(
        head=entry.is_effective_head,
        effective_head=entry.is_head and not entry.is_effective_head,
        current=current,
        branchpoint=tree and entry.is_branch_point,
        mergepoint=tree and entry.is_merge_point,
    )
    if doc:
        text += f", {revision.message}"
    if parents and entry.requires:
        text += f" [requires {', '.join(entry.requires)}]"
    return text


def format_block(entry: HistoryEntry, *, current: bool = False, package: bool = False) -> str:
    """Return the paragraph of a revision, as ``show`` and ``--verbose`` print it.

    :param package: begin with the name of the package
    """
    revision = entry.revision
    flags = marks(
        head=entry.is_head,
        branchpoint=entry.is_branch_point,
        mergepoint=entry.is_merge_point,
        current=current,
    )
    facts = {
        "Package": (revision.package,) if package else (),
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


def format_entry(
    entry: HistoryEntry,
    *,
    verbose: bool = False,
    several: bool = False,
    width: int = 0,
    current: bool = False,
    branches: bool = False,
    doc: bool = False,
    parents: bool = False,
    tree: bool = True,
) -> str:
    """Return a revision's line or paragraph.

    :param several: name the package, because there are several
    :param width: of the longest package name, so that lines stand below each other
    """
    if verbose:
        return format_block(entry, current=current, package=several)
    line = format_line(
        entry, branches=branches, doc=doc, parents=parents, tree=tree, current=current
    )
    return prefixed(line, entry.revision.package, several=several, width=width)


def render_current(
    states: Iterable[PackageState],
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
    states = tuple(states)
    width = name_width(state.package for state in states)
    if verbose:
        yield f"Current revision(s) for {url}:"
    for state in states:
        for revision in (*state.applied, *state.implied):
            entry = known.get((revision.package, revision.id), HistoryEntry(revision))
            yield format_entry(entry, verbose=verbose, several=several, width=width)
        for line in odd_lines(state, several):
            if verbose and several:
                yield f"Package: {state.package}\nRev: {line}\n"
            else:
                yield prefixed(line, state.package, several=several, width=width)


def odd_lines(state: PackageState, several: bool) -> Iterator[str]:
    """Yield what Alembic has no words for: rows without a script, and nothing at all."""
    for row in state.unknown:
        why = "no script defines it" if state.installed else "not installed"
        yield f"{word(row)} ({why})"
    if several and not state.rows:
        yield "<base>"


def render_heads(
    entries: Iterable[HistoryEntry], *, verbose: bool = False, several: bool = False
) -> Iterator[str]:
    """Yield the newest revisions."""
    entries = tuple(entries)
    width = name_width(entry.revision.package for entry in entries)
    for entry in entries:
        yield format_entry(
            entry, verbose=verbose, branches=True, tree=False, several=several, width=width
        )


def render_history(
    entries: Iterable[HistoryEntry],
    *,
    verbose: bool = False,
    applied: Collection[tuple[str, str]] = (),
    several: bool = False,
) -> Iterator[str]:
    """Yield the entries in the order given.

    :param applied: package and identifier of those to mark as current
    """
    entries = tuple(entries)
    width = name_width(entry.revision.package for entry in entries)
    for entry in entries:
        yield format_entry(
            entry,
            verbose=verbose,
            branches=True,
            doc=True,
            parents=True,
            current=(entry.revision.package, entry.revision.id) in applied,
            several=several,
            width=width,
        )


def render_branches(
    entries: Iterable[HistoryEntry], *, verbose: bool = False, several: bool = False
) -> Iterator[str]:
    """Yield the revisions at which branches part, each with those that follow it."""
    entries = tuple(entries)
    known = {(entry.revision.package, entry.revision.id): entry for entry in entries}
    for entry in entries:
        if not entry.is_branch_point:
            continue
        revision = entry.revision
        yield format_entry(entry, verbose=verbose, branches=True, several=several)
        for child in entry.children:
            line = format_line(known[revision.package, child], branches=True, doc=verbose)
            arrow = f"{' ' * len(revision.id)} -> {line}"
            yield prefixed(arrow, revision.package, several=several and not verbose)
        yield ""


def render_show(entries: Iterable[HistoryEntry], *, several: bool = False) -> Iterator[str]:
    """Yield the paragraphs of revisions."""
    for entry in entries:
        yield format_block(entry, package=several)


def format_parents(revision: Revision) -> str:
    """Return what a revision stands upon in its own package."""
    return ", ".join(revision.down_revisions) or "<base>"


def marks(**flags: bool) -> str:
    """Return the names of the flags that are set, each as `` (name)``."""
    return "".join(f" ({name.replace('_', ' ')})" for name, is_set in flags.items() if is_set)


def prefixed(line: str, package: str, *, several: bool, width: int = 0) -> str:
    """Return a line that begins with its package's name where there are several packages."""
    return f"{package:<{width}}  {line}" if several else line
