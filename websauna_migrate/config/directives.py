"""What a package calls to register itself, and what add-ons find in a Pyramid configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import venusian
from pyramid.config import PHASE1_CONFIG, PHASE2_CONFIG
from pyramid.exceptions import ConfigurationError
from pyramid.util import as_sorted_tuple

from websauna_migrate.config.packages import make_package
from websauna_migrate.config.settings import parse_settings
from websauna_migrate.interfaces import IMigrationService

if TYPE_CHECKING:
    from pyramid.config import Configurator
    from pyramid.registry import Registry

T = TypeVar("T", bound=type)

#: The venusian category that ``config.scan()`` looks for.
CATEGORY = "pyramid"


def set_migration_service(config: Configurator, service: object) -> None:
    """Register the migration service.

    ``config.include("websauna_migrate")`` does it with the default one; an application that calls
    this directive itself replaces it.

    :param service: an object that provides :class:`.IMigrationService`
    :raises ConfigurationError: if it does not
    """
    if not IMigrationService.providedBy(service):
        raise ConfigurationError(
            f"set_migration_service() was given {service!r}, which does not provide "
            "IMigrationService. Subclass websauna_migrate.service.MigrationService, or declare "
            "the interface with @implementer."
        )

    def register() -> None:
        config.registry.registerUtility(service, IMigrationService)

    introspectable = config.introspectable(
        "migration service", "service", config.object_description(service), "migration service"
    )
    config.action(
        IMigrationService, register, introspectables=(introspectable,), order=PHASE1_CONFIG
    )


def add_migration_package(
    config: Configurator,
    name: str | None = None,
    *,
    metadata: object = None,
    script_location: str | None = None,
    depends_on: str | Sequence[str] = (),
    version_table: str | None = None,
) -> None:
    """Register a package for migrations.

    :param name: dotted name; default: the package whose ``includeme`` is running
    :param metadata: a ``MetaData``, a declarative base, a sequence of them, or a dotted name of
        one; left out for a package that has scripts only
    :param script_location: an asset spec (``fooapp:alembic``) or a path; a relative path starts at
        the package's own folder. Default: ``alembic/`` inside the package, else beside its
        ``setup.py`` or ``pyproject.toml``. The setting ``websauna_migrate.script_location.NAME``
        wins.
    :param depends_on: packages (``fooapp``) or their revisions (``fooapp@37e1cb6de47``) that have
        to be there before the package's first revision
    :param version_table: name of the history table, where the default will not do
    :raises ConfigurationError: for a name that is no package, and for arguments of a wrong kind
    """
    if name is None:
        name = config.package.__name__
    place = describe_place(config)
    # A name that begins with a dot is relative to the including package.
    relative = isinstance(metadata, str) and metadata.startswith(".")
    package = make_package(
        config.maybe_dotted(name) if not isinstance(name, str) else name,
        parse_settings(config.registry.settings or {}),
        metadata=config.maybe_dotted(metadata) if relative else metadata,
        script_location=script_location,
        depends_on=depends_on,
        version_table=version_table,
        place=place,
    )

    def register() -> None:
        service = config.registry.queryUtility(IMigrationService)
        if service is None:
            raise ConfigurationError(
                f'Package "{name}" is registered for migrations in {place}, but there is no '
                'migration service. Call config.include("websauna_migrate").'
            )
        service.add_package(package)

    introspectable = config.introspectable(
        "migration packages", package.name, package.name, "migration package"
    )
    introspectable["history_table"] = package.history_table
    introspectable["script_directory"] = str(package.script_directory)
    introspectable["depends_on"] = package.depends_on
    config.action(
        (IMigrationService, package.name),
        register,
        introspectables=(introspectable,),
        order=PHASE2_CONFIG,
    )


def describe_place(config: Configurator) -> str:
    """Return the file and line whose call is being executed, for messages."""
    info = config.action_info
    file, line = getattr(info, "file", None), getattr(info, "line", None)
    return f"{file}, line {line}" if file else "the application's configuration"


def migration_package(
    name: str | None = None,
    *,
    metadata: object = None,
    script_location: str | None = None,
    depends_on: str | Sequence[str] = (),
    version_table: str | None = None,
) -> Callable[[T], T]:
    """Register a package by decorating its declarative base; ``config.scan()`` finds it.

    The parameters are those of :func:`add_migration_package`; ``metadata`` defaults to the
    decorated class's own. ``name`` defaults to the package that is being scanned if the class is
    inside it, else to the package that contains the class's module::

        @migration_package()
        class Base(DeclarativeBase):
            pass
    """

    def decorate(cls: T) -> T:
        def callback(context: Any, _: str, ob: Any) -> None:
            config = context.config.with_package(info.module)
            scanned = context.config.package.__name__
            module = info.module.__name__
            inside = module == scanned or module.startswith(scanned + ".")
            config.add_migration_package(
                name or (scanned if inside else config.package.__name__),
                metadata=ob if metadata is None else metadata,
                script_location=script_location,
                depends_on=depends_on,
                version_table=version_table,
            )

        info = venusian.attach(cls, callback, category=CATEGORY)
        return cls

    return decorate


def add_event_predicates(config: Configurator) -> None:
    """Let subscribers be registered for the events of a package, or of a direction."""
    config.add_subscriber_predicate("migration_package", MigrationPackagePredicate)
    config.add_subscriber_predicate("migration_direction", MigrationDirectionPredicate)


class MigrationPackagePredicate:
    """True for events of a package, or of one of several: ``migration_package="fooapp"``.

    An event of a run is of all packages that its plan touches.
    """

    def __init__(self, value: object, config: Configurator) -> None:
        self.packages = as_sorted_tuple(value)

    def text(self) -> str:
        """Return the words that Pyramid shows."""
        return f"migration_package = {', '.join(self.packages)}"

    phash = text

    def __call__(self, event: object) -> bool:
        """Tell if an event is of one of the packages."""
        package = getattr(event, "package", None)
        packages = getattr(event, "packages", ()) if package is None else (package,)
        return not set(self.packages).isdisjoint(packages)


class MigrationDirectionPredicate:
    """True for events of one direction: ``migration_direction="upgrade"``."""

    def __init__(self, value: object, config: Configurator) -> None:
        if value not in ("upgrade", "downgrade"):
            raise ConfigurationError(
                f'The subscriber predicate "migration_direction" is {value!r}: write "upgrade" '
                'or "downgrade".'
            )
        self.direction = value

    def text(self) -> str:
        """Return the words that Pyramid shows."""
        return f"migration_direction = {self.direction}"

    phash = text

    def __call__(self, event: object) -> bool:
        """Tell if an event is of the direction."""
        return bool(getattr(event, "direction", None) == self.direction)


#: Behind all other actions, so that it does not matter what was included first; Pyramid's own end
#: at 0.
LAST = 1_000


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
