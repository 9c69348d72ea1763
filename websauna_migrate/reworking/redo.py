"""``redo``: the newest revision, which is not shared yet, is taken back and written anew."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from websauna_migrate.autogenerate.renames import DELETE_FIRST, ColumnRename, Renames, TableRename
from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.template import require_editable
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.accesses import Access
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.proving.not_proven import KEEP, NotProven
from websauna_migrate.results import CreatedScript, Redone, Run
from websauna_migrate.revision_scripts.git_history import GitHistory
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.reworking.taking_back import below, take_back
from websauna_migrate.runs.losses import LossRefused, find_losses
from websauna_migrate.runs.migrating import make_planner, upgrade
from websauna_migrate.runs.site import Site

#: Behind the name of a script that is being written anew: no longer the name of a script.
ASIDE = ".redo"

#: The service's ``revision``.
Revise = Callable[..., tuple[CreatedScript, ...]]


def redo(
    take_site: Callable[[], Site],
    packages: Packages,
    revise: Revise,
    message: str | None,
    given: Renames,
) -> Redone:
    """Take the newest revision of a package back, write it anew from the models, and apply it.

    Where that fails the script is as it was, and applied if it was before.

    :param take_site: gives the scripts as they are now, and the database
    :param message: of the new script; ``None`` for the former one
    :param given: renames that were asked for, which ``revise`` knows
    :raises UsageError: if several packages are meant
    :raises RevisionFailed: if there is no such revision, or it may not be written anew
    :raises LossRefused: if rows or values would be lost
    """
    site = take_site()
    revision = newest_of(site, only_package(site, packages, "redo"))
    path = Path(revision.path)
    former = script_text(revision.path)
    back = f"ws-alembic -x packages={revision.package} downgrade {below(revision)}"
    remedy = f"Leave the script as it is and write a further revision, or take it back: {back}"
    arguments = arguments_of(site, revision)
    renamed = renames_of(site.loaded.effects[revision.package, revision.id], given)
    taken_back = take_back(site, [revision], "redo", remedy)
    with put_aside(path, lambda: taken_back and apply(take_site(), revision)):
        try:
            found = revise(
                message or revision.message,
                autogenerate=True,
                # The others stay open: the questions were not asked.
                ask=lambda asked: asked.option in renamed or None,
                **arguments,
            )
        except RevisionFailed as exc:
            raise RevisionFailed(
                exc.package, by_redo(exc.problem), kind=exc.kind, place=exc.place
            ) from exc
        except NotProven as exc:
            by_hand = f'"{path}" is as it was. To edit it by hand first take it back: {back}'
            remedies = by_redo(exc.remedy.replace(KEEP, by_hand))
            raise NotProven(
                exc.kind, exc.problem, remedies, revision=exc.revision, exit_code=exc.exit_code
            ) from exc
        if not found:
            raise RevisionFailed(
                revision.package,
                f'the models ask for no revision any more, and "{revision.id}" is as it was. To be '
                f"rid of it: {back}, and delete {path}",
            )
        script = replace(found[0], warnings=tuple(map(by_redo, found[0].warnings)))
        refuse_losses(take_site(), revision, script, remedy)
    applied = apply(take_site(), revision)
    text = script_text(script.path)
    lines = difflib.unified_diff(
        former.splitlines(), text.splitlines(), path.name, Path(script.path).name, lineterm=""
    )
    return Redone(revision.package, revision.id, script, tuple(lines), taken_back, applied)


def refuse_losses(site: Site, revision: Revision, script: CreatedScript, remedy: str) -> None:
    """Refuse a script that was written anew and would lose rows or values, and remove it.

    :param site: with the new script
    :raises LossRefused: with their number, and the renames that it may really be
    """
    planner = make_planner(site, "upgrade", revision.id, revision.package)
    losses = tuple(one for one in find_losses(site, planner(site.applied())) if one.is_loss)
    if losses:
        Path(script.path).unlink()
        renames = [one for one in script.warnings if " redo --rename-" in one]
        raise LossRefused(losses, remedy="\n".join([*renames, remedy]))


def renames_of(effects: Iterable[Access], given: Renames) -> frozenset[str]:
    """Return the options that ask for the renames which a script makes.

    :param given: the tables that the new script renames besides
    """
    found = set()
    for one in effects:
        if one.kind == "rename_table" and one.new_name:
            found.add(TableRename(one.schema, one.name, one.new_name).option)
        elif one.kind == "rename_column" and one.column and one.new_name:
            table = given.new_table(one.schema, one.name)
            found.add(ColumnRename(one.schema, table, one.column, one.new_name).option)
    return frozenset(found)


def by_redo(words: str) -> str:
    """Return a message about a new script with ``redo`` in the place of ``revision``."""
    words = words.replace(DELETE_FIRST, "run")
    return words.replace("revision --autogenerate --", "redo --")


def arguments_of(site: Site, former: Revision) -> dict[str, object]:
    """Return the arguments of ``revision`` that put a script where the former one was."""
    others = site.loaded.histories[former.package].others.get(former.id, ())
    own = tuple(name for name in former.depends_on if name not in others)
    edges = site.loaded.graph.required_by(former)
    return {
        "packages": former.package,
        "head": former.down_revisions[0] if former.down_revisions else "base",
        "rev_id": former.id,
        "branch_label": former.branch_labels[0] if former.branch_labels else None,
        "depends_on": own or None,
        # Alembic, which writes the script, would look for these in the package itself.
        "requires": tuple(str(one.required) for one in edges if one.kind == "depends_on"),
        "version_path": str(site.packages[former.package].location_of(former.path)),
    }


def only_package(site: Site, packages: Packages, doing: str) -> str:
    """Return the one package that is meant.

    :raises UsageError: if it is none, or several
    """
    selected = site.select(packages)
    if len(selected) != 1:
        raise UsageError(f"{doing} is about one package; name it with -x packages=NAME.")
    return selected[0]


def newest_of(site: Site, package: str) -> Revision:
    """Return the newest revision of a package, if it may be written anew.

    :raises RevisionFailed: saying what to do in place of it
    """
    history = site.loaded.histories[package]
    if len(history.heads) != 1:
        many = "no revision" if not history.heads else f"{len(history.heads)} heads"
        remedy = 'write one with "revision"' if not history.heads else '"rebase" or "merge" first'
        raise RevisionFailed(package, f"it has {many}: {remedy}")
    for folder in site.packages[package].version_locations:
        for left in sorted(folder.rglob(f"*{ASIDE}")):
            script = left.with_suffix("")
            what = f'delete "{left}"' if script.exists() else f'rename "{left}" to "{script}"'
            raise RevisionFailed(package, f'a "redo" was ended before its end: {what}')
    revision = history.revisions[history.heads[0]]
    require_editable(site.packages[package], Path(revision.path).parent)
    if len(revision.down_revisions) > 1:
        raise RevisionFailed(package, f'"{revision.id}" is a merge: the models say nothing of it')
    if len(revision.branch_labels) > 1:
        raise RevisionFailed(package, f'"{revision.id}" has several branch labels')
    graph = site.loaded.graph
    if dependents := graph.cross_dependents.get(graph.node(revision)):
        one = graph.revisions[dependents[0][0]]
        raise RevisionFailed(
            package, f'"{one}" requires "{revision.id}": take that script ("{one.path}") away first'
        )
    git = GitHistory(Path(revision.path).parent)
    if published := git.published_in(revision.path):
        raise RevisionFailed(
            package,
            f'others may have applied "{revision.id}": its script is in {published}. Write a '
            "further one: ws-alembic revision --autogenerate",
        )
    return revision


def apply(site: Site, revision: Revision) -> Run:
    """Apply one revision."""
    return upgrade(site, revision.id, revision.package)


@contextmanager
def put_aside(path: Path, restored: Callable[[], object]) -> Iterator[None]:
    """Let a script be none within the block; for good, if the block goes well.

    :param restored: called if it did not, and the script is there again
    """
    aside = path.with_name(path.name + ASIDE)
    path.rename(aside)
    try:
        yield
    except BaseException as exc:
        aside.rename(path)
        if isinstance(exc, MigrationError):
            restored()
        raise
    aside.unlink()
