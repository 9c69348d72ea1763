"""A transaction that a script begins and ends by statements of its own, on SQLite.

Plain Alembic has no transaction open there, so that such scripts are written. Within the step's it
is a savepoint: the step stays one transaction, with its history and the ledger.
"""

from __future__ import annotations

import re

from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from websauna_migrate.database.engines import driver_of
from websauna_migrate.runs.statement_words import COMMENTS

BEGINS = re.compile(
    rf"{COMMENTS}BEGIN(?:\s+(?:DEFERRED|IMMEDIATE|EXCLUSIVE))?(?:\s+TRANSACTION)?[\s;]*",
    re.IGNORECASE | re.DOTALL,
)
ENDS = re.compile(
    rf"{COMMENTS}(?:END|COMMIT|(ROLLBACK))(?:\s+TRANSACTION)?[\s;]*", re.IGNORECASE | re.DOTALL
)

SAVEPOINT = "websauna_migrate_script"


class SQLiteStatements:
    """Takes the place of a script's own BEGIN, and of what ends that."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._begun = False

    def begin_step(self) -> None:
        """Say that a step's statements come now."""
        self._begun = False

    def execute(self, cursor: DBAPICursor, statement: str) -> bool:
        """Execute what a statement is in the step's transaction; False for every other one."""
        if not self._begun:
            if not BEGINS.fullmatch(statement) or not driver_of(self.connection).in_transaction:
                return False
            cursor.execute(f"SAVEPOINT {SAVEPOINT}")
            self._begun = True
            return True
        if (ended := ENDS.fullmatch(statement)) is None:
            return False
        self._begun = False
        if ended[1]:
            cursor.execute(f"ROLLBACK TO {SAVEPOINT}")
        cursor.execute(f"RELEASE {SAVEPOINT}")
        return True
