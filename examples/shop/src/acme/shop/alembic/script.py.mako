<%
    requires = context.get("requires", ())
    written_against = context.get("written_against", {})
%>\
"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
% if imports:
${imports}
% endif

# "requires" is for websauna_migrate: revisions of other packages, "package@revision"
# each, that must be applied before this one.
revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}
requires: tuple[str, ...] = ${repr(requires)}
% if written_against:
# Where those packages stood when this was written: it runs before what came later.
written_against: dict[str, str | tuple[str, ...]] = ${repr(written_against)}
% endif


def upgrade() -> None:
    """Upgrade schema."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Downgrade schema."""
    ${downgrades if downgrades else "pass"}
