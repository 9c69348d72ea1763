"""Migrations on a connection or an engine that the caller gives, as test suites do."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, StaticPool

from apps import Workshop
from runs import ledger, rows, tables
from websauna_migrate import IMigrationService
from websauna_migrate.errors import MigrationError, NotAtomic, RunBlocked, StepFailed, UsageError

TEMPLATE = Path(__file__).parents[1] / "alembic_template" / "script.py.mako"

BASE = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class {name}(Base):
    __tablename__ = "{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

USERS = {
    "upgrade": """
        op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("INSERT INTO users (id) VALUES (1)")
    """,
    "downgrade": 'op.drop_table("users")',
}

PROFILES = {
    "upgrade": """
        op.create_table("profiles", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("INSERT INTO profiles (id) SELECT id FROM users")
    """,
    "downgrade": 'op.drop_table("profiles")',
}


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """Two packages, of which one requires the other; their models are what the scripts make."""
    workshop.package("users", BASE.format(name="User", table="users"))
    workshop.package("profiles", BASE.format(name="Profile", table="profiles"))
    workshop.script("users", "u1", **USERS)
    workshop.script("profiles", "p1", requires=["users@u1"], **PROFILES)
    return workshop


@pytest.fixture
def in_memory() -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine as an application makes it: with a pool, and the driver's own transactions."""
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()


def names(connection: sa.Connection) -> set[str]:
    found = set(sa.inspect(connection).get_table_names())
    return found & {"users", "profiles", "alembic_history_users", "websauna_migrate_ledger"}


ALL = {"users", "profiles", "alembic_history_users", "websauna_migrate_ledger"}


# In memory


def test_a_database_in_memory(two: Workshop, in_memory: sa.Engine) -> None:
    service = two.service("sqlite://")
    assert [step.revision for step in service.upgrade(engine=in_memory).steps] == ["u1", "p1"]
    with in_memory.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM profiles")) == 1
    assert service.check(engine=in_memory).ok
    assert [state.pending for state in service.current(engine=in_memory)] == [0, 0]
    assert service.readiness(engine=in_memory).is_ready
    assert service.plan(engine=in_memory).steps == ()
    service.downgrade("base", engine=in_memory)
    with in_memory.connect() as connection:
        assert names(connection) == ALL - {"users", "profiles"}


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"]
)
def test_a_run_on_a_memory_of_its_own_is_refused(
    two: Workshop, in_memory: sa.Engine, url: str
) -> None:
    service = two.service(url)
    for call in (service.upgrade, service.stamp, service.ensure_version):
        with pytest.raises(MigrationError, match=r"in memory.*upgrade\(engine=engine\)"):
            call()
    assert service.upgrade(engine=in_memory).steps


def test_a_memory_that_connections_share(two: Workshop) -> None:
    url = "sqlite:///file:shared?mode=memory&cache=shared&uri=true"
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        assert two.service(url).upgrade().steps
        assert names(connection) == ALL
    engine.dispose()


def test_the_application_needs_no_url(two: Workshop, in_memory: sa.Engine) -> None:
    configurator = Configurator()
    configurator.include("websauna_migrate")
    for name in two.names:
        configurator.include(name)
    configurator.commit()
    service = configurator.registry.getUtility(IMigrationService)
    with in_memory.connect() as connection:
        service.upgrade(connection=connection)
        assert names(connection) == ALL


def test_a_failing_step_leaves_nothing_in_memory(two: Workshop, in_memory: sa.Engine) -> None:
    """The driver's own transactions leave DDL outside; those of a run do not."""
    two.script(
        "profiles",
        "p2",
        "p1",
        'op.create_table("more", sa.Column("id", sa.Integer))\nop.execute("nonsense")',
    )
    service = two.service("sqlite://")
    with in_memory.connect() as connection:
        with pytest.raises(StepFailed, match="p2"):
            service.upgrade(connection=connection)
        assert names(connection) == ALL
        assert "more" not in sa.inspect(connection).get_table_names()
        assert connection.scalar(sa.text("SELECT count(*) FROM profiles")) == 1


