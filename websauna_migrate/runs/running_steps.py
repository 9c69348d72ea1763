"""Whether the ledger marks a step, asked by every run, most of which find nothing to do."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from websauna_migrate.runs.ledger import LEDGER_TABLE, RUNNING, readable
from websauna_migrate.runs.ledger_table import ESSENTIAL

__all__ = ["is_marked"]


def is_marked(connection: Connection, schema: str | None) -> bool:
    """Tell whether a step is marked as running in a ledger that is there.

    It is what :meth:`.Ledger.interrupted` tells, in a query that need not be compiled; and the
    ledger's table has options of MariaDB's, for which SQLAlchemy imports that dialect.

    :raises RecordsBroken: if it has other columns
    """
    quote = connection.dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    with readable(connection, schema):
        found = connection.exec_driver_sql(
            f"SELECT {', '.join(map(quote, sorted(ESSENTIAL)))} "
            f"FROM {prefix}{quote(LEDGER_TABLE)} WHERE outcome = '{RUNNING}'"
        )
        return found.first() is not None
