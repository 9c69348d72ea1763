"""A connection that the caller gives: used as it is, and left as it was.

The service works on SQLAlchemy objects of its own above the caller's session: an engine whose pool
has that one session, with a copy of its dialect. What listens to the caller's engine hears nothing
of a run, and what a run listens to is gone with it.

A connection without a transaction is used like the service's own. In one that has a transaction
open, the transactions of a run are savepoints: the caller commits them, or rolls them back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Literal

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import StaticPool

from websauna_migrate.base_errors import UsageError
from websauna_migrate.database.engines import WRITES, begin_on_sqlite, driver_of
from websauna_migrate.database.own_connections import use_own_connections

#: Execution option of a connection whose session is the caller's.
GIVEN = "websauna_migrate_given"

SAVEPOINT = "websauna_migrate"

#: What a run may set in a session, by the dialect that knows it.
LIMITS = {
    "postgresql": ("lock_timeout", "statement_timeout"),
    "mysql": (
        *("lock_wait_timeout", "innodb_lock_wait_timeout"),
        *("max_statement_time", "max_execution_time"),
    ),
}


def given_state(connection: Connection) -> Literal["idle", "in transaction"] | None:
    """Return what a connection was when the caller gave it; ``None`` for the service's own."""
    state: Literal["idle", "in transaction"] | None = connection.get_execution_options().get(GIVEN)
    return state


def the_given(connection: object = None, engine: object = None) -> Connection | Engine | None:
    """Return what a caller gave to work on; ``None`` for nothing.

    :raises UsageError: for both, and for what is neither a connection nor an engine
    """
    if connection is not None and engine is not None:
        raise UsageError("Give a connection or an engine, not both.")
    if connection is not None and not isinstance(connection, Connection):
        raise UsageError(
            f"connection= takes a sqlalchemy.Connection, not {type(connection).__name__}. Of a "
            "Session it is session.connection(); with an AsyncConnection write: await "
            "connection.run_sync(lambda one: service.upgrade(connection=one))"
        )
    if engine is not None and not isinstance(engine, Engine):
        raise UsageError(
            f"engine= takes a sqlalchemy.Engine, not {type(engine).__name__}. With an AsyncEngine "
            "connect it, and write: await connection.run_sync(lambda one: "
            "service.upgrade(connection=one))"
        )
    return connection or engine


@contextmanager
def open_given(given: Connection | Engine) -> Iterator[Connection]:
    """Give a connection of the service's own above the session that the caller gave.

    :raises UsageError: if migrations cannot work on it
    """
    if isinstance(given, Engine):
        with given.connect() as connection, open_given(connection) as own:
            yield own
        return
    refuse_unusable(given)
    driver = driver_of(given)
    inside = given.in_transaction()
    kind = "mysql" if given.dialect.name == "mariadb" else given.dialect.name
    with ExitStack() as stack:
        if kind == "sqlite":
            stack.enter_context(sqlite_left_as_it_was(driver, inside=inside))
        elif kind in LIMITS:
            stack.enter_context(limits_left_as_they_were(given, driver, kind))
        transaction = CallersTransaction(driver) if inside else None
        engine = engine_above(given, transaction or driver)
        if transaction is not None:
            event.listen(engine, "begin", lambda _: transaction.begin())
        elif kind == "sqlite":
            event.listen(engine, "begin", begin_on_sqlite)
        own = engine.connect().execution_options(
            **{GIVEN: "in transaction" if inside else "idle", WRITES: False}
        )
        stack.enter_context(closing(own))
        yield own


def translates_schemas(connection: Connection) -> bool:
    """True if a connection has a ``schema_translate_map`` that gives a schema another name."""
    names = connection.get_execution_options().get("schema_translate_map") or {}
    return any(name != meant for name, meant in names.items())


def refuse_unusable(given: Connection) -> None:
    """Refuse a connection on which a run would do something else than it says.

    :raises UsageError: naming what is in the way, and what to do
    """
    options = given.get_execution_options()
    if translates_schemas(given):
        raise UsageError(
            "The connection given has a schema_translate_map, which neither scripts nor history "
            "tables follow. Give a connection without it, and set the session's search_path."
        )
    driver = driver_of(given)
    if options.get("isolation_level") == "AUTOCOMMIT" or is_autocommit(given, driver):
        raise UsageError(
            "The connection given commits each statement by itself (AUTOCOMMIT), so that no step "
            "could be rolled back. Give one of an engine without that isolation level."
        )
    if (
        given.dialect.name == "sqlite"
        and (driver.in_transaction and not given.in_transaction())
        # From Python 3.12 on a driver may have one open at all times.
        and getattr(driver, "autocommit", None) is not False
    ):
        raise UsageError(
            "The driver of the connection given has a transaction open of which SQLAlchemy does "
            "not know. Commit it or roll it back before."
        )
    if given.dialect.name in ("mysql", "mariadb") and given.in_transaction():
        raise UsageError(
            "The connection given is in a transaction, which this database would commit at the "
            "first change of the schema. Commit it or roll it back before, or give an engine."
        )


