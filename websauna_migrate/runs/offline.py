"""A plan as SQL: Alembic's offline mode, step by step along the graph."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from sqlalchemy import delete, insert
from sqlalchemy.schema import CreateTable

from websauna_migrate.alembic_adapter.env_run import run_env
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.database.engines import safe_url
from websauna_migrate.database.history_tables import full_version_table, list_tables, version_table
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.package_targets import as_targets, offline_range
from websauna_migrate.planning.plan import plan_stamp, plan_upgrade
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.revision_scripts.moved_tables import plan_downgrade_without_loss
from websauna_migrate.revision_scripts.script_error import (
    ScriptError,
    line_of,
    place_of,
    running_line,
)
from websauna_migrate.revision_scripts.script_files import refuse_unproven
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.script_checks import check_function
from websauna_migrate.runs.site import Site

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext, RevisionStep

#: Said of SQL for whose server only the URL speaks: MariaDB has types that MySQL lacks, uuid first.
FOR_MYSQL = "For MySQL. Where the server is MariaDB, write mariadb in place of mysql into the URL."

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
        render_rows(loaded, dict.fromkeys(names, ((), ())), output)
        return output.getvalue()
    applied, targets = offline_range(loaded.graph, revision, names, direction)
    if direction == "stamp":
        stamped = plan_stamp(loaded.graph, applied, targets)
        changes = {
            name: (applied[name], rows)
            for name, rows in stamped.items()
            if set(applied[name]) != rows
        }
        render_rows(loaded, changes, output)
    else:
        make = plan_upgrade if direction == "upgrade" else plan_downgrade_without_loss
        plan = make(loaded.graph, applied, targets)
        if direction == "upgrade":
            refuse_unproven(plan)
            kind = site.settings.require_url().get_backend_name()
            site.settings.require_database(plan.packages, kind)
        write_comments(output, from_where(plan, as_targets(revision), names))
        if site.settings.require_url().drivername.startswith("mysql"):
            write_comments(output, [FOR_MYSQL])
        with PROCESS_LOCK.held():
            for step in plan.steps:
                named = f"{step.direction} {step.package} {step.revision.id}"
                write_comments(output, [named, *not_run(loaded, step)])
                render_step(loaded, step, output, tag)
    return output.getvalue()


def from_where(plan: Plan, targets: Sequence[str], selected: Sequence[str]) -> Iterator[str]:
    """Yield what a script that no database was asked for begins at, a sentence each.

    :param selected: the packages that the targets are meant for
    """
    steps = counted(len(plan.steps), "step")
    starts = [target.partition(":")[0] or "base" for target in targets if ":" in target]
    if not starts:
        yield (
            f"From an empty database, whatever is applied to yours: {steps}. "
            "What is pending there: ws-alembic plan --sql"
        )
        return
    yield f"From {', '.join(starts)}: {steps}."
    begun = {step.package: step.rows_before for step in reversed(plan.steps)}
    named = {start.partition("@")[0] for start in starts if "@" in start}
    for package in plan.packages:
        if package not in selected and package not in named:
            rows = ", ".join(sorted(begun[package])) or "base"
            yield (
                f"Package {package} from {rows}, since the start of the range requires no more of "
                "it. If it is further, these are too many steps: ws-alembic plan --sql begins at "
                "what is applied."
            )


def sql_of_plan(site: Site, plan: Plan, *, tag: str | None = None) -> str:
    """Return a plan as SQL that goes on from the histories as they are.

    Above each statement stands the line of the script that it comes from.

    :raises ScriptError: if a script reads from the database
    """
    output = io.StringIO()
    with site.reading() as connection:
        existing = set() if connection is None else list_tables(connection, site.schema)
        for environment in site.loaded.environments.values():
            environment.asked = None if connection is None else connection.dialect
    steps = counted(len(plan.steps), "step")
    url = safe_url(site.settings.require_url())
    write_comments(output, [f"The {plan.direction} of {url} from what is applied: {steps}."])
    with PROCESS_LOCK.held():
        for number, step in enumerate(plan.steps, 1):
            before, after = (
                ", ".join(sorted(rows)) or "base" for rows in (step.rows_before, step.rows_after)
            )
            write_comments(
                output,
                [
                    f"[{number}/{len(plan.steps)}] {step.direction} {step.package} "
                    f"{step.revision.id}, history from {before} to {after}",
                    step.revision.path,
                    *not_run(site.loaded, step),
                ],
            )
            has_table = site.packages[step.package].history_table in existing
            render_step(
                site.loaded, step, WithLines(output, step.revision.path), tag, has_table=has_table
            )
    return output.getvalue()


def not_run(loaded: LoadedScripts, step: Step) -> Iterator[str]:
    """Yield which checks of a script's own SQL leaves out, a sentence."""
    module = loaded.environments[step.package].reader.imported(step.revision)
    names = [f"{name}()" for name in ("precheck", "verify") if check_function(module, name)]
    if names and step.direction == "upgrade":
        yield f"Not run, since no SQL can do it: {' and '.join(names)} of this script."


