"""Taking a package away, and those that are gone: known from the tables that they left."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.packages import is_importable
from websauna_migrate.config.selection import UnknownPackage
from websauna_migrate.database.history_tables import (
    HISTORY_PREFIX,
    history_table_name,
    list_tables,
    read_left,
    write_rows,
)
from websauna_migrate.results import Run
from websauna_migrate.runs.ledger import readable
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.migrating import downgrade
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site


def uninstall(
    site: Site,
    package: str,
    *,
    cascade: bool = False,
    forget: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Run:
    """Take a package down and drop its history table, or forget one that is gone."""
    if forget or package not in site.packages:
        return forget_package(site, package, really=forget)
    options = RunOptions(stop=stop)
    run = downgrade(site, "base", package, options, cascade=cascade)
    if not site.has_database:
        return run
    table = site.packages[package].history_table
    with Runner(site).locked("uninstall") as (connection, read):
        # Another run may have upgraded the package again meanwhile.
        if not read()[package] and table in list_tables(connection, site.schema):
            write_rows(connection, table, site.schema, None)
        connection.commit()
    return run


def forget_package(site: Site, package: str, *, really: bool) -> Run:
    """Drop the history table of a package that is gone, or say what else can be done."""
    if package in site.packages:
        raise UsageError(
            f'Package "{package}" is registered for migrations; --forget is for packages that are '
            f"gone. To take its revisions back: ws-alembic uninstall {package}"
        )
    departed = None
    with site.reading() as connection:
        if connection is not None:
            tables = list_tables(connection, site.schema)
            # By its dotted name, or the one that ``status`` shows for it.
            meant = {history_table_name(package), HISTORY_PREFIX + package}
            departed = next(
                (
                    one
                    for one in list_departed(site, connection, tables)
                    if one.name == package or one.history_table in meant
                ),
                None,
            )
    if departed is None:
        raise UnknownPackage(package, sorted(site.packages))
    if not really:
        name = departed.name
        back = f'include it: config.include("{name}")'
        if not is_importable(name):
            back = "install and include it again"
        raise MigrationError(
            f'Package "{name}" {departed.absence}, so its revisions cannot be taken back; its '
            f'history table "{departed.history_table}" has '
            f"{', '.join(departed.rows) or 'no revision'}. To drop its tables, {back}, "
            f"and run: ws-alembic uninstall {name}\n"
            "To leave its tables as they are and drop the history table alone: "
            f"ws-alembic uninstall --forget {name}"
        )
    with Runner(site).locked("uninstall") as (connection, _):
        write_rows(connection, departed.history_table, site.schema, None)
        connection.commit()
    return Run(uuid.uuid4().hex, "downgrade")


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


def list_departed(
    site: Site, connection: Connection, tables: Collection[str]
) -> tuple[Departed, ...]:
    """Return the packages that are gone, by the history tables that they left.

    :param tables: the names of those that exist
    """
    known = {one.history_table for one in site.packages.values()}
    left = {table for table in tables if table.startswith(HISTORY_PREFIX)} - known
    rows = read_left(connection, left, site.schema)
    names = {table: table.removeprefix(HISTORY_PREFIX) for table in rows}
    if names and LEDGER_TABLE in tables:
        ledger = site.ledger.table
        query = select(ledger.c.history_table, ledger.c.package).distinct()
        with readable(connection, site.schema):
            found = connection.execute(query.where(ledger.c.history_table.in_(names))).all()
        names.update((table, package) for table, package in found if isinstance(package, str))
    return tuple(Departed(names[table], table, rows[table]) for table in sorted(rows))