def is_autocommit(given: Connection, driver: DBAPIConnection) -> bool:
    """Tell whether a driver commits each statement; transactions on SQLite are ours to begin."""
    if given.dialect.name == "sqlite":
        return False
    told = getattr(driver, "get_autocommit", None)
    return bool(told()) if callable(told) else getattr(driver, "autocommit", False) is True


def engine_above(given: Connection, driver: DBAPIConnection) -> Engine:
    """Return an engine whose pool has one session, and whose events are its own."""
    dialect = copy.copy(given.dialect)
    # Listeners of the caller's engine, and of a run, are kept in it.
    dialect.__dict__.pop("dispatch", None)
    pool = StaticPool(lambda: driver, reset_on_return=None, dialect=dialect)
    return use_own_connections(
        Engine(pool, dialect, given.engine.url, hide_parameters=given.engine.hide_parameters)
    )


class CallersTransaction:
    """A driver's connection in the caller's transaction, which it neither commits nor ends.

    It commits and rolls back to a savepoint; everything else is the driver's.
    """

    def __init__(self, driver: DBAPIConnection) -> None:
        self.__dict__.update(driver=driver, is_open=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["driver"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["driver"], name, value)

    def begin(self) -> None:
        """Set the savepoint."""
        execute(self.driver, f"SAVEPOINT {SAVEPOINT}")
        self.__dict__["is_open"] = True

    def commit(self) -> None:
        """Leave what was done to the caller's transaction."""
        self._end()

    def rollback(self) -> None:
        """Take back what was done since the savepoint."""
        self._end(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")

    def _end(self, *statements: str) -> None:
        if self.is_open:
            self.__dict__["is_open"] = False
            for statement in (*statements, f"RELEASE SAVEPOINT {SAVEPOINT}"):
                execute(self.driver, statement)


def execute(driver: DBAPIConnection, statement: str) -> Any:
    """Execute a statement by the driver, and return the first row of its result if it has one."""
    with closing(driver.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


@contextmanager
def sqlite_left_as_it_was(driver: DBAPIConnection, *, inside: bool) -> Iterator[None]:
    """Let an SQLite session have transactions that hold DDL as well, as long as it is lent."""
    (timeout,) = execute(driver, "PRAGMA busy_timeout")
    level, autocommit = driver.isolation_level, getattr(driver, "autocommit", None)
    if inside:
        # SQLAlchemy has begun; the driver does so at the first INSERT.
        if not driver.in_transaction:
            execute(driver, "BEGIN")
    else:
        if autocommit is False:
            # As PEP 249 has it, from Python 3.12 on: a transaction is always open.
            driver.autocommit = True
        driver.isolation_level = None
    try:
        yield
    finally:
        execute(driver, f"PRAGMA busy_timeout = {timeout}")
        if not inside:
            driver.isolation_level = level
            if autocommit is False:
                driver.autocommit = False


@contextmanager
def limits_left_as_they_were(
    given: Connection, driver: DBAPIConnection, kind: str
) -> Iterator[None]:
    """Give a session back the limits that a run sets for its statements.

    On PostgreSQL they end with the transaction by themselves, if it is a run's own.
    """
    names = LIMITS[kind]
    if kind == "postgresql":
        if not given.in_transaction():
            yield
            return
        ask = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        before = zip(names, execute(driver, ask), strict=True)
        give = "SELECT " + ", ".join(f"set_config('{name}', '{old}', true)" for name, old in before)
    else:
        listed = ", ".join(f"'{name}'" for name in names)
        with closing(driver.cursor()) as cursor:
            cursor.execute(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({listed})")
            found = cursor.fetchall()
        give = "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in found)
    try:
        yield
    finally:
        # Where the session was lost, what was raised already says so.
        with suppress(given.dialect.loaded_dbapi.Error):
            execute(driver, give)
