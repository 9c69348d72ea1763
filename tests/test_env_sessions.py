"""What a hand-written ``env.py`` sets on its connection holds in the service's own session."""

from __future__ import annotations

import gc
import textwrap
from argparse import Namespace
from pathlib import Path

import alembic
import pyramid_debugtoolbar.panels.sqla  # noqa: F401  # its listeners, as applications have them
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from apps import Workshop
from databases import MariaDBServer, PostgreSQLServer
from runs import engine_of, execute, rows, steps, table, tables, transaction_on
from websauna_migrate.errors import EnvironmentFailure, MigrationError

#: Alembic's cookbook, "Rudimental Schema-Level Multi Tenancy for PostgreSQL Databases".
TENANTS = """
from alembic import context
from sqlalchemy import engine_from_config, pool, text

config = context.config
tenant = context.get_x_argument(as_dictionary=True).get("tenant", "red")
engine = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with engine.connect() as connection:
    connection.execute(text(f'set search_path to "{tenant}"'))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

#: "Sharing a Connection across one or more programmatic migration commands".
SHARED = """
from alembic import context
from sqlalchemy import text

connection = context.config.attributes["connection"]
connection.execute(text("{statement}"))
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
"""

OWN = TENANTS.replace("""text(f'set search_path to "{tenant}"')""", 'text("{statement}")').replace(
    "    connection.dialect.default_schema_name = tenant\n", ""
)


def with_env(workshop: Workshop, env: str, package: str = "app") -> None:
    workshop.package(package)
    workshop.script(package, f"{package}1", None, **table(package))
    (workshop.root / package / "alembic" / "env.py").write_text(env)


def places(url: str) -> set[str]:
    found = rows(
        url,
        "SELECT schemaname || '.' || tablename FROM pg_tables "
        "WHERE schemaname IN ('public', 'red', 'blue')",
    )
    return {name for (name,) in found}


def test_a_schema_per_tenant(workshop: Workshop, postgresql_url: str) -> None:
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    with_env(workshop, TENANTS)
    service = workshop.service(postgresql_url)
    for tenant in ("red", "blue"):
        service.use_ini(None, {}, cmd_opts=Namespace(x=[f"tenant={tenant}"]))
        assert steps(service.upgrade()) == ["app@app1"]
        assert not service.upgrade().steps
        (state,) = service.current()
        assert state.rows == ("app1",) and not state.pending
        assert service.check().ok
    tables = {"app", "alembic_history_app", "websauna_migrate_ledger"}
    assert places(postgresql_url) == {f"{s}.{t}" for s in ("red", "blue") for t in tables}
    service.downgrade("base")
    assert "red.app" in places(postgresql_url) and "blue.app" not in places(postgresql_url)


LOOP = """
from alembic import context
from sqlalchemy import create_engine, engine_from_config, pool, text

url = context.config.get_main_option("sqlalchemy.url")


def migrate(url, statement):
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            connection.execute(text(statement))
            context.run_migrations()


