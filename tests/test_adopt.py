"""Existing projects are taken over: each begins broken, and is mended through the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from alembic.config import Config
from alembic.util import CommandError

from apps import Workshop
from runs import engine_of, execute, ledger, rows, tables

MODELS = """
from typing import Optional
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "pages"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(40))
"""

#: Alembic's template, with the application's metadata.
PLAIN = """
from logging.config import fileConfig
from sqlalchemy import engine_from_config, pool
from alembic import context
from fooapp.models import Base

config = context.config
target_metadata = Base.metadata


def run_migrations_offline():
    url = config.get_main_option("sqlalchemy.url")
    context.configure(
        url=url,
        target_metadata=target_metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""

#: That of the Pyramid cookiecutter with SQLAlchemy.
COOKIECUTTER = '''"""Pyramid bootstrap environment. """
from alembic import context
from pyramid.paster import get_appsettings, setup_logging
from sqlalchemy import engine_from_config

from fooapp.models import Base

config = context.config
settings = get_appsettings(config.config_file_name)
target_metadata = Base.metadata


def run_migrations_offline():
    context.configure(url=settings['sqlalchemy.url'])
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    engine = engine_from_config(settings, prefix='sqlalchemy.')
    connection = engine.connect()
    context.configure(
        connection=connection,
        target_metadata=target_metadata
    )
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.close()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
'''

SCRIPT = '''"""{doc}"""
from alembic import op
import sqlalchemy as sa

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade():
    op.create_table("{table}", sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(40), nullable=False), sa.PrimaryKeyConstraint("id"))


def downgrade():
    op.drop_table("{table}")
'''


class Story:
    """An application in a folder of its own, as another tool left it."""

    def __init__(self, workshop: Workshop, url: str) -> None:
        self.workshop, self.root, self.url = workshop, workshop.root, url
        (self.root / "setup.py").touch()
        self.ini = self.root / "development.ini"

    def app(self, name: str = "fooapp", models: str = MODELS, key: str = "sqlalchemy.url") -> Path:
        folder = self.workshop.package(name, models)
        self.workshop.application("fooapp", self.ini, self.url)
        text = self.ini.read_text().replace("sqlalchemy.url", key)
        self.ini.write_text(text + "\n[alembic]\nscript_location = fooapp/alembic\n")
        return folder

    def folder(self, place: str, env: str) -> Path:
        versions = self.root / place / "versions"
        versions.mkdir(parents=True)
        (versions.parent / "env.py").write_text(env)
        return versions

    def script(self, versions: Path, revision: str, down: str | None, table: str) -> None:
        text = SCRIPT.format(doc=revision, revision=revision, down=down, table=table)
        (versions / f"{revision}.py").write_text(text)

    def ws(self, *words: str, ok: bool = True) -> Any:
        done = self.workshop.ws(self.ini, *words)
        assert (done.status == 0) == ok, done
        return done

    def alembic(self, ini: str, command: str, *words: str, ok: bool = True) -> str:
        """Do a command of plain Alembic, with all modules as they are now."""
        self.workshop.forget()
        out = io.StringIO()
        config = Config(str(self.root / ini), stdout=out)
        try:
            getattr(alembic.command, command)(config, *words)
        except CommandError as exc:
            assert not ok, exc
            return str(exc)
        assert ok, out.getvalue()
        return out.getvalue()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }


@pytest.fixture
def story(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, transactional_database_url: str
) -> Story:
    monkeypatch.chdir(workshop.root)
    return Story(workshop, transactional_database_url)


