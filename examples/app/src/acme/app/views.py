"""The application's only page."""

from __future__ import annotations

from datetime import date
from typing import Any

from pyramid.request import Request
from pyramid.view import view_config
from sqlalchemy import or_, select

from acme.app.models import Offer


@view_config(route_name="offers", renderer="json")
def list_offers(request: Request) -> dict[str, Any]:
    """List the offers that have not ended."""
    current = or_(Offer.ends_on.is_(None), Offer.ends_on >= date.today())
    offers = request.dbsession.scalars(select(Offer).where(current).order_by(Offer.title))
    return {
        "offers": [
            {
                "title": offer.title,
                "product": offer.product.name,
                "price": request.price_label(offer.price),
                "author": request.user_label(offer.author),
            }
            for offer in offers
        ]
    }
