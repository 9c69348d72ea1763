"""Adding the last day of an offer

Revision ID: e490215501e6
Revises: 81ad623da159
Create Date: 2026-06-01 08:45:02.776345

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = "e490215501e6"
down_revision: str | Sequence[str] | None = "81ad623da159"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
requires: tuple[str, ...] = ()


def upgrade() -> None:
    """Upgrade schema."""
    with op.batch_alter_table("offers") as batch_op:
        batch_op.add_column(sa.Column("ends_on", sa.Date(), nullable=True))
        batch_op.create_index(batch_op.f("ix_offers_ends_on"), ["ends_on"], unique=False)


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("offers") as batch_op:
        batch_op.drop_index(batch_op.f("ix_offers_ends_on"))
        batch_op.drop_column("ends_on")