@pytest.fixture
def small_story(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Story:
    """One in which nothing depends on the database."""
    monkeypatch.chdir(workshop.root)
    return Story(workshop, sqlite_url)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_stories_on_mariadb(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, mariadb_url: str, number: int
) -> None:
    monkeypatch.chdir(workshop.root)
    told = [
        test_a_project_of_plain_alembic,
        test_a_project_of_the_cookiecutter,
        test_a_database_of_create_all,
    ]
    told[number](Story(workshop, mariadb_url))


def test_a_project_of_plain_alembic(story: Story) -> None:
    story.app(key="database.url")
    url = story.url.replace("%", "%%")
    (story.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = migrations\nsqlalchemy.url = {url}\n"
    )
    versions = story.folder("migrations", PLAIN)
    story.script(versions, "aa01", None, "pages")
    story.alembic("alembic.ini", "upgrade", "head")
    assert f"ws-alembic -c {story.ini} adopt" in story.ws("upgrade", ok=False).err
    before = story.files()
    shown = story.ws("adopt", "--dry-run").out
    assert "alembic_version becomes alembic_history_fooapp (aa01)" in shown
    assert story.files() == before and "alembic_version" in tables(story.url)
    assert "--yes" in story.ws("adopt", ok=False).err
    done = json.loads(story.ws("adopt", "--yes", "--json").out)
    assert done["done"] and not done["drift"] and not done["problems"]
    assert "alembic_version" not in tables(story.url)
    assert ledger(story.url) == [("fooapp", "aa01", "upgrade", "taken over")]
    assert "aa01" in story.ws("status").out and "taken over" in story.ws("log").out
    story.ws("check")
    # Plain Alembic goes on beside it.
    story.script(versions, "aa02", "aa01", "notes")
    assert story.ws("upgrade").status == 0
    assert "aa02 (head)" in story.alembic("alembic.ini", "current")
    assert "There is nothing" in story.ws("adopt").out
    # And takes its table back.
    story.ws("adopt", "--undo", "--yes")
    (versions / "aa02.py").unlink()
    assert {name: text for name, text in story.files().items() if ".ini" in name} == {
        name: text for name, text in before.items() if ".ini" in name
    }
    assert story.files()["migrations/env.py"] == before["migrations/env.py"]
    assert rows(story.url, "SELECT * FROM alembic_version") == [("aa02",)]
    assert "alembic_history_fooapp" not in tables(story.url)


def test_scripts_that_are_elsewhere_are_told_on_an_empty_database(story: Story) -> None:
    """A new database of a project that is not taken over gets no table, which is said."""
    story.app()
    versions = story.folder("migrations", PLAIN)
    story.script(versions, "aa01", None, "pages")
    said = story.ws("upgrade")
    assert said.out == "Nothing to do: fooapp has no revision yet.\n"
    assert (
        'Package "fooapp" has no script where it is registered, but there are some in ' in said.err
    )
    assert "To take those over: ws-alembic" in said.err and "fooapp adopt" in said.err
    story.ws("adopt", "--yes")
    said = story.ws("upgrade")
    assert "1 step applied" in said.out and "has no script" not in said.err
    assert story.ws("check").out == "No new upgrade operations detected.\n"


@pytest.mark.parametrize("has_folder", [False, True])
def test_scripts_that_the_service_does_not_find_are_told(story: Story, has_folder: bool) -> None:
    """Before it is taken over, a project of plain Alembic is none without anything to do.

    :param has_folder: whether the package has a folder for scripts, without any
    """
    folder = story.app()
    if has_folder:
        (folder / "alembic" / "versions").mkdir(parents=True)
    url = story.url.replace("%", "%%")
    (story.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = migrations\nsqlalchemy.url = {url}\n"
    )
    versions = story.folder("migrations", PLAIN)
    story.script(versions, "aa01", None, "pages")
    story.alembic("alembic.ini", "upgrade", "head")
    for words in (("upgrade",), ("downgrade", "base"), ("stamp", "head"), ("check",)):
        said = story.ws(*words, ok=False)
        assert "-x packages=fooapp adopt" in said.out + said.err, (words, said)
        assert "migrations" in said.out + said.err, (words, said)
    status = story.ws("status", ok=False)
    assert status.status == 2 and "-x packages=fooapp adopt" in status.out
    assert "0 (no script; its revisions are in alembic_version)" in " ".join(status.out.split())
    story.ws("adopt", "--yes")
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"


@pytest.mark.parametrize("word", ["os", "newline", "space", "toml"])
def test_all_folders_of_scripts_that_alembic_is_told_of(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str, word: str
) -> None:
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, sqlite_url)
    story.app()
    if word == "toml":
        (story.root / "alembic.ini").write_text(f"[alembic]\nsqlalchemy.url = {story.url}\n")
        (story.root / "pyproject.toml").write_text(
            '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
            "recursive_version_locations = true\n"
            'version_locations = ["%(here)s/migrations/versions", "more"]\n'
        )
    else:
        between = {"os": ":", "newline": "\n  ", "space": " "}[word]
        (story.root / "alembic.ini").write_text(
            f"[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {story.url}\n"
            f"path_separator = {word}\nrecursive_version_locations = true\n"
            f"version_locations = %(here)s/migrations/versions{between}%(here)s/more\n"
        )
    versions = story.folder("migrations", PLAIN)
    (story.root / "more" / "below").mkdir(parents=True)
    story.script(versions, "aa01", None, "pages")
    story.script(story.root / "more", "aa02", "aa01", "notes")
    story.script(story.root / "more" / "below", "aa03", "aa02", "letters")
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa02')")
    for name in ("pages", "notes"):
        execute(story.url, f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, title VARCHAR(40))")
    before = story.files()
    assert '"aa02"' in story.ws("upgrade", ok=False).err
    shown = story.ws("adopt", "--yes").out
    assert "alembic_version becomes alembic_history_fooapp (aa02)" in shown
    story.ws("upgrade")
    assert rows(story.url, "SELECT * FROM alembic_history_fooapp") == [("aa03",)]
    story.ws("adopt", "--undo", "--yes")
    assert story.files() == before


