"""A script directory under plain ``alembic``: the application is booted from the same INI file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alembic import context
from alembic.util.exc import CommandError
from pyramid.paster import bootstrap
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.target_metadata import target_metadata
from websauna_migrate.database.engines import connect
from websauna_migrate.database.servers import require_primary
from websauna_migrate.errors import MigrationError
from websauna_migrate.ini.loader import config_uri
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.locks.choice import run_lock
from websauna_migrate.models.sqlalchemy_internals import write_backslashes_plainly
from websauna_migrate.runs.foreign_keys import ForeignKeys, KeysInTheWay

__all__ = ["NotBootable", "run_plain"]


class NotBootable(MigrationError, RuntimeError):
    """Plain ``alembic`` was started in a way that does not lead to the application."""


def run_plain(options: Mapping[str, Any]) -> None:
    """Run migrations for a command of plain ``alembic``.

    :param options: what ``env.py`` gave to :func:`.run_migrations`
    :raises CommandError: for every known failure, so that alembic tells it in one line: when the
        INI file is not the application's, or the script directory is that of no registered package
    """
    try:
        boot_and_run(options)
    except MigrationError as exc:
        raise CommandError(str(exc)) from exc


def boot_and_run(options: Mapping[str, Any]) -> None:
    """Boot the application of alembic's INI file, and run the script directory's package."""
    path = context.config.config_file_name
    if path is None:
        raise NotBootable(
            "This script directory belongs to a Pyramid application: start alembic with its INI "
            "file, alembic -c development.ini, or use ws-alembic."
        )
    with bootstrap(config_uri(path)) as env:
        service = env["registry"].queryUtility(IMigrationService)
        if service is None:
            raise NotBootable(
                f'The application of "{path}" does not include websauna_migrate. Call '
                'config.include("websauna_migrate") in it.'
            )
        run_with_service(service, options)


def run_with_service(service: Any, options: Mapping[str, Any]) -> None:
    """Find the package of the running script directory and run it as the service would."""
    directory = Path(context.script.dir).resolve()
    for package in service.packages:
        if package.script_directory.resolve() == directory:
            break
    else:
        raise NotBootable(
            f'The script directory "{directory}" is that of no package which the application '
            "registers for migrations. Correct script_location in the [alembic] section."
        )
    configured: dict[str, Any] = {
        "target_metadata": target_metadata(package.metadata),
        "version_table": package.history_table,
        "version_table_schema": service.settings.version_table_schema,
        "transaction_per_migration": True,
        **service.compare_options(package.name),
        **options,
    }
    if context.is_offline_mode():
        opts = {"paramstyle": "named"}
        context.configure(url=service.url, literal_binds=True, dialect_opts=opts, **configured)
        write_backslashes_plainly(context.get_context().dialect)
        with context.begin_transaction():
            context.run_migrations()
        return
    with connect(service.make_engine(), writes=True) as connection:
        if connection.dialect.name == "sqlite":
            configured["transactional_ddl"] = True
        require_primary(connection)
        with run_lock(connection, service.settings.lock_wait):
            context.configure(connection=connection, **configured)
            run_with_keys(connection)
            if connection.in_transaction():
                connection.commit()


def run_with_keys(connection: Connection) -> None:
    """Run the migrations; again without SQLite's foreign keys where they are in the way.

    :raises CommandError: if earlier steps of the run were committed, so that "+1" would mean
        another revision now
    """
    keys = ForeignKeys(connection)
    keys.watch()
    try:
        with context.begin_transaction():
            context.run_migrations()
    except KeysInTheWay as exc:
        connection.rollback()
        if not keys.give_way():
            raise CommandError(
                f"The migration stopped before a revision: {exc} Run it again."
            ) from exc
        with context.begin_transaction():
            context.run_migrations()
    finally:
        keys.close()
