"""The application's own models."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from acme.shop.models import Product
from acme.shop.money import Money
from acme.user.models import Base, User


class Offer(Base):
    """A product at a special price, until a certain day."""

    __tablename__ = "offers"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(120))
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    price: Mapped[Decimal] = mapped_column(Money)
    #: The last day of the offer, ``None`` for one without an end.
    ends_on: Mapped[date | None] = mapped_column(index=True)

    product: Mapped[Product] = relationship()
    author: Mapped[User] = relationship()
