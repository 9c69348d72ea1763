"""What the shop sells, and what was ordered."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from acme.shop.money import Money
from acme.user.models import Base, User


class Product(Base):
    """Something that is for sale."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(sa.String(32), unique=True)
    name: Mapped[str] = mapped_column(sa.String(120))
    price: Mapped[Decimal] = mapped_column(Money)


class OrderStatus(Enum):
    """How far an order has got; the values are what the database holds."""

    NEW = "new"
    PAID = "paid"
    SHIPPED = "shipped"
    REFUNDED = "refunded"


class Order(Base):
    """A product ordered by a user."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"))
    quantity: Mapped[int]
    total: Mapped[Decimal] = mapped_column(Money)
    status: Mapped[OrderStatus] = mapped_column(
        sa.Enum(
            OrderStatus,
            name="order_status",
            length=16,  # room for more where the database has no enum type
            values_callable=lambda statuses: [status.value for status in statuses],
        ),
        default=OrderStatus.NEW,
    )
    placed_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), index=True)

    user: Mapped[User] = relationship()
    product: Mapped[Product] = relationship()
