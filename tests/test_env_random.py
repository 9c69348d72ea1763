"""A hundred random ``env.py`` files of documented calls: plain Alembic's result, or a refusal."""

from __future__ import annotations

import os
import re
import textwrap
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps import Workshop
from databases import PostgreSQLServer
from runs import engine_of, execute, rows
from websauna_migrate.errors import EnvironmentFailure

FEW = settings(
    max_examples=int(os.environ.get("EXAMPLES", "20")),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

ENV = """
import asyncio
import os
from alembic import context
from sqlalchemy import MetaData, create_engine, engine_from_config, event, pool, text

config = context.config
NAMING = {{"uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}}
target_metadata = {metadata}
seen = config.attributes.setdefault("seen", [])


def run(connection):
    {before}
    context.configure(connection=connection, target_metadata=target_metadata{options})
    with context.begin_transaction():
        {inside}
        context.run_migrations()
        {behind}
    {after}


{main}
"""

OWN = """
engine = {engine}
{listener}
with engine.{begin}() as connection:
    run(connection)
"""

SHARED = """
engine = {engine}
{listener}
given = config.attributes.get("connection")
if given is None:
    with engine.connect() as connection:
        run(connection)
else:
    run(given)
"""

ASYNCHRONOUS = """
from sqlalchemy.ext.asyncio import create_async_engine


async def main():
    engine = create_async_engine({url!r}, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
"""

ENGINES = [
    "engine_from_config(config.get_section(config.config_ini_section), prefix='sqlalchemy.')",
    "engine_from_config(config.get_section(config.config_ini_section), prefix='sqlalchemy.', "
    "poolclass=pool.NullPool)",
    "create_engine(config.get_main_option('sqlalchemy.url'), poolclass=pool.NullPool)",
    "create_engine(config.get_main_option('sqlalchemy.url'))",
]

MORE_ENGINES = {
    "postgresql": [
        "create_engine(config.get_main_option('sqlalchemy.url'), isolation_level='AUTOCOMMIT')",
        "create_engine(config.get_main_option('sqlalchemy.url'), isolation_level='SERIALIZABLE')",
        "create_engine(config.get_main_option('sqlalchemy.url'), "
        "connect_args={'options': '-csearch_path=red'})",
        "create_engine(config.get_main_option('sqlalchemy.url')).execution_options("
        "isolation_level='AUTOCOMMIT')",
        "create_engine(config.get_main_option('sqlalchemy.url'), "
        "execution_options={'schema_translate_map': {None: 'red'}})",
    ],
    "sqlite": [
        "create_engine(config.get_main_option('sqlalchemy.url'), isolation_level='AUTOCOMMIT')",
        "create_engine(config.get_main_option('sqlalchemy.url'), "
        "connect_args={'timeout': 3, 'isolation_level': None})",
        "create_engine(config.get_main_option('sqlalchemy.url'), echo=False, future=True)",
    ],
}

METADATA = [
    "[MetaData(naming_convention=NAMING), MetaData(naming_convention=NAMING)]",
    "[MetaData(naming_convention=NAMING), MetaData()]",
    "None",
    "MetaData()",
    "MetaData(naming_convention=NAMING)",
    "[MetaData(), MetaData()]",
]

OPTIONS = [
    "transaction_per_migration=True",
    "include_schemas=True",
    "include_object=lambda *words: True",
    "include_name=lambda *words: True",
    "compare_type=True",
    "compare_server_default=True",
    "user_module_prefix='app.'",
    "render_as_batch=True",
    "on_version_apply=lambda ctx, step, heads, run_args: seen.append(step.up_revision_id)",
    "literal_binds=False",
    "process_revision_directives=lambda *words: None",
    "render_item=lambda *words: False",
    "sqlalchemy_module_prefix='sqlalchemy.'",
    "alembic_module_prefix='alembic_op.'",
    "upgrade_token='up'",
    "template_args={'x': 1}",
    "transactional_ddl=True",
    "transactional_ddl=False",
    "version_table_pk=False",
    "tag='x'",
    "dialect_opts={'paramstyle': 'named'}",
    "url='sqlite://'",
    "output_encoding='utf-8'",
    "as_sql=True",
    "starting_rev='one'",
    "compare_type=lambda *words: None",
    "version_table_schema='SCHEMA'",
    "version_table='alembic_version'",
]

#: What a session is told before it configures, by product; ``%`` is the temporary place of a test.
BEFORE = {
    "postgresql": [
        "connection.execute(text('SET search_path TO red'))",
        "connection.execute(text('SET search_path TO red, public'))",
        "connection.execute(text('CREATE SCHEMA IF NOT EXISTS green')); "
        "connection.execute(text('SET search_path TO green'))",
        "connection.execute(text('SET statement_timeout = 60000'))",
        "connection.execute(text('SET ROLE env_random'))",
        "connection.execute(text('SELECT count(*) FROM pg_class')).scalar()",
        "connection.execute(text(\"SELECT set_config('search_path', 'red', false)\"))",
        "connection.execute(text('SET SESSION AUTHORIZATION env_random'))",
        "connection.execute(text('SET lock_timeout = 5000'))",
        "connection.execute(text('SET TIME ZONE 7'))",
        "connection.execute(text('SET session_replication_role = replica'))",
        "connection.execute(text('SET check_function_bodies = off'))",
        "connection.execute(text('CREATE TEMP TABLE helper (n INTEGER)'))",
        "connection.execute(text('PREPARE p AS SELECT 1'))",
        "connection.execute(text('SET CONSTRAINTS ALL DEFERRED'))",
        "connection.execute(text('SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL "
        "SERIALIZABLE'))",
        "connection.execute(text('SELECT pg_advisory_lock(7)'))",
        "connection = connection.execution_options(isolation_level='AUTOCOMMIT')",
        "connection.execute(text('SET LOCAL search_path TO red'))",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_before (n INTEGER)'))",
        "connection.exec_driver_sql('RESET ALL')",
        "connection.execute(text('set search_path to ' + context.get_x_argument("
        "as_dictionary=True)['tenant'])); "
        "connection.dialect.default_schema_name = 'blue'",
        "connection = connection.execution_options(schema_translate_map={None: 'red'})",
    ],
    "sqlite": [
        "connection.execute(text('PRAGMA foreign_keys=ON'))",
        "connection.execute(text('SELECT count(*) FROM sqlite_master')).scalar()",
        "connection.execute(text(\"ATTACH '%' AS far\"))",
        "connection.connection.create_function('twice', 1, lambda x: 2 * x)",
        "connection.execute(text('PRAGMA recursive_triggers=ON'))",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_before (n INTEGER)'))",
        "connection.execute(text('CREATE TEMP TABLE helper (n INTEGER)'))",
        "connection.execute(text('PRAGMA journal_mode=WAL'))",
        "connection.execute(text('PRAGMA user_version=7'))",
        "connection.execute(text('PRAGMA defer_foreign_keys=ON'))",
        "connection = connection.execution_options(isolation_level='AUTOCOMMIT')",
        "connection.connection.create_collation('odd', lambda a, b: 0)",
        "connection.connection.row_factory = None",
    ],
}

#: What is said in the transaction of the migrations, in front of them.
INSIDE = {
    "postgresql": [
        "pass",
        "pass",
        "context.execute('SET LOCAL search_path TO red')",
        "connection.execute(text('SET LOCAL ROLE env_random'))",
        "context.execute('SET LOCAL statement_timeout = 60000')",
        "connection.execute(text('SELECT pg_advisory_xact_lock(8)'))",
        "context.execute('CREATE TABLE IF NOT EXISTS made_inside (n INTEGER)')",
        "context.get_bind().execute(text('SELECT 1'))",
        "assert context.get_head_revision() == 'two'",
        "assert context.get_revision_argument() == 'two'",
        "assert context.get_starting_revision_argument() is None",
        "connection.execute(text('SET CONSTRAINTS ALL DEFERRED'))",
    ],
    "sqlite": [
        "pass",
        "pass",
        "context.execute('PRAGMA foreign_keys=ON')",
        "context.execute('CREATE TABLE IF NOT EXISTS made_inside (n INTEGER)')",
        "context.get_bind().execute(text('SELECT 1'))",
        "assert context.get_head_revision() == 'two'",
        "context.execute('PRAGMA defer_foreign_keys=ON')",
    ],
}

#: What is said in it behind them.
BEHIND = {
    "postgresql": [
        "pass",
        "context.execute('CREATE TABLE IF NOT EXISTS made_behind (n INTEGER)')",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_behind (n INTEGER)'))",
        "connection.execute(text('DELETE FROM child WHERE id = 1'))",
    ],
    "sqlite": [
        "pass",
        "context.execute('CREATE TABLE IF NOT EXISTS made_behind (n INTEGER)')",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_behind (n INTEGER)'))",
    ],
}

#: Options with which plain Alembic's block around the migrations is no transaction.
APART = {"transaction_per_migration=True", "transactional_ddl=False"}

#: What is said behind it.
AFTER = {
    "postgresql": [
        "pass",
        "pass",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_after (n INTEGER)')); "
        "connection.commit()",
        "connection.execute(text('GRANT SELECT ON ALL TABLES IN SCHEMA public TO env_random')); "
        "connection.commit()",
    ],
    "sqlite": [
        "pass",
        "pass",
        "connection.execute(text('CREATE TABLE IF NOT EXISTS made_after (n INTEGER)')); "
        "connection.commit()",
        "connection.execute(text('PRAGMA foreign_key_check')).all()",
    ],
}

LISTENERS = {
    "postgresql": [
        "",
        """
        @event.listens_for(engine, "connect")
        def connected(dbapi_connection, record):
            cursor = dbapi_connection.cursor()
            cursor.execute("SET search_path TO blue")
            cursor.close()
            dbapi_connection.commit()
        """,
        """
        @event.listens_for(engine, "begin")
        def begun(connection):
            connection.exec_driver_sql("SET LOCAL search_path TO blue")
        """,
        """
        @event.listens_for(engine, "checkout")
        def out(dbapi_connection, record, proxy):
            cursor = dbapi_connection.cursor()
            cursor.execute("SET ROLE env_random")
            cursor.close()
            dbapi_connection.commit()
        """,
        """
        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def rewritten(conn, cursor, statement, parameters, context, many):
            return statement.replace("VARCHAR(9)", "VARCHAR(12)"), parameters
        """,
        """
        @event.listens_for(engine, "do_connect")
        def connecting(dialect, record, arguments, keywords):
            keywords["options"] = "-csearch_path=red"
        """,
        """
        @event.listens_for(engine, "engine_connect")
        def connected(connection):
            connection.exec_driver_sql("SET search_path TO blue")
        """,
        """
        @event.listens_for(engine, "connect")
        def connected(dbapi_connection, record):
            dbapi_connection.autocommit = True
        """,
        """
        @event.listens_for(engine, "commit")
        def committed(connection):
            seen.append("commit")
        """,
    ],
    "sqlite": [
        "",
        """
        @event.listens_for(engine, "connect")
        def connected(dbapi_connection, record):
            dbapi_connection.execute("PRAGMA foreign_keys=ON")
        """,
        """
        @event.listens_for(engine, "connect")
        def connected(dbapi_connection, record):
            dbapi_connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begun(connection):
            connection.exec_driver_sql("BEGIN")
        """,
        """
        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def rewritten(conn, cursor, statement, parameters, context, many):
            return statement.replace("VARCHAR(9)", "VARCHAR(12)"), parameters
        """,
        """
        @event.listens_for(engine, "begin")
        def begun(connection):
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        """,
    ],
}

ONE = """
op.create_table("parent", sa.Column("id", sa.Integer), sa.Column("name", sa.String(9)),
                sa.PrimaryKeyConstraint("id"))
op.create_table("child", sa.Column("id", sa.Integer, primary_key=True),
                sa.Column("parent_id", sa.Integer, sa.ForeignKey("parent.id", ondelete="CASCADE")))
op.execute("INSERT INTO parent (id, name) VALUES (1, 'a'), (2, 'b')")
op.execute("INSERT INTO child (id, parent_id) VALUES (1, 1), (2, 2)")
"""

TWO = """
op.execute("DELETE FROM parent WHERE id = 2")
with op.batch_alter_table("child") as batch:
    batch.create_unique_constraint(None if named else "a_name", ["parent_id"])
"""


@st.composite
def environments(draw: Any, product: str) -> dict[str, Any]:
    """Draw the parts of an ``env.py``."""
    metadata = draw(st.sampled_from(METADATA))
    kind = draw(st.sampled_from([OWN, OWN, SHARED, ASYNCHRONOUS]))
    inside = draw(st.sampled_from(INSIDE[product]))
    is_local = "SET LOCAL" in inside
    options = draw(st.lists(st.sampled_from(OPTIONS), max_size=3, unique=True))
    if is_local:
        # Plain Alembic's first step ends it then, and the second one fails.
        options = [one for one in options if one not in APART]
    parts = {
        "metadata": metadata,
        "options": [
            one.replace("SCHEMA", "red" if product == "postgresql" else "main") for one in options
        ],
        "before": draw(st.lists(st.sampled_from(BEFORE[product]), max_size=2, unique=True)),
        "kind": kind,
        # What another engine is told means nothing for a connection that is given.
        "engine": draw(
            st.sampled_from(ENGINES if kind is SHARED else ENGINES + MORE_ENGINES[product])
        ),
        "inside": inside,
        "behind": draw(st.sampled_from(BEHIND[product])),
        "after": draw(st.sampled_from(AFTER[product])),
        "begin": draw(st.sampled_from(["connect", "begin"])),
        "listener": draw(st.sampled_from(LISTENERS[product] if kind is OWN else [""])),
        "elsewhere": kind is OWN and draw(st.integers(0, 9)) == 0,
    }
    if is_local and "autocommit" in str(parts).lower():
        # It sets nothing there.
        parts["inside"] = "pass"
    if product == "sqlite" or APART.intersection(options):
        # Plain Alembic's block is no transaction then: the driver alone says what is kept.
        parts["behind"] = "pass"
    return parts


def source_of(parts: dict[str, Any], url: str, other: str, folder: Path) -> str:
    """Return an ``env.py``."""
    engine = parts["engine"]
    if parts["elsewhere"]:
        engine = f"create_engine({other!r}, poolclass=pool.NullPool)"
    drivers = {"postgresql": "postgresql+psycopg_async", "sqlite": "sqlite+aiosqlite"}
    driver = drivers[sa.make_url(url).get_backend_name()]
    main = parts["kind"].format(
        engine=engine,
        listener=textwrap.dedent(parts["listener"]),
        begin=parts["begin"],
        url=sa.make_url(url).set(drivername=driver).render_as_string(hide_password=False),
    )
    # Where there is a transaction already, Alembic leaves it to whoever began it.
    begun = parts["kind"] is OWN and parts["begin"] == "begin"
    lines = parts["before"] if begun else [*parts["before"], "connection.commit()"]
    before = "; ".join(lines).replace("%", str(folder / "far.sqlite")) or "pass"
    options = "".join(f", {one}" for one in parts["options"])
    return ENV.format(
        metadata=parts["metadata"],
        before=before,
        options=options,
        main=main,
        inside=parts["inside"],
        behind=parts["behind"],
        after=parts["after"],
    )


def schema_of(url: str) -> Any:
    """Return what is in a database, but for histories and the ledger."""
    own = re.compile("alembic_|websauna_migrate_|pk_websauna|websauna")
    if url.startswith("sqlite"):
        found = rows(url, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    else:
        found = rows(
            url,
            "SELECT n.nspname, c.relname, c.relkind::text, r.rolname, (SELECT string_agg(a.attname "
            "|| format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) FROM pg_attribute a "
            "WHERE a.attrelid = c.oid AND a.attnum > 0), (SELECT string_agg(k.conname || "
            "pg_get_constraintdef(k.oid), ',' ORDER BY k.conname) FROM pg_constraint k "
            "WHERE k.conrelid = c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = "
            "c.relnamespace JOIN pg_roles r ON r.oid = c.relowner "
            "WHERE n.nspname IN ('public', 'red', 'blue', 'green') ORDER BY 1, 2",
        )
    return [row for row in found if not any(own.match(str(name)) for name in row[:2])]


def content_of(url: str) -> Any:
    """Return the rows of the scripts' tables, wherever they are."""
    found = {}
    with engine_of(url).connect() as connection:
        for schema in sa.inspect(connection).get_schema_names():
            names = sa.inspect(connection).get_table_names(schema)
            for name in {"parent", "child"} & {*names}:
                query = sa.text(f'SELECT * FROM "{schema}"."{name}" ORDER BY 1')
                found[schema, name] = [tuple(row) for row in connection.execute(query)]
    return found


class Trial:
    """One package, run by plain Alembic in one database and by the service in another one."""

    def __init__(self, workshop: Workshop, mine: str, plain: str, other: str) -> None:
        self.workshop, self.mine, self.plain, self.other = workshop, mine, plain, other
        workshop.package("app")
        self.folder = workshop.root / "app" / "alembic"

    def write(self, parts: dict[str, Any], url: str) -> None:
        """Write the scripts and the ``env.py`` for a database."""
        named = parts["metadata"].startswith("MetaData(naming")
        self.workshop.script("app", "one", None, ONE)
        self.workshop.script("app", "two", "one", f"named = {named}\n{TWO}")
        (self.folder / "env.py").write_text(source_of(parts, url, self.other, self.folder))

    def alembic(self, parts: dict[str, Any]) -> tuple[list[str], Exception | None]:
        """Run plain Alembic; return what its hook saw, and what it raised."""
        self.write(parts, self.plain)
        config = Config(cmd_opts=Namespace(x=["tenant=blue"]))
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("sqlalchemy.url", self.plain.replace("%", "%%"))
        try:
            alembic.command.upgrade(config, "head")
        except Exception as exc:
            return [], exc
        return config.attributes.get("seen", []), None

    def service(self, parts: dict[str, Any]) -> tuple[list[str], Exception | None]:
        """Run the service, as :meth:`alembic` does."""
        self.write(parts, self.mine)
        chosen = {}
        if any(one.startswith("version_table=") for one in parts["options"]):
            chosen["version_table.app"] = "alembic_version"
        for schema in ("red", "main"):
            if f"version_table_schema='{schema}'" in parts["options"]:
                chosen["version_table_schema"] = schema
        service = self.workshop.service(self.mine, **chosen)
        service.use_ini(None, {}, cmd_opts=Namespace(x=["tenant=blue"]))
        try:
            service.upgrade()
            assert not service.upgrade().steps
            (state,) = service.current()
            assert state.rows == ("two",), state
        except Exception as exc:
            return [], exc
        return [], None


def compare(trial: Trial, parts: dict[str, Any], wipe: Callable[[str], None]) -> None:
    """Run both, and compare."""
    for url in (trial.mine, trial.plain, trial.other):
        wipe(url)
    _, expected = trial.alembic(parts)
    _, found = trial.service(parts)
    said = (trial.folder / "env.py").read_text()
    if isinstance(found, EnvironmentFailure):
        assert str(trial.folder / "env.py") in str(found), found
        assert not content_of(trial.mine), said
        # Nothing is refused without a reason.
        reasons = ["schema_translate_map", "create_function", "create_collation"]
        reasons += ["SESSION AUTHORIZATION", "retval=True", "as_sql=True"]
        if parts["kind"] is SHARED:
            # The connection that it is given is attached already.
            reasons.append("ATTACH")
        given = parts["elsewhere"] or any(one in said for one in reasons)
        assert expected or given, f"{found}\n{said}"
        return
    assert (found is None) == (expected is None), f"{expected!r}\n{found!r}\n{said}"
    if expected is not None:
        # Plain Alembic may leave a part behind.
        return
    assert schema_of(trial.mine) == schema_of(trial.plain), said
    assert content_of(trial.mine) == content_of(trial.plain), said
    assert not content_of(trial.other), said


def test_on_sqlite(workshop: Workshop, tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.sqlite" for name in ("mine", "plain", "other")]
    trial = Trial(workshop, *urls)

    def wipe(url: str) -> None:
        for path in (Path(str(sa.make_url(url).database)), trial.folder / "far.sqlite"):
            path.unlink(missing_ok=True)

    @FEW
    @given(environments("sqlite"))
    def go(parts: dict[str, Any]) -> None:
        compare(trial, parts, wipe)

    go()


@pytest.fixture
def three_databases(postgresql_server: PostgreSQLServer) -> Any:
    urls = [postgresql_server.create_database() for _ in range(3)]
    execute(urls[0], "CREATE ROLE env_random")
    yield urls
    for url in urls:
        execute(url, "DROP OWNED BY env_random")
        postgresql_server.drop_database(url)
    execute(postgresql_server.url_of("postgres"), "DROP ROLE env_random")


def test_on_postgresql(workshop: Workshop, three_databases: list[str]) -> None:
    trial = Trial(workshop, *three_databases)

    def wipe(url: str) -> None:
        execute(
            url,
            # An engine of an env.py before may keep a connection in its pool, and that a lock.
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DROP SCHEMA IF EXISTS public, red, blue, green CASCADE",
            *(f"CREATE SCHEMA {name}" for name in ("public", "red", "blue")),
            "GRANT ALL ON SCHEMA public, red, blue TO env_random",
        )

    @FEW
    @given(environments("postgresql"))
    def go(parts: dict[str, Any]) -> None:
        compare(trial, parts, wipe)

    go()