def test_threads_with_a_database_each(two: Workshop) -> None:
    service = two.service("sqlite://")

    def migrate(_: int) -> int:
        engine = sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        service.upgrade(engine=engine)
        with engine.connect() as connection:
            found = connection.scalar(sa.text("SELECT count(*) FROM profiles"))
        engine.dispose()
        return int(found)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, range(8))) == [1] * 8


# Outside of a transaction


def test_each_step_is_committed(two: Workshop, engine: sa.Engine) -> None:
    two.script("profiles", "p2", "p1", "raise ValueError(1)")
    service = two.service("sqlite:////nowhere/at/all.sqlite")
    with engine.connect() as connection:
        with pytest.raises(StepFailed):
            service.upgrade(connection=connection)
        assert not connection.in_transaction()
        assert names(connection) == ALL
        connection.rollback()
        outcomes = connection.execute(
            sa.text("SELECT revision, outcome FROM websauna_migrate_ledger ORDER BY id")
        ).all()
        assert [tuple(row) for row in outcomes] == [
            ("u1", "done"),
            ("p1", "done"),
            ("p2", "failed"),
        ]
    with engine.connect() as other:
        assert other.scalar(sa.text("SELECT count(*) FROM profiles")) == 1


def test_the_session_is_left_as_it_was(two: Workshop, engine: sa.Engine) -> None:
    service = two.service("sqlite:////nowhere/at/all.sqlite", lock_timeout_ms=1234)
    heard: list[str] = []
    sa.event.listen(engine, "do_execute", lambda *args: heard.append(args[1]))
    sa.event.listen(engine, "begin", lambda connection: heard.append("BEGIN"))
    for inside in (False, True):
        if inside and engine.dialect.name == "mysql":
            continue
        with engine.connect() as connection:
            setting = {
                "sqlite": "SET_BY_TEST",
                "postgresql": "SET lock_timeout = '7s'",
                "mysql": "SET SESSION lock_wait_timeout = 77",
            }[engine.dialect.name]
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA busy_timeout = 4321").close()
            else:
                connection.exec_driver_sql(setting)
            connection.commit()
            before = session_state(connection)
            if inside:
                connection.begin()
            heard.clear()
            service.upgrade(connection=connection)
            assert heard == []
            assert connection.in_transaction() == inside
            if inside:
                connection.commit()
            assert session_state(connection) == before
            # The caller's own transactions go on as they are.
            with connection.begin():
                connection.execute(sa.text("INSERT INTO users (id) VALUES (2)"))
            with connection.begin() as transaction:
                connection.execute(sa.text("INSERT INTO users (id) VALUES (3)"))
                transaction.rollback()
            assert connection.scalar(sa.text("SELECT count(*) FROM users")) == 2
            connection.rollback()
            service.downgrade("base", connection=connection)


def session_state(connection: sa.Connection) -> Any:
    """Return what a run may change of a session; the connection is left without a transaction."""
    name = connection.dialect.name
    driver: Any = connection.connection.dbapi_connection
    if name == "sqlite":
        found: Any = (
            driver.isolation_level,
            driver.execute("PRAGMA busy_timeout").fetchone(),
            driver.execute("PRAGMA foreign_keys").fetchone(),
        )
    elif name == "postgresql":
        query = (
            "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout' "
            "OR name IN ('search_path', 'client_connection_check_interval') ORDER BY name"
        )
        found = connection.execute(sa.text(query)).all()
        held = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
        found.append(connection.scalar(sa.text(held)))
    else:
        found = connection.execute(
            sa.text(
                "SHOW SESSION VARIABLES WHERE Variable_name IN ('lock_wait_timeout', "
                "'innodb_lock_wait_timeout', 'max_statement_time', 'autocommit')"
            )
        ).all()
    connection.rollback()
    return found


