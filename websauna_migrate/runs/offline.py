"""A plan as SQL: Alembic's offline mode, step by step along the graph."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from sqlalchemy import delete, insert
from sqlalchemy.schema import CreateTable

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.database.history_tables import version_table
from websauna_migrate.errors import MigrationError, UsageError
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.package_targets import offline_range
from websauna_migrate.planning.plan import Plan, Step, plan_stamp, plan_upgrade
from websauna_migrate.revision_scripts.moved_tables import plan_downgrade_without_loss
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.runs.history_rows import full_version_table
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["render_rows", "render_sql", "sql"]


#: What a SQL script can be of.
DIRECTIONS = ("upgrade", "downgrade", "stamp", "ensure_version")


def sql(
    site: Site, revision: Targets, packages: Packages, direction: str, *, tag: str | None = None
) -> str:
    """Return a run as SQL; parameters as in ``IMigrationService.sql``."""
    if direction not in DIRECTIONS:
        raise UsageError(f'The direction "{direction}" is none of: {", ".join(DIRECTIONS)}.')
    site.settings.require_url()
    loaded, output = site.loaded, io.StringIO()
    names = site.select(packages)
    if direction == "ensure_version":
        render_rows(loaded, dict.fromkeys(names, ((), ())), output, create=True)
        return output.getvalue()
    applied, targets = offline_range(loaded.graph, revision, names, direction)
    if direction == "stamp":
        stamped = plan_stamp(loaded.graph, applied, targets)
        changes = {
            name: (applied[name], rows)
            for name, rows in stamped.items()
            if set(applied[name]) != rows
        }
        render_rows(loaded, changes, output, create=True)
    else:
        make = plan_upgrade if direction == "upgrade" else plan_downgrade_without_loss
        render_sql(loaded, make(loaded.graph, applied, targets), output, tag=tag)
    return output.getvalue()


def render_sql(
    snapshot: LoadedScripts, plan: Plan, output: TextIO, *, tag: str | None = None
) -> None:
    """Write the SQL of a plan's steps to ``output``, each step in its own transaction."""
    with PROCESS_LOCK:
        for step in plan.steps:
            output.write(f"-- {step.direction} {step.package} {step.revision.id}\n\n")
            render_step(snapshot, step, output, tag)


def render_step(snapshot: LoadedScripts, step: Step, output: TextIO, tag: str | None) -> None:
    """Write the SQL of one step."""
    from websauna_migrate.alembic_adapter.internals import planned_step

    environment = snapshot.environments[step.package]

    def steps(rows: Any, context: MigrationContext) -> Sequence[Any]:
        return [planned_step(environment.scripts, step)]

    try:
        environment.run(
            steps,
            output=output,
            starting_rev=tuple(sorted(step.rows_before)) or None,
            destination_rev=step.revision.id,
            tag=tag,
        )
    except MigrationError:
        raise
    except Exception as exc:
        raise ScriptError(
            "offline",
            step.revision.path,
            f'The {step.direction} of revision "{step.revision.id}" of package "{step.package}" '
            f'("{step.revision.path}") cannot be written as SQL: {type(exc).__name__}: {exc}\n'
            "A script that reads from the database runs only with a connection.",
            package=step.package,
        ) from exc


def render_rows(
    snapshot: LoadedScripts,
    changes: Mapping[str, tuple[Collection[str], Collection[str]]],
    output: TextIO,
    *,
    create: bool,
) -> None:
    """Write the SQL that changes history tables without running a script.

    :param changes: by package the rows before and after
    :param create: whether the tables of packages without rows have to be created
    """
    with PROCESS_LOCK:
        for name, (before, after) in sorted(changes.items()):
            output.write(f"-- history of {name}\n\n")
            environment = snapshot.environments[name]

            def work(
                _: Any,
                context: MigrationContext,
                name: str = environment.package.history_table,
                schema: str | None = environment.schema,
                old: Collection[str] = before,
                new: Collection[str] = after,
            ) -> Sequence[Any]:
                if context.impl.transactional_ddl:
                    context.impl.emit_begin()
                if create and not old:
                    context.execute(CreateTable(full_version_table(context, name, schema)))
                table = version_table(name, schema)
                for row in sorted(set(old) - set(new)):
                    context.execute(delete(table).where(table.c.version_num == row))
                for row in sorted(set(new) - set(old)):
                    context.execute(insert(table).values(version_num=row).inline())
                if context.impl.transactional_ddl:
                    context.impl.emit_commit()
                return ()

            environment.run(work, output=output, starting_rev=tuple(sorted(before)) or None)