def test_a_table_stays_that_env_py_names_in_a_way_of_its_own(story: Story) -> None:
    """There is nothing left to write by hand, and plain Alembic goes on beside it."""
    story.app()
    env = PLAIN.replace(
        "connection=connection, target_metadata=target_metadata", "connection=connection, **OPTIONS"
    ).replace("\n\ndef run_migrations_offline", OPTIONS)
    versions = story.folder("fooapp/alembic", env)
    story.script(versions, "aa01", None, "pages")
    execute(story.url, "CREATE TABLE versions (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    execute(story.url, "INSERT INTO versions VALUES ('aa01')")
    execute(story.url, "CREATE TABLE pages (id INTEGER NOT NULL PRIMARY KEY, title VARCHAR(40))")
    before = story.files()
    done = story.ws("adopt", "--yes").out
    assert "fooapp: versions stays because its env.py cannot be told another table" in done
    assert "version_table.fooapp = versions" in done
    assert (versions.parent / "env.py").read_text() == env
    story.script(versions, "aa02", "aa01", "notes")
    story.ws("upgrade")
    assert rows(story.url, "SELECT * FROM versions") == [("aa02",)]
    story.ws("adopt", "--undo", "--yes")
    (versions / "aa02.py").unlink()
    assert story.files() == before


OPTIONS = """
OPTIONS = {"target_metadata": target_metadata, "version_table": "versions"}


def run_migrations_offline"""


def test_scripts_in_another_encoding(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, sqlite_url)
    story.app()
    versions = story.folder("fooapp/alembic", PLAIN)
    story.script(versions, "aa01", None, "pages")
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa01')")
    for path in (versions.parent / "env.py", versions / "aa01.py"):
        text = f"# coding: latin-1\n# Für alle\n{path.read_text()}"
        path.write_bytes(text.encode("latin-1"))
    before = story.files()
    done = story.ws("adopt", "--yes")
    assert "is not in UTF-8, and stays" in done.out
    assert rows(story.url, "SELECT * FROM alembic_version") == [("aa01",)]
    story.ws("plan")
    story.ws("adopt", "--undo", "--yes")
    assert story.files() == before


def test_an_ini_file_without_the_settings_of_the_adoption_is_led_to_them(
    small_story: Story,
) -> None:
    """As a server's may be: its database was taken over by another one."""
    story = small_story
    story.app()
    versions = story.folder("migrations", PLAIN)
    story.script(versions, "aa01", None, "pages")
    before = story.ini.read_text()
    story.ini.write_text(
        f"{before.partition('[alembic]')[0]}websauna_migrate.script_location.fooapp = "
        f"{story.root}/migrations\n"
    )
    story.ws("upgrade")
    story.ini.write_text(before)
    for words in (("upgrade",), ("plan",), ("check",), ("revision", "--autogenerate")):
        said = story.ws(*words, ok=False)
        told = said.out + said.err
        assert '"migrations", where the package is not told to look' in told, told
        assert "adopt" in told and "never committed" not in told
        assert "no script directory" not in told
    story.ws("adopt", "--yes")
    assert "is at its newest revision" in story.ws("upgrade").out
    story.ws("check")


def test_a_project_of_flask_migrate_without_its_environment(small_story: Story) -> None:
    """Its ``alembic.ini`` is beside the scripts, and the metadata an attribute of ``db``."""
    story = small_story
    story.app(models=MODELS + "\n\nclass db:\n    metadata = Base.metadata\n")
    init = story.root / "fooapp" / "__init__.py"
    init.write_text(init.read_text().replace("fooapp.models.Base", "fooapp.models:db.metadata"))
    versions = story.folder("migrations", PLAIN)
    (versions.parent / "script.py.mako").touch()
    (versions.parent / "alembic.ini").write_text("[alembic]\n")
    url = story.url.replace("%", "%%")
    (story.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = migrations\nsqlalchemy.url = {url}\n"
    )
    story.script(versions, "aa01", None, "pages")
    story.alembic("alembic.ini", "upgrade", "head")
    (story.root / "alembic.ini").unlink()
    env = versions.parent / "env.py"
    env.write_text("raise RuntimeError('Working outside of application context.\\n\\nMore.')\n")
    refused = story.ws("adopt", "--yes", ok=False).err
    assert "Flask-Migrate's env.py needs Flask's application. Delete the file: " in refused
    env.unlink()
    shown = story.ws("adopt", "--yes").out
    assert "fooapp: its scripts are in migrations" in shown
    assert "alembic_version becomes alembic_history_fooapp (aa01)" in shown
    assert "aa01" in story.ws("status").out
    story.ws("check")


def test_a_project_of_alembics_template_for_several_databases(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    """Its scripts can only be told by an import, and its env.py reads sections of alembic.ini."""
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, sqlite_url)
    story.app()
    alembic.command.init(Config("alembic.ini"), "migrations", template="multidb")
    env = story.root / "migrations" / "env.py"
    metadata = 'from fooapp.models import Base; target_metadata = {"one": Base.metadata}'
    env.write_text(env.read_text().replace("target_metadata = {}", metadata))
    sections = f"databases = one\n[one]\nsqlalchemy.url = {story.url}\n"
    ini = story.root / "alembic.ini"
    ini.write_text(ini.read_text().replace("databases = engine1, engine2\n", sections))
    story.alembic("alembic.ini", "revision", "first", True)
    story.alembic("alembic.ini", "upgrade", "head")
    assert "-x packages=fooapp adopt" in story.ws("upgrade", ok=False).err
    before = story.files()
    refused = story.ws("adopt", "--yes", ok=False).err
    assert "alembic.ini has [one], [engine1], [engine2], which is not read: copy" in refused
    assert story.files() == before
    told = story.ini.read_text().replace("script_location = fooapp/alembic\n", sections)
    story.ini.write_text(told)
    story.ws("adopt", "--yes")
    story.ws("check")
    (story.root / "fooapp" / "models.py").write_text(MODELS + "    body: Mapped[Optional[int]]\n")
    story.ws("revision", "--autogenerate", "-m", "body")
    story.ws("upgrade")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_version_table_in_a_schema_that_env_py_names(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, postgresql_url: str, elsewhere: bool
) -> None:
    """The setting says it too; where histories are elsewhere already, env.py is changed."""
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, postgresql_url)
    story.app()
    named = "target_metadata=target_metadata, version_table_schema=SCHEMA, version_table=TABLE"
    env = PLAIN.replace("target_metadata=target_metadata", named)
    versions = story.folder("fooapp/alembic", f'SCHEMA, TABLE = "kept", "migrations"\n{env}')
    story.script(versions, "aa01", None, "pages")
    execute(story.url, "CREATE SCHEMA kept")
    url = story.url.replace("%", "%%")
    (story.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = fooapp/alembic\nsqlalchemy.url = {url}\n"
    )
    story.alembic("alembic.ini", "upgrade", "head")
    if elsewhere:
        execute(story.url, "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL)")
    before = story.files()
    place = "" if elsewhere else "kept."
    done = story.ws("adopt", "--yes").out
    assert f"table kept.migrations becomes {place}alembic_history_fooapp (aa01)" in done
    assert ("websauna_migrate.version_table_schema = kept" in done) is not elsewhere
    assert "not known" not in done
    story.ws("check")
    story.script(versions, "aa02", "aa01", "notes")
    story.ws("upgrade")
    assert "aa02 (head)" in story.alembic("alembic.ini", "current")
    assert rows(story.url, f"SELECT * FROM {place}alembic_history_fooapp") == [("aa02",)]
    story.ws("adopt", "--undo", "--yes")
    (versions / "aa02.py").unlink()
    after = {name: text for name, text in story.files().items() if ".adopted" not in name}
    assert after == before
    assert rows(story.url, "SELECT * FROM kept.migrations") == [("aa02",)]


