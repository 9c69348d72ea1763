"""``rebase``: of two heads, the revisions that are not shared yet go behind the other ones."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.template import require_editable
from websauna_migrate.interfaces import Packages
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.package_targets import resolve_all
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import Rebased, RebasedScript
from websauna_migrate.revision_scripts.git_history import GitHistory
from websauna_migrate.revision_scripts.script_tree import rewrite_attributes, rewrite_revises
from websauna_migrate.reworking.redo import only_package
from websauna_migrate.reworking.taking_back import applied_of, take_back
from websauna_migrate.runs.site import Site


def rebase(
    take_site: Callable[[], Site],
    packages: Packages,
    revision: str | None = None,
    *,
    onto: str | None = None,
    downgrade: bool = False,
) -> Rebased:
    """Put one head's own revisions behind another head.

    :param take_site: gives the scripts as they are now, and the database
    :param revision: one of the revisions to move; default: those that git's main branch lacks
    :param onto: the head behind which they go; default: the only other one
    :param downgrade: take those back first that are applied here
    :raises UsageError: if it is not clear which revisions are meant
    :raises TargetError: if the package has no such revision
    :raises MigrationError: if they may not be moved; no script was changed
    """
    site = take_site()
    name = only_package(site, packages, "rebase")
    history = site.loaded.histories[name]
    if revision is not None:
        resolve_all(history, revision)
    if len(history.heads) < 2:
        return Rebased(name, history.heads[0] if history.heads else None)
    mine, target = choose(site, history, revision, onto)
    moved = own_revisions(history, mine, target)
    refuse_shared(site, moved)
    if (applied := applied_of(site, moved)) and not downgrade:
        names = in_quotes(one.id for one in applied)
        behind = f" --onto {target}" if len(history.heads) > 2 else ""
        are, them = ("is", "it") if len(applied) == 1 else ("are", "them")
        raise MigrationError(
            f'Of package "{name}" {names} would go behind "{target}", and {are} applied here. No '
            f"script was changed. Take {them} back first: {command(name)} {mine}{behind} "
            "--downgrade"
        )
    scripts = [rewrite(site.loaded.graph, one, moved, target) for one in moved]
    texts = {one.path: text for one, text in scripts}
    # First to see that they fit together: the former ones are needed once more.
    write_all(take_site, texts, keep=False)
    merge = f"Join the heads by a script in its place: ws-alembic -x packages={name} merge heads"
    taken_back = take_back(site, moved, "rebase", merge)
    write_all(take_site, texts, keep=True)
    return Rebased(name, target, tuple(script for script, _ in scripts), taken_back)


def choose(
    site: Site, history: PackageHistory, revision: str | None, onto: str | None
) -> tuple[str, str]:
    """Return the head whose revisions go behind, and the head behind which they go.

    :raises UsageError: if that is not clear
    """
    heads = history.heads
    if revision is None:
        candidates = [one for one in heads if one != onto and is_own(site, history, one)]
    else:
        found = {*resolve_all(history, revision)}
        candidates = [one for one in heads if found <= history.ancestors([one], dependencies=False)]
    shown = in_quotes(heads)
    if len(candidates) != 1:
        raise UsageError(
            f'It is not clear which revisions of package "{history.package}" are yours: its heads '
            f"are {shown}. Name the one that goes behind: {command(history.package)} {heads[-1]}"
        )
    (mine,) = candidates
    others = [head for head in heads if head != mine]
    targets = others if onto is None else [*resolve_all(history, onto)]
    if len(targets) != 1 or targets[0] not in others:
        raise UsageError(
            f'Name the head behind which "{mine}" goes, one of '
            f"{', '.join(others)}: {command(history.package)} {mine} --onto {others[0]}"
        )
    return mine, targets[0]


def command(package: str) -> str:
    """Return the beginning of the command for a package."""
    return f"ws-alembic -x packages={package} rebase"


def is_own(site: Site, history: PackageHistory, head: str) -> bool:
    """True if git's main branch has none of the revisions that lead to one head alone."""
    others = [one for one in history.heads if one != head]
    git = GitHistory(site.packages[history.package].script_directory)
    if git.main_branch is None:
        return False
    alone = history.ancestors([head], dependencies=False)
    alone -= history.ancestors(others, dependencies=False)
    return not any(git.is_merged(history.revisions[one].path) for one in alone)


