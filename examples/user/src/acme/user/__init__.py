"""Users and groups, for any Pyramid application: ``config.include("acme.user")``."""

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.settings import asbool

from acme.user.models import User


def user_label(request: Request, user: User) -> str:
    """Return how a user is shown to others."""
    if asbool(request.registry.settings.get("acme.user.show_email", False)):
        return f"{user.display_name} <{user.email}>"
    return user.display_name


def includeme(config: Configurator) -> None:
    """Register the models for migrations, and ``request.user_label(user)``.

    Setting ``acme.user.show_email``: whether users see each other's email address, default false.
    """
    config.add_request_method(user_label)
    # Finds the decorator @migration_package on the models' base class.
    config.scan("acme.user.models")