def test_a_project_of_the_cookiecutter(story: Story) -> None:
    folder = story.app()
    versions = story.folder("fooapp/alembic", COOKIECUTTER)
    story.script(versions, "aa01", None, "pages")
    story.alembic("development.ini", "upgrade", "head")
    refused = story.ws("upgrade", ok=False).err
    assert "-x packages=fooapp adopt" in refused and '"alembic_version" has its revision' in refused
    assert "adopt" in story.ws("status", "--fail-on", "never").out
    story.ws("adopt", "-y")
    env = (versions.parent / "env.py").read_text()
    assert "url=settings['sqlalchemy.url'], version_table=\"alembic_history_fooapp\")" in env
    assert "get_appsettings" in env
    story.ws("check")
    # It connects to the application's database, and a scratch database is another one.
    story.ws("check", "--fresh")
    assert "proven by replay" in story.ws("locate").out
    does_more = env.replace(
        "engine.connect()\n", "engine.connect()\n    connection.begin_nested()\n"
    )
    (versions.parent / "env.py").write_text(does_more)
    assert "connects to the database" in story.ws("check", "--fresh", ok=False).out
    (versions.parent / "env.py").write_text(env)
    # The ledger is not in the models; plain Alembic must not propose to drop it.
    assert "No new upgrade operations" in story.alembic("development.ini", "check")
    (folder / "models.py").write_text(MODELS + "    body: Mapped[Optional[int]]\n")
    assert story.alembic("development.ini", "check", ok=False).count("add_column") == 1
    story.ws("revision", "--autogenerate", "-m", "body")
    story.ws("upgrade")
    assert "No new upgrade operations" in story.alembic("development.ini", "check")


def test_a_table_that_is_kept(story: Story) -> None:
    story.app()
    env = PLAIN.replace("with connectable.connect() as connection:\n", SETS)
    versions = story.folder("fooapp/alembic", env)
    story.script(versions, "aa01", None, "pages")
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa01')")
    execute(story.url, "CREATE TABLE pages (id INTEGER NOT NULL PRIMARY KEY)")
    done = story.ws("adopt", "--keep", "--yes")
    assert "websauna_migrate.version_table.fooapp = alembic_version" in done.out
    assert "line 29: SELECT 1 AS tenant: the template would lose it" in done.out
    assert "was there before: " in done.out and "title" in done.out
    assert (versions.parent / "env.py").read_text() == env
    story.script(versions, "aa02", "aa01", "notes")
    story.ws("upgrade")
    assert rows(story.url, "SELECT * FROM alembic_version") == [("aa02",)]
    story.ws("adopt", "--undo", "--yes")
    assert "version_table" not in story.ini.read_text()
    refused = story.ws("adopt", "--replace-env", "--yes", ok=False)
    assert "left to you" in refused.out and "is not replaced" in refused.out


SETS = """with connectable.connect() as connection:
        connection.exec_driver_sql("SELECT 1 AS tenant")
"""

WEBSAUNA = '''"""Events.

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
from websauna.system.model.columns import (
    INET,
    JSONB as JSON_B,
)
from sqlalchemy.types import Text  # Needed from proper creation of JSON fields
from sqlalchemy.dialects import postgresql

from alembic import op
import sqlalchemy as sa


def upgrade():
    op.create_table('event',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('at', websauna.system.model.columns.UTCDateTime(), nullable=True),
    sa.Column('data', JSON_B, nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_event'))
    )


def downgrade():
    op.drop_table('event')
'''

EVENT = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, mapped_column


class Base(DeclarativeBase):
    pass


