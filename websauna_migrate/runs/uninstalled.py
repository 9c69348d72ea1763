"""Packages that are gone: known from the history tables that they left, and from the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection

from websauna_migrate.config.importable import is_importable
from websauna_migrate.database.history_tables import (
    HISTORY_PREFIX,
    history_table_name,
    list_tables,
    read_left,
)
from websauna_migrate.runs.ledger import readable

__all__ = [
    "Departed",
    "dotted_names",
    "find_departed",
    "list_departed",
]


@dataclass(frozen=True, slots=True)
class Departed:
    """A package that is not registered any more.

    :ivar name: its dotted name where the ledger has it, else what follows the prefix of its table
    :ivar history_table: the table that it left
    :ivar rows: the rows of that table, sorted
    """

    name: str
    history_table: str
    rows: tuple[str, ...]

    @property
    def absence(self) -> str:
        """Why it is gone, a predicate."""
        if is_importable(self.name):
            return "is installed, but the application does not include it"
        return "is not installed any more"


def dotted_names(connection: Connection, ledger: Table, tables: Iterable[str]) -> Mapping[str, str]:
    """Return the names of the packages that left history tables, by table.

    :param ledger: the ledger's table, which may not exist
    """
    names = {table: table.removeprefix(HISTORY_PREFIX) for table in tables}
    if names and ledger.name in list_tables(connection, ledger.schema):
        query = select(ledger.c.history_table, ledger.c.package).distinct()
        with readable(connection, ledger.schema):
            found = connection.execute(query.where(ledger.c.history_table.in_(names))).all()
        names.update((table, package) for table, package in found if isinstance(package, str))
    return names


def list_departed(
    connection: Connection, *, known: Collection[str], ledger: Table, schema: str | None
) -> tuple[Departed, ...]:
    """Return the packages that are gone, by the history tables that they left.

    :param known: the history tables of the registered packages
    """
    tables = {
        table
        for table in list_tables(connection, schema)
        if table.startswith(HISTORY_PREFIX) and table not in known
    }
    rows = read_left(connection, tables, schema)
    names = dotted_names(connection, ledger, tables)
    return tuple(Departed(names[table], table, rows[table]) for table in sorted(rows))


def find_departed(name: str, departed: Iterable[Departed]) -> Departed | None:
    """Return the package of a name, ``None`` if it left no history table.

    :param name: its dotted name, or the one that ``status`` shows for it
    """
    meant = {history_table_name(name), HISTORY_PREFIX + name}
    return next((one for one in departed if one.name == name or one.history_table in meant), None)