"""


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (
            "for tenant in ('red', 'blue'):\n    migrate(url, f'SET search_path TO {tenant}')",
            'search_path is "red", then "blue"',
        ),
        (
            "migrate(url, 'SELECT 1')\nmigrate(url, 'SET LOCAL search_path TO blue')",
            'search_path is "None", then "blue"',
        ),
        ("[migrate(one, 'SELECT 1') for one in (url, 'sqlite://')]", "the database is"),
    ],
)
def test_several_tenants_or_databases_are_refused(
    workshop: Workshop, postgresql_url: str, tail: str, problem: str
) -> None:
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    with_env(workshop, LOOP + tail)
    service = workshop.service(postgresql_url)
    for call in (service.upgrade, service.current, service.check):
        with pytest.raises(EnvironmentFailure, match=problem):
            call()
    assert not places(postgresql_url)


@pytest.mark.parametrize(
    "tail",
    [
        "[migrate(url, 'SET search_path TO red') for _ in range(2)]",
        "if 'alembic' in url:\n    migrate(url, '')\nelse:\n"
        "    migrate(url, 'SET search_path TO red')",
    ],
)
def test_one_session_may_be_told_twice(workshop: Workshop, postgresql_url: str, tail: str) -> None:
    execute(postgresql_url, "CREATE SCHEMA red")
    with_env(workshop, LOOP + tail)
    assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    assert "red.app" in places(postgresql_url)


@pytest.mark.parametrize("env", [OWN, SHARED], ids=["its own", "shared"])
@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_a_search_path(workshop: Workshop, postgresql_url: str, env: str, atomic: bool) -> None:
    execute(postgresql_url, "CREATE SCHEMA red")
    with_env(workshop, env.replace("{statement}", "SET search_path TO red"))
    service = workshop.service(postgresql_url)
    assert steps(service.upgrade(atomic=atomic)) == ["app@app1"]
    assert places(postgresql_url) == {
        "red.app",
        "red.alembic_history_app",
        "red.websauna_migrate_ledger",
    }
    assert not service.upgrade().steps


@pytest.mark.parametrize("env", [OWN, SHARED], ids=["its own", "shared"])
def test_a_role_owns_what_is_made(
    workshop: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str, env: str
) -> None:
    role = "r" + str(sa.make_url(postgresql_url).database)
    execute(
        postgresql_url, f"CREATE ROLE {role}", f"GRANT CREATE, USAGE ON SCHEMA public TO {role}"
    )
    with_env(workshop, env.replace("{statement}", f"SET ROLE {role}"))
    try:
        service = workshop.service(postgresql_url)
        assert steps(service.upgrade()) == ["app@app1"]
        owners = rows(postgresql_url, "SELECT tableowner FROM pg_tables WHERE tablename = 'app'")
        assert owners == [(role,)]
        service.downgrade("base")
    finally:
        execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "said",
    [
        'connection.execute(text("{statement}"))',
        'context.execute("{statement}")',
        'context.get_context().bind.execute(text("{statement}"))',
    ],
)
@pytest.mark.parametrize("local", ["", "LOCAL "], ids=["session", "local"])
def test_what_is_said_inside_of_begin_transaction(
    workshop: Workshop, postgresql_url: str, said: str, local: str
) -> None:
    """As many recipes for schemas, roles and locks have it."""
    execute(postgresql_url, "CREATE SCHEMA red")
    statements = [
        f"SET {local}search_path TO red",
        "SELECT pg_advisory_xact_lock(10000)",
        f"SET {local}TimeZone TO 'Asia/Tokyo'",
        "CREATE SCHEMA IF NOT EXISTS blue",
        "SELECT * FROM seen",
    ]
    execute(postgresql_url, "CREATE TABLE red.seen (n INTEGER)")
    lines = "".join(f"        {said.replace('{statement}', one)}\n" for one in statements)
    migrations = "        context.run_migrations()"
    env = OWN.replace(migrations, lines + migrations).replace("{statement}", "SELECT 1")
    with_env(workshop, env)
    workshop.script(
        "app",
        "app2",
        "app1",
        """
        op.execute("CREATE TABLE blue.zone AS SELECT current_setting('TimeZone') AS name")
        op.add_column("seen", sa.Column("m", sa.Integer))
        """,
    )
    service = workshop.service(postgresql_url)
    assert steps(service.upgrade()) == ["app@app1", "app@app2"]
    assert {"red.app", "red.alembic_history_app"} <= places(postgresql_url)
    assert rows(postgresql_url, "SELECT name FROM blue.zone") == [("Asia/Tokyo",)]
    assert not service.upgrade().steps


@pytest.mark.parametrize(
    ("product", "statement", "sleep", "atomic"),
    [
        ("postgresql", "SET statement_timeout = '200ms'", "SELECT pg_sleep(2)", False),
        ("postgresql", "SET statement_timeout = '200ms'", "SELECT pg_sleep(2)", True),
        ("mariadb", "SET SESSION max_statement_time = 0.2", "SELECT SLEEP(2)", False),
    ],
)
def test_a_limit_of_statements_holds(
    workshop: Workshop,
    request: pytest.FixtureRequest,
    product: str,
    statement: str,
    sleep: str,
    atomic: bool,
) -> None:
    with_env(workshop, OWN.replace("{statement}", statement))
    workshop.script("app", "app2", "app1", f'op.execute("{sleep}")')
    service = workshop.service(request.getfixturevalue(f"{product}_url"))
    with pytest.raises(Exception, match=r"statement timeout|max_statement_time"):
        service.upgrade(atomic=atomic)


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_a_limit_of_waiting_for_locks_bounds_the_attempts(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    statement = {
        "postgresql": "SET lock_timeout = '300ms'",
        "mariadb": "SET SESSION lock_wait_timeout = 1",
    }[product]
    with_env(workshop, OWN.replace("{statement}", statement))
    workshop.script("app", "app2", "app1", 'op.add_column("app", sa.Column("n", sa.Integer))')
    service = workshop.service(url)
    service.upgrade("app1")
    with transaction_on(url, "SELECT * FROM app"), pytest.raises(MigrationError, match="lock"):
        service.upgrade()
    assert steps(service.upgrade()) == ["app@app2"]


def test_a_schema_that_env_py_creates(workshop: Workshop, postgresql_url: str) -> None:
    env = OWN.replace("{statement}", "CREATE SCHEMA IF NOT EXISTS red").replace(
        "    connection.commit()\n",
        '    connection.execute(text("SET search_path TO red"))\n    connection.commit()\n',
    )
    with_env(workshop, env)
    assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    assert "red.app" in places(postgresql_url)


def test_session_authorization_is_refused_and_a_role_does_the_same(
    workshop: Workshop, postgresql_url: str
) -> None:
    role = "r" + str(sa.make_url(postgresql_url).database)
    execute(
        postgresql_url, f"CREATE ROLE {role}", f"GRANT CREATE, USAGE ON SCHEMA public TO {role}"
    )
    with_env(workshop, OWN.replace("{statement}", f"SET SESSION AUTHORIZATION {role}"))
    try:
        with pytest.raises(EnvironmentFailure, match=f'Say SET ROLE "{role}"'):
            workshop.service(postgresql_url).upgrade()
        env = workshop.root / "app" / "alembic" / "env.py"
        env.write_text(OWN.replace("{statement}", f"SET ROLE {role}"))
        assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
        owners = rows(postgresql_url, "SELECT tableowner FROM pg_tables WHERE tablename = 'app'")
        assert owners == [(role,)]
    finally:
        execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "connects",
    [
        'engine.connect().execution_options(isolation_level="AUTOCOMMIT")',
        'engine.execution_options(isolation_level="AUTOCOMMIT").connect()',
    ],
)
def test_set_local_means_nothing_where_each_statement_is_a_transaction(
    workshop: Workshop, postgresql_url: str, connects: str
) -> None:
    execute(postgresql_url, "CREATE SCHEMA red")
    env = OWN.replace("engine.connect()", connects).replace("    connection.commit()\n", "")
    env = env.replace(
        "        context.run",
        "        context.execute('SET LOCAL search_path TO red')\n        context.run",
    )
    with_env(workshop, env.replace("{statement}", "SELECT 1"))
    assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    assert "public.app" in places(postgresql_url)


def test_an_asynchronous_script_is_told_what_to_write(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("app")
    workshop.script("app", "app1", None, "op.run_async(print)")
    with pytest.raises(MigrationError, match=r"run_async .* say op\.execute"):
        workshop.service(sqlite_url).upgrade()


def test_another_database_is_refused(
    workshop: Workshop, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    other = postgresql_server.create_database()
    env = TENANTS.replace("engine_from_config(", "create_engine(").replace(
        'config.get_section(config.config_ini_section, {}), prefix="sqlalchemy."', repr(other)
    )
    with_env(workshop, env.replace("import engine_from_config", "import create_engine"))
    try:
        with pytest.raises(EnvironmentFailure, match="connects to the database") as caught:
            workshop.service(postgresql_url).upgrade()
        assert "websauna_migrate.url" in str(caught.value)
        assert not sa.inspect(engine_of(other)).get_table_names()
    finally:
        postgresql_server.drop_database(other)


SECOND = """
from alembic import context
from sqlalchemy import create_engine, engine_from_config, text