class Event(Base):
    __tablename__ = "event"
    __table_args__ = (sa.PrimaryKeyConstraint("id", name="pk_event"),)
    id = mapped_column(sa.Integer)
    at = mapped_column(sa.DateTime(timezone=True))
    data = mapped_column(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
"""


def test_a_project_of_an_older_websauna(story: Story) -> None:
    story.app(models=EVENT)
    env = 'from websauna.system.devop.alembic import run_alembic\n\nrun_alembic(package="fooapp")\n'
    versions = story.folder("alembic", env)
    (versions / "1a2b3c_events.py").write_text(WEBSAUNA)
    (versions.parent / "script.py.mako").write_text("import websauna.system.model.columns\n")
    engine = engine_of(story.url)
    json_type = "JSONB" if engine.dialect.name == "postgresql" else "JSON"
    time_type = "TIMESTAMP WITH TIME ZONE" if json_type == "JSONB" else "DATETIME"
    number = "SERIAL" if json_type == "JSONB" else "INTEGER"
    execute(
        story.url,
        f"CREATE TABLE event (id {number} NOT NULL, at {time_type}, data {json_type}, "
        "CONSTRAINT pk_event PRIMARY KEY (id))",
        "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_history_fooapp VALUES ('1a2b3c')",
    )
    assert "run_migrations()" in story.ws("check", ok=False).err
    done = story.ws("adopt", "-y").out
    assert done.count("websauna.system.model.columns is written out") == 2
    assert "env.py: replaced by the template" in done and "was there before" not in done
    story.ws("check")
    assert rows(story.url, "SELECT * FROM alembic_history_fooapp") == [("1a2b3c",)]
    story.ws("downgrade", "base")
    story.ws("upgrade")
    story.ws("check")
    story.ws("adopt", "--undo", "-y")
    assert (versions / "1a2b3c_events.py").read_text() == WEBSAUNA


def test_an_older_websauna_whose_application_has_the_scripts_of_all(story: Story) -> None:
    """As ``ws-alembic -x packages=all`` wrote them: an add-on's tables are the application's."""
    story.app()
    env = 'from websauna.system.devop import alembic\n\nalembic.run_alembic(package="fooapp")'
    versions = story.folder("fooapp/alembic", env)
    for table in ("pages", "notes"):
        before = {"pages": None, "notes": "aa01"}[table]
        story.script(versions, "aa02" if before else "aa01", before, table)
        execute(
            story.url,
            f"CREATE TABLE {table} (id {SERIAL[engine_of(story.url).dialect.name]}, "
            "title VARCHAR(40) NOT NULL, PRIMARY KEY (id))",
        )
    execute(
        story.url,
        "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_history_fooapp VALUES ('aa02')",
    )
    story.workshop.package("addon", MODELS.replace("pages", "notes").replace("Page", "Note"))
    story.workshop.application("fooapp", story.ini, story.url)
    taken_over = "addon: gets the table notes from fooapp, by two scripts"
    assert taken_over in story.ws("adopt", "--dry-run").out
    done = story.ws("adopt", "--yes").out
    assert taken_over in done
    assert 'note: Package "addon" now requires "fooapp", which is the application' in done
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"
    story.ws("-x", "packages=all", "check", "--fresh")


def test_a_database_of_create_all(story: Story) -> None:
    folder = story.app()
    story.workshop.package("addon", MODELS.replace("pages", "notes").replace("Page", "Note"))
    story.workshop.application("fooapp", story.ini, story.url)
    versions = story.root / "addon" / "alembic" / "versions"
    versions.mkdir(parents=True)
    story.script(versions, "bb01", None, "notes")
    for name in ("pages", "notes"):
        execute(
            story.url,
            f"CREATE TABLE {name} (id {SERIAL[engine_of(story.url).dialect.name]}, "
            "title VARCHAR(40) NOT NULL, PRIMARY KEY (id))",
        )
    execute(story.url, "INSERT INTO pages (title) VALUES ('kept')")
    assert "adopt" in story.ws("-x", "packages=all", "upgrade", ok=False).err
    shown = story.ws("adopt", "--dry-run").out
    assert "addon: its tables equal the models, so it is at bb01" in shown
    assert "fooapp: its first script is written" in shown
    assert not (folder / "alembic").exists()
    story.ws("adopt", "--yes")
    (script,) = (folder / "alembic" / "versions").glob("*.py")
    assert "create_table('pages'" in script.read_text()
    story.ws("-x", "packages=all", "check")
    story.ws("-x", "packages=all", "upgrade")
    assert rows(story.url, "SELECT title FROM pages") == [("kept",)]
    story.ws("adopt", "--undo", "--yes")
    assert not [one for one in tables(story.url) if one.startswith("alembic_history")]
    assert not script.exists()
    # The folder that is left says nothing of the tables.
    assert "has no script, and the database has its tables" in story.ws("check", ok=False).out
    assert "fooapp: its first script is written" in story.ws("adopt", "--dry-run").out
    # A column by hand is at no revision, and nothing is taken for what it is not.
    execute(story.url, "ALTER TABLE notes ADD COLUMN byhand INTEGER")
    refused = story.ws("-x", "packages=addon", "adopt", "--yes", ok=False)
    assert "left to you: addon" in refused.out and "byhand" in refused.out
    # Without it, and with a newer script, it is where the scripts made the tables so.
    execute(story.url, "ALTER TABLE notes DROP COLUMN byhand")
    more = 'op.add_column("notes", sa.Column("body", sa.Integer()))'
    story.workshop.script("addon", "bb02", "bb01", more, 'op.drop_column("notes", "body")')
    models = story.root / "addon" / "models.py"
    models.write_text(models.read_text() + "    body: Mapped[Optional[int]]\n")
    done = story.ws("-x", "packages=addon", "adopt", "--yes").out
    assert "-x packages=addon adopt --undo" in done
    assert "addon: located by replay" in done and "so it is at bb01" in done
    story.ws("-x", "packages=addon", "upgrade")
    story.ws("-x", "packages=addon", "check")
    story.ws("-x", "packages=addon", "adopt", "--undo", "--yes")
    assert not [one for one in tables(story.url) if one.startswith("alembic_history_addon")]


def test_one_project_whose_scripts_went_with_the_tables(story: Story) -> None:
    """The version table has the newest revision of one of the packages alone."""
    story.app()
    versions = story.root / "fooapp" / "alembic" / "versions"
    versions.mkdir(parents=True)
    story.script(versions, "aa01", None, "pages")
    story.workshop.package("addon", MODELS.replace("pages", "notes").replace("Page", "Note"))
    other = story.root / "addon" / "alembic" / "versions"
    other.mkdir(parents=True)
    story.script(other, "aa02", None, "notes")
    story.workshop.application("fooapp", story.ini, story.url)
    # As the one history of both packages left it: aa01, then aa02.
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa02')")
    for name in ("pages", "notes"):
        execute(
            story.url,
            f"CREATE TABLE {name} (id {SERIAL[engine_of(story.url).dialect.name]}, "
            "title VARCHAR(40) NOT NULL, PRIMARY KEY (id))",
        )
    assert "adopt" in story.ws("-x", "packages=all", "upgrade", ok=False).err
    done = story.ws("adopt", "--yes").out
    assert "addon: the table alembic_version becomes alembic_history_addon (aa02)" in done
    assert "fooapp: its tables equal the models, so it is at aa01" in done
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"
    assert "Nothing to do" in story.ws("-x", "packages=all", "upgrade").out


def test_a_table_that_moved_and_is_made_by_two_packages(small_story: Story) -> None:
    """``upgrade`` and ``adopt`` do not lead to each other, but to ``move-table``."""
    story = small_story
    story.app()
    story.workshop.package("addon", MODELS.replace("pages", "notes").replace("Page", "Note"))
    story.workshop.application("fooapp", story.ini, story.url)
    story.script(story.folder("fooapp/alembic", ""), "aa01", None, "pages")
    (story.root / "fooapp" / "alembic" / "env.py").unlink()
    story.script(story.root / "fooapp" / "alembic" / "versions", "aa02", "aa01", "notes")
    story.ws("-x", "packages=all", "upgrade")
    way_out = "move-table notes fooapp addon"
    # The addon has no script: nothing of it is to be written or taken over.
    for words in ("check", "adopt"):
        said = story.ws("-x", "packages=addon", words)
        assert way_out in said.out + said.err and "packages=addon adopt" not in said.out + said.err
    versions = story.root / "addon" / "alembic" / "versions"
    versions.mkdir(parents=True)
    story.script(versions, "bb01", None, "notes")
    assert way_out in story.ws("-x", "packages=all", "upgrade", ok=False).err
    assert way_out in story.ws("-x", "packages=all", "adopt").out
    (versions / "bb01.py").unlink()
    story.ws(*way_out.split())
    story.ws("-x", "packages=all", "upgrade")
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"


def test_a_history_that_does_not_begin_at_an_empty_schema(story: Story) -> None:
    """Neither it nor a package beside it is run from nothing."""
    story.app()
    versions = story.root / "fooapp" / "alembic" / "versions"
    versions.mkdir(parents=True)
    story.workshop.script("fooapp", "aa01", None, 'op.rename_table("legacy", "pages")')
    story.workshop.package("addon", MODELS.replace("pages", "notes").replace("Page", "Note"))
    story.workshop.application("fooapp", story.ini, story.url)
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa01')")
    for name in ("pages", "notes"):
        execute(
            story.url,
            f"CREATE TABLE {name} (id {SERIAL[engine_of(story.url).dialect.name]}, "
            "title VARCHAR(40) NOT NULL, PRIMARY KEY (id))",
        )
    done = story.ws("adopt", "--yes").out
    assert "note: The first scripts are not proven" in done
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"


#: What an env.py may say, and what is told of it.
SAYINGS = {
    'connection.exec_driver_sql("SET search_path TO tenant")': "SET search_path TO tenant",
    'connection.execute(text("SET ROLE owner"))': "SET ROLE owner",
    'event.listen(connection, "begin", print)': "a listener",
    'config.attributes["x"] = 1': "config.attributes",
    "MetaData(naming_convention={})": "a naming convention",
    "context.configure(process_revision_directives=print)": "the option process_revision_direct",
    'config.set_main_option("sqlalchemy.url", "x")': "an option of its own",
}


def test_what_the_template_would_lose_is_told(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, sqlite_url)
    story.app()
    never = "".join(f"    {line}\n" for line in SAYINGS)
    versions = story.folder("fooapp/alembic", f"{PLAIN}\n\ndef never(connection):\n{never}")
    story.script(versions, "aa01", None, "pages")
    execute(sqlite_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(sqlite_url, "INSERT INTO alembic_version VALUES ('aa01')")
    shown = story.ws("adopt", "--dry-run").out
    lines = (versions.parent / "env.py").read_text().splitlines()
    for saying, words in SAYINGS.items():
        line = lines.index(f"    {saying}") + 1
        assert f"env.py, line {line}: {words}" in shown, (saying, shown)


SERIAL = {
    "sqlite": "INTEGER NOT NULL",
    "postgresql": "SERIAL NOT NULL",
    "mysql": "INTEGER NOT NULL AUTO_INCREMENT",
}


def test_what_was_written_since_keeps_an_adoption(workshop: Workshop, sqlite_url: str) -> None:
    story = Story(workshop, sqlite_url)
    folder = story.app()
    table = "CREATE TABLE pages (id INTEGER NOT NULL PRIMARY KEY, title VARCHAR(40) NOT NULL)"
    execute(sqlite_url, table)
    story.ws("adopt", "--yes")
    models = folder / "models.py"
    models.write_text(models.read_text() + "    body: Mapped[Optional[int]]\n")
    story.ws("revision", "--autogenerate", "-m", "body", "--rev-id", "bb02")
    story.ws("upgrade")
    refused = story.ws("adopt", "--undo", "--yes", ok=False).err
    assert '"bb02" of package "fooapp"' in refused and "Nothing was changed." in refused
    # The remedy.
    story.ws(*refused.partition("-x ")[2].split()[1:], "--yes")
    (script,) = (folder / "alembic" / "versions").glob("bb02*")
    script.unlink()
    story.ws("adopt", "--undo", "--yes")
    assert not [*(folder / "alembic" / "versions").glob("*.py")]


def test_an_environment_that_names_no_models_is_compared_with_those_of_the_package(
    story: Story,
) -> None:
    story.app()
    url = story.url.replace("%", "%%")
    (story.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = fooapp/alembic\nsqlalchemy.url = {url}\n"
    )
    # As it stands in Alembic's own template.
    without = PLAIN.replace("target_metadata = Base.metadata", "target_metadata = None")
    versions = story.folder("fooapp/alembic", without)
    story.script(versions, "aa01", None, "pages")
    story.alembic("alembic.ini", "upgrade", "head")
    assert "Taken over." in story.ws("adopt", "--yes").out
    assert "No new upgrade operations detected." in story.ws("check").out
    execute(story.url, "ALTER TABLE pages ADD COLUMN odd INTEGER")
    assert "remove column pages.odd" in story.ws("check", ok=False).out


def test_nothing_is_recorded_before_what_it_requires(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    """A database of create_all, in which one package's tables are not those of its models."""
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, sqlite_url)
    notes = MODELS.replace("pages", "notes").replace("Page", "Note")
    key = "    page_id: Mapped[int] = mapped_column(sa.ForeignKey('pages.id'))\n"
    workshop.package("addon", notes + key)
    story.app()
    versions = story.folder("fooapp/alembic", PLAIN)
    story.script(versions, "aa01", None, "pages")
    story.ws("upgrade")
    story.ws("-x", "packages=addon", "revision", "--autogenerate", "-m", "notes")
    story.ws("-x", "packages=all", "upgrade")
    for table in ("alembic_history_fooapp", "alembic_history_addon", "websauna_migrate_ledger"):
        execute(story.url, f"DROP TABLE {table}")
    execute(story.url, "ALTER TABLE pages ADD COLUMN odd INTEGER")
    told = story.ws("-x", "packages=all", "adopt", "--yes", ok=False).out
    assert 'which requires "fooapp@aa01", and that is not applied' in told
    assert "Nothing was taken over." in told and "pending" not in told
    # It was refused as a whole before, with both packages in a state of no run.
    assert "ws-alembic" in story.ws("-x", "packages=all", "check", ok=False).out
    execute(story.url, "ALTER TABLE pages DROP COLUMN odd")
    story.ws("-x", "packages=all", "adopt", "--yes")
    story.ws("-x", "packages=all", "check")