def own_revisions(history: PackageHistory, mine: str, target: str) -> tuple[Revision, ...]:
    """Return the revisions that lead to one head and not to the other, oldest first.

    :raises MigrationError: if one that leads to the other depends on them
    """
    below = history.ancestors([target], dependencies=False)
    alone = history.ancestors([mine], dependencies=False) - below
    if needed := alone & history.ancestors([target]):
        raise MigrationError(
            f'"{target}" depends on "{min(needed)}", which cannot go behind it. Join the heads: '
            f"ws-alembic -x packages={history.package} merge heads"
        )
    order = [history.ids[position] for position in history.topological]
    return tuple(history.revisions[one] for one in order if one in alone)


def refuse_shared(site: Site, moved: Sequence[Revision]) -> None:
    """Refuse revisions that others have.

    :raises MigrationError: naming where
    """
    for one in moved:
        require_editable(site.packages[one.package], Path(one.path).parent)
        git = GitHistory(Path(one.path).parent)
        if git.is_merged(one.path):
            raise MigrationError(
                f'Revision "{one.id}" of package "{one.package}" is in the branch '
                f"{git.main_branch}: others may have applied it. No script was changed. Join the "
                f"heads by a merge: ws-alembic -x packages={one.package} merge heads"
            )


def rewrite(
    graph: Graph, one: Revision, moved: Sequence[Revision], target: str
) -> tuple[RebasedScript, bytes]:
    """Return what changes in a script, and what is in its file then; line ends stay."""
    former = Path(one.path).read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(former).readline)
    ids = {other.id for other in moved}
    # What was merged from the other side comes before all of it now.
    parents = tuple(parent for parent in one.down_revisions if parent in ids) or (target,)
    values: dict[str, object] = {}
    if parents != one.down_revisions:
        values["down_revision"] = parents[0] if len(parents) == 1 else parents
    if one.written_against:
        values["written_against"] = frontier(
            graph, {name for name, _ in one.written_against}, moved
        )
    text = rewrite_attributes(former.decode(encoding), one.path, values)
    if parents != one.down_revisions:
        text = rewrite_revises(text, parents)
    return RebasedScript(one.id, one.path, one.down_revisions, parents), text.encode(encoding)


def frontier(
    graph: Graph, packages: Collection[str], moved: Sequence[Revision]
) -> dict[str, str | tuple[str, ...]]:
    """Return the newest revisions of other packages that need none of those that are moved."""
    found: dict[str, str | tuple[str, ...]] = {}
    later = {*map(graph.node, moved), *graph.followers(moved)}
    for name in sorted(packages & graph.histories.keys()):
        history, offset = graph.histories[name], graph.offsets[name]
        free = [one for one in history.ids if offset + history.position(one) not in later]
        if heads := sorted(history.reduce(free)):
            found[name] = heads[0] if len(heads) == 1 else tuple(heads)
    return found


def write_all(take_site: Callable[[], Site], texts: Mapping[str, bytes], *, keep: bool) -> None:
    """Write scripts, and take all back if the revisions do not fit together any more.

    :param keep: whether they stay if they do fit
    """
    before = {path: (Path(path).read_bytes(), Path(path).stat()) for path in texts}
    try:
        for path, text in texts.items():
            Path(path).write_bytes(text)
        _ = take_site().loaded.graph
    except BaseException:
        keep = False
        raise
    finally:
        for path, (data, times) in before.items() if not keep else ():
            Path(path).write_bytes(data)
            # Python knows a module that it has compiled by its time.
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
