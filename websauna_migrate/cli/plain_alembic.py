"""A script directory under plain ``alembic``: the application is booted from the same INI file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import context
from alembic.runtime.migration import RevisionStep, StampStep
from alembic.util.exc import CommandError
from pyramid.paster import bootstrap
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.bound_environment import target_metadata
from websauna_migrate.alembic_adapter.internals import (
    destination_of_command,
    stepped_aside,
    steps_of_command,
)
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.starting import for_a_command
from websauna_migrate.database.engines import WRITES
from websauna_migrate.database.servers import examine
from websauna_migrate.ini.loader import config_uri
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.models.sqlalchemy_internals import write_as_server
from websauna_migrate.runs.run_context import clean
from websauna_migrate.runs.runner import Runner

if TYPE_CHECKING:
    from websauna_migrate.service import MigrationService


def run_plain(options: Mapping[str, object]) -> None:
    """Run migrations for a command of plain ``alembic``.

    :param options: what ``env.py`` gave to :func:`.run_migrations`
    :raises CommandError: for every known failure, so that alembic tells it in one line: when the
        INI file is not the application's, or the script directory is that of no registered package
    """
    try:
        boot_and_run(options)
    except MigrationError as exc:
        raise CommandError(str(exc)) from exc


def boot_and_run(options: Mapping[str, object]) -> None:
    """Boot the application of alembic's INI file, and run the script directory's package."""
    path = context.config.config_file_name
    if path is None:
        raise MigrationError(
            "This script directory belongs to a Pyramid application: start alembic with its INI "
            "file, alembic -c development.ini, or use ws-alembic."
        )
    with for_a_command():
        started = bootstrap(config_uri(path))
    with started as env:
        service = env["registry"].queryUtility(IMigrationService)
        if service is None:
            raise MigrationError(
                f'The application of "{path}" does not include websauna_migrate. Call '
                'config.include("websauna_migrate") in it.'
            )
        run_with_service(service, options)


def run_with_service(service: MigrationService, options: Mapping[str, object]) -> None:
    """Find the package of the running script directory and run it as the service would."""
    directory = Path(context.script.dir).resolve()
    for package in service.packages:
        if package.script_directory.resolve() == directory:
            break
    else:
        raise MigrationError(
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
        write_as_server(context.get_context().dialect)
        with context.begin_transaction():
            context.run_migrations()
        return
    run_online(service, package.name, configured, options)


def run_online(
    service: MigrationService,
    package: str,
    configured: dict[str, Any],
    options: Mapping[str, object],
) -> None:
    """Do what the command asks for: a look here, all else as the service does it.

    :param configured: for ``context.configure``
    :param options: what ``env.py`` gave
    """
    shared = context.config.attributes.get("connection")
    # What the caller of Alembic's commands shares, as Alembic's cookbook has it.
    given = shared if isinstance(shared, (Connection, Engine)) else None
    with ExitStack() as stack:
        with stepped_aside():
            # Every env.py is asked for its settings; this one is running.
            connection = stack.enter_context(service.site(given=given).connecting())
        connection.execution_options(**{WRITES: True})
        if connection.dialect.name == "sqlite":
            configured["transactional_ddl"] = True
        # It refuses a server that does not accept writes.
        examine(connection)
        context.configure(connection=connection, **configured)
        with context.begin_transaction():
            steps = steps_of_command(context.get_context())
        if connection.in_transaction():
            connection.commit()
        purge = context.get_context().purge
    if purge or any(isinstance(step, StampStep) for step in steps):
        if purge:
            require_unprotected(service, package, "stamp --purge")
        stamp(service, package, configured, given)
    elif steps:
        moved = [step for step in steps if isinstance(step, RevisionStep)]
        migrate(service, package, moved, options, given)


def stamp(
    service: MigrationService,
    package: str,
    configured: Mapping[str, Any],
    given: Connection | Engine | None,
) -> None:
    """Let Alembic write the history table, under the lock and behind no half done step."""
    site = service.site(given=given)
    with Runner(site).locked() as (connection, read):
        clean(connection)
        context.configure(connection=connection, **configured)
        with context.begin_transaction():
            context.run_migrations()
        if connection.in_transaction():
            connection.commit()
        site.ledger.create(connection)
        history_table = site.packages[package].history_table
        site.ledger.stamp(connection, package, history_table, read()[package])
        connection.commit()


def require_unprotected(service: MigrationService, package: str, command: str) -> None:
    """Refuse a command of Alembic's that takes something back from a protected database.

    :param command: with its option
    """
    if service.is_protected:
        raise MigrationError(
            f'"{command}" was not begun: this database is protected by the setting '
            '"websauna_migrate.protected". If it is meant all the same: ws-alembic -c '
            f"{context.config.config_file_name} -x packages={package} {command} "
            f"{destination_of_command()} --yes-on-production"
        )


def migrate(
    service: MigrationService,
    package: str,
    steps: Sequence[RevisionStep],
    options: Mapping[str, object],
    given: Connection | Engine | None,
) -> None:
    """Upgrade or downgrade the package as ``ws-alembic`` does.

    :param steps: Alembic's
    :param given: what to work on, in place of the application's database
    """
    connection = given if isinstance(given, Connection) else None
    engine = given if isinstance(given, Engine) else None
    tag = context.get_tag_argument()
    destination = destination_of_command()
    if not steps[0].is_upgrade:
        require_unprotected(service, package, "downgrade")
    with service.one_look(given), stepped_aside():
        loaded = service.site(given=given).loaded
        # This env.py runs already: its options are taken as they are.
        loaded.environments[package].standard_options = options
        if steps[0].is_upgrade:
            revisions = loaded.histories[package].replacements.written
            ids = {step.revision.revision for step in steps}
            inner = {parent for one in ids for parent in revisions[one].down_revisions}
            service.upgrade(
                sorted(ids - inner),
                packages=package,
                tag=tag,
                connection=connection,
                engine=engine,
            )
        else:
            service.downgrade(
                destination, packages=package, tag=tag, connection=connection, engine=engine
            )
