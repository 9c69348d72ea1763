"""Others' listeners on the engine's events, as pyramid_debugtoolbar and tracers have them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from apps import Workshop
from projects import Project
from runs import blocking, engine_of, execute, ledger, rows, steps, tables
from websauna_migrate.errors import MigrationError, StepFailed

CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.create_index("by_n", "t", ["n"], postgresql_concurrently=True)
"""


def keeps_one_statement() -> list[tuple[str, Any]]:
    """Return listeners that keep a statement on the connection, as the toolbar does."""

    def before(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        assert not hasattr(conn, "kept"), f"{statement!r} inside of {conn.kept!r}"
        conn.kept = statement

    def after(conn: Any, *_: Any) -> None:
        del conn.kept

    def on_error(context: Any) -> None:
        if context.connection is not None and hasattr(context.connection, "kept"):
            del context.connection.kept

    return [
        ("before_cursor_execute", before),
        ("after_cursor_execute", after),
        ("handle_error", on_error),
    ]


def spans() -> list[tuple[str, Any]]:
    """Return listeners that keep a stack in ``conn.info``, and say something of each statement."""
    log = logging.getLogger("statements")

    def before(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> Any:
        conn.info.setdefault("started", []).append(statement)
        return statement + " /* traced */", parameters

    def after(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        assert conn.info["started"].pop() + " /* traced */" == statement
        log.info("%s", statement)

    return [("before_cursor_execute", before), ("after_cursor_execute", after)]


#: The module that listens to all engines from its import on.
PANEL = "pyramid_debugtoolbar.panels.sqla"


def executes() -> list[tuple[str, Any]]:
    """Return listeners that execute statements of their own, by the driver and by SQLAlchemy."""
    inside: list[str] = []

    def ask(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if inside:
            return
        inside.append(statement)
        try:
            own = conn.connection.cursor()
            own.execute("SELECT 1")
            assert own.fetchall()
            own.close()
            assert conn.exec_driver_sql("SELECT 2").scalar() == 2
        finally:
            inside.pop()

    return [("before_cursor_execute", ask), ("after_cursor_execute", ask)]


class Translated(Exception):
    """What an application has for each error of a database."""


def raises_the_drivers() -> list[tuple[str, Any]]:
    """Return a listener that raises the driver's error, as the application of PyPI has it."""

    def unwrap(context: Any) -> None:
        if isinstance(context.sqlalchemy_exception, DBAPIError):
            raise context.original_exception from context.sqlalchemy_exception

    return [("handle_error", unwrap)]


def raises_its_own() -> list[tuple[str, Any]]:
    """Return a listener that raises an error of its own, as oslo.db has it."""

    def translate(context: Any) -> None:
        if isinstance(context.sqlalchemy_exception, DBAPIError):
            raise Translated(str(context.original_exception)) from context.sqlalchemy_exception

    return [("handle_error", translate)]


LISTENERS = {
    "one": keeps_one_statement,
    "stack": spans,
    "executes": executes,
    "drivers": raises_the_drivers,
    "own": raises_its_own,
}


@pytest.fixture(params=LISTENERS.values(), ids=LISTENERS)
def listened(request: pytest.FixtureRequest) -> Iterator[None]:
    with ExitStack() as stack:
        if request.param is executes and (panel := sys.modules.get(PANEL)) is not None:
            # Where another test has it, its panel takes no statement inside of one of another.
            for name in ("before_cursor_execute", "after_cursor_execute"):
                theirs = getattr(panel, f"_{name}")
                event.remove(Engine, name, theirs)
                stack.callback(event.listen, Engine, name, theirs)
        for name, function in request.param():
            options = (
                {"retval": True}
                if (name, request.param) == ("before_cursor_execute", spans)
                else {}
            )
            event.listen(Engine, name, function, **options)
            stack.callback(event.remove, Engine, name, function)
        yield


def package(workshop: Workshop, concurrently: bool) -> None:
    workshop.package("app")
    workshop.script(
        "app",
        "one",
        None,
        'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), '
        'sa.Column("n", sa.Integer))\n'
        'op.execute("INSERT INTO t (id, n) VALUES (1, 1), (2, 1)")',
        'op.drop_table("t")',
    )
    workshop.script(
        "app",
        "two",
        "one",
        'op.add_column("t", sa.Column("m", sa.Integer))',
        'op.drop_column("t", "m")',
    )
    if concurrently:
        workshop.script("app", "three", "two", CONCURRENTLY, 'op.drop_index("by_n", "t")')


def test_a_run_is_the_same_with_listeners(
    workshop: Workshop, database_url: str, listened: None
) -> None:
    concurrently = database_url.startswith("postgresql")
    package(workshop, concurrently)
    service = workshop.service(database_url)
    done = steps(service.upgrade())
    assert done == ["app@one", "app@two"] + ["app@three"] * concurrently
    assert not service.upgrade().steps
    assert {column["name"] for column in sa.inspect(engine_of(database_url)).get_columns("t")} == {
        "id",
        "n",
        "m",
    }
    service.check()
    service.downgrade("base")
    assert "t" not in tables(database_url)
    if not database_url.startswith("mysql"):
        service.upgrade("two", atomic=True)
        assert "t" in tables(database_url)


def test_an_invalid_index_is_replaced_with_listeners(
    workshop: Workshop, postgresql_url: str, listened: None
) -> None:
    package(workshop, concurrently=True)
    service = workshop.service(postgresql_url)
    service.upgrade("two")
    with engine_of(postgresql_url).connect() as connection, pytest.raises(Exception, match="uniqu"):
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            sa.text("CREATE UNIQUE INDEX CONCURRENTLY by_n ON t (n)")
        )
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('by_n')"
    assert rows(postgresql_url, valid) == [(False,)]
    assert steps(service.upgrade()) == ["app@three"]
    assert rows(postgresql_url, valid) == [(True,)]


def test_waiting_behind_a_commit_works_with_listeners(
    workshop: Workshop, postgresql_url: str, listened: None
) -> None:
    package(workshop, concurrently=True)
    workshop.script(
        "app",
        "four",
        "three",
        CONCURRENTLY.replace("by_n", "by_n2") + 'op.add_column("t", sa.Column("o", sa.Integer))',
    )
    service = workshop.service(postgresql_url)
    service.upgrade("three")
    with blocking(postgresql_url, "SELECT * FROM t", seconds=1.0):
        assert steps(service.upgrade()) == ["app@four"]


@pytest.fixture(params=[raises_the_drivers, raises_its_own], ids=["drivers", "own"])
def translated(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let errors be others, and give the name of the class of one on SQLite."""
    ((name, function),) = request.param()
    event.listen(Engine, name, function)
    yield "Translated" if request.param is raises_its_own else "OperationalError"
    event.remove(Engine, name, function)


def test_a_script_has_the_errors_of_the_application(
    workshop: Workshop, sqlite_url: str, translated: str
) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, 'op.execute("CREATE TABLE t (n INTEGER)")')
    caught = """
    try:
        op.execute("CREATE TABLE t (n INTEGER)")
    except Exception as exc:
        op.execute(f"CREATE TABLE caught_{type(exc).__name__} (n INTEGER)")
    """
    workshop.script("app", "two", "one", caught)
    workshop.service(sqlite_url).upgrade()
    assert f"caught_{translated}" in tables(sqlite_url)


OWN_ENGINE = """
import sqlalchemy as sa
from alembic import context
from test_listeners import raises_its_own

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
((name, function),) = raises_its_own()
sa.event.listen(engine, name, function)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_script_has_the_errors_of_an_engine_of_env_py(
    workshop: Workshop, database_url: str
) -> None:
    """As with oslo.db, whose engines raise its own errors; the service goes by SQLAlchemy's."""
    folder = workshop.package("app") / "alembic"
    caught = """
    from test_listeners import Translated
    try:
        with op.get_bind().begin_nested():
            op.execute("DROP TABLE gone")
    except Translated:
        op.execute("CREATE TABLE caught (n INTEGER)")
    """
    workshop.script("app", "one", None, caught)
    (folder / "env.py").write_text(OWN_ENGINE)
    workshop.script("app", "two", "one", 'op.execute("CREATE TABLE caught (n INTEGER)")')
    with pytest.raises(StepFailed, match="already exists"):
        workshop.service(database_url).upgrade()
    assert "caught" in tables(database_url)


def test_a_failed_step_is_told_with_errors_of_the_application(
    workshop: Workshop, database_url: str, translated: str
) -> None:
    workshop.package("app")
    twice = 'op.execute("CREATE TABLE t (n INTEGER)")'
    path = workshop.script("app", "one", None, f"{twice}\n{twice}")
    with pytest.raises(StepFailed) as failed:
        workshop.service(database_url).upgrade()
    said = str(failed.value)
    assert f"{path}, line 15" in said and "already exists" in said
    # MariaDB has committed the first: half done.
    ended = "running" if database_url.startswith("mysql") else "failed"
    assert [entry[3] for entry in ledger(database_url)] == [ended]


def test_a_lock_is_waited_for_with_errors_of_the_application(
    workshop: Workshop, database_url: str, translated: str
) -> None:
    package(workshop, concurrently=False)
    service = workshop.service(database_url, lock_timeout_ms="300")
    service.upgrade("one")
    held = "BEGIN IMMEDIATE" if database_url.startswith("sqlite") else "SELECT * FROM t"
    with blocking(database_url, held, seconds=1.0):
        assert steps(service.upgrade()) == ["app@two"]


def test_a_lost_connection_is_told_with_errors_of_the_application(
    workshop: Workshop, postgresql_url: str, translated: str
) -> None:
    package(workshop, concurrently=False)
    workshop.script(
        "app", "three", "two", 'op.execute("SELECT pg_terminate_backend(pg_backend_pid())")'
    )
    service = workshop.service(postgresql_url)
    with pytest.raises(MigrationError) as failed:
        service.upgrade()
    said = str(failed.value)
    assert "Run the command again: it looks first. 2 earlier steps" in said
    assert "Translated" not in said


def test_check_tells_differences_with_errors_of_the_application(
    workshop: Workshop, postgresql_url: str, translated: str
) -> None:
    workshop.package(
        "app",
        """
        import sqlalchemy as sa
        from sqlalchemy.orm import DeclarativeBase

        class Base(DeclarativeBase):
            pass

        sa.Table(
            "t",
            Base.metadata,
            sa.Column("a", sa.Integer, primary_key=True),
            sa.Column("b", sa.Integer, primary_key=True),
        )
        """,
    )
    made = 'op.execute("CREATE TABLE t (a INTEGER, b INTEGER, PRIMARY KEY (b, a))")'
    workshop.script("app", "one", None, made, 'op.drop_table("t")')
    service = workshop.service(postgresql_url)
    service.upgrade()
    # What the server is asked of the two keys fails: it takes no second one.
    (problem,) = service.check().problems
    assert "t_pkey" in problem.message
    assert service.revision("key", autogenerate=True)


def test_the_debug_toolbar_of_every_cookiecutter(
    make_project: Callable[..., Project], postgresql_url: str
) -> None:
    pytest.importorskip("pyramid_debugtoolbar")
    project = make_project(postgresql_url)
    project.ini("pyramid.includes = pyramid_debugtoolbar")
    project.script("one", None, 'op.execute("CREATE TABLE t (n INTEGER)")')
    project.script("two", "one", CONCURRENTLY)
    project.ws("upgrade")
    found = rows(
        postgresql_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_n'::regclass"
    )
    assert found == [(True,)]


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_the_databases_own_limit_cuts_nothing_off(
    workshop: Workshop, postgresql_url: str, limit: str
) -> None:
    package(workshop, concurrently=True)
    slow = 'op.execute("SELECT pg_sleep(0.6)")'
    workshop.script("app", "four", "three", slow)
    name = sa.make_url(postgresql_url).database
    service = workshop.service(postgresql_url)
    service.upgrade("two")
    execute(postgresql_url, f'ALTER DATABASE "{name}" SET {limit} = 300')
    lasting = "SET statement_timeout = 0", "SELECT count(*) FROM t"
    with blocking(postgresql_url, *lasting, seconds=1.2):
        time.sleep(0.1)
        assert steps(service.upgrade()) == ["app@three", "app@four"]
    # What the settings say of a step still holds.
    workshop.script("app", "five", "four", slow)
    strict = workshop.service(postgresql_url, statement_timeout_ms="100")
    with pytest.raises(Exception, match="statement timeout"):
        strict.upgrade()


@pytest.mark.parametrize(
    ("product", "limit", "seconds"),
    [
        ("postgresql", "idle_session_timeout = 40", 0.1),
        ("postgresql", "idle_in_transaction_session_timeout = 40", 0.1),
        ("postgresql", "transaction_timeout = 40", 0.1),
        ("mariadb", "wait_timeout = 1", 1.6),
        ("mariadb", "idle_transaction_timeout = 1", 1.6),
    ],
)
def test_no_session_ends_while_it_waits_for_python(
    workshop: Workshop,
    request: pytest.FixtureRequest,
    product: str,
    limit: str,
    seconds: float,
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    name, database = limit.partition(" ")[0], sa.make_url(url).database
    package(workshop, concurrently=False)
    workshop.script("app", "slow", "two", f"import time; time.sleep({seconds})")
    is_postgresql = product == "postgresql"
    execute(
        url, f"ALTER DATABASE {database} SET {limit}" if is_postgresql else f"SET GLOBAL {limit}"
    )
    try:
        service = workshop.service(url)
        assert len(service.upgrade().steps) == 3
        assert service.check().ok
    finally:
        if not is_postgresql:
            execute(url, f"SET GLOBAL {name} = DEFAULT")
