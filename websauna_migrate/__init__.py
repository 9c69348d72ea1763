"""Database migrations for Pyramid applications made of many packages.

``config.include("websauna_migrate")`` gives an application the :class:`.IMigrationService`
utility, which sees the revision scripts of every registered package as one graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramid.config import Configurator

    from websauna_migrate.base_errors import MigrationError
    from websauna_migrate.config.directives import migration_package
    from websauna_migrate.config.initializer import Initializer
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
    the service, where the application includes them.

    The settings, all optional but the database's URL ``sqlalchemy.url``, are those whose names
    begin with ``websauna_migrate.``; the documentation's page "Settings" has them all. One that
    cannot be used is told here.
    """
    from websauna_migrate.config.directives import (
        LAST,
        add_event_predicates,
        add_migration_package,
        serve_companions,
        set_migration_service,
    )
    from websauna_migrate.config.settings import parse_settings
    from websauna_migrate.ini.started_from import started_from
    from websauna_migrate.runs.sessions import held_connections
    from websauna_migrate.service import MigrationService

    config.add_directive("add_migration_package", add_migration_package)
    config.add_directive("set_migration_service", set_migration_service)
    add_event_predicates(config)
    registry = config.registry
    settings = parse_settings(registry.settings or {})
    registry.websauna_migrate_ini = started_from() or (registry.settings or {}).get("__file__")
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
