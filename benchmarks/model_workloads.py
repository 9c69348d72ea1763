"""Makes applications with many tables, for comparing models with a database: for us and each peer.

Each table has eight columns, one of them numbered by the database, one of an enum type that the
package's tables share, two indexes and one foreign key. Migration scripts made them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from workloads import APP, INI, Workload

__all__ = ["TABLES_PER_SCRIPT", "make_model_workload"]

MAKO = Path(__file__).resolve().parent.parent / "alembic_template" / "script.py.mako"

#: How many tables each revision script creates.
TABLES_PER_SCRIPT = 10

BASE = "import sqlalchemy\n\nmetadata = sqlalchemy.MetaData()\n"

MODELS = """import sqlalchemy as sa
from benchbase import metadata

State = sa.Enum("new", "done", name="{package}_state")
"""

MODEL = """
sa.Table(
    "{table}",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40), nullable=False, index=True),
    sa.Column("state", State),
    sa.Column("amount", sa.Numeric(10, 2), server_default="0"),
    sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now()),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("{parent}.id", name="fk_{table}")),
    sa.Index("ix_{table}_created", "created", "active"),
    info={{"package": "{package}"}},
)
"""

CREATE = """
    op.create_table(
        {table!r},
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("state", STATE, nullable=True),
        sa.Column("amount", sa.Numeric(precision=10, scale=2), server_default="0", nullable=True),
        sa.Column(
            "created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=True
        ),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["{parent}.id"], name="fk_{table}"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_{table}_name"), {table!r}, ["name"], unique=False)
    op.create_index("ix_{table}_created", {table!r}, ["created", "active"], unique=False)
"""

SCRIPT = '''"""Tables of {package}.

Revision ID: {revision}
Revises: {parent}
Create Date: 2024-01-01 12:00:00

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


# revision identifiers, used by Alembic.
revision: str = {revision!r}
down_revision: Union[str, Sequence[str], None] = {parent!r}
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None

STATE = postgresql.ENUM("new", "done", name="{package}_state", create_type=False)


def upgrade() -> None:
    """Upgrade schema."""
{upgrade}

def downgrade() -> None:
    """Downgrade schema."""
{downgrade}
'''

CREATE_TYPE = (
    '    sa.Enum("new", "done", name="{package}_state").create(op.get_bind(), checkfirst=False)\n'
)

BARE_APP = """import importlib
import sqlalchemy.orm
from pyramid.config import Configurator


def main(global_config, **settings):
    for name in {packages!r}:
        importlib.import_module(name + ".models")
    return Configurator(settings=settings).make_wsgi_app()
"""

#: An env.py that compares one package's tables as Alembic's documentation advises.
PLAIN_ENV = """import importlib, json, os
from sqlalchemy import engine_from_config, pool
from alembic import context

config = context.config
here = os.path.dirname(config.config_file_name)
for package in json.load(open(os.path.join(here, "packages.json"))):
    importlib.import_module(package + ".models")
from benchbase import metadata

PACKAGE = {package!r}


def include_name(name, type_, parent_names):
    return type_ != "table" or name.startswith(PACKAGE + "_t")


def include_object(object, name, type_, reflected, compare_to):
    return type_ != "table" or name.startswith(PACKAGE + "_t")


connectable = engine_from_config(
    config.get_section(config.config_ini_section, {{}}),
    prefix="sqlalchemy.", poolclass=pool.NullPool,
)
with connectable.connect() as connection:
    context.configure(
        connection=connection, target_metadata=metadata, version_table={history!r},
        include_name=include_name, include_object=include_object,
        compare_type=True, compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
"""

PLAIN_INI = """[alembic]
script_location = %(here)s/{package}
version_locations = {versions}
path_separator = os
prepend_sys_path = {root}
sqlalchemy.url = {url}
"""


@dataclass(frozen=True)
class Package:
    """One package of a workload, with its tables."""

    name: str
    tables: int
    before: str | None

    def table(self, number: int) -> str:
        return f"{self.name}_t{number}"

    def parent(self, number: int) -> str:
        """Return the table that a foreign key points at; the first points into another package."""
        if number:
            return self.table(number - 1)
        return f"{self.before or self.name}_t0"

    def models(self) -> str:
        return MODELS.format(package=self.name) + "".join(
            MODEL.format(package=self.name, table=self.table(n), parent=self.parent(n))
            for n in range(self.tables)
        )

    def scripts(self, work: Workload) -> dict[str, str]:
        """Return the revision scripts by revision."""
        found: dict[str, str] = {}
        for first in range(0, self.tables, TABLES_PER_SCRIPT):
            numbers = range(first, min(first + TABLES_PER_SCRIPT, self.tables))
            number = first // TABLES_PER_SCRIPT
            upgrade = CREATE_TYPE.format(package=self.name) if not number else ""
            upgrade += "".join(
                CREATE.format(table=self.table(n), parent=self.parent(n)) for n in numbers
            )
            revision = work.revision_id(self.name, number)
            source = SCRIPT.format(
                package=self.name,
                revision=revision,
                parent=work.revision_id(self.name, number - 1) if number else None,
                upgrade=upgrade,
                downgrade="".join(f"    op.drop_table({self.table(n)!r})\n" for n in numbers),
            )
            if not number and self.before:
                required = f"{self.before}@{work.revision_id(self.before, 0)}"
                source = source.replace("depends_on:", f"requires = ({required!r},)\ndepends_on:")
            found[revision] = source
        return found


def make_model_workload(root: Path, url: str, *, packages: int, tables: int) -> Workload:
    """Write the packages; the database is filled by ``ws-alembic upgrade``.

    :param tables: in each package
    """
    if root.exists():
        shutil.rmtree(root)
    names = tuple(f"pkg{number:02}" for number in range(packages))
    work = Workload(root, names, -(-tables // TABLES_PER_SCRIPT), url)
    plain = root / "plain"
    plain.mkdir(parents=True)
    (plain / "packages.json").write_text(json.dumps(names))
    (root / "benchbase.py").write_text(BASE)
    escaped = url.replace("%", "%%")
    for number, name in enumerate(names):
        package = Package(name, tables, names[number - 1] if number else None)
        versions = root / name / "alembic" / "versions"
        versions.mkdir(parents=True)
        (root / name / "__init__.py").write_text(
            "def includeme(config):\n"
            f"    config.add_migration_package(metadata='{name}.models.metadata')\n"
        )
        (root / name / "models.py").write_text(package.models())
        shutil.copy(MAKO, root / name / "alembic")
        (root / name / "alembic" / "env.py").write_text(
            "from websauna_migrate.environment import run_migrations\n\nrun_migrations()\n"
        )
        for revision, source in package.scripts(work).items():
            (versions / f"{revision}_tables.py").write_text(source)
        (plain / name).mkdir()
        history = f"alembic_history_{name}"
        (plain / name / "env.py").write_text(PLAIN_ENV.format(package=name, history=history))
        (plain / f"{name}.ini").write_text(
            PLAIN_INI.format(package=name, versions=versions, root=root, url=escaped)
        )
    for app, source in (("benchapp", APP), ("bareapp", BARE_APP)):
        (root / app).mkdir()
        (root / app / "__init__.py").write_text(source.format(packages=names))
    (root / "app.ini").write_text(INI.format(app="benchapp", url=escaped))
    (root / "bare.ini").write_text(INI.format(app="bareapp", url=escaped))
    return work