def test_scripts_are_written_and_stamped(two: Workshop, engine: sa.Engine) -> None:
    service = two.service("sqlite:////nowhere/at/all.sqlite")
    two.script("users", "u2", "u1")
    for name in two.names:
        shutil.copy(TEMPLATE, two.root / name / "alembic")
    with engine.connect() as connection:
        service.upgrade("u1", packages="users", connection=connection)
        service.stamp("u2", packages="users", connection=connection)
        service.upgrade(connection=connection)
        assert service.check(connection=connection).ok
        connection.rollback()
        connection.execute(sa.text("DROP TABLE profiles"))
        connection.commit()
        problems = service.check(connection=connection).problems
        assert {problem.kind for problem in problems} == {"drift"}
        (made,) = service.revision("New", autogenerate=True, connection=connection)
        assert made.package == "profiles"
        assert "op.create_table(" in Path(made.path).read_text()
        service.upgrade(connection=connection)
        assert service.check(connection=connection).ok


def test_another_run_waits(two: Workshop, engine: sa.Engine, database_url: str) -> None:
    """The lock is the database's: it is that of all other runs as well."""
    service = two.service(database_url)
    two.script(
        "users",
        "u2",
        "u1",
        "import threading\nfor name in ('begun', 'go_on'):\n    getattr(threading, name)()",
    )
    found: list[Any] = []

    def other() -> None:
        # A process of its own, as far as locks of this process go.
        code = (
            "import sys, sqlalchemy as sa\n"
            f"sys.path[:0] = [{str(two.root)!r}, {str(Path(__file__).parent)!r}]\n"
            "from pathlib import Path\nfrom apps import Workshop\n"
            "from websauna_migrate.locks.run_lock import RunBlocked\n"
            f"shop = Workshop(Path({str(two.root)!r})); shop.names = {two.names!r}\n"
            f"service = shop.service({database_url!r})\n"
            f"engine = sa.create_engine({database_url!r})\n"
            "try: service.upgrade(engine=engine, lock_wait=0)\n"
            "except RunBlocked: print('waits')\n"
        )
        found.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True))

    threading.begun, threading.go_on = other, lambda: None  # type: ignore[attr-defined]
    with engine.connect() as connection:
        service.upgrade(connection=connection)
    assert (found[0].stdout, found[0].stderr) == ("waits\n", "")


# In the caller's transaction


@pytest.fixture
def fresh_url(transactional_database_url: str) -> str:
    return transactional_database_url


