"""The base class of an application's start: database, models, add-ons, migrations, views."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import transaction
import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.router import Router
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from websauna_migrate.config.settings import missing_url, other_urls, parse_url
from websauna_migrate.database.engines import open_engine
from websauna_migrate.ini.started_from import starting_from

if TYPE_CHECKING:
    from pyramid.request import Request


class Initializer:
    """Sets up a Pyramid application step by step; an application overrides the steps it needs.

    It gives the application an engine (``registry["engine"]``), ``request.dbsession`` joined to
    ``request.tm`` by zope.sqlalchemy, and the migration service, which knows every package that
    registers itself::

        class Initializer(websauna_migrate.Initializer):
            def include_addons(self):
                self.config.include("websauna.user")

            def configure_models(self):
                self.config.scan("fooapp.models")

        def main(global_config, **settings):
            init = Initializer(global_config, settings)
            init.run()
            return init.make_wsgi_app()

    :param global_config: PasteDeploy's defaults
    :param settings: the ``[app:main]`` section
    :param package: the application's package; default: the one whose module defines the subclass
    """

    def __init__(
        self,
        global_config: Mapping[str, str] | None,
        settings: Mapping[str, object],
        *,
        package: str | None = None,
    ) -> None:
        self.global_config = dict(global_config or {})
        self.settings = {"tm.manager_hook": "pyramid_tm.explicit_manager", **settings}
        self.config = self.create_configurator(package)

    def create_configurator(self, package: str | None = None) -> Configurator:
        """Return the configurator; its package is the application's own."""
        module = import_module(package or type(self).__module__)
        return Configurator(settings=self.settings, package=module)

    def run(self) -> None:
        """Configure everything, in this order, and report conflicts."""
        with starting_from(self.global_config.get("__file__")):
            self.config.include("websauna_migrate")
        self.configure_database()
        self.include_addons()
        self.configure_models()
        self.configure_migrations()
        self.configure_routes()
        self.configure_views()
        self.config.commit()

    def configure_database(self) -> None:
        """Give the application an engine, and each request a session in its transaction."""
        self.config.include("pyramid_tm")
        engine = self.create_engine()
        factory = sessionmaker(bind=engine)
        self.config.registry["engine"] = engine
        self.config.registry["dbsession_factory"] = factory

        def dbsession(request: Request) -> Session:
            manager = getattr(request, "tm", transaction.manager)
            session = factory(info={"request": request})
            zope.sqlalchemy.register(session, transaction_manager=manager)
            return session

        self.config.add_request_method(dbsession, "dbsession", reify=True)

    def create_engine(self) -> Engine:
        """Return the application's engine, from its ``sqlalchemy.*`` settings.

        :raises SettingError: if ``sqlalchemy.url`` is missing
        :raises DatabaseFailure: if its driver is not installed
        """
        given = self.settings.get("sqlalchemy.url")
        if not given:
            remedy = "Set it in [app:main] to the database's URL."
            raise missing_url("it is missing.", other_urls(self.settings), remedy)
        url = parse_url("sqlalchemy.url", given)
        options = {k: v for k, v in self.settings.items() if k.startswith("sqlalchemy.")}
        return open_engine(url, options)

    def configure_migrations(self) -> None:
        """Register packages for migrations that do not do it themselves."""

    def configure_models(self) -> None:
        """Register or scan the application's own models."""

    def include_addons(self) -> None:
        """Include the add-ons, each by ``self.config.include``."""

    def configure_routes(self) -> None:
        """Add the application's routes."""

    def configure_views(self) -> None:
        """Add or scan the application's views."""

    def make_wsgi_app(self) -> Router:
        """Return the WSGI application."""
        return self.config.make_wsgi_app()
