"""What commands did that rework histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from websauna_migrate.cli.render.states import render_losses
from websauna_migrate.cli.render.text import joined
from websauna_migrate.plain_text import counted
from websauna_migrate.results import Adoption, Rebased, Redone, Squashed, Switched


def render_redone(done: Redone) -> Iterator[str]:
    """Yield how a script that was written anew differs, where it is, and what ran."""
    yield from done.diff
    yield done.script.path
    back = "taken back, " if done.taken_back is not None else ""
    yield f'Revision "{done.revision}" of package "{done.package}": {back}written anew, applied.'


def render_rebased(done: Rebased) -> Iterator[str]:
    """Yield the scripts that were rewritten."""
    if not done.scripts:
        yield f'Nothing to do: package "{done.package}" has one head.'
        return
    for script in done.scripts:
        before = joined(script.before, nothing="<base>")
        if script.before != script.after:
            yield f"{script.path}: {before} -> {joined(script.after)}"
    back = " They were taken back here." if done.taken_back is not None else ""
    many = counted(len(done.scripts), "revision")
    yield (
        f'{many} of package "{done.package}" behind "{done.onto}".{back} Next: ws-alembic -x '
        f"packages={done.package} upgrade"
    )


def render_squashed(done: Squashed) -> Iterator[str]:
    """Yield what was written, and what is in it as it was."""
    for script in done.scripts:
        yield from (f"kept as it is: {one.revision} ({one.why})" for one in script.kept)
        yield from (f"rows left out: {one} (elidable)" for one in script.elided)
        yield script.path
    many = sum(len(script.replaces) for script in done.scripts)
    names = joined(f'"{script.revision}"' for script in done.scripts)
    yield (
        f"{names} in place of {counted(many, 'revision')}, proven on {done.dialect} "
        f"({done.seconds:.2f} s). Databases that have them adopt it at their next upgrade; the old "
        "scripts may go when all do."
    )


def render_adoption(found: Adoption, scope: str = "") -> Iterator[str]:
    """Yield what was taken over, or would be.

    :param scope: as the command line named the packages
    """
    yield from found.actions
    yield from (f"note: {one}" for one in found.notes)
    yield from (f"was there before: {one}" for one in found.drift)
    yield from (f"left to you: {one}" for one in found.problems)
    if found.undone:
        yield "Taken back."
    elif found.done:
        yield f"Taken over. To take it back: ws-alembic {scope}adopt --undo"
    elif found.actions:
        yield "Nothing was changed so far."
    else:
        yield "Nothing was taken over." if found.problems else "There is nothing to take over."


def render_restored(found: Switched) -> Iterator[str]:
    """Yield the scripts that this checkout does not have, and what taking them down would lose."""
    for script in found.scripts:
        by = f"from {script.source}, SHA-256 {script.checksum[:12]}..."
        yield f"{script.package}  {script.revision}  by the script {by}"
    yield from render_losses(found.losses)


def render_switched(found: Switched, pending: Iterable[str] = ()) -> Iterator[str]:
    """Yield what was taken down, or would be.

    :param pending: the packages that have pending revisions now
    """
    if not found.scripts and found.run is None:
        yield "Nothing to do: this checkout has the scripts of all that is applied."
        return
    yield from render_restored(found)
    if found.run is None:
        yield "Nothing was changed so far."
    else:
        yield f"{counted(len(found.run.steps), 'step')} taken back."
        if names := ",".join(pending):
            yield f"Next: ws-alembic -x packages={names} upgrade"
