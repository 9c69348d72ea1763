"""Taking a package away: down to base, and its history table dropped."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.importable import is_importable
from websauna_migrate.config.selection import UnknownPackage
from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.results import Run
from websauna_migrate.runs.history_rows import write_rows
from websauna_migrate.runs.migrating import downgrade
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.uninstalled import (
    find_departed,
    list_departed,
)

__all__ = ["uninstall"]


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
    with site.runner().locked("uninstall") as (connection, read):
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
    known = {one.history_table for one in site.packages.values()}
    departed = None
    with site.reading() as connection:
        if connection is not None:
            found = list_departed(
                connection, known=known, ledger=site.ledger.table, schema=site.schema
            )
            departed = find_departed(package, found)
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
    with site.runner().locked("uninstall") as (connection, _):
        write_rows(connection, departed.history_table, site.schema, None)
        connection.commit()
    return Run(uuid.uuid4().hex, "downgrade")
