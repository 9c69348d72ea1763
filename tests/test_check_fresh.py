"""``ws-alembic check --fresh``: an empty database, all scripts, and what the models say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from apps import Workshop
from runs import tables, wait_for
from websauna_migrate.errors import ScratchRefused, SettingError
from websauna_migrate.facts.scratch_databases import PREFIX

FACTORY = """
from pyramid.config import Configurator

def includeme(config):
    config.add_migration_package(metadata="fooapp.models.Base")

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("addon")
    config.include("fooapp")
    return config.make_wsgi_app()
"""

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class {name}(Base):
    __tablename__ = "{table}"
    id = sa.Column(sa.Integer, primary_key=True)
    nick = sa.Column(sa.String(20), nullable=False, server_default="none")
    kind = sa.Column(sa.Enum("a", "b", name="{table}_kind", create_constraint=True))
    size = sa.Column(sa.Numeric(10, 2))
    __table_args__ = (
        sa.CheckConstraint("size > 1", name="ck_{table}_size"),
        sa.Index("ix_{table}_nick", "nick"),
    )
"""

SCRIPT = """
op.create_table(
    "{table}",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Enum("a", "b", name="{table}_kind", create_constraint=True)),
    sa.Column("nick", sa.String(20), nullable=False, server_default="none"),
    sa.Column("size", sa.Numeric(10, 2)),
    sa.CheckConstraint("size > 1", name="ck_{table}_size"),
)
op.create_index("ix_{table}_nick", "{table}", ["nick"])
"""


class Site:
    """Two packages whose scripts make what their models say, as long as nothing is replaced."""

    def __init__(self, workshop: Workshop, ini: Path, run: Any, url: str) -> None:
        self.workshop, self.ini, self.run, self.url = workshop, ini, run, url
        workshop.package("addon", MODELS.format(name="Gear", table="gears"))
        workshop.package("fooapp", MODELS.format(name="User", table="users"))
        (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
        self.script("addon", "a100", SCRIPT.format(table="gears"))
        self.script("fooapp", "f100", SCRIPT.format(table="users"))
        self.configure()

    @property
    def product(self) -> str:
        return make_url(self.url).get_backend_name()

    def script(self, package: str, revision: str, upgrade: str, down: Any = None) -> Path:
        return self.workshop.script(package, revision, down, textwrap.dedent(upgrade).strip())

    def configure(self, **settings: str) -> None:
        lines = [f"websauna_migrate.{key} = {value}" for key, value in settings.items()]
        lines.insert(0, f"sqlalchemy.url = {self.url}")
        text = "\n".join(["[app:main]", "use = call:fooapp:main", *lines]).replace("%", "%%")
        self.ini.write_text(text)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self.workshop.root),
            "TMPDIR": tempfile.gettempdir(),
        }

    def __call__(self, *words: str, packages: str = "all") -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = self.run(
            ["ws-alembic", "-c", self.ini, "-x", f"packages={packages}", *words],
            cwd=self.ini.parent,
            env=self.env,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert left_behind(self.url) == []
        return done


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, run: Callable[..., Any], database_url: str) -> Site:
    return Site(workshop, tmp_path / "site.ini", run, database_url)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scratch files of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield


def left_behind(url: str) -> list[str]:
    """Return the scratch places that are there."""
    found = [path.name for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")]
    if make_url(url).get_backend_name() != "sqlite":
        query = (
            "SELECT datname FROM pg_database"
            if url.startswith("postgresql")
            else "SELECT schema_name FROM information_schema.schemata"
        )
        engine = sa.create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            names = connection.exec_driver_sql(query).scalars().all()
        found += [name for name in names if name.startswith(PREFIX)]
    return found


def test_truthful_scripts_are_well_and_the_database_is_left_alone(site: Site) -> None:
    done = site("check", "--fresh")
    # The scripts have the columns in another order than the models.
    orders = [
        f'note: Package "{package}": table "{table}": order of columns is id, kind, nick, size in '
        "a database made by the scripts, id, nick, kind, size in the models.\n"
        for package, table in (("addon", "gears"), ("fooapp", "users"))
    ]
    assert done.stdout == "".join(orders) + "No new upgrade operations detected.\n"
    assert done.returncode == 0
    assert done.stderr == ""
    if site.product == "sqlite":
        assert not Path(str(make_url(site.url).database)).exists()
    else:
        assert tables(site.url) == set()


def test_a_script_that_fails_on_an_empty_database_is_named(site: Site) -> None:
    path = site.script("addon", "a200", "x = 1\nop.execute('DELETE FROM nowhere')", "a100")
    done = site("check", "--fresh")
    assert done.returncode == 8
    start = (
        'On an empty database the scripts fail. The upgrade of revision "a200" of package "addon" '
        f"failed ({path.relative_to(site.ini.parent)}, line 15)"
    )
    assert done.stdout.startswith(start), done.stdout
    assert "nowhere" in done.stdout
    assert "repair" not in done.stdout
    (problem,) = json.loads(site("check", "--fresh", "--json").stdout)["problems"]
    assert problem["kind"] == "fresh-failed"
    assert (problem["package"], problem["details"]) == ("addon", "a200")


def change(site: Site, old: str, new: str) -> None:
    text = SCRIPT.format(table="users")
    assert old in text
    site.script("fooapp", "f100", text.replace(old, new))


LEFT_OUT = {
    "column": ('    sa.Column("size", sa.Numeric(10, 2)),\n', 'column "size" is in the models'),
    "index": (
        'op.create_index("ix_users_nick", "users", ["nick"])\n',
        'index "ix_users_nick" is in the models, not in a database made by the scripts',
    ),
    "check": (
        '    sa.CheckConstraint("size > 1", name="ck_users_size"),\n',
        'constraint "ck_users_size" is in the models, not in a database made by the scripts',
    ),
    "default": (', server_default="none"', 'column "nick": default is '),
    "null": (", nullable=False", 'column "nick": not null is no in a database made by the scripts'),
}


#: By the database: how a value is named that the scripts leave out.
VALUE_LEFT_OUT = {
    "postgresql": 'Package "fooapp": enum type "users_kind": values is a in a database made by '
    "the scripts, a, b in the models.",
    "mysql": 'Package "fooapp": table "users", column "kind": type is enum(\'a\') in a '
    "database made by the scripts, enum('a','b') in the models.",
    "sqlite": 'Package "fooapp": table "users", constraint "users_kind": definition is '
    "CHECK (kind in ('a')) in a database made by the scripts, CHECK (kind in ('a', 'b')) in "
    "the models.",
}


def test_what_the_scripts_leave_out_is_named(site: Site) -> None:
    """Each from a table of its own."""
    head, _, model = MODELS.partition("class {name}")
    models, scripts = head, []
    for what in (*LEFT_OUT, "value"):
        table = f"users_{what}"
        models += f"class {{name}}{model}".format(name=f"User{what}", table=table)
        text = SCRIPT.format(table="users")
        parts = {"value": [', "b"'], "column": [LEFT_OUT["check"][0], LEFT_OUT["column"][0]]}
        for part in parts.get(what) or [LEFT_OUT[what][0]]:
            assert part in text, what
            text = text.replace(part, "")
        scripts.append(text.replace("users", table))
    (site.workshop.root / "fooapp" / "models.py").write_text(models)
    site.script("fooapp", "f100", "".join(scripts))
    done = site("check", "--fresh")
    assert done.returncode == 8
    problems = [line for line in done.stdout.splitlines() if not line.startswith("note: ")]
    for what, (_, words) in LEFT_OUT.items():
        found = [one for one in problems if f'table "users_{what}"' in one]
        named = f'Package "fooapp": table "users_{what}", {words.replace("users", f"users_{what}")}'
        assert found and named in found[0], (what, found)
        assert len(found) == (2 if what == "column" else 1), (what, found)
    found = [one for one in problems if "users_value" in one]
    assert found[:1] == [VALUE_LEFT_OUT[site.product].replace("users", "users_value")]


def test_what_scripts_make_besides_is_a_note(site: Site) -> None:
    site.script(
        "fooapp",
        "f200",
        """
        op.execute("CREATE VIEW grown AS SELECT id FROM users WHERE size > 1")
        op.create_table("queue", sa.Column("id", sa.Integer, primary_key=True))
        """,
        "f100",
    )
    done = site("check", "--fresh")
    assert done.returncode == 0
    for what in ('view "grown"', 'table "queue"'):
        assert f"note: The scripts make {what}, of which the models say nothing.\n" in done.stdout


def test_only_the_selected_packages_differences_are_told(site: Site) -> None:
    change(site, "size > 1", "size > 2")
    assert site("check", "--fresh", packages="addon").returncode == 0
    assert site("check", "--fresh", packages="fooapp").returncode == 8


def test_what_a_killed_process_left_is_removed_by_the_next(site: Site) -> None:
    mark = site.ini.parent / "running"
    site.script(
        "fooapp",
        "f200",
        f"""
        import pathlib, time
        pathlib.Path({str(mark)!r}).touch()
        time.sleep(60)
        """,
        "f100",
    )
    words = ["-c", str(site.ini), "-x", "packages=all", "check", "--fresh"]
    ws_alembic = Path(sys.executable).parent / "ws-alembic"
    process = subprocess.Popen(
        [ws_alembic, *words],
        env={**os.environ, **site.env},
        cwd=site.ini.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(mark.exists)
    # Another check meanwhile leaves the place of a living process alone.
    os.kill(process.pid, signal.SIGSTOP)
    (place,) = left_behind(site.url)
    site.script("fooapp", "f200", "pass", "f100")
    other = site.run(["ws-alembic", *words], cwd=site.ini.parent, env=site.env)
    assert other.returncode == 0, other.stdout + other.stderr
    assert left_behind(site.url) == [place]
    process.kill()
    process.wait()
    assert left_behind(site.url) == [place]
    assert site("check", "--fresh").returncode == 0


# What the place is


def test_a_scratch_url_is_used_instead(
    workshop: Workshop, tmp_path: Path, run: Callable[..., Any], postgresql_url: str
) -> None:
    site = Site(workshop, tmp_path / "site.ini", run, postgresql_url)
    real = site.url
    site.url = str(make_url(real).set(host="127.0.0.1", port=9).render_as_string(False))
    site.configure(scratch_url=real)
    words = ["ws-alembic", "-c", site.ini, "-x", "packages=all", "check", "--fresh"]
    done = run(words, cwd=tmp_path, env=site.env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_extensions_and_schemas_made_by_hand_are_there_and_scripts_may_make_them(
    workshop: Workshop, tmp_path: Path, run: Callable[..., Any], postgresql_url: str
) -> None:
    site = Site(workshop, tmp_path / "site.ini", run, postgresql_url)
    engine = sa.create_engine(postgresql_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA tools")
        connection.exec_driver_sql("CREATE EXTENSION vector SCHEMA tools")
    use = "op.execute('CREATE TABLE tools.points (p tools.vector(3))')"
    site.script("fooapp", "f200", use, "f100")
    done = site("check", "--fresh")
    assert done.returncode == 0, done.stdout
    make = "op.execute('CREATE SCHEMA tools')\nop.execute('CREATE EXTENSION vector SCHEMA tools')"
    site.script("fooapp", "f200", f"{make}\n{use}", "f100")
    done = site("check", "--fresh")
    assert done.returncode == 0, done.stdout


def test_a_role_that_may_not_make_a_database_is_told_the_grant(
    workshop: Workshop, tmp_path: Path, run: Callable[..., Any], postgresql_url: str
) -> None:
    role = f"{make_url(postgresql_url).database}_poor"
    poor = make_url(postgresql_url).set(username=role, password="poor")
    engine = sa.create_engine(postgresql_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
        try:
            site = Site(workshop, tmp_path / "site.ini", run, poor.render_as_string(False))
            done = site("check", "--fresh")
            assert done.returncode == 1
            grant = f"ALTER ROLE {role} CREATEDB"
            assert f"Let an administrator run: {grant}\n" in done.stderr
            connection.exec_driver_sql(grant)
            assert site("check", "--fresh").returncode == 0
        finally:
            connection.exec_driver_sql(f"DROP ROLE {role}")


def test_a_scratch_url_of_another_product_is_refused(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp", MODELS.format(name="User", table="users"))
    service = workshop.service(sqlite_url, scratch_url="postgresql://somewhere/x")
    with pytest.raises(SettingError, match="it is of postgresql, which"):
        service.check(fresh=True)


def test_on_mariadb_another_schema_is_refused(workshop: Workshop, mariadb_url: str) -> None:
    text = MODELS.format(name="User", table="users")
    args = 'sa.Index("ix_users_nick", "nick"),'
    workshop.package("fooapp", text.replace(args, f'{args}\n        {{"schema": "other"}},'))
    service = workshop.service(mariadb_url)
    with pytest.raises(ScratchRefused, match='schema "other"'):
        service.check(fresh=True)


@pytest.mark.usefixtures("comparators_apart")
def test_entities_that_env_py_registers_are_compared(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp", MODELS.format(name="User", table="users"))
    view = "SELECT id FROM users WHERE size > {}"
    upgrade = SCRIPT.format(table="users").strip()
    create = f'op.execute("CREATE VIEW grown AS {view.format(1)}")'
    workshop.script("fooapp", "f100", None, f"{upgrade}\n{create}")
    env = workshop.root / "fooapp" / "alembic" / "env.py"
    for number, well in ((1, True), (2, False)):
        env.write_text(
            "from alembic_utils.pg_view import PGView\n"
            "from alembic_utils.replaceable_entity import register_entities\n"
            "from websauna_migrate.environment import run_migrations\n"
            f'register_entities([PGView("public", "grown", "{view.format(number)}")])\n'
            "run_migrations()\n"
        )
        report = workshop.service(postgresql_url).check(fresh=True)
        told = [one.message for one in report.problems if one.fatal]
        assert report.ok is well, told
        if not well:
            assert [text for text in told if text.startswith('view "grown": definition is')] == told


def test_of_many_notes_of_one_kind_some_are_told(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("app")
    views = "\n".join(f'op.execute("CREATE VIEW v{n} AS SELECT {n}")' for n in range(7))
    workshop.script("app", "one", None, views)
    ini = workshop.application("app", workshop.root.parent / "site.ini", sqlite_url)
    told = workshop.ws(ini, "check", "--fresh").out.splitlines()
    assert [line[:26] for line in told[:4]] == ["note: The scripts make vie"] * 4
    assert told[4:] == [
        "note: 3 more like the last one. With --json each is told.",
        "No new upgrade operations detected.",
    ]
    found = json.loads(workshop.ws(ini, "check", "--fresh", "--json").out)
    assert len(found["problems"]) == 7


@pytest.mark.parametrize("default", ["(-1)", "'-1'", "-1", "(- 1.0)"])
def test_a_default_that_is_a_number_is_the_same_in_all_its_forms(
    workshop: Workshop, sqlite_url: str, default: str
) -> None:
    models = """
    import sqlalchemy as sa
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("same", sa.Integer, server_default="-1"),
        sa.Column("other", sa.Integer, server_default="-1"))
    """
    workshop.package("app", models, metadata="app.models.metadata")
    columns = f"same INTEGER DEFAULT {default}, other INTEGER DEFAULT (-2)"
    made = f"CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, {columns})"
    workshop.script("app", "one", None, f"op.execute({made!r})")
    service = workshop.service(sqlite_url)
    service.upgrade()
    for fresh in (False, True):
        (told,) = service.check(fresh=fresh).problems
        assert "other" in told.message and "-2" in told.message


#: An env.py with an engine of the project's own, as Flask's applications have one.
OWN_ENGINE = """
import os
from alembic import context
from sqlalchemy import create_engine

def connect():
    return create_engine(os.environ["FOOAPP_URL"]).connect()

with {} as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_an_env_py_that_takes_the_real_database_is_told_what_to_take(
    workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.package("fooapp", MODELS.format(name="User", table="users"))
    workshop.script("fooapp", "f100", None, SCRIPT.format(table="users"))
    env = workshop.root / "fooapp" / "alembic" / "env.py"
    env.write_text(OWN_ENGINE.format("connect()"))
    monkeypatch.setenv("FOOAPP_URL", database_url)
    service = workshop.service(database_url)
    service.upgrade()
    (told,) = service.check(fresh=True).problems
    taken = 'config.attributes["connection"]'
    assert told.message.endswith(
        f"tried in a scratch database. Let env.py use {taken} where it is given, or config's "
        "sqlalchemy.url."
    )
    env.write_text(OWN_ENGINE.format('context.config.attributes.get("connection") or connect()'))
    assert service.check(fresh=True).ok
    assert not service.upgrade().steps


def test_of_many_notes_of_one_kind_in_many_packages_too(
    workshop: Workshop, sqlite_url: str
) -> None:
    base = "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\n"
    model = "class T{0}(Base):\n    __tablename__ = 't{0}'\n"
    columns = (
        "    id = Column(Integer, primary_key=True)\n    a, b = Column(Integer), Column(Integer)\n"
    )
    create = (
        'op.create_table("t{0}", sa.Column("id", sa.Integer(), primary_key=True), '
        'sa.Column("b", sa.Integer()), sa.Column("a", sa.Integer()))'
    )
    for package, numbers in (("app", (1, 3, 5)), ("other", (2, 4, 6))):
        models = "".join(model.format(n) + columns for n in numbers)
        workshop.package(package, f"{base}Base = declarative_base()\n{models}")
        workshop.script(package, "one", None, "\n".join(create.format(n) for n in numbers))
    ini = workshop.application("app", workshop.root.parent / "site.ini", sqlite_url)
    told = workshop.ws(ini, "-x", "packages=all", "check", "--fresh").out.splitlines()
    assert [one.partition(" is ")[0] for one in told[:4]] == [
        f'note: Package "{"app" if n % 2 else "other"}": table "t{n}": order of columns'
        for n in range(1, 5)
    ]
    assert told[4] == "note: 2 more like the last one. With --json each is told."
