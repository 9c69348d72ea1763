"""The SQL that brings objects back to what the applied scripts make of them, from their facts."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import Dialect

from websauna_migrate.facts.fact import Facts
from websauna_migrate.locating.mending.statements import Mender, Renamed


def mender_for(
    dialect: Dialect, here: Facts, there: Facts, renamed: Collection[Renamed] = ()
) -> Mender:
    """Return what writes statements for a database.

    :param here: the facts of the database
    :param there: the same, with what is mended as the applied scripts make it
    :param renamed: what a hand gave another name
    """
    if dialect.name == "postgresql":
        from websauna_migrate.locating.mending.postgresql_changes import PostgreSQLMender

        return PostgreSQLMender(dialect, here, there, renamed)
    if dialect.name == "sqlite":
        from websauna_migrate.locating.mending.sqlite_changes import SQLiteMender

        return SQLiteMender(dialect, here, there, renamed)
    from websauna_migrate.locating.mending.mysql_changes import MySQLMender

    return MySQLMender(dialect, here, there, renamed)
