"""Database migrations for Pyramid applications made of many packages.

``config.include("websauna_migrate")`` gives an application the :class:`.IMigrationService`
utility, which sees the revision scripts of every registered package as one graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramid.config import Configurator

    from websauna_migrate.config.directives import migration_package
    from websauna_migrate.config.initializer import Initializer
    from websauna_migrate.errors import MigrationError
    from websauna_migrate.interfaces import IMigrationPackage, IMigrationService

__all__ = [
    "IMigrationPackage",
    "IMigrationService",
    "Initializer",
    "MigrationError",
    "includeme",
    "migration_package",
]

#: Where the public names live; they are imported when they are asked for, so that a console script
#: that needs none of them does not wait for Pyramid.
HOMES = {
    "IMigrationPackage": "websauna_migrate.interfaces",
    "IMigrationService": "websauna_migrate.interfaces",
    "Initializer": "websauna_migrate.config.initializer",
    "MigrationError": "websauna_migrate.errors",
    "migration_package": "websauna_migrate.config.directives",
}


#: The order of a configuration's last actions; Pyramid's own phases end at 0.
LAST = 1_000


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def includeme(config: Configurator) -> None:
    """Activate migrations in a Pyramid application.

    Registers the :class:`.IMigrationService` utility and the directives
    ``config.add_migration_package`` and ``config.set_migration_service``, and the subscriber
    predicates ``migration_package`` and ``migration_direction`` for the events of
    :mod:`websauna_migrate.events`. pyramid_debugtoolbar gets a panel, and pyramid_services finds
    the service, where the application includes them. Settings, all optional:

    ``sqlalchemy.url``
        the database; needed by whatever uses one
    ``websauna_migrate.url``
        another URL for migrations alone: a role that owns the tables, or a way around a pooler
    ``websauna_migrate.scratch_url``
        a database beside which scratch places are made, as by ``check --fresh``; default: the
        database itself
    ``websauna_migrate.package``
        the application's own package; default: the one that Pyramid knows as its root package
    ``websauna_migrate.script_location.NAME``
        script directory of package NAME, an asset spec or a path
    ``websauna_migrate.version_locations.NAME``
        its folders with revision scripts, one a line; default: ``versions`` in the script directory
    ``websauna_migrate.version_table.NAME``
        its history table; default: ``alembic_history_`` and the dotted name with ``_``
    ``websauna_migrate.version_table_schema``
        schema of all history tables and of the ledger; default: the database's own
    ``websauna_migrate.cache``
        folder where it is kept what revision scripts say of themselves, or ``off``; default:
        ``websauna_migrate`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``
    ``websauna_migrate.connect_retries``
        how often, a second apart, to try again to connect to a server that is starting, default 0
    ``websauna_migrate.lock_wait``
        seconds to wait for another run, default 300; 0 fails at once
    ``websauna_migrate.prove``
        prove each script of an autogenerate before it is kept, default ``true``; ``scratch``:
        always in a scratch database
    ``websauna_migrate.pipeline``
        accepted, and without effect: a run that finds it set says so
    ``websauna_migrate.lock_timeout_ms``
        milliseconds that a statement first waits for a table's lock, default 100; 0 for no limit
    ``websauna_migrate.lock_timeout_max_ms``
        up to what that rises from attempt to attempt, default 1000
    ``websauna_migrate.lock_budget``
        seconds for which a step is tried again when a lock is taken, default 600
    ``websauna_migrate.statement_timeout_ms``
        limit of each statement on PostgreSQL and MariaDB, in milliseconds, default 0 for none
    ``websauna_migrate.on_pending``
        what to do when the application starts while revisions are pending: ``ignore``, the default;
        ``warn`` in the log; ``page``, for development: answer with a page that names them, with a
        button; ``fail``: do not start; ``upgrade``: apply them first. A ``ws-`` command does none
        of it

    The four limits of locks and statements are set for one package by
    ``websauna_migrate.lock_budget.NAME`` and the like, and for one revision by a module attribute
    of its script, ``lock_budget = 60``.
    """
    from websauna_migrate.config.companions import serve_companions
    from websauna_migrate.config.directives import add_migration_package, set_migration_service
    from websauna_migrate.config.event_predicates import add_event_predicates
    from websauna_migrate.config.settings import parse_settings
    from websauna_migrate.runs.sessions import held_connections
    from websauna_migrate.service import MigrationService

    config.add_directive("add_migration_package", add_migration_package)
    config.add_directive("set_migration_service", set_migration_service)
    add_event_predicates(config)
    registry = config.registry
    # A setting that cannot be used is told here.
    settings = parse_settings(registry.settings or {})
    held_connections.watch()
    service = MigrationService(
        lambda: parse_settings(registry.settings or {}),  # The application may add some.
        application=registry.package_name,
        notify=registry.notify,
    )
    config.set_migration_service(service)
    # When all packages are registered, and before relationships look for their foreign keys.
    config.action(None, service.link_foreign_keys, order=LAST)
    serve_companions(config)
    if settings.on_pending != "ignore":
        config.include("websauna_migrate.web.pending")
