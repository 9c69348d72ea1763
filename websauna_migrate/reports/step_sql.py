"""The SQL of one step of a plan, with the lines of its script."""

from __future__ import annotations

from websauna_migrate.lint.recorded_sql import record_step
from websauna_migrate.planning.steps import Step
from websauna_migrate.results import SqlStatement, StepSql
from websauna_migrate.runs.offline import quiet_alembic
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

__all__ = ["step_sql"]


def step_sql(site: Site, step: Step) -> StepSql:
    """Return the SQL of a step; no database is contacted."""
    with PROCESS_LOCK, quiet_alembic():
        # Environments that no run uses: a script that is only looked at changes them.
        found = record_step(site.loaded.again(), step)
    return StepSql(
        step,
        tuple(
            SqlStatement(one.sql, next(iter(one.lines), None))
            for one in found.statements
            if not is_comment(one.sql)
        ),
        found.problem,
        found.line,
    )


def is_comment(sql: str) -> bool:
    """True for a text that only says what Alembic is at."""
    return all(line.startswith("--") or line == ";" for line in sql.splitlines())
