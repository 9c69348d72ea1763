"""What other Pyramid packages get of the service, where an application includes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from websauna_migrate.interfaces import IMigrationService

if TYPE_CHECKING:
    from pyramid.config import Configurator
    from pyramid.registry import Registry

__all__ = ["serve_companions"]

#: Behind all other actions, so that it does not matter what was included first.
LAST = 1000


def serve_companions(config: Configurator) -> None:
    """Give pyramid_debugtoolbar its panel, and pyramid_services the service, at the very end."""
    registry = config.registry

    def serve() -> None:
        if "pyramid_debugtoolbar" in sys.modules:
            add_panel(registry)
        if "pyramid_services" in sys.modules:
            add_service(registry)

    config.action(("websauna_migrate", "companions"), serve, order=LAST)


def add_panel(registry: Registry) -> None:
    """Add the panel to the toolbar, if this application includes it."""
    from pyramid.config import Configurator
    from pyramid_debugtoolbar.toolbar import IToolbarWSGIApp
    from pyramid_debugtoolbar.toolbar_app import add_debugtoolbar_panel

    toolbar = registry.queryUtility(IToolbarWSGIApp)
    if toolbar is not None:
        name = "websauna_migrate.web.panel.MigrationsPanel"
        config = Configurator(registry=toolbar.registry)
        config.include("websauna_migrate.web.templating")
        config.commit()
        add_debugtoolbar_panel(config, name, is_global=True)


def add_service(registry: Registry) -> None:
    """Let ``request.find_service(IMigrationService)`` find the service."""
    from pyramid_services import IServiceRegistry

    services = registry.queryUtility(IServiceRegistry)
    if services is not None:
        services.register_factory(
            lambda container: registry.getUtility(IMigrationService), IMigrationService
        )