@pytest.fixture
def make_engine(fresh_url: str) -> Iterator[Callable[..., sa.Engine]]:
    made: list[sa.Engine] = []

    def make(**options: Any) -> sa.Engine:
        made.append(sa.create_engine(fresh_url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def test_a_transaction_is_the_callers(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str
) -> None:
    """As in a test suite: all is rolled back at the end, whatever a session commits meanwhile."""
    service = two.service("sqlite:////nowhere/at/all.sqlite")
    engine = make_engine()
    with engine.connect() as connection:
        transaction = connection.begin()
        if engine.dialect.name == "postgresql":
            # The driver of SQLite leaves DDL outside of a transaction that has no other change.
            connection.execute(sa.text("CREATE TABLE mine (id INTEGER)"))
        assert len(service.upgrade(connection=connection).steps) == 2
        assert connection.in_transaction()
        assert service.check(connection=connection).ok
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.execute(sa.text("INSERT INTO users (id) VALUES (7)"))
            session.commit()
            assert session.scalar(sa.text("SELECT count(*) FROM users")) == 2
        service.downgrade("base", packages="profiles", connection=connection)
        assert names(connection) == ALL - {"profiles"}
        service.stamp("base", packages="users", connection=connection)
        transaction.rollback()
        assert not names(connection)
        assert "mine" not in sa.inspect(connection).get_table_names()
    assert tables(fresh_url) == set()


def test_a_transaction_is_committed_by_the_caller(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str
) -> None:
    service = two.service(fresh_url)
    engine = make_engine(poolclass=NullPool)
    with engine.begin() as connection:
        # As in Alembic's cookbook.
        service.upgrade(connection=connection)
        assert service.upgrade(connection=connection).steps == ()
    assert rows(fresh_url, "SELECT id FROM profiles") == [(1,)]
    assert [outcome for *_, outcome in ledger(fresh_url)] == ["done", "done"]
    assert service.upgrade().steps == ()


def test_what_a_session_began_is_used(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str
) -> None:
    service = two.service(fresh_url)
    with Session(make_engine()) as session:
        session.execute(sa.text("CREATE TABLE mine (id INTEGER)"))
        service.upgrade(connection=session.connection())
        session.execute(sa.text("INSERT INTO users (id) VALUES (7)"))
        session.commit()
    assert rows(fresh_url, "SELECT id FROM users ORDER BY id") == [(1,), (7,)]
    assert "mine" in tables(fresh_url)


def test_a_failing_run_leaves_the_transaction_usable(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str
) -> None:
    two.script("profiles", "p2", "p1", 'op.execute("nonsense")')
    service = two.service(fresh_url)
    with make_engine().connect() as connection:
        connection.execute(sa.text("CREATE TABLE mine (id INTEGER)"))
        with pytest.raises(StepFailed) as info:
            service.upgrade(connection=connection)
        assert "The earlier steps of this run were rolled back with it." in str(info.value)
        assert connection.in_transaction()
        assert names(connection) == {"websauna_migrate_ledger"}
        connection.execute(sa.text("INSERT INTO mine VALUES (1)"))
        connection.commit()
    assert rows(fresh_url, "SELECT id FROM mine") == [(1,)]
    assert ledger(fresh_url) == [("profiles", "p2", "upgrade", "failed")]


def test_other_runs_wait_until_the_caller_commits(two: Workshop, postgresql_url: str) -> None:
    service = two.service(postgresql_url, lock_wait=0)
    engine = sa.create_engine(postgresql_url, poolclass=NullPool)
    with engine.connect() as connection:
        service.upgrade(connection=connection)
        connection.commit()
        service.downgrade("base", connection=connection)
        connection.begin()
        service.upgrade(connection=connection)
        with pytest.raises(RunBlocked):
            service.upgrade()
        connection.commit()
    assert service.upgrade().steps == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("with op.get_context().autocommit_block():\n    pass", "line 14 uses autocommit_block()"),
        ("op.execute('COMMIT')", "line 14 has COMMIT"),
    ],
)
def test_steps_that_need_no_transaction_are_refused_before(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str, body: str, reason: str
) -> None:
    two.script("users", "u2", "u1", body)
    service = two.service(fresh_url)
    engine = make_engine()
    with engine.begin() as connection:
        with pytest.raises(NotAtomic) as info:
            service.upgrade(connection=connection)
        assert str(info.value) == (
            "A run in the transaction of the connection given is impossible: the whole run cannot "
            f"be one transaction. Nothing was changed.\n  users@u2: {reason}\nUpgrade to the "
            "last of these on a connection that is in no transaction; the rest may be one "
            "transaction."
        )
        assert not names(connection)
    # The remedy.
    with engine.connect() as connection:
        service.upgrade("u1", packages="users", connection=connection)
        service.upgrade(connection=connection)
        assert names(connection) == ALL


def test_a_commit_that_the_script_hides_is_refused(
    two: Workshop, make_engine: Callable[..., sa.Engine], fresh_url: str
) -> None:
    two.script("users", "u2", "u1", 'op.execute("COM" + "MIT")')
    service = two.service(fresh_url)
    with make_engine().begin() as connection:
        with pytest.raises(StepFailed, match=r'"COMMIT" would end the transaction'):
            service.upgrade(connection=connection)
        assert names(connection) == {"websauna_migrate_ledger"}
        connection.rollback()
    assert tables(fresh_url) == set()


