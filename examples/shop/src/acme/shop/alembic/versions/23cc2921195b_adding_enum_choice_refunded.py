"""Adding enum choice refunded

Revision ID: 23cc2921195b
Revises: 77e667a14ac0
Create Date: 2026-05-18 10:51:33.240916

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = "23cc2921195b"
down_revision: str | Sequence[str] | None = "77e667a14ac0"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
requires: tuple[str, ...] = ()

OLD = ("new", "paid", "shipped")
NEW = (*OLD, "refunded")


def upgrade() -> None:
    """Upgrade schema."""
    dialect = op.get_context().dialect.name
    if dialect == "postgresql":
        op.execute("ALTER TYPE order_status ADD VALUE IF NOT EXISTS 'refunded'")
    elif dialect in ("mysql", "mariadb"):
        op.alter_column(
            "orders",
            "status",
            existing_type=sa.Enum(*OLD, name="order_status"),
            type_=sa.Enum(*NEW, name="order_status"),
            existing_nullable=False,
        )
    # Elsewhere the column is a VARCHAR(16), which takes any choice.


def downgrade() -> None:
    """Downgrade schema."""
    op.execute("UPDATE orders SET status = 'paid' WHERE status = 'refunded'")

    dialect = op.get_context().dialect.name
    if dialect == "postgresql":
        # PostgreSQL can add a choice to a type but not take one away.
        op.execute("ALTER TYPE order_status RENAME TO order_status_old")
        op.execute("CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped')")
        op.execute(
            "ALTER TABLE orders ALTER COLUMN status TYPE order_status"
            " USING status::text::order_status"
        )
        op.execute("DROP TYPE order_status_old")
    elif dialect in ("mysql", "mariadb"):
        op.alter_column(
            "orders",
            "status",
            existing_type=sa.Enum(*NEW, name="order_status"),
            type_=sa.Enum(*OLD, name="order_status"),
            existing_nullable=False,
        )
