"""Makes what the benchmarks work on: packages with revision scripts, for us and for each peer.

All peers get the same tables by the same statements. A workload is a folder of its own, with
``app.ini`` for ``ws-alembic``, ``plain/*.ini`` for Alembic alone, and one Django project.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Workload", "make_workload"]

SCRIPT = '''"""Change {number} of {package}.

Revision ID: {revision}
Revises: {parents}
Create Date: 2024-01-01 12:00:00

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = {revision!r}
down_revision: Union[str, Sequence[str], None] = {down!r}
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    """Upgrade schema."""
    {upgrade}


def downgrade() -> None:
    """Downgrade schema."""
    {downgrade}
'''

PLAIN_ENV = """from sqlalchemy import engine_from_config, pool
from alembic import context

config = context.config


def run_migrations_online():
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {{}}),
        prefix="sqlalchemy.", poolclass=pool.NullPool,
    )
    with connectable.connect() as connection:
        context.configure(
            connection=connection, target_metadata=None, version_table={table!r},
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations_online()
"""

PLAIN_INI = """[alembic]
script_location = %(here)s/{package}
version_locations = {versions}
path_separator = os
sqlalchemy.url = {url}
"""

APP = """from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    for name in {packages!r}:
        config.include(name)
    return config.make_wsgi_app()
"""

BARE_APP = """import sqlalchemy.orm
from pyramid.config import Configurator


def main(global_config, **settings):
    return Configurator(settings=settings).make_wsgi_app()
"""

INI = """[app:main]
use = call:{app}:main
sqlalchemy.url = {url}
"""


@dataclass(frozen=True)
class Workload:
    """A folder with packages.

    :ivar root: to be on ``sys.path``; holds ``app.ini``
    :ivar packages: names, sorted
    :ivar revisions: of each package, ids in the order of the chain
    """

    root: Path
    packages: tuple[str, ...]
    revisions: int
    url: str

    def revision_id(self, package: str, number: int) -> str:
        return f"{self.packages.index(package):04x}{number:08x}"

    def heads(self) -> dict[str, str]:
        return {name: self.revision_id(name, self.revisions - 1) for name in self.packages}

    def statements(self, package: str) -> Iterator[tuple[str, str]]:
        """Yield revision ids with the statement that each one is."""
        for number in range(self.revisions):
            yield self.revision_id(package, number), statement(package, number)


def statement(package: str, number: int) -> str:
    table = f"{package}_t{number // 3}"
    if number % 3 == 0:
        return (
            f"CREATE TABLE {table} (id INTEGER NOT NULL, name VARCHAR(40), "
            f"CONSTRAINT pk_{table} PRIMARY KEY (id))"
        )
    if number % 3 == 1:
        return f"ALTER TABLE {table} ADD COLUMN size INTEGER"
    return f"CREATE INDEX ix_{table} ON {table} (name)"


def operation(package: str, number: int) -> tuple[str, str]:
    table = f"{package}_t{number // 3}"
    if number % 3 == 0:
        return (
            f"op.create_table({table!r}, "
            "sa.Column('id', sa.Integer(), nullable=False, autoincrement=False), "
            "sa.Column('name', sa.String(40)), "
            f"sa.PrimaryKeyConstraint('id', name='pk_{table}'))",
            f"op.drop_table({table!r})",
        )
    if number % 3 == 1:
        return (
            f"op.add_column({table!r}, sa.Column('size', sa.Integer()))",
            f"op.drop_column({table!r}, 'size')",
        )
    return f"op.create_index('ix_{table}', {table!r}, ['name'])", f"op.drop_index('ix_{table}')"


def parents_of(number: int, shape: str) -> tuple[int, ...]:
    """Return the parents: a chain, or a row of two branches that meet and part again."""
    if number == 0:
        return ()
    if shape == "chain":
        return (number - 1,)
    # base, left, right, merge, left, right, merge ...
    place = (number - 1) % 3
    if place == 0:
        return (number - 1,)
    return (number - 2,) if place == 1 else (number - 2, number - 1)


def make_workload(
    root: Path, url: str, *, packages: int, revisions: int, shape: str = "chain"
) -> Workload:
    """Write the packages.

    :param shape: ``chain``, or ``merged`` for branches that are merged all the time
    """
    if root.exists():
        shutil.rmtree(root)
    names = tuple(f"pkg{number:02}" for number in range(packages))
    work = Workload(root, names, revisions, url)
    plain = root / "plain"
    plain.mkdir(parents=True)
    for name in names:
        folder = root / name
        versions = folder / "alembic" / "versions"
        versions.mkdir(parents=True)
        (folder / "__init__.py").write_text(
            "def includeme(config):\n    config.add_migration_package()\n"
        )
        (folder / "alembic" / "env.py").write_text(
            "from websauna_migrate.environment import run_migrations\n\nrun_migrations()\n"
        )
        for number in range(revisions):
            upgrade, downgrade = operation(name, number)
            parents = tuple(work.revision_id(name, n) for n in parents_of(number, shape))
            down = parents if len(parents) > 1 else (parents[0] if parents else None)
            revision = work.revision_id(name, number)
            (versions / f"{revision}_change_{number}.py").write_text(
                SCRIPT.format(
                    number=number,
                    package=name,
                    revision=revision,
                    parents=", ".join(parents),
                    down=down,
                    upgrade=upgrade,
                    downgrade=downgrade,
                )
            )
        (plain / name).mkdir()
        (plain / name / "env.py").write_text(PLAIN_ENV.format(table=f"alembic_history_{name}"))
        (plain / f"{name}.ini").write_text(
            PLAIN_INI.format(package=name, versions=versions, url=url.replace("%", "%%"))
        )
    (root / "benchapp").mkdir()
    (root / "benchapp" / "__init__.py").write_text(APP.format(packages=names))
    (root / "bareapp").mkdir()
    (root / "bareapp" / "__init__.py").write_text(BARE_APP)
    escaped = url.replace("%", "%%")
    (root / "app.ini").write_text(INI.format(app="benchapp", url=escaped))
    (root / "bare.ini").write_text(INI.format(app="bareapp", url=escaped))
    return work