def test_a_schema_per_tenant_is_taken_over_tenant_by_tenant(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, postgresql_url: str
) -> None:
    """By Alembic's cookbook; the table of the tenant that is asked for is meant."""
    monkeypatch.chdir(workshop.root)
    story = Story(workshop, postgresql_url)
    story.app()
    env = PLAIN.replace("with connectable.connect() as connection:\n", TENANT)
    versions = story.folder("fooapp/alembic", env)
    story.script(versions, "aa01", None, "pages")
    for tenant in ("one", "two", "three"):
        execute(story.url, f"CREATE SCHEMA {tenant}")
    for tenant in ("one", "two"):
        execute(story.url, f"CREATE TABLE {tenant}.alembic_version (version_num VARCHAR(32))")
        execute(story.url, f"INSERT INTO {tenant}.alembic_version VALUES ('aa01')")
        columns = "id SERIAL PRIMARY KEY, title VARCHAR(40) NOT NULL"
        execute(story.url, f"CREATE TABLE {tenant}.pages ({columns})")
    refused = story.ws("-x", "tenant=two", "upgrade", ok=False).err
    assert "-x tenant=two -x packages=fooapp adopt" in refused and "one." not in refused
    for tenant in ("two", "one"):
        done = story.ws("-x", f"tenant={tenant}", "adopt", "--yes").out
        assert "the table alembic_version becomes alembic_history_fooapp (aa01)" in done
    assert "1 step applied" in story.ws("-x", "tenant=three", "upgrade").out
    for tenant in ("one", "two", "three"):
        assert "Nothing to do" in story.ws("-x", f"tenant={tenant}", "upgrade").out
        story.ws("-x", f"tenant={tenant}", "check")
        found = rows(story.url, f"SELECT * FROM {tenant}.alembic_history_fooapp")
        assert found == [("aa01",)]