config = context.config
engine = engine_from_config(config.get_section(config.config_ini_section, {{}}), "sqlalchemy.")
other = create_engine({other!r})


def elsewhere(statement):
    with other.begin() as connection:
        return connection.execute(text(statement))


{before}
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
{after}
"""


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_second_engine_may_only_read(
    workshop: Workshop, database_url: str, tmp_path: Path, place: str
) -> None:
    other = f"sqlite:///{tmp_path}/other.sqlite"
    parts = {"before": "", "after": "", "other": other}
    makes = {**parts, place: "elsewhere('CREATE TABLE audit (n INTEGER)')"}
    with_env(workshop, SECOND.format(**makes))
    service = workshop.service(database_url)
    for call in (service.upgrade, service.check, service.current):
        with pytest.raises(EnvironmentFailure, match=r"says .CREATE TABLE audit") as caught:
            call()
        assert "other.sqlite" in str(caught.value) and "websauna_migrate.url" in str(caught.value)
    assert not sa.inspect(engine_of(other)).get_table_names()
    assert not sa.inspect(engine_of(database_url)).has_table("app")
    env = workshop.root / "app" / "alembic" / "env.py"
    env.write_text(SECOND.format(**{**parts, place: "elsewhere('SELECT 1')"}))
    assert steps(workshop.service(database_url).upgrade()) == ["app@app1"]


def test_packages_that_disagree_are_named(workshop: Workshop, postgresql_url: str) -> None:
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    for package, schema in (("app", "red"), ("other", "blue")):
        with_env(workshop, OWN.replace("{statement}", f"SET search_path TO {schema}"), package)
    with pytest.raises(EnvironmentFailure, match='to "red", that of "other" to "blue"'):
        workshop.service(postgresql_url).upgrade()
    for package, first in (("app", "red"), ("other", "blue")):
        env = OWN.replace("{statement}", f"SET search_path TO {first}").replace(
            "context.run", "context.execute('SET LOCAL search_path TO public'); context.run"
        )
        (workshop.root / package / "alembic" / "env.py").write_text(env)
    with pytest.raises(
        EnvironmentFailure, match=r'sets search_path .*"blue" for what comes behind'
    ):
        workshop.service(postgresql_url).upgrade()


def test_a_sql_mode_on_mariadb(workshop: Workshop, mariadb_url: str) -> None:
    with_env(workshop, OWN.replace("{statement}", "SET SESSION sql_mode = 'ANSI_QUOTES'"))
    workshop.script("app", "app2", "app1", """op.execute('CREATE TABLE "quoted" (x INT)')""")
    assert steps(workshop.service(mariadb_url).upgrade()) == ["app@app1", "app@app2"]
    assert sa.inspect(engine_of(mariadb_url)).has_table("quoted")


def test_a_collation_and_a_variable_on_mariadb(workshop: Workshop, mariadb_url: str) -> None:
    said = "SET NAMES utf8mb4 COLLATE utf8mb4_swedish_ci, @`my tenant` = 'it''s', @n = 7"
    with_env(workshop, OWN.replace("{statement}", said))
    workshop.script(
        "app",
        "app2",
        "app1",
        """op.execute("CREATE TABLE made AS SELECT 'x' AS x, @`my tenant` AS tenant, @n AS n")""",
    )
    assert steps(workshop.service(mariadb_url).upgrade()) == ["app@app1", "app@app2"]
    assert rows(mariadb_url, "SELECT tenant, n FROM made") == [("it's", 7)]
    (found,) = rows(
        mariadb_url,
        "SELECT collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = 'made' AND column_name = 'x'",
    )
    assert found == ("utf8mb4_swedish_ci",)


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_a_shared_connection_is_given_as_it_is_without_settings(
    workshop: Workshop, postgresql_url: str, atomic: bool
) -> None:
    """What is said in front of them holds for what comes behind, each time."""
    execute(postgresql_url, "CREATE SCHEMA red")
    said = 'connection.execute(text("CREATE TABLE IF NOT EXISTS early (x INT)"))\n'
    env = said + 'connection.execute(text("SET search_path TO red"))'
    for name in ("app", "other"):
        with_env(workshop, SHARED.replace('connection.execute(text("{statement}"))', env), name)
    service = workshop.service(postgresql_url)
    assert len(service.upgrade(atomic=atomic).steps) == 2
    assert not service.upgrade().steps
    found = {one for one in places(postgresql_url) if "_" not in one}
    assert found == {"public.early", "red.app", "red.other"}


@pytest.mark.parametrize("env", [OWN, SHARED], ids=["its own", "shared"])
@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_what_is_said_behind_the_migrations(
    workshop: Workshop, postgresql_url: str, env: str, atomic: bool
) -> None:
    """In their transaction as in front of them, and behind it as if SET LOCAL had not been."""
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue", "CREATE TABLE red.n (x INT)")
    lines = """
    with context.begin_transaction():
        context.execute("SET LOCAL search_path TO red")
        connection.execute(text("SET LOCAL app.tenant TO 'mine'"))
        context.run_migrations()
        connection.execute(text("CREATE TABLE IF NOT EXISTS inside AS SELECT * FROM n"))
    connection.execute(text("CREATE TABLE IF NOT EXISTS outside (x INT)"))
    connection.commit()
