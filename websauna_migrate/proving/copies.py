"""Copies of the author's database for a proof that cannot be rolled back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection

from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.mysql import without_schema
from websauna_migrate.runs.ledger import LEDGER_TABLE

__all__ = ["copy_mysql", "copy_sqlite"]

#: So many rows are copied on MariaDB, as far as the server knows how many there are.
MOST_ROWS = 100_000

TABLES = """
SELECT table_name, table_type, table_rows FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SEQUENCE')
ORDER BY table_type = 'BASE TABLE', table_name
"""

#: Columns that are not computed.
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = :table AND extra NOT LIKE '%GENERATED%'
ORDER BY ordinal_position
"""


def copy_sqlite(source: Connection, url: URL) -> None:
    """Copy an SQLite database with its rows into a file."""
    with connect(make_engine(url)) as other:
        drivers: list[Any] = [each.connection.dbapi_connection for each in (source, other)]
        drivers[0].backup(drivers[1])


def copy_mysql(
    source: Connection, target: Connection, *, histories: Collection[str], with_rows: bool
) -> None:
    """Copy the tables of a MariaDB or MySQL database; views, triggers and routines are left out.

    :param histories: tables whose rows are copied in any case
    :param with_rows: copy the rows too, if there are not too many; both are on one server then
    """
    found = [tuple(row) for row in source.execute(text(TABLES)) if row[0] != LEDGER_TABLE]
    database = str(source.engine.url.database)
    target.exec_driver_sql(
        "SET SESSION foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
    )
    target.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    for name, kind, _ in found:
        what = "SEQUENCE" if kind == "SEQUENCE" else "TABLE"
        shown = source.exec_driver_sql(f"SHOW CREATE {what} {quoted(name)}").one()
        # A column's next value comes from the copy of the sequence.
        target.exec_driver_sql(without_schema(str(shown[1]), database).replace("%", "%%"))
    few = sum(rows or 0 for _, _, rows in found) <= MOST_ROWS
    for name, kind, _ in found:
        if name in histories:
            rows = [tuple(r) for r in source.exec_driver_sql(f"SELECT * FROM {quoted(name)}")]
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                target.exec_driver_sql(f"INSERT INTO {quoted(name)} VALUES ({marks})", row)
        elif with_rows and few and kind != "SEQUENCE":
            columns = source.execute(text(COLUMNS), {"table": name}).scalars().all()
            listed = ", ".join(map(quoted, columns))
            target.exec_driver_sql(
                f"INSERT INTO {quoted(name)} ({listed}) "
                f"SELECT {listed} FROM {quoted(database)}.{quoted(name)}"
            )
    target.commit()
    source.rollback()


def quoted(name: str) -> str:
    """Return a name in quotes, for a driver that reads ``%``."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"