def test_a_rebuild_with_foreign_keys_on_is_refused(two: Workshop, in_memory: sa.Engine) -> None:
    two.script(
        "users",
        "u2",
        "u1",
        'op.execute("CREATE TABLE child (id INTEGER REFERENCES users (id) ON DELETE CASCADE)")\n'
        'op.execute("INSERT INTO child VALUES (1)")',
    )
    rebuild = (
        'with op.batch_alter_table("users", recreate="always") as batch:\n'
        '    batch.add_column(sa.Column("name", sa.String(9)))'
    )
    two.script("users", "u3", "u2", rebuild)
    service = two.service("sqlite://")
    with in_memory.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.commit()
        service.upgrade("u2", packages="users", connection=connection)
        connection.begin()
        with pytest.raises(StepFailed, match="Turn it off before that transaction begins"):
            service.upgrade(connection=connection)
        connection.rollback()
        assert connection.scalar(sa.text("SELECT count(*) FROM child")) == 1
        connection.rollback()
        # One remedy: a connection that is in no transaction.
        service.upgrade("u3", packages="users", connection=connection)
        assert connection.scalar(sa.text("SELECT count(*) FROM child")) == 1
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
        connection.rollback()
        service.downgrade("u2", packages="users", connection=connection)
        # The other one.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
        with connection.begin():
            two.script("users", "u4", "u3", rebuild.replace("name", "other"))
            service.upgrade(connection=connection)
        assert connection.scalar(sa.text("SELECT count(*) FROM child")) == 1


# What is refused