"""
    if env is SHARED:
        lines = textwrap.dedent(lines)
    begin = env.index("with context.begin_transaction():")
    text = env[:begin].rstrip(" ") + lines.lstrip("\n")
    with_env(workshop, text.replace("{statement}", "SET search_path TO blue"))
    for number in (2, 3):
        workshop.script("app", f"app{number}", f"app{number - 1}", 'op.execute("SELECT * FROM n")')
    workshop.package("other")
    workshop.script("other", "other1", None, **table("other"))
    (workshop.root / "other" / "alembic" / "env.py").write_text(
        (workshop.root / "app" / "alembic" / "env.py").read_text()
    )
    service = workshop.service(postgresql_url)
    assert len(service.upgrade(atomic=atomic).steps) == 4
    made = {"red.n", "red.app", "red.other", "red.inside", "blue.outside"}
    assert {one for one in places(postgresql_url) if "_" not in one} == made
    assert not service.upgrade().steps


def test_another_database_on_mariadb_is_refused(
    workshop: Workshop, mariadb_server: MariaDBServer, mariadb_url: str
) -> None:
    other = mariadb_server.create_database()
    with_env(workshop, OWN.replace("{statement}", f"USE {sa.make_url(other).database}"))
    try:
        with pytest.raises(EnvironmentFailure, match="connects to the database"):
            workshop.service(mariadb_url).upgrade()
        assert not sa.inspect(engine_of(other)).get_table_names()
        assert not sa.inspect(engine_of(mariadb_url)).get_table_names()
    finally:
        mariadb_server.drop_database(other)


def test_what_sqlite_alone_has_in_python_is_refused(workshop: Workshop, sqlite_url: str) -> None:
    env = OWN.replace(
        """connection.execute(text("{statement}"))""",
        """connection.connection.create_function("twice", 1, lambda x: 2 * x)""",
    )
    with_env(workshop, env)
    with pytest.raises(EnvironmentFailure, match="registers the SQL function twice") as caught:
        workshop.service(sqlite_url).upgrade()
    assert 'sqlalchemy.Engine, "connect"' in str(caught.value)
    assert not sa.inspect(engine_of(sqlite_url)).get_table_names()


def test_an_attached_database_on_sqlite(workshop: Workshop, sqlite_url: str) -> None:
    far = workshop.root / "far.sqlite"
    with_env(workshop, OWN.replace("{statement}", f"ATTACH '{far}' AS far"))
    workshop.script("app", "app2", "app1", 'op.execute("CREATE TABLE far.t (x INT)")')
    assert steps(workshop.service(sqlite_url).upgrade()) == ["app@app1", "app@app2"]
    assert sa.inspect(engine_of(f"sqlite:///{far}")).get_table_names() == ["t"]


def test_a_translated_schema_is_refused(workshop: Workshop, postgresql_url: str) -> None:
    env = OWN.replace(
        """connection.execute(text("{statement}"))""",
        """connection = connection.execution_options(schema_translate_map={None: "red"})""",
    )
    with_env(workshop, env)
    with pytest.raises(EnvironmentFailure, match="schema_translate_map"):
        workshop.service(postgresql_url).upgrade()


def test_a_translation_that_changes_no_name(workshop: Workshop, database_url: str) -> None:
    """As an ``env.py`` has it that asks a setting for the schema, where none is named."""
    env = OWN.replace(
        """connection.execute(text("{statement}"))""",
        """connection = connection.execution_options(schema_translate_map={None: None})""",
    )
    with_env(workshop, env)
    assert steps(workshop.service(database_url).upgrade()) == ["app@app1"]


def test_a_helper_of_the_application_sets_it(workshop: Workshop, postgresql_url: str) -> None:
    """The words ``search_path`` stand in another module than ``env.py``."""
    execute(postgresql_url, "CREATE SCHEMA red")
    env = OWN.replace("""connection.execute(text("{statement}"))""", "prepare(connection)").replace(
        "from alembic import context",
        "from alembic import context\nfrom helper_of_sessions import prepare",
    )
    (workshop.root / "helper_of_sessions.py").write_text(
        "from sqlalchemy import text\n\n\ndef prepare(connection):\n"
        '    connection.execute(text("SET search_path TO red"))\n'
    )
    with_env(workshop, env)
    assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    assert "red.app" in places(postgresql_url)


def test_a_variable_of_the_environment_counts_each_time(
    workshop: Workshop, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    env = TENANTS.replace(
        'context.get_x_argument(as_dictionary=True).get("tenant", "red")', 'os.environ["TENANT"]'
    )
    with_env(workshop, "import os\n" + env)
    service = workshop.service(postgresql_url)
    for tenant in ("red", "blue"):
        monkeypatch.setenv("TENANT", tenant)
        assert steps(service.upgrade()) == ["app@app1"]
        assert f"{tenant}.app" in places(postgresql_url)


#: Alembic's cookbook, "Using Asyncio with Alembic".
ASYNCHRONOUS = """
import asyncio
from alembic import context
from sqlalchemy import pool, text
from sqlalchemy.ext.asyncio import create_async_engine


