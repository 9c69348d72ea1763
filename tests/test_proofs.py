"""New scripts are proven: up, down and up again, before they are kept."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from apps import THING, Typed, Workshop
from projects import LOGGING, Project
from runs import engine_of, execute, tables, transaction_on
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.scratch_databases import PREFIX

USERS = """
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[Optional[str]] = mapped_column(String(20))
"""

HOOK = """
from alembic.operations import ops
from websauna_migrate.environment import run_migrations

def process(context, revision, directives):
    (script,) = directives
    up, down = script.upgrade_ops.ops, script.downgrade_ops.ops
{body}

run_migrations(process_revision_directives=process)
"""

TEMPLATE = Path(__file__).parent.parent / "alembic_template" / "script.py.mako"

PROVED = "Proved: upgrade, downgrade, upgrade "


class Site:
    """An application, and a look at all that its database has.

    :param in_process: whether commands are typed in this process; a process of its own is for what
        an application changes for all of them
    """

    def __init__(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, *, in_process: bool = True
    ) -> None:
        self.project = project
        self.in_process = in_process
        self.workshop = Workshop(project.root)
        self.workshop.names += ["fooapp", "addon"]
        self.url = project.url
        self.product = make_url(self.url).get_backend_name()
        #: Where files are made; other tests have scratch places at the same time.
        self.temporary = project.root / "tmp"
        self.temporary.mkdir()
        if in_process:
            monkeypatch.syspath_prepend(str(project.root))
            monkeypatch.chdir(project.root)
            monkeypatch.setattr(tempfile, "tempdir", str(self.temporary))

    def ws(self, *words: str, ok: bool = True) -> Typed:
        """Run ``ws-alembic``.

        :param ok: whether it must go well
        """
        if not self.in_process:
            done = self.project.ws(*words, ok=ok, TMPDIR=str(self.temporary))
            return Typed(done.returncode, done.stdout, done.stderr)
        ini = self.project.root / "development.ini"
        # The log of this process is the test session's.
        ini.write_text(ini.read_text().replace(LOGGING, ""))
        importlib.invalidate_caches()
        typed = self.workshop.ws(ini, *words)
        assert (typed.status == 0) == ok, typed
        assert "Traceback" not in typed.err, typed
        return typed

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(str(make_url(self.url).database)) if self.product == "sqlite" else None

    def state(self) -> Any:
        """Return what the database is: its facts, its rows, its sequences, its locks."""
        if self.path is not None and not self.path.exists():
            return None
        with engine_of(self.url).connect() as connection:
            facts = read_facts(connection).as_data()
            found: dict[str, Any] = {}
            preparer = connection.dialect.identifier_preparer
            for name in sorted(sa.inspect(connection).get_table_names()):
                query = f"SELECT * FROM {preparer.quote(name)}"
                found[name] = sorted(map(repr, connection.exec_driver_sql(query)))
            if self.product == "postgresql":
                query = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
                found["sequences"] = [tuple(row) for row in connection.exec_driver_sql(query)]
                query = (
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND application_name LIKE 'websauna_migrate%%'"
                )
                found["sessions"] = connection.exec_driver_sql(query).scalar()
        return facts, found

    def scratch_places(self) -> list[str]:
        """Return the scratch places that were left behind."""
        found = [path.name for path in self.temporary.glob(f"{PREFIX}*")]
        if self.product != "sqlite":
            query = (
                "SELECT datname FROM pg_database"
                if self.product == "postgresql"
                else "SELECT schema_name FROM information_schema.schemata"
            )
            with engine_of(self.url).connect() as connection:
                names = connection.exec_driver_sql(query).scalars().all()
            found += [name for name in names if name.startswith(PREFIX)]
        return found

    def scripts(self) -> set[Path]:
        return set(self.project.root.glob("*/alembic/versions/*.py"))

    def revision(self, *words: str, ok: bool = True) -> str:
        """Run ``revision --autogenerate`` and return what it says; the database stays as it is.

        Where it fails, no file is left.
        """
        before, scripts = self.state(), self.scripts()
        command = ["revision", "--autogenerate", "-m", "new", *words]
        done = self.ws(*command, ok=ok)
        assert self.state() == before
        assert self.scratch_places() == []
        if not ok:
            assert self.scripts() == scripts
            assert done.out == ""
            assert "No script was kept: " in done.err
            assert "Nothing was changed in the database. " in done.err
        return done.err

    def newest(self) -> str:
        """Return the text of the script that was written last."""
        return max(self.scripts(), key=lambda path: path.stat().st_mtime_ns).read_text()

    def grown(self, models: str = USERS) -> None:
        """Apply some models' script, and give their tables two rows."""
        self.project.models(models)
        self.revision("--no-prove")
        self.ws("upgrade")
        execute(self.url, "INSERT INTO users (id, name) VALUES (1, 'a')")
        execute(self.url, "INSERT INTO users (id, name) VALUES (2, 'a')")

    def hook(self, body: str) -> None:
        """Let the package's ``env.py`` change what is written."""
        self.project.env(HOOK.format(body=textwrap.indent(textwrap.dedent(body), "    ")))