def test_mariadb_would_commit_the_callers_transaction(two: Workshop, mariadb_url: str) -> None:
    service = two.service(mariadb_url)
    engine = sa.create_engine(mariadb_url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.begin()
        for call in (service.upgrade, service.check, service.stamp):
            with pytest.raises(UsageError, match="which this database would commit"):
                call(connection=connection)
        connection.rollback()
        service.upgrade(connection=connection)
        assert service.check(connection=connection).ok
    assert rows(mariadb_url, "SELECT id FROM profiles") == [(1,)]


@pytest.mark.parametrize("how", ["engine", "connection"])
def test_autocommit_is_refused(two: Workshop, engine: sa.Engine, how: str) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("transactions on SQLite are the run's own, whatever the driver does")
    service = two.service("sqlite:////nowhere/at/all.sqlite")
    autocommit = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with pytest.raises(UsageError, match="AUTOCOMMIT"):
        if how == "engine":
            service.upgrade(engine=autocommit)
        else:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                service.upgrade(connection=connection)
    with engine.connect() as connection:
        assert not names(connection)


def test_work_of_the_driver_alone_is_neither_lost_nor_committed(
    two: Workshop, sqlite_url: str
) -> None:
    service = two.service(sqlite_url)
    with sa.create_engine(sqlite_url, poolclass=NullPool).connect() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (n)")
        connection.commit()
        driver = connection.connection.dbapi_connection
        driver.execute("INSERT INTO mine VALUES (1)")
        with pytest.raises(UsageError, match="of which SQLAlchemy does not know"):
            service.upgrade(connection=connection)
        assert driver.in_transaction
        driver.commit()
        service.upgrade(connection=connection)
    assert rows(sqlite_url, "SELECT n FROM mine") == [(1,)]


def test_what_is_no_connection_is_refused(two: Workshop, in_memory: sa.Engine) -> None:
    service = two.service("sqlite://")
    with in_memory.connect() as connection, Session(connection) as session:
        for arguments, words in (
            ({"connection": connection, "engine": in_memory}, "not both"),
            ({"connection": session}, r"not Session.*session\.connection\(\)"),
            ({"connection": in_memory}, "not Engine"),
            ({"engine": connection}, "not Connection"),
            (
                {"connection": connection.execution_options(schema_translate_map={None: "x"})},
                "schema_translate_map",
            ),
        ):
            with pytest.raises(UsageError, match=words):
                service.upgrade(**arguments)
    with pytest.raises(UsageError, match="a database of its own"):
        service.check(fresh=True, engine=in_memory)


# env.py

ENV = """
from alembic import context

connectable = context.config.attributes.get("connection")
assert connectable is not None
context.configure(connection=connectable, target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
"""


@pytest.mark.parametrize("inside", [False, True])
def test_an_env_py_finds_the_connection(
    two: Workshop, make_engine: Callable[..., sa.Engine], inside: bool
) -> None:
    (two.root / "users" / "alembic" / "env.py").write_text(ENV)
    service = two.service("sqlite:////nowhere/at/all.sqlite")
    with make_engine().connect() as connection:
        if inside:
            connection.begin()
        service.upgrade(connection=connection)
        assert names(connection) == ALL
        connection.rollback()
        assert names(connection) == (set() if inside else ALL)


def test_plain_alembic_shares_a_connection(
    two: Workshop, in_memory: sa.Engine, tmp_path: Path
) -> None:
    """As in Alembic's cookbook, "Sharing a Connection", with the template's env.py."""
    from alembic import command
    from alembic.config import Config

    shutil.copy(TEMPLATE.parent / "env.py", two.root / "users" / "alembic")
    ini = tmp_path / "site.ini"
    ini.write_text(
        "[app:main]\nuse = call:site_of_users:main\nsqlalchemy.url = sqlite://\n"
        f"[alembic]\nscript_location = {two.root / 'users' / 'alembic'}\n"
    )
    (two.root / "site_of_users.py").write_text(FACTORY)
    config = Config(str(ini))
    with in_memory.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert names(connection) == ALL - {"profiles"}
        connection.rollback()
        with connection.begin() as transaction:
            command.downgrade(config, "base")
            assert names(connection) == ALL - {"profiles", "users"}
            transaction.rollback()
        assert names(connection) == ALL - {"profiles"}
        connection.rollback()
        command.stamp(config, "base")
        history = sa.text("SELECT count(*) FROM alembic_history_users")
        assert connection.scalar(history) == 0


FACTORY = """
from pyramid.config import Configurator

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("users")
    return config.make_wsgi_app()
"""


def test_the_documented_fixtures(two: Workshop, postgresql_url: str, tmp_path: Path) -> None:
    """Those of the docs, for a database in memory and for PostgreSQL."""
    page = (Path(__file__).parents[1] / "docs" / "running.rst").read_text()
    section = page.split("On a connection of one's own\n")[1]
    block = section.split(".. code-block:: python\n\n")[1]
    lines = itertools.takewhile(lambda line: not line or line.startswith("    "), block.split("\n"))
    fixtures = textwrap.dedent("\n".join(lines))
    setup = (
        f"import sys; sys.path[:0] = [{str(two.root)!r}]\n"
        "from pyramid.config import Configurator\n"
        "def main(global_config, **settings):\n"
        "    config = Configurator(settings=settings)\n"
        "    for name in ('websauna_migrate', 'users', 'profiles'): config.include(name)\n"
        "    return config.make_wsgi_app()\n"
    )
    (tmp_path / "fooapp.py").write_text(setup)
    (tmp_path / "test_it.py").write_text(
        "import pytest, sqlalchemy as sa\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_rows(dbsession, number):\n"
        "    dbsession.execute(sa.text('INSERT INTO users (id) VALUES (7)'))\n"
        "    dbsession.commit()\n"
        "    assert dbsession.scalar(sa.text('SELECT count(*) FROM users')) == 2\n"
    )
    for url in ("sqlite://", postgresql_url):
        (tmp_path / "conftest.py").write_text(fixtures.replace("sqlite://", url))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert "2 passed" in done.stdout, done.stdout
    assert tables(postgresql_url) == {*ALL, "alembic_history_profiles"}
    assert rows(postgresql_url, "SELECT id FROM users") == [(1,)]
