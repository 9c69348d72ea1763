"""A plan as SQL: Alembic's offline mode, step by step along the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from alembic.runtime.migration import MigrationContext, MigrationStep
from sqlalchemy.engine import URL

from websauna_migrate.plan import Plan, Step
from websauna_migrate.runner import ALEMBIC
from websauna_migrate.snapshot import Snapshot

__all__ = ["render_sql"]


def render_sql(
    snapshot: Snapshot, plan: Plan, url: URL, output: TextIO, *, tag: str | None = None
) -> None:
    """Write the SQL of a plan's steps to ``output``, each step in its own transaction."""
    with ALEMBIC:
        for step in plan.steps:
            output.write(f"-- {step.direction} {step.package} {step.revision.id}\n\n")
            render_step(snapshot, step, output, tag)


def render_step(snapshot: Snapshot, step: Step, output: TextIO, tag: str | None) -> None:
    """Write the SQL of one step."""
    environment = snapshot.environments[step.package]
    scripts = environment.scripts
    script = scripts.get_revision(step.revision.id)
    make = (
        MigrationStep.upgrade_from_script
        if step.direction == "upgrade"
        else MigrationStep.downgrade_from_script
    )

    def steps(rows: Any, context: MigrationContext) -> Sequence[Any]:
        return [make(scripts.revision_map, script)]

    environment.run(
        steps,
        output=output,
        starting_rev=tuple(sorted(step.rows_before)) or None,
        destination_rev=step.revision.id,
        tag=tag,
    )