TENANT = """with connectable.connect() as connection:
        tenant = context.get_x_argument(as_dictionary=True)["tenant"]
        connection.exec_driver_sql(f"SET search_path TO {tenant}")
        connection.commit()
        connection.dialect.default_schema_name = tenant
"""


def test_settings_alone_are_taken_over_and_taken_back(story: Story) -> None:
    story.app(key="database_url")
    ini = story.ini.read_text()
    assert "development.ini: websauna_migrate.url = " in story.ws("adopt", "--yes").out
    undone = story.ws("adopt", "--undo", "--yes").out
    assert "development.ini: as it was\n" in undone and "need adopt --undo too" in undone
    assert story.ini.read_text() == ini


def test_one_project_that_became_several_packages(story: Story) -> None:
    story.app()
    versions = story.folder("fooapp/alembic", PLAIN)
    story.script(versions, "aa01", None, "pages")
    story.script(versions, "aa02", "aa01", "notes")
    story.script(versions, "aa03", "aa02", "tags")
    (story.root / "alembic.ini").write_text(
        "[alembic]\nscript_location = fooapp/alembic\n"
        f"sqlalchemy.url = {story.url.replace('%', '%%')}\n"
    )
    story.alembic("alembic.ini", "upgrade", "head")
    execute(story.url, "INSERT INTO notes (id, title) VALUES (1, 'kept')")
    tags = "class Tag(Base):" + MODELS.split("class Page(Base):")[1].replace("pages", "tags")
    notes = MODELS.replace("pages", "notes").replace("Page", "Note")
    story.workshop.package("addon", f"{notes}\n\n{tags}")
    story.workshop.application("fooapp", story.ini, story.url)
    assert "adopt" in story.ws("upgrade", ok=False).err
    done = story.ws("adopt", "--yes").out
    assert "addon: gets the tables notes, tags from fooapp, by two scripts" in done
    assert "first script" not in done
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"
    status = json.loads(story.ws("status", "--json").out)
    assert [one["pending"] for one in status] == [0, 0]
    # All tables of a package by one script, and one that takes them.
    assert len([*versions.glob("*.py")]) == 4
    assert rows(story.url, "SELECT title FROM notes") == [("kept",)]
    # An empty database gets the same.
    story.ws("-x", "packages=all", "check", "--fresh")
    # To the database of the site a release brings the scripts: the tables are handed over there.
    for table in ("alembic_history_fooapp", "alembic_history_addon", "websauna_migrate_ledger"):
        execute(story.url, f"DROP TABLE {table}")
    execute(story.url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    execute(story.url, "INSERT INTO alembic_version VALUES ('aa03')")
    done = story.ws("-x", "packages=all", "adopt", "--yes").out
    assert "addon: 1 pending: " in done and "fooapp: 1 pending: " in done
    assert "so it is at" not in done
    assert "2 steps applied" in story.ws("-x", "packages=all", "upgrade").out
    assert story.ws("-x", "packages=all", "check").out == "No new upgrade operations detected.\n"
    story.ws("-x", "packages=all", "adopt", "--undo", "--yes")
    assert rows(story.url, "SELECT * FROM alembic_version") == [("aa03",)]
    assert rows(story.url, "SELECT title FROM notes") == [("kept",)]
    assert "alembic_history_addon" not in tables(story.url)
    assert "aa03 (head)" in story.alembic("alembic.ini", "current")


def test_a_package_without_scripts_differs_from_nothing(story: Story) -> None:
    story.app()
    versions = story.folder("fooapp/alembic", PLAIN)
    story.script(versions, "aa01", None, "pages")
    addon = story.workshop.package("addon", MODELS.replace("pages", "notes"))
    (addon / "alembic" / "versions").mkdir(parents=True)
    story.workshop.application("fooapp", story.ini, story.url)
    execute(story.url, "CREATE TABLE other (id INTEGER)")
    done = story.ws("-x", "packages=all", "adopt", "--yes")
    assert "was there before" not in done.out, done


def test_the_files_of_an_installed_add_on_stay(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    """Its scripts make a table that a class of the application has, as add-ons of mixins do."""
    monkeypatch.chdir(workshop.root)
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))
    addon = Workshop(site)
    folder = addon.package("acme_gears", None)
    named = "connection=connection, version_table='gears_version', "
    env = PLAIN.replace("connection=connection, ", named).replace(
        "fooapp.models import", "sqlalchemy import MetaData as"
    )
    env = env.replace("Base.metadata", "Base()")
    (folder / "alembic" / "versions").mkdir(parents=True)
    (folder / "alembic" / "env.py").write_text(env)
    text = SCRIPT.format(doc="g1", revision="g1", down=None, table="gears")
    (folder / "alembic" / "versions" / "g1.py").write_text(text)
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}

    def installed() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in site.rglob("*") if p.is_file() and p.suffix != ".pyc"}

    gear = MODELS.replace("class Page", "class Gear").replace('"pages"', '"gears"')
    app = workshop.package("fooapp", gear)
    ini = workshop.application(
        "fooapp", workshop.root / "development.ini", sqlite_url, "acme_gears", "fooapp"
    )
    plain = Config()
    plain.set_main_option("script_location", str(folder / "alembic"))
    plain.set_main_option("sqlalchemy.url", sqlite_url.replace("%", "%%"))
    alembic.command.upgrade(plain, "head")

    def ws(*words: str) -> Any:
        return workshop.ws(ini, "-x", "packages=all", *words)

    typed = ws("adopt", "--replace-env", "--yes")
    assert "is not replaced: it is inside an installed package" in typed.out + typed.err
    assert ws("adopt", "--undo", "--yes").status == 0
    typed = ws("adopt", "--yes")
    assert typed.status == 0, typed
    assert "gears_version stays because its env.py is not this project's" in typed.out
    assert "websauna_migrate.version_table.acme_gears = gears_version" in ini.read_text()
    assert installed() == before
    assert rows(sqlite_url, "SELECT version_num FROM gears_version") == [("g1",)]
    typed = ws("check")
    assert typed.status == 0, typed
    assert (
        'Table "gears" is in the models of package "fooapp", but by the scripts it belongs to '
        'package "acme_gears" since revision "g1". To leave it to the add-on, name the owner '
        'there: info={"package": "acme_gears"}.'
    ) in typed.out + typed.err

    more = MODELS[MODELS.index("class Page") :]
    (app / "models.py").write_text(gear + "\n\n" + more)
    typed = ws("revision", "--autogenerate", "-m", "pages")
    assert typed.status == 0, typed
    assert [path.parent.parent.parent.name for path in workshop.root.rglob("*_pages.py")] == [
        "fooapp"
    ]
    typed = ws("revision", "-m", "nothing")
    assert "it is inside an installed package" in typed.err
    assert list(workshop.root.rglob("*_nothing.py")) == []
    assert installed() == before
    addon.forget()