def do_run_migrations(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations():
    engine = create_async_engine({url!r}, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.execute(text("{statement}"))
        await connection.commit()
        await connection.run_sync(do_run_migrations)
    await engine.dispose()


asyncio.run(run_async_migrations())
"""


@pytest.mark.parametrize("product", ["sqlite", "postgresql"])
def test_an_asynchronous_engine(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    pytest.importorskip("greenlet")
    driver, statement = {
        "sqlite": ("sqlite+aiosqlite", "PRAGMA foreign_keys=ON"),
        "postgresql": ("postgresql+psycopg_async", "SET search_path TO red"),
    }[product]
    url = request.getfixturevalue(f"{product}_url")
    given = sa.make_url(url).set(drivername=driver).render_as_string(hide_password=False)
    with_env(workshop, ASYNCHRONOUS.format(url=given, statement=statement))
    if product == "postgresql":
        execute(url, "CREATE SCHEMA red")
    for chosen in (url, given):
        service = workshop.service(chosen)
        assert steps(service.upgrade()) == ["app@app1"]
        if product == "postgresql":
            assert "red.app" in places(url)
        service.downgrade("base")


@pytest.mark.parametrize("product", ["sqlite", "postgresql"])
def test_alembics_asynchronous_template_with_a_synchronous_url(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    pytest.importorskip("greenlet")
    url = request.getfixturevalue(f"{product}_url")
    env = Path(str(alembic.__file__)).parent / "templates" / "async" / "env.py"
    with_env(workshop, env.read_text())
    assert steps(workshop.service(url).upgrade()) == ["app@app1"]
    # Such an engine of another URL is told what to take.
    section = "config.get_section(config.config_ini_section, {})"
    other = f'{{"sqlalchemy.url": {url!r}}}'
    env_py = workshop.root / "app" / "alembic" / "env.py"
    env_py.write_text(env.read_text().replace(section, other))
    with pytest.raises(MigrationError, match="let it take config's"):
        workshop.service(url).downgrade("base")


ENDS = """
from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.{opened} as connection:
    connection.execute(text("SELECT 1"))
    {before}
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    {behind}
"""


@pytest.mark.parametrize(
    ("opened", "before", "behind", "kept"),
    [
        ("begin()", "", "", True),
        ("connect()", "connection.commit()", "", True),
        ("connect()", "", "connection.commit()", True),
        ("connect()", "connection.rollback()", "", True),
        ("begin()", "", "connection.get_transaction().rollback()", False),
        ("connect()", "", "connection.rollback()", False),
    ],
)
def test_a_transaction_that_is_rolled_back_behind_the_migrations_is_refused(
    workshop: Workshop, postgresql_url: str, opened: str, before: str, behind: str, kept: bool
) -> None:
    with_env(workshop, ENDS.format(opened=opened, before=before, behind=behind))
    config = Config()
    config.set_main_option("script_location", str(workshop.root / "app" / "alembic"))
    config.set_main_option("sqlalchemy.url", postgresql_url.replace("%", "%%"))
    command.upgrade(config, "heads")
    assert ("app" in tables(postgresql_url)) is kept
    service = workshop.service(postgresql_url)
    if kept:
        command.downgrade(config, "base")
        execute(postgresql_url, "DROP TABLE alembic_version")
        assert steps(service.upgrade()) == ["app@app1"]
        return
    for method in (service.upgrade, service.status):
        with pytest.raises(EnvironmentFailure, match=r"(?s)rolls back .* upgrade --dry-run$"):
            method()
    assert "app" not in tables(postgresql_url)


def test_a_read_before_it_configures_loses_no_migrations(
    workshop: Workshop, database_url: str
) -> None:
    """Plain Alembic leaves them to the read's transaction, which ends with the connection."""
    with_env(workshop, ENDS.format(opened="connect()", before="", behind=""))
    workshop.script("app", "app2", "app1", 'op.execute("INSERT INTO app (id) VALUES (7)")')
    config = Config()
    config.set_main_option("script_location", str(workshop.root / "app" / "alembic"))
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    command.upgrade(config, "heads")
    if database_url.startswith("postgresql"):
        assert not tables(database_url)
    else:
        # CREATE TABLE is none of a transaction's there; what it recorded is lost.
        assert rows(database_url, "SELECT * FROM alembic_version") == []
        execute(database_url, "DROP TABLE app", "DROP TABLE alembic_version")
    service = workshop.service(database_url)
    assert steps(service.upgrade()) == ["app@app1", "app@app2"]
    assert rows(database_url, "SELECT id FROM app") == [(7,)]
    assert not service.upgrade().steps


SECTIONS = """
from alembic import context
from pyramid.paster import get_appsettings
from sqlalchemy import engine_from_config

config = context.config
engine = engine_from_config({options})
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize(
    "options",
    [
        'config.get_section("other"), prefix="sqlalchemy."',
        'config.get_section(config.config_ini_section), prefix="other."',
        'config.get_section(config.config_ini_section), "other."',
        'get_appsettings(config.config_file_name, "other")',
        'get_appsettings(config.config_file_name, name="other"), prefix="sqlalchemy."',
    ],
)
def test_another_section_of_the_ini_file_is_another_database_for_all_commands(
    workshop: Workshop, sqlite_url: str, tmp_path: Path, options: str
) -> None:
    with_env(workshop, SECTIONS.format(options=options))
    ini = workshop.application("app", tmp_path / "site.ini", sqlite_url)
    execute(sqlite_url, "CREATE TABLE x (id INTEGER)")
    other = f"sqlite:///{tmp_path}/other.sqlite"
    with ini.open("a") as file:
        file.write(f"[alembic]\nother.url = {other}\n[other]\nsqlalchemy.url = {other}\n")
        file.write(f"[app:other]\nuse = call:app:main\nsqlalchemy.url = {other}\n")
    for verb in ("status", "check", "upgrade"):
        typed = workshop.ws(ini, verb)
        assert typed.status, (verb, typed)
        assert f'connects to the database "{tmp_path}/other.sqlite"' in typed.err, (verb, typed)
    assert "app" not in tables(sqlite_url)


ASKS = """
from pathlib import Path
from alembic import context
from sqlalchemy import create_engine, pool, text

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
assert context.get_starting_revision_argument() is None
with engine.connect() as connection:
    connection.execute(text(f"SET search_path TO {context.get_tag_argument()}"))
    connection.commit()
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
Path(__file__).with_name("targets").write_text(str(context.get_revision_argument()))
"""


def test_an_env_py_may_ask_for_the_tag_and_the_target(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    execute(postgresql_url, "CREATE SCHEMA red", "CREATE SCHEMA blue")
    with_env(workshop, ASKS)
    workshop.script("app", "app2", "app1")
    targets = workshop.root / "app" / "alembic" / "targets"
    service = workshop.service(postgresql_url)
    assert steps(service.upgrade("app1", tag="red")) == ["app@app1"]
    assert targets.read_text() == "app1"
    assert {one for one in places(postgresql_url) if one.endswith(".app")} == {"red.app"}
    ini = workshop.application("app", tmp_path / "site.ini", postgresql_url)
    for words in (["upgrade", "--tag", "blue"], ["upgrade", "--tag", "red"]):
        assert workshop.ws(ini, *words).status == 0
        assert targets.read_text() == "app2"
    assert "blue.app" in places(postgresql_url)
    assert workshop.ws(ini, "downgrade", "app1", "--tag", "blue", "--yes").status == 0
    assert targets.read_text() == "app1"
    service.downgrade("base", tag="red")
    assert targets.read_text() == "None"
    assert "red.app" not in places(postgresql_url) and "blue.app" in places(postgresql_url)


@pytest.mark.parametrize("option", ["as_sql=True", "starting_rev='app1'"])
def test_what_applies_nothing_under_plain_alembic_is_refused(
    workshop: Workshop, sqlite_url: str, option: str
) -> None:
    env = OWN.replace("configure(connection=connection)", f"configure(connection, {option})")
    with_env(workshop, env.replace("{statement}", "SELECT 1"))
    with pytest.raises(EnvironmentFailure, match=f"says {option} with a connection"):
        workshop.service(sqlite_url).upgrade()
    assert "app" not in tables(sqlite_url)


def test_settings_of_the_applications_own_hold(workshop: Workshop, postgresql_url: str) -> None:
    """As policies and triggers read them; the server lists them nowhere."""
    (workshop.root / "helper_of_tenants.py").write_text(
        "from sqlalchemy import text\n\n\ndef prepare(connection):\n"
        "    query = text('SELECT set_config(:name, :value, false)')\n"
        "    connection.execute(query, {'name': 'app.role', 'value': 'it\\'s'})\n"
    )
    lines = """
    from helper_of_tenants import prepare
    prepare(connection)
    connection.execute(text("SET DateStyle = 'ISO, DMY'"))
    connection.connection.cursor().execute("SET SESSION app.tenant = 'red 5'")
"""
    env = OWN.replace('    connection.execute(text("{statement}"))\n', lines)
    with_env(workshop, env)
    workshop.script(
        "app",
        "app2",
        "app1",
        "op.execute(\"CREATE TABLE seen AS SELECT current_setting('app.tenant') AS tenant, "
        "current_setting('app.role') AS role, '03/04/2020'::date AS day\")",
    )
    workshop.service(postgresql_url).upgrade()
    found = rows(postgresql_url, "SELECT tenant, role, day::text FROM seen")
    assert found == [("red 5", "it's", "2020-04-03")]


def test_what_an_engine_lets_the_driver_set_holds(workshop: Workshop, postgresql_url: str) -> None:
    """Of ``connect_args``; only ``search_path`` and ``statement_timeout`` did."""
    role = "r" + str(sa.make_url(postgresql_url).database)
    execute(
        postgresql_url, f"CREATE ROLE {role}", f"GRANT CREATE, USAGE ON SCHEMA public TO {role}"
    )
    options = f"-ctimezone=Asia/Tokyo -c role={role} -capp.tenant=red -cIntervalStyle=iso_8601"
    env = OWN.replace('prefix="sqlalchemy.",', f"connect_args={{'options': {options!r}}},")
    with_env(workshop, env.replace("{statement}", "SELECT 1"))
    workshop.script(
        "app",
        "app2",
        "app1",
        "op.execute(\"CREATE TABLE seen AS SELECT current_setting('app.tenant') AS tenant, "
        "current_setting('TimeZone') AS zone, '1 day'::interval::text AS day\")",
    )
    try:
        service = workshop.service(postgresql_url)
        assert steps(service.upgrade()) == ["app@app1", "app@app2"]
        assert rows(postgresql_url, "SELECT * FROM seen") == [("red", "Asia/Tokyo", "P1D")]
        owners = rows(postgresql_url, "SELECT tableowner FROM pg_tables WHERE tablename = 'app'")
        assert owners == [(role,)]
    finally:
        execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_dates_that_no_driver_reads_are_refused(workshop: Workshop, postgresql_url: str) -> None:
    with_env(workshop, OWN.replace("{statement}", "SET DateStyle = 'SQL, DMY'"))
    with pytest.raises(EnvironmentFailure, match='sets DateStyle to "SQL, DMY"'):
        workshop.service(postgresql_url).upgrade()


def test_an_engine_with_a_function_that_connects(workshop: Workshop, postgresql_url: str) -> None:
    """As connectors of clouds have it; there is no database in its URL."""
    made = (
        "create_engine('postgresql+psycopg2://', poolclass=pool.NullPool, "
        "creator=lambda: psycopg2.connect(\n"
        "        host=url.host, port=url.port, user=url.username, password=url.password,\n"
        "        dbname=url.database))"
    )
    env = "import psycopg2\nfrom sqlalchemy import create_engine, make_url\n" + TENANTS.replace(
        "engine = ",
        f"url = make_url(config.get_main_option('sqlalchemy.url'))\nengine = {made}\nunused = ",
    )
    execute(postgresql_url, "CREATE SCHEMA red")
    with_env(workshop, env)
    assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    assert "red.app" in places(postgresql_url)


CATCHES = """
from alembic import context
from sqlalchemy import create_engine, pool, text

url = context.config.get_main_option("sqlalchemy.url")


def migrate(statement="SELECT 1", url=url, **options):
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        connection.execute(text(statement))
        connection.commit()
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()


def tried(*words, **options):
    try:
        migrate(*words, **options)
    except Exception as exc:
        print(exc)


"""


@pytest.mark.parametrize(
    ("product", "tail", "problem"),
    [
        ("sqlite", "tried()", 'revision "app2" .* failed'),
        ("postgresql", "tried()", 'revision "app2" .* failed'),
        ("sqlite", "tried(version_table='other')", "says version_table='other'"),
        ("sqlite", "tried('CREATE TABLE x (n INT)', 'sqlite://')\nmigrate()", "says .CREATE TABLE"),
        ("postgresql", "for t in 'ab': tried(f'SET search_path TO {t}')", '"a", then "b"'),
    ],
)
def test_an_error_that_env_py_catches_is_the_commands(
    workshop: Workshop, request: pytest.FixtureRequest, product: str, tail: str, problem: str
) -> None:
    """As where it goes on with the next tenant; a step was tried again for ever."""
    with_env(workshop, CATCHES + tail)
    workshop.script("app", "app2", "app1", 'op.execute("SELECT * FROM nothing")')
    with pytest.raises(MigrationError, match=f"(?s){problem}"):
        workshop.service(request.getfixturevalue(f"{product}_url")).upgrade()


def test_a_given_connection_connects_as_in_an_older_cookbook(
    workshop: Workshop, database_url: str
) -> None:
    lines = """
from alembic import context
from sqlalchemy import create_engine

connectable = context.config.attributes.get("connection", None)
if connectable is None:
    connectable = create_engine(context.config.get_main_option("sqlalchemy.url"))
with connectable.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
    with_env(workshop, lines)
    service = workshop.service(database_url)
    assert steps(service.upgrade()) == ["app@app1"]
    assert not service.upgrade().steps


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("SELECT pg_advisory_lock(1)", ""),
        ("SELECT * FROM seen FOR UPDATE", ""),
        ("INSERT INTO app (id) VALUES (7)", "own connection holds"),
    ],
)
def test_what_env_py_leaves_open_is_not_waited_for(
    workshop: Workshop, postgresql_url: str, statement: str, problem: str
) -> None:
    """It is run more than once: the lock of one time would stop the next for ever."""
    with_env(workshop, OWN.replace("{statement}", "SELECT 1"))
    execute(postgresql_url, "CREATE TABLE seen (n INTEGER)")
    workshop.script("app", "app2", "app1", 'op.add_column("app", sa.Column("n", sa.Integer))')
    workshop.service(postgresql_url).upgrade("app1")
    lines = (
        f"def unused():\n    pass\n\n\nleft = engine.connect()\nleft.execute(text({statement!r}))\n"
    )
    env = OWN.replace("{statement}", "SELECT 1").replace("with engine", f"{lines}with engine")
    (workshop.root / "app" / "alembic" / "env.py").write_text(env)
    service = workshop.service(postgresql_url)
    if problem:
        with pytest.raises(MigrationError, match=problem):
            service.upgrade()
    else:
        assert steps(service.upgrade()) == ["app@app2"]


def test_a_lock_in_the_pool_of_env_py_is_not_waited_for(
    workshop: Workshop, postgresql_url: str
) -> None:
    """A pool keeps the session of a connection that was closed, and the session its locks."""
    lines = OWN.replace("{statement}", "SELECT pg_advisory_lock(1)")
    lines = lines.replace(", poolclass=pool.NullPool", "")
    # The engine is a part of a cycle, which waits for the collector.
    with_env(workshop, lines.replace("with engine", "def unused():\n    pass\n\n\nwith engine"))
    gc.disable()
    try:
        assert steps(workshop.service(postgresql_url).upgrade()) == ["app@app1"]
    finally:
        gc.enable()
