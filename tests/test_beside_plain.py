"""Small applications as they are found, taken over, and the same ones under plain Alembic alone.

Each is upgraded half way by plain Alembic. Then one database goes on with it, and the other is
taken over and goes on by ``ws-alembic``. Nothing may be between the two schemas but histories and
the ledger.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import alembic.config
import pytest
import sqlalchemy as sa

from apps import Typed, Workshop
from runs import rows
from test_adopt import COOKIECUTTER, PLAIN

ASYNCHRONOUS = """
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import async_engine_from_config
from fooapp.models import Base

config = context.config
target_metadata = Base.metadata


def do_run_migrations(connection):
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations():
    section = dict(config.get_section(config.config_ini_section, {}))
    for driver in ("postgresql+psycopg2", "sqlite"):
        asynchronous = {"sqlite": "sqlite+aiosqlite"}.get(driver, "postgresql+psycopg_async")
        section["sqlalchemy.url"] = section["sqlalchemy.url"].replace(
            driver + ":", asynchronous + ":"
        )
    engine = async_engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await engine.dispose()


asyncio.run(run_async_migrations())
"""

SHARED = """
from alembic import context
from sqlalchemy import engine_from_config, pool
from fooapp.models import Base

config = context.config


def run_migrations_online():
    connectable = config.attributes.get("connection", None)
    if connectable is None:
        connectable = engine_from_config(
            config.get_section(config.config_ini_section, {}),
            prefix="sqlalchemy.",
            poolclass=pool.NullPool,
        )
        with connectable.connect() as connection:
            context.configure(connection=connection, target_metadata=Base.metadata)
            with context.begin_transaction():
                context.run_migrations()
    else:
        context.configure(connection=connectable, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()


run_migrations_online()
"""

TENANT = PLAIN.replace(
    "        context.configure(connection",
    '        tenant = context.get_x_argument(as_dictionary=True).get("tenant", "red")\n'
    "        connection.exec_driver_sql(f'set search_path to \"{tenant}\"')\n"
    "        connection.commit()\n"
    "        connection.dialect.default_schema_name = tenant\n"
    "        context.configure(connection",
)

#: The template of an older Websauna, whose tables had this name, without what is gone of it.
WEBSAUNA = PLAIN.replace(
    "target_metadata=target_metadata",
    'version_table="alembic_history_fooapp",\n        target_metadata=target_metadata',
)

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMES)
"""

SCRIPTS: dict[str, tuple[str | None, str]] = {
    "one": (
        None,
        """
        op.create_table("users", sa.Column("id", sa.Integer()), sa.Column("name", sa.String(30)),
            sa.Column("role", sa.Enum("reader", "writer", name="role")),
            sa.PrimaryKeyConstraint("id"), sa.UniqueConstraint("name"))
        op.create_table("pages", sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("data", sa.Text(), server_default="100% 'x'"),
            sa.Column("creator", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")))
        op.execute("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')")
        op.execute("INSERT INTO pages (id, creator) VALUES (1, 1), (2, 2)")
        """,
    ),
    "two": (
        "one",
        """
        with op.batch_alter_table("users") as batch:
            batch.add_column(sa.Column("level", sa.Integer(), nullable=False, server_default="3"))
            batch.alter_column("name", existing_type=sa.String(30), type_=sa.String(60))
        op.create_index(op.f("ix_pages_creator"), "pages", ["creator"])
        """,
    ),
    "three": (
        "two",
        """
        with op.batch_alter_table("pages") as batch:
            batch.add_column(sa.Column("editor", sa.Integer()))
            batch.create_foreign_key(None, "users", ["editor"], ["id"])
            batch.create_check_constraint("positive", sa.column("editor") > 0)
        op.rename_table("pages", "sheets")
        op.execute("UPDATE sheets SET editor = creator")
        """,
    ),
}

APPS = {
    "cookiecutter": (COOKIECUTTER, "fooapp/alembic", "alembic_version"),
    "plain": (PLAIN, "migrations", "alembic_version"),
    "shared": (SHARED, "fooapp/alembic", "alembic_version"),
    "asynchronous": (ASYNCHRONOUS, "fooapp/alembic", "alembic_version"),
    "websauna": (WEBSAUNA, "alembic", "alembic_history_fooapp"),
    "tenants": (TENANT, "fooapp/alembic", "alembic_version"),
}


class Pair:
    """One application with two databases: one for plain Alembic alone, one to be taken over."""

    def __init__(self, workshop: Workshop, plain: str, ours: str, dump: Any) -> None:
        self.workshop, self.root, self.dump = workshop, workshop.root, dump
        self.urls = {"plain": plain, "ours": ours}
        (self.root / "setup.py").touch()

    def app(self, env: str, place: str, packages: str = "fooapp") -> None:
        self.workshop.package(packages, MODELS)
        versions = self.root / place / "versions"
        versions.mkdir(parents=True)
        (versions.parent / "env.py").write_text(env.replace("fooapp", packages))
        for revision, (down, upgrade) in SCRIPTS.items():
            written = self.workshop.script(packages, revision, down, upgrade)
            if written.parent != versions:
                written.replace(versions / written.name)
        kept = self.root / packages / "alembic"
        if kept != versions.parent:
            (kept / "versions").rmdir()
            kept.rmdir()
        for name, url in self.urls.items():
            ini = self.ini(name)
            self.workshop.application("fooapp", ini, url)
            escaped = url.replace("%", "%%")
            with ini.open("a") as file:
                file.write(f"\n[alembic]\nscript_location = {place}\nsqlalchemy.url = {escaped}\n")

    def ini(self, name: str) -> Path:
        return self.root / f"{name}.ini"

    def alembic(self, name: str, *words: str) -> None:
        self.workshop.forget()
        with contextlib.redirect_stderr(io.StringIO()):
            alembic.config.main(["-c", str(self.ini(name)), *words])

    def ws(self, *words: str) -> Typed:
        done = self.workshop.ws(self.ini("ours"), *words)
        assert done.status == 0, done
        return done

    def require_equal(self, table: str = "sheets") -> None:
        plain, ours = (self.dump(self.urls[name]) for name in ("plain", "ours"))
        assert any(table in line for line in plain)
        assert not list(difflib.unified_diff(plain, ours, "plain", "ours", n=0, lineterm=""))


def without_histories(text: str) -> list[str]:
    """Return a dump's lines but for what is about histories and the ledger."""
    text = re.sub(r"(?m)^(--.*|\\.*|/\*.*|)\n", "", text)
    parts = [
        one
        for one in re.split(r";\n", text)
        if not re.search("alembic_(version|history)|addon_revisions|websauna_migrate_", one)
    ]
    return [line for one in parts for line in one.splitlines()]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def pair(
    request: pytest.FixtureRequest,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Any:
    monkeypatch.chdir(workshop.root)
    if request.param == "sqlite":
        query = "SELECT coalesce(sql, name) || ';' FROM sqlite_master ORDER BY type, name"
        yield Pair(
            workshop,
            f"sqlite:///{tmp_path}/plain.sqlite",
            f"sqlite:///{tmp_path}/ours.sqlite",
            lambda url: without_histories("\n".join(row[0] for row in rows(url, query)) + "\n"),
        )
        return
    server = request.getfixturevalue(f"{request.param}_server")
    urls = [server.create_database() for _ in range(2)]

    def dump(url: str) -> list[str]:
        database = str(sa.make_url(url).database)
        if request.param == "postgresql":
            program = ["pg_dump", "--schema-only", f"--username={server.user}"]
        else:
            program = ["mariadb-dump", "--no-data", "--compact", f"--user={server.user}"]
        program += [f"--host={server.host}", f"--port={server.port}", database]
        program[0] = str(server.bin_dir / program[0])
        secrets = {"PGPASSWORD": server.password, "MYSQL_PWD": server.password}
        done = subprocess.run(
            program, env={**os.environ, **secrets}, capture_output=True, text=True, check=True
        )
        return without_histories(done.stdout)

    yield Pair(workshop, *urls, dump)
    for url in urls:
        server.drop_database(url)


@pytest.mark.parametrize("name", APPS)
def test_an_application_is_taken_over(pair: Pair, name: str) -> None:
    kind = sa.make_url(pair.urls["ours"]).get_backend_name()
    if (name == "tenants" and kind == "sqlite") or (name != "cookiecutter" and kind == "mysql"):
        pytest.skip("schemas are PostgreSQL's, and MariaDB's part is that of the cookiecutter")
    if name == "asynchronous":
        pytest.importorskip("aiosqlite")
    env, place, table = APPS[name]
    pair.app(env, place)
    if name == "tenants":
        for url in pair.urls.values():
            execute_all(url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    for one in pair.urls:
        pair.alembic(one, "upgrade", "two")
    if place == "fooapp/alembic":
        # Found where it is looked for: nothing is applied again.
        assert pair.workshop.ws(pair.ini("ours"), "upgrade").status != 0
    pair.ws("adopt", "--yes")
    pair.ws("upgrade")
    plain_goes_on(pair, table)
    pair.require_equal()
    assert "Nothing to do" in pair.ws("upgrade").out


def plain_goes_on(pair: Pair, table: str) -> None:
    """Upgrade the other database, by the name that its version table has."""
    (env,) = pair.root.rglob("env.py")
    taken_over = env.read_text()
    env.write_text(taken_over.replace("alembic_history_fooapp", table))
    pair.alembic("plain", "upgrade", "head")
    env.write_text(taken_over)


def execute_all(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for one in statements:
            connection.execute(sa.text(one))
    engine.dispose()


def test_several_version_tables(pair: Pair) -> None:
    """Two packages, whose plain ``env.py`` files name a table each; only one has the usual name."""
    named = PLAIN.replace(
        "target_metadata=target_metadata",
        'target_metadata=target_metadata, version_table="{table}"',
    )
    for package, table in (("fooapp", "alembic_version"), ("addon", "addon_revisions")):
        folder = pair.workshop.package(package, MODELS) / "alembic"
        (folder / "versions").mkdir(parents=True)
        text = named.replace("fooapp", package).replace("{table}", table)
        (folder / "env.py").write_text(text)
        for number in (1, 2):
            pair.workshop.script(
                package,
                f"{package}{number}",
                None if number == 1 else f"{package}1",
                f'op.create_table("{package}_t{number}", sa.Column("id", sa.Integer()), '
                'sa.PrimaryKeyConstraint("id"))',
            )
    for name, url in pair.urls.items():
        pair.workshop.application("fooapp", pair.ini(name), url)
        escaped = url.replace("%", "%%")
        with pair.ini(name).open("a") as file:
            for section, package in (("alembic", "fooapp"), ("addon", "addon")):
                file.write(f"\n[{section}]\nscript_location = {package}/alembic\n")
                file.write(f"sqlalchemy.url = {escaped}\n")
        for package, section in (("fooapp", "alembic"), ("addon", "addon")):
            pair.alembic(name, "-n", section, "upgrade", f"{package}1")
    assert pair.workshop.ws(pair.ini("ours"), "-x", "packages=all", "upgrade").status != 0
    env = {name: pair.root / name / "alembic" / "env.py" for name in ("fooapp", "addon")}
    before = {name: path.read_text() for name, path in env.items()}
    pair.ws("-x", "packages=all", "adopt", "--yes")
    assert "2 steps applied" in pair.ws("-x", "packages=all", "upgrade").out
    for name, text in before.items():
        env[name].write_text(text)
    for section in ("alembic", "addon"):
        pair.alembic("plain", "-n", section, "upgrade", "heads")
    pair.require_equal("addon_t2")
