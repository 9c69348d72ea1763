"""Where the how-to pages are typed: the example application, and three small ones beside it.

``team`` has the packages ``aaa`` and ``zzz`` with scripts alone, ``pair`` two packages of the same
names with models that refer to each other and no script, ``third`` an add-on that knows nothing of
migrations.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent, indent

__all__ = ["make_example", "paths_of"]

REPOSITORY = Path(__file__).parent.parent

INI = """\
[app:main]
use = call:{name}:main
sqlalchemy.url = sqlite:///%(here)s/{name}.sqlite
"""

MAIN = """\
from importlib.util import find_spec

from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    for name in ("aaa", "zzz"):
        if find_spec(name):
            config.include(name)
    return config.make_wsgi_app()
"""

INCLUDED = """\
def includeme(config):
    config.add_migration_package({metadata})
"""

THIRD = """\
from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("addon")
    config.add_migration_package("addon", metadata="addon.models.Base")
    return config.make_wsgi_app()
"""

MODEL = """\
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "{table}"

    id: Mapped[int] = mapped_column(primary_key=True)
    other_id: Mapped[int | None] = mapped_column(ForeignKey("{other}.id"))
"""

SCRIPT = '''\
"""{message}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}
{more}

def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''

#: Package, revision, parent, message, what else it says, upgrade and downgrade.
SCRIPTS = (
    (
        *("aaa", "a1", None, "Users", ""),
        'op.create_table("users", sa.Column("id", sa.Integer), sa.Column("nick", sa.String(40)))',
        'op.drop_table("users")',
    ),
    (
        *("aaa", "a2", "a1", "Drop nicks", ""),
        'op.drop_column("users", "nick")',
        'op.add_column("users", sa.Column("nick", sa.String(40)))',
    ),
    (
        *("zzz", "z1", None, "Copy nicks"),
        'requires = ("aaa@a1",)\nwritten_against = {"aaa": "a1"}\n',
        """
        op.create_table("profiles", sa.Column("id", sa.Integer), sa.Column("nick", sa.String(40)))
        op.execute("INSERT INTO profiles SELECT id, nick FROM users")
        """,
        'op.drop_table("profiles")',
    ),
)


def make_example(root: Path) -> None:
    """Make the applications in a folder; no database is made."""
    ignored = shutil.ignore_patterns("__pycache__", "build", ".*_cache")
    shutil.copytree(REPOSITORY / "examples", root / "examples", ignore=ignored)
    for ini in ("development.ini", "production.ini"):
        shutil.copy(REPOSITORY / "development.ini", root / ini)
    for name in ("team", "pair"):
        (root / name / name).mkdir(parents=True)
        (root / name / name / "__init__.py").write_text(MAIN)
        (root / name / "development.ini").write_text(INI.format(name=name))
    third = root / "third"
    for name in ("third", "addon"):
        (third / name).mkdir(parents=True)
    (third / "third" / "__init__.py").write_text(THIRD)
    (third / "addon" / "__init__.py").write_text("def includeme(config):\n    pass\n")
    (third / "addon" / "models.py").write_text(MODEL.format(table="things", other="things"))
    setting = "websauna_migrate.script_location.addon = %(here)s/alembic/addon\n"
    (third / "development.ini").write_text(INI.format(name="third") + setting)
    for package, table, other in (("aaa", "users", "profiles"), ("zzz", "profiles", "users")):
        (root / "team" / package / "alembic" / "versions").mkdir(parents=True)
        (root / "team" / package / "__init__.py").write_text(INCLUDED.format(metadata=""))
        (root / "pair" / package).mkdir()
        (root / "pair" / package / "__init__.py").write_text(
            INCLUDED.format(metadata=f'metadata="{package}.models.Base"')
        )
        model = MODEL.format(table=table, other=other)
        (root / "pair" / package / "models.py").write_text(model)
    for package, revision, down, message, more, upgrade, downgrade in SCRIPTS:
        text = SCRIPT.format(
            message=message,
            revision=revision,
            down=down,
            more=more,
            upgrade=indent(dedent(upgrade).strip(), "    "),
            downgrade=indent(downgrade, "    "),
        )
        name = f"{revision}_{message.lower().replace(' ', '_')}.py"
        (root / "team" / package / "alembic" / "versions" / name).write_text(text)


def paths_of(root: Path) -> list[str]:
    """Return what ``PYTHONPATH`` has there: the current folder, and the example's packages."""
    return [".", *(str(one) for one in sorted((root / "examples").glob("*/src")))]