def write_comments(output: TextIO, lines: Iterator[str] | Sequence[str]) -> None:
    """Write SQL comments, and an empty line behind them."""
    output.writelines(f"-- {' '.join(line.split())}\n" for line in lines)
    output.write("\n")


class WithLines(io.StringIO):
    """Writes each statement of a script with the script's line above it."""

    def __init__(self, output: TextIO, path: str) -> None:
        super().__init__()
        self.output = output
        self.path = path

    def write(self, text: str) -> int:
        """Write one text, a statement as a rule."""
        line = running_line(self.path)
        if line is not None and not text.startswith("--"):
            self.output.write(f"-- line {line}\n")
        return self.output.write(text)


def render_step(
    snapshot: LoadedScripts,
    step: Step,
    output: TextIO,
    tag: str | None,
    *,
    has_table: bool = False,
) -> None:
    """Write the SQL of one step.

    :param has_table: the package's history table is there, also where it has no row
    """
    # The linter imports this module where nothing is pending, and does without Alembic.
    from websauna_migrate.alembic_adapter.internals import planned_step

    environment = snapshot.environments[step.package]
    try:
        run_env(
            environment,
            lambda rows, context: [planned_step(environment.scripts, step)],
            output=output,
            starting_rev=tuple(sorted(step.rows_before)) or None,
            dont_mutate=has_table,
            destination_rev=step.revision.id,
            tag=tag,
        )
    except MigrationError:
        raise
    except Exception as exc:
        path, line = step.revision.path, line_of(exc, step.revision.path)
        raise ScriptError(
            "offline",
            path,
            f'The {step.direction} of revision "{step.revision.id}" of package "{step.package}" '
            f"({place_of(exc, path)}) cannot be written as SQL: {type(exc).__name__}: {exc}\n"
            "A script that reads from the database runs only with a connection.",
            line=line,
            package=step.package,
        ) from exc


def render_rows(
    snapshot: LoadedScripts,
    changes: Mapping[str, tuple[Collection[str], Collection[str]]],
    output: TextIO,
) -> None:
    """Write the SQL that changes history tables without running a script.

    The tables of packages without rows are created.

    :param changes: by package the rows before and after
    """
    with PROCESS_LOCK.held():
        for name, (before, after) in sorted(changes.items()):
            output.write(f"-- history of {name}\n\n")
            environment = snapshot.environments[name]

            def work(
                _: object,
                context: MigrationContext,
                name: str = environment.package.history_table,
                schema: str | None = environment.schema,
                old: Collection[str] = before,
                new: Collection[str] = after,
            ) -> Sequence[RevisionStep]:
                if context.impl.transactional_ddl:
                    context.impl.emit_begin()
                if not old:
                    context.execute(CreateTable(full_version_table(context, name, schema)))
                table = version_table(name, schema)
                for row in sorted(set(old) - set(new)):
                    context.execute(delete(table).where(table.c.version_num == row))
                for row in sorted(set(new) - set(old)):
                    context.execute(insert(table).values(version_num=row).inline())
                if context.impl.transactional_ddl:
                    context.impl.emit_commit()
                return ()

            run_env(environment, work, output=output, starting_rev=tuple(sorted(before)) or None)


@contextmanager
def quiet_alembic() -> Iterator[None]:
    """Keep Alembic from logging that it is there, and that it runs what is only looked at."""
    loggers = [logging.getLogger(f"alembic.runtime.{name}") for name in ("migration", "plugins")]

    def is_warning(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    for logger in loggers:
        logger.addFilter(is_warning)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_warning)
