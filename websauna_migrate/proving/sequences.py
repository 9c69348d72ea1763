"""PostgreSQL's sequences do not go back with a transaction: those of a proof are kept from moving.

ALTER SEQUENCE gives a sequence a new file in the transaction, and what is taken from it then goes
with the rollback. It locks the sequence until then, so it is done for a script that changes rows or
calls a function, not for one that changes the schema alone.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.engine import Connection

from websauna_migrate.runs.step_data import running

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

#: What takes no number from a sequence.
HARMLESS = re.compile(
    r"\s*(?:ALTER|COMMENT|CREATE|DROP|GRANT|RELEASE|REVOKE|ROLLBACK|SAVEPOINT|SET|SHOW)\b"
    r"(?!.*\bnextval\b)",
    re.IGNORECASE | re.DOTALL,
)

FREEZE = """\
DO $do$
DECLARE item record;
BEGIN
    FOR item IN
        SELECT s.seqrelid::regclass AS name, s.seqcache AS cache
        FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
        WHERE c.relpersistence <> 't' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    LOOP
        EXECUTE format('ALTER SEQUENCE %s CACHE %s', item.name, item.cache);
    END LOOP;
END
$do$"""


class KeptSequences:
    """Lets no statement of scripts move a sequence for good, in a transaction that is undone."""

    def __init__(self) -> None:
        """Prepare; nothing is kept yet."""
        self._kept = False
        self._connection: Connection | None = None

    def begin(self, connection: Connection) -> None:
        """Say that the transaction begins."""
        self._kept = False
        if connection.dialect.name == "postgresql" and connection is not self._connection:
            self._connection = connection
            event.listen(connection, "before_cursor_execute", self._before)

    def _before(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: ExecutionContext,
        many: bool,
    ) -> None:
        if self._kept or running() is None or HARMLESS.match(statement):
            return
        # A savepoint of the script's own may take it back.
        self._kept = not connection.in_nested_transaction()
        # Past SQLAlchemy, which is in the middle of another statement.
        with closing(connection.connection.cursor()) as own:
            own.execute(FREEZE)