@pytest.fixture
def site(database_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(make_project(database_url), monkeypatch)


@pytest.fixture
def transactional(
    transactional_database_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> Site:
    return Site(make_project(transactional_database_url), monkeypatch)


@pytest.fixture
def postgresql(postgresql_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(make_project(postgresql_url), monkeypatch)


def test_a_good_script_is_proven(
    database_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(make_project(database_url), monkeypatch, in_process=False)
    where = {
        "sqlite": "on sqlite",
        "postgresql": "on postgresql",
        "mysql": "in a scratch database of mysql",
        "mariadb": "in a scratch database of mysql",
    }[site.product]
    site.project.models(USERS)
    assert PROVED + where in site.revision()
    site.ws("upgrade")
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    assert PROVED + where in site.revision()
    site.ws("upgrade")
    site.ws("check")


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_breaks_is_named_with_line_and_statement(site: Site, way: str) -> None:
    site.grown()
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    site.hook(f"{way}.append(ops.ExecuteSQLOp('DELETE FROM nowhere'))")
    said = site.revision(ok=False)
    assert f"the {way}grade of revision " in said
    assert """: op.execute('DELETE FROM nowhere')): """ in said
    assert "\nIn: DELETE FROM nowhere\n" in said
    assert "--keep" in said


def test_what_is_left_out_of_the_upgrade_is_a_difference(site: Site) -> None:
    site.grown()
    columns = "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n"
    columns += "    size: Mapped[Optional[int]] = mapped_column(sa.Integer)\n"
    site.project.models(USERS + columns)
    site.hook(
        """
        for table in up + down:
            table.ops[:] = [one for one in table.ops if one.to_diff_tuple()[3].name != "size"]
        """
    )
    said = site.revision(ok=False)
    assert 'table "users", column "size" is in the models, not behind the upgrade' in said
    assert '"age"' not in said


def test_what_the_downgrade_leaves_is_a_difference(site: Site) -> None:
    site.grown()
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    site.hook("down.clear()")
    said = site.revision(ok=False)
    assert "does not give back what was before:\n" in said
    assert 'table "users", column "age" is behind the downgrade, not before the upgrade' in said


def test_a_default_that_the_downgrade_leaves_is_a_difference(site: Site) -> None:
    """Elsewhere than on SQLite a server may write an expression in other words."""
    site.grown()
    site.project.models(USERS.replace("String(20))", "String(20), server_default='x')"))
    site.hook("down.clear()")
    said = site.revision(ok=False)
    assert "does not give back what was before:\n" in said
    assert 'table "users", column "name": default is not set before the upgrade, ' in said


def test_a_column_that_may_not_be_null_meets_rows(transactional: Site) -> None:
    transactional.grown()
    transactional.project.models(USERS + "    age: Mapped[int] = mapped_column(sa.Integer)\n")
    said = transactional.revision(ok=False)
    assert "the upgrade of revision " in said and "age" in said
    execute(transactional.url, "DELETE FROM users")
    assert PROVED in transactional.revision()


def test_a_unique_constraint_meets_duplicates(site: Site) -> None:
    site.grown()
    site.project.models(
        USERS + '    __table_args__ = (sa.UniqueConstraint("name", name="uq_users_name"),)\n'
    )
    said = site.revision(ok=False)
    assert "the upgrade of revision " in said
    execute(site.url, "UPDATE users SET name = 'b' WHERE id = 2")
    assert PROVED in site.revision()


def test_a_script_can_be_kept_and_is_marked(site: Site) -> None:
    site.grown()
    site.project.models(
        USERS + '    __table_args__ = (sa.UniqueConstraint("name", name="uq_users_name"),)\n'
    )
    said = site.revision("--keep")
    assert "WARNING: Kept though the proof failed: the upgrade of revision " in said
    assert PROVED not in said
    script = site.newest()
    assert "\nproven = False\n" in script and "# The proof of this script failed:\n" in script
    execute(site.url, "UPDATE users SET name = 'b' WHERE id = 2")
    site.ws("upgrade")
    site.ws("check")


def test_a_proof_can_be_left_out(site: Site) -> None:
    site.grown()
    site.project.models(
        USERS + '    __table_args__ = (sa.UniqueConstraint("name", name="uq_users_name"),)\n'
    )
    assert PROVED not in site.revision("--no-prove")
    for script in site.scripts():
        if "uq_users_name" in script.read_text():
            script.unlink()
    site.project.ini("websauna_migrate.prove = false")
    assert PROVED not in site.revision()
    assert "uq_users_name" in site.newest()


def test_the_setting_is_understood_or_refused(transactional: Site) -> None:
    transactional.project.models(USERS)
    transactional.project.ini("websauna_migrate.prove = perhaps")
    done = transactional.ws("revision", "--autogenerate", ok=False)
    assert 'must be "on", "off" or "scratch"' in done.err
    transactional.project.ini("websauna_migrate.prove = scratch")
    assert "in a scratch database" in transactional.revision()


def test_a_scratch_database_is_as_good(site: Site) -> None:
    site.grown()
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    assert f"{PROVED}in a scratch database" in site.revision("--scratch")
    site.hook("down.clear()")
    for script in site.scripts():
        if "'age'" in script.read_text():
            script.unlink()
    said = site.revision("--scratch", ok=False)
    assert 'column "age" is behind the downgrade, not before the upgrade' in said


def test_the_file_of_a_new_sqlite_database_is_not_made(
    sqlite_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(make_project(sqlite_url), monkeypatch)
    site.project.models(USERS)
    assert f"{PROVED}on sqlite" in site.revision()
    assert site.path is not None and not site.path.exists()
    site.hook("up.append(ops.ExecuteSQLOp('DELETE FROM nowhere'))")
    for script in site.scripts():
        script.unlink()
    site.revision(ok=False)
    assert not site.path.exists()


def test_rows_survive_a_rebuild_that_foreign_keys_point_at(
    sqlite_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It listens to the engines of its whole process.
    site = Site(make_project(sqlite_url), monkeypatch, in_process=False)
    post = """
class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
"""
    top = """
from sqlalchemy import event
from sqlalchemy.engine import Engine

@event.listens_for(Engine, "connect")
def switch_on(connection, record):
    connection.execute("PRAGMA foreign_keys=ON")
"""
    site.project.models(USERS + post, top)
    site.revision()
    site.ws("upgrade")
    execute(site.url, "INSERT INTO users VALUES (1, 'a')", "INSERT INTO posts VALUES (1, 1)")
    site.project.models(USERS.replace("String(20)", "String(30)") + post, top)
    assert PROVED in site.revision()


# PostgreSQL


def test_an_index_that_is_made_concurrently(postgresql: Site) -> None:
    site = postgresql
    site.grown()
    site.project.models(
        USERS + '    __table_args__ = (sa.Index("ix_name", "name"),)\n',
    )
    site.hook(
        """
        for table in up + down:
            for one in table.ops:
                one.kw["postgresql_concurrently"] = True
        """
    )
    template = TEMPLATE.read_text()
    for word in ("upgrade", "downgrade"):
        template = template.replace(f"def {word}()", f"def _{word}()")
        template += f"\n\ndef {word}() -> None:\n"
        template += f"    with op.get_context().autocommit_block():\n        _{word}()\n"
    (site.project.folder / "alembic" / "script.py.mako").write_text(template)
    assert "in a scratch database of postgresql" in site.revision()
    assert "postgresql_concurrently=True" in site.newest()
    site.ws("upgrade")
    site.ws("check")


def test_an_enum_value_that_the_same_script_uses(postgresql: Site) -> None:
    site = postgresql
    models = USERS + '    kind = sa.Column(sa.Enum({}, name="kind"), server_default="{}")\n'
    site.grown(models.format('"a", "b"', "a"))
    site.project.models(models.format('"a", "b", "c"', "c"))
    assert PROVED in site.revision()
    site.ws("upgrade")
    site.ws("check")


def test_a_value_is_added_and_used_by_hand(postgresql: Site) -> None:
    site = postgresql
    models = USERS + '    kind = sa.Column(sa.Enum({}, name="kind"))\n'
    site.grown(models.format('"a", "b"'))
    site.project.models(models.format('"a", "b", "c"'))
    site.hook("""up.append(ops.ExecuteSQLOp("UPDATE users SET kind = 'c'"))""")
    # In one transaction the server refuses it, and so it does in the upgrade.
    said = site.revision(ok=False)
    assert "unsafe use of new value" in said


def test_a_lock_of_the_application_is_not_waited_for(
    postgresql_url: str, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a lock that its own thread holds, a process says something else.
    site = Site(make_project(postgresql_url), monkeypatch, in_process=False)
    site.grown()
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    with transaction_on(site.url, "SELECT * FROM users"):
        done = site.ws("revision", "--autogenerate", ok=False)
        assert done.status == 4
        assert "a lock was not free within " in done.err and "held by " in done.err
        assert "or prove the script in a scratch database: --scratch" in done.err
        assert (
            f"{PROVED}in a scratch database"
            in site.ws("revision", "--autogenerate", "--scratch").err
        )


def test_sequences_stay_where_they_are(postgresql: Site) -> None:
    site = postgresql
    site.grown()
    execute(site.url, "SELECT setval('users_id_seq', 2)")
    site.project.models(USERS + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    site.hook(
        """
        up.append(ops.ExecuteSQLOp("INSERT INTO users (name) VALUES ('new'), ('newer')"))
        down.insert(0, ops.ExecuteSQLOp("DELETE FROM users WHERE name LIKE 'new%'"))
        """
    )
    assert PROVED in site.revision()


def test_deferred_constraints_are_checked(postgresql: Site) -> None:
    site = postgresql
    models = USERS + (
        "    boss = sa.Column(sa.Integer, ForeignKey('users.id', deferrable=True, "
        "initially='DEFERRED'))\n"
    )
    site.grown(models)
    site.project.models(models + "    age: Mapped[Optional[int]] = mapped_column(sa.Integer)\n")
    site.hook("up.append(ops.ExecuteSQLOp('UPDATE users SET boss = 77'))")
    said = site.revision(ok=False)
    assert "violates foreign key constraint" in said
    site.hook("up.insert(0, ops.ExecuteSQLOp('UPDATE users SET boss = 1'))")
    # What is pending of them would be in the way of ALTER TABLE.
    assert "because it has pending trigger events" in site.revision(ok=False)
    site.hook("up.append(ops.ExecuteSQLOp('UPDATE users SET boss = 1'))")
    assert PROVED in site.revision()


TWO = """
from pyramid.config import Configurator

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    for name in ("addon", "fooapp"):
        config.add_migration_package(name, metadata=f"{name}.models.Base")
    return config.make_wsgi_app()
"""

GEARS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Gear(Base):
    __tablename__ = "gears"
    id = sa.Column(sa.Integer, primary_key=True)
{more}
"""


def test_scripts_of_two_packages_are_proven_together(site: Site) -> None:
    folder = site.project.root / "addon"
    folder.mkdir()
    (folder / "__init__.py").write_text("")

    def write(gears: str = "", users: str = "") -> None:
        (folder / "models.py").write_text(GEARS.format(more=gears))
        site.project.models(USERS + users)
        users_models = site.project.folder / "models.py"
        own = 'sa.Column("gear_id", sa.Integer, sa.ForeignKey(Gear.__table__.c.id))'
        users_models.write_text(
            "from addon.models import Gear\n" + users_models.read_text() + f"    gear_id = {own}\n"
        )
        (site.project.folder / "__init__.py").write_text(TWO)

    def all_packages(ok: bool = True) -> str:
        before, scripts = site.state(), site.scripts()
        done = site.ws("-x", "packages=all", "revision", "--autogenerate", ok=ok)
        assert site.state() == before
        assert len(site.scripts() - scripts) == (2 if ok else 0)
        return done.err

    write()
    assert PROVED in all_packages()
    assert "requires: tuple[str, ...] = ('addon@" in "".join(
        path.read_text() for path in site.scripts()
    )
    site.ws("-x", "packages=all", "upgrade")
    execute(site.url, "INSERT INTO gears (id) VALUES (1)", "INSERT INTO gears (id) VALUES (2)")
    name = '    name = sa.Column(sa.String(5), server_default="x", unique=True)\n'
    more = "    size: Mapped[Optional[int]] = mapped_column(sa.Integer)\n"
    write(name, more)
    # The one's fault removes both.
    said = all_packages(ok=False)
    assert 'of package "addon" fails' in said
    execute(site.url, "DELETE FROM gears WHERE id = 2")
    write(name, more)
    assert PROVED in all_packages()


def test_what_env_py_sets_and_leaves_out_holds(postgresql: Site) -> None:
    site = postgresql
    execute(site.url, "CREATE SCHEMA tenant")
    site.project.versions.mkdir(parents=True)
    shutil.copy(TEMPLATE, site.project.versions.parent)
    site.project.env(
        """
        import sqlalchemy as sa
        from alembic import context
        from fooapp.models import Base

        def include_object(item, name, kind, reflected, other):
            return name != "secret"

        def applied(ctx, step, heads, run_args, **more):
            ctx.connection.exec_driver_sql("SELECT count(*) FROM users")

        engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
        with engine.connect() as connection:
            connection.exec_driver_sql("SET search_path TO tenant")
            connection.commit()
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                include_object=include_object,
                on_version_apply=applied,
            )
            with context.begin_transaction():
                context.run_migrations()
        """
    )
    secret = "    secret: Mapped[Optional[int]] = mapped_column(sa.Integer)\n"
    site.project.models(USERS)
    said = site.ws("revision", "--autogenerate", ok=False).err
    # Behind the downgrade there are no users: the hook of env.py was called.
    assert "the downgrade of revision " in said and '"users" does not exist' in said
    env = site.project.folder / "alembic" / "env.py"
    env.write_text(env.read_text().replace("FROM users", "FROM pg_class"))
    assert PROVED in site.revision()
    site.ws("upgrade")
    with engine_of(site.url).connect() as connection:
        assert sa.inspect(connection).get_table_names(schema="public") == []
    site.project.models(USERS + secret + secret.replace("secret", "age"))
    assert PROVED in site.revision()
    assert "'age'" in site.newest() and "'secret'" not in site.newest()


@pytest.mark.parametrize(
    ("by", "database"),
    [("setting", "sqlite"), ("setting", "mariadb"), ("registration", "postgresql")],
)
def test_a_history_table_of_another_name_is_no_difference(
    workshop: Workshop, tmp_path: Path, request: pytest.FixtureRequest, by: str, database: str
) -> None:
    database_url = request.getfixturevalue(f"{database}_url")
    words = {"version_table": "versions_of_shop"} if by == "registration" else {}
    package = workshop.package("shop", THING, **words)
    settings = {"version_table.shop": "versions_of_shop"} if by == "setting" else {}
    ini = workshop.application("shop", tmp_path / "app.ini", database_url, **settings)

    typed = workshop.ws(ini, "revision", "--autogenerate", "-m", "one")
    assert typed.status == 0, typed.err
    assert PROVED in typed.err
    assert workshop.ws(ini, "upgrade").status == 0
    for look in (["check"], ["check", "--fresh"]):
        assert workshop.ws(ini, *look) == (0, "No new upgrade operations detected.\n", "")
    path = package / "models.py"
    path.write_text(path.read_text() + "    more = sa.Column(sa.Integer)\n")
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "two").status == 0
    for words in ("upgrade", "squash", "upgrade", "drift"):
        typed = workshop.ws(ini, words)
        assert typed.status == 0, (words, typed)
    assert "versions_of_shop" in tables(database_url)
    assert "alembic_history_shop" not in tables(database_url)
