"""Naming users by their email address

Revision ID: 095d8def3d22
Revises: b6d38663027e
Create Date: 2026-04-20 16:02:09.331870

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = "095d8def3d22"
down_revision: str | Sequence[str] | None = "b6d38663027e"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
requires: tuple[str, ...] = ()


def upgrade() -> None:
    """Upgrade schema."""
    with op.batch_alter_table("users") as batch_op:
        batch_op.add_column(
            sa.Column(
                "display_name", sa.String(length=254), server_default="Somebody", nullable=False
            )
        )

    # The table as it is now. Not the model: that may be older or newer than this script.
    users = sa.table("users", sa.column("email"), sa.column("display_name"))
    op.execute(users.update().values(display_name=users.c.email))


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("users") as batch_op:
        batch_op.drop_column("display_name")
