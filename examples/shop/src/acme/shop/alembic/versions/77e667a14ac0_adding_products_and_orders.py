"""Adding products and orders

Revision ID: 77e667a14ac0
Revises:
Create Date: 2026-03-09 13:25:40.087264

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = "77e667a14ac0"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
requires: tuple[str, ...] = ("acme.user@b6d38663027e",)


def upgrade() -> None:
    """Upgrade schema."""
    op.create_table(
        "products",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sku", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("sku", name=op.f("uq_products_sku")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("new", "paid", "shipped", name="order_status", length=16),
            nullable=False,
        ),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_orders_product_id_products")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_orders_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders") as batch_op:
        batch_op.create_index(batch_op.f("ix_orders_placed_at"), ["placed_at"], unique=False)


def downgrade() -> None:
    """Downgrade schema."""
    op.drop_table("orders")
    op.drop_table("products")
    # Only PostgreSQL keeps an enum type when the last column of that type is gone.
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TYPE order_status")
