"""Products and orders, for any Pyramid application: ``config.include("acme.shop")``."""

from decimal import Decimal

from pyramid.config import Configurator
from pyramid.request import Request

from acme.shop.models import Base


def price_label(request: Request, price: Decimal) -> str:
    """Return how a price is shown, with its currency."""
    return f"{price} {request.registry.settings.get('acme.shop.currency', 'EUR')}"


def includeme(config: Configurator) -> None:
    """Register the models for migrations, and ``request.price_label(price)``.

    Setting ``acme.shop.currency``: what all prices are in, default ``EUR``.
    """
    config.include("acme.user")
    config.add_request_method(price_label)
    # The package's name is the one whose includeme is running: acme.shop.
    config.add_migration_package(metadata=Base)
