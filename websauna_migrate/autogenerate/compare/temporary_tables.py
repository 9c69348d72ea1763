"""The temporary tables of a command: made together on PostgreSQL, one by one elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from websauna_migrate.autogenerate.compare.postgresql_temporary_tables import make_together
from websauna_migrate.autogenerate.compare.temporary_table import (
    NAME,
    TemporaryTable,
    reflected,
    temporary,
)

__all__ = ["TemporaryTables"]


class TemporaryTables:
    """The temporary tables of a command, made when the first is asked for.

    PostgreSQL is asked once for all that are foreseen, so that the number of queries does not
    depend on the number of tables.
    """

    def __init__(
        self,
        connection: Connection,
        foreseen: Callable[[], Iterable[Table]] = tuple,
    ) -> None:
        """Make nothing yet.

        :param foreseen: returns the tables that are likely to be asked about, of all packages
        """
        self.connection = connection
        self.foreseen = foreseen
        self._made: dict[Table, TemporaryTable | None] = {}

    def of(self, table: Table) -> TemporaryTable | None:
        """Return the temporary table of a model's table.

        :returns: ``None`` where the database does not make it: a type is missing, or the user may
            not make temporary tables
        """
        if table not in self._made:
            self._made.update(self._make(table))
        return self._made[table]

    def _make(self, table: Table) -> dict[Table, TemporaryTable | None]:
        """Make a table's temporary table, and with it those that will be asked for as well."""
        if self.connection.dialect.name == "postgresql":
            wanted = dict.fromkeys([table])
            if not self._made:
                wanted.update(dict.fromkeys(self.foreseen()))
            together = make_together(self.connection, wanted)
            if table in together:
                return together
        return {table: self._make_one(table)}

    def _make_one(self, table: Table) -> TemporaryTable | None:
        """Make a table's temporary table, reflect it, and take it back."""
        copy, indexes = temporary(table, self.connection)
        # On MariaDB a temporary table outlives a rollback, and its making commits nothing.
        on_mariadb = self.connection.dialect.name in ("mysql", "mariadb")
        savepoint = None if on_mariadb else self.connection.begin_nested()
        if self.connection.dialect.name != "postgresql":
            # Elsewhere an index is kept as it was written.
            indexes = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.connection.execute(CreateTable(copy))
                for index in indexes.values():
                    self.connection.execute(sa.schema.CreateIndex(index))
                return reflected(self.connection, indexes)
        except (DBAPIError, SQLAlchemyError, NotImplementedError):
            return None
        finally:
            if savepoint is not None:
                savepoint.rollback()
            else:
                self.connection.exec_driver_sql(f"DROP TEMPORARY TABLE IF EXISTS {NAME}")
