"""The application: it puts the add-ons together and has models of its own."""

from typing import Any

import websauna_migrate
from pyramid.router import Router


class Initializer(websauna_migrate.Initializer):
    """What the application is made of."""

    def include_addons(self) -> None:
        self.config.include("acme.user")
        self.config.include("acme.shop")

    def configure_migrations(self) -> None:
        self.config.add_migration_package("acme.app", metadata="acme.app.models:Base")

    def configure_routes(self) -> None:
        self.config.add_route("offers", "/")

    def configure_views(self) -> None:
        self.config.scan("acme.app.views")


def main(global_config: dict[str, str], **settings: Any) -> Router:
    """Return the WSGI application: ``use = egg:acme.app`` in the INI file calls this."""
    initializer = Initializer(global_config, settings)
    initializer.run()
    return initializer.make_wsgi_app()
