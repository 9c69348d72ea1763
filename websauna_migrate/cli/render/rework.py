"""What commands did that rework histories."""

from __future__ import annotations

from collections.abc import Iterator

from websauna_migrate.cli.render.text import counted, joined
from websauna_migrate.results import Rebased, Redone

__all__ = ["render_rebased", "render_redone"]


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
