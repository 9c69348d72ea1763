"""A package of an older Websauna, whose scripts and ``env.py`` import what is gone."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import sqlalchemy as sa

from projects import Project
from runs import engine_of, tables
from websauna_migrate.config.template import template_folder

ENV = """
from websauna.system.devop.alembic import run_alembic

run_alembic(package="fooapp")
"""

#: As the older Websauna's template wrote them: the names first, the imports behind them.
FIRST = '''"""Initial migration.

Revision ID: 1a2b3c
Revises:
Create Date: 2016-10-11 12:13:14.151617

"""

# revision identifiers, used by Alembic.
revision = '1a2b3c'
down_revision = None
branch_labels = None
depends_on = None

import datetime
import websauna.system.model.columns
from sqlalchemy.types import Text  # Needed from proper creation of JSON fields
from sqlalchemy.dialects import postgresql

from alembic import op
import sqlalchemy as sa


def upgrade():
    op.create_table('event',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('created_at', websauna.system.model.columns.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_event'))
    )


def downgrade():
    op.drop_table('event')
'''

SECOND = '''"""Titles.

Revision ID: 4d5e6f
Revises: 1a2b3c
Create Date: 2017-01-02 03:04:05.060708

"""
revision = '4d5e6f'
down_revision = '1a2b3c'
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa
from websauna.utils.time import now


def upgrade():
    op.add_column('event', sa.Column('title', sa.String(40)))
    now()


def downgrade():
    op.drop_column('event', 'title')
'''


@pytest.fixture
def old(make_project: Any, transactional_database_url: str) -> Project:
    """A project whose ``alembic`` folder is beside ``setup.py``, as it was there."""
    project: Project = make_project(transactional_database_url)
    (project.root / "setup.py").write_text("")
    folder = project.root / "alembic"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    shutil.copy(template_folder() / "script.py.mako", folder)
    (folder / "versions" / "1a2b3c_initial_migration.py").write_text(FIRST)
    (folder / "versions" / "4d5e6f_titles.py").write_text(SECOND)
    project.models(
        """
        class Event(Base):
            __tablename__ = "event"
            __table_args__ = (sa.PrimaryKeyConstraint("id", name="pk_event"),)
            id: Mapped[int] = mapped_column()
            created_at = mapped_column(sa.DateTime(timezone=True))
            title = mapped_column(String(40))
        """
    )
    return project


def test_what_only_reads_imports_nothing(old: Project) -> None:
    with engine_of(old.url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_history_fooapp VALUES ('1a2b3c')"))
    assert "1a2b3c -> 4d5e6f (head), Titles." in old.ws("history").stdout
    assert old.ws("heads").stdout == "4d5e6f (head)\n"
    assert old.ws("current").stdout == "1a2b3c\n"
    assert "4d5e6f" in old.ws("plan").stdout
    assert "4d5e6f" in old.ws("status", "--fail-on", "never").stdout


def test_a_run_says_what_to_write(old: Project) -> None:
    """The remedies are followed to the end."""
    folder = old.root / "alembic"
    first, second = sorted((folder / "versions").glob("*.py"))

    def edit(path: Any, *changes: tuple[str, str]) -> None:
        text = path.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)

    said = old.ws("upgrade", ok=False).stderr
    assert '1a2b3c_initial_migration.py" of package "fooapp" cannot be read' in said
    assert "for UTCDateTime() sa.DateTime(timezone=True)" in said
    edit(
        first,
        ("import websauna.system.model.columns\n", ""),
        ("websauna.system.model.columns.UTCDateTime()", "sa.DateTime(timezone=True)"),
    )
    said = old.ws("upgrade", ok=False).stderr
    assert "4d5e6f_titles.py" in said and "write what they did" in said
    edit(second, ("from websauna.utils.time import now\n", ""), ("    now()\n", ""))
    said = old.ws("upgrade", ok=False).stderr
    assert 'The env.py of package "fooapp"' in said and "line 2" in said
    assert "from websauna_migrate.environment import run_migrations; run_migrations()" in said
    assert "event" not in tables(old.url)
    (folder / "env.py").write_text(
        "from websauna_migrate.environment import run_migrations; run_migrations()\n"
    )
    old.ws("upgrade")
    assert "event" in tables(old.url)
    old.ws("check")
    old.ws("downgrade", "base")
    assert "event" not in tables(old.url)


def test_adopt_records_what_ws_sync_db_made(old: Project) -> None:
    """The database is compared as the new ``env.py`` has it: the old one cannot run."""
    columns = [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True)),
        sa.Column("title", sa.String(40)),
    ]
    made = sa.Table("event", sa.MetaData(naming_convention={"pk": "pk_%(table_name)s"}), *columns)
    with engine_of(old.url).begin() as connection:
        made.create(connection)
    shown = old.ws("adopt", "--dry-run").stdout
    assert "fooapp: its tables equal the models, so it is at 4d5e6f" in shown
    old.ws("adopt", "--yes")
    assert old.ws("current").stdout == "4d5e6f (head)\n"
