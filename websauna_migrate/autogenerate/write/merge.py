"""The script that merges heads of one package."""

from __future__ import annotations

from alembic.util import rev_id as new_revision_id
from alembic.util.exc import CommandError

from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.autogenerate.write.revision_files import created, ensure_line
from websauna_migrate.base_errors import UsageError
from websauna_migrate.config.template import ensure_template, require_editable
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.package_targets import as_targets, resolve_all
from websauna_migrate.results import CreatedScript
from websauna_migrate.runs.site import Site


def write_merge(
    site: Site,
    revisions: Targets,
    packages: Packages,
    *,
    message: str | None = None,
    branch_label: str | None = None,
    rev_id: str | None = None,
    splice: bool = False,
) -> CreatedScript:
    """Write a script whose parents are heads of one package.

    :raises UsageError: if several packages are meant
    :raises RevisionFailed: if the targets mean fewer than two revisions
    """
    selected = site.select(packages)
    if len(selected) != 1:
        raise UsageError("merge joins the heads of one package; name it with -x packages=NAME.")
    (name,) = selected
    require_editable(site.packages[name])
    ensure_template(site.packages[name])
    loaded = site.loaded
    history, environment = loaded.histories[name], loaded.environments[name]
    targets = as_targets(revisions)
    heads = [found for target in targets for found in resolve_all(history, target)]
    if len(set(heads)) < 2:
        raise RevisionFailed(
            name,
            f'a merge needs at least two revisions, and "{" ".join(targets)}" '
            f"means {len(set(heads))}",
        )
    written_against = loaded.graph.written_against(name)
    try:
        script = environment.scripts.generate_revision(
            rev_id or new_revision_id(),
            message,
            refresh=True,
            head=heads,
            branch_labels=branch_label,
            splice=splice,
            config=environment.config,
            requires=(),
            written_against=written_against,
        )
        assert script is not None
        ensure_line(script, "written_against", written_against)
    except CommandError as exc:
        raise RevisionFailed(name, str(exc)) from exc
    return created(name, script)
