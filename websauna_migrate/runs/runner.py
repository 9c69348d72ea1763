"""Running a plan: the only part that changes the database.

Each step is one transaction of its own, on the connection that also holds the run's lock. It is
opened by Alembic, so that ``autocommit_block`` works, and contains everything: the ledger's marker,
the script's work, the history table's new rows and the ledger's final word.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.given_connections import given_state
from websauna_migrate.database.history_tables import MIGRATES
from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.database.servers import examine
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results import Run
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.run_access import Applied, RunAccess, RunContext
from websauna_migrate.runs.run_context import clean


class Runner(RunAccess):
    """Runs plans on one database."""

    def run(self, direction: str, make_plan: Callable[[Applied], Plan]) -> Run:
        """Make the plan under the lock and run it.

        :param make_plan: gets the applied rows of every package and returns the plan; called again
            whenever the history may have changed meanwhile
        """
        run_id = uuid.uuid4().hex
        with PROCESS_LOCK.held(self.lock_wait), self.connecting() as connection:
            server = examine(connection)
            connection.execution_options(**{MIGRATES: True})
            if not self._anything_to_do(connection, make_plan):
                return Run(run_id, direction, dry_run=self.options.dry_run)
            # Mostly, they are not needed.
            from websauna_migrate.runs.locked_run import LockedRun

            with self._locked(connection, server, direction) as lock:
                context = RunContext(
                    run_id=run_id,
                    access=self,
                    connection=connection,
                    server=server,
                    lock=lock,
                    marks=self.options.marks,
                    atomic=self.options.atomic
                    or self.options.dry_run
                    or given_state(connection) == "in transaction",
                )
                return LockedRun(context, direction, make_plan).run()

    def _anything_to_do(self, connection: Connection, make_plan: Callable[[Applied], Plan]) -> bool:
        """Look without the lock: most runs find nothing to do and need none."""
        try:
            applied, has_ledger = self.read(connection)
            marked = has_ledger and bool(self.ledger.interrupted(connection))
        except DBAPIError as exc:
            if not is_lock_failure(exc, connection.dialect.name):
                raise
            # SQLite cannot be read while another connection commits: a run is at work.
            clean(connection)
            return True
        connection.rollback()
        plan = make_plan(applied)
        if not plan.steps:
            self.refuse(connection, applied, plan)
            connection.rollback()
        return marked or bool(plan.steps or plan.adopted)
