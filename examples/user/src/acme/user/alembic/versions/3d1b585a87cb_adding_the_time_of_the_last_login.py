"""Adding the time of the last login

Revision ID: 3d1b585a87cb
Revises: 095d8def3d22
Create Date: 2026-07-13 11:40:27.958006

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = "3d1b585a87cb"
down_revision: str | Sequence[str] | None = "095d8def3d22"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
requires: tuple[str, ...] = ()


def upgrade() -> None:
    """Upgrade schema."""
    with op.batch_alter_table("users") as batch_op:
        batch_op.add_column(sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("users") as batch_op:
        batch_op.drop_column("last_login_at")
