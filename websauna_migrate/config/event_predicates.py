"""The subscriber predicates ``migration_package`` and ``migration_direction``."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.util import as_sorted_tuple

__all__ = ["MigrationDirectionPredicate", "MigrationPackagePredicate", "add_event_predicates"]


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
