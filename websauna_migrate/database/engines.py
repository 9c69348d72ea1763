"""Make the service's own connections, and turn a failure to connect into one message."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import Engine, engine_from_config, event
from sqlalchemy.engine import URL, Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.own_connections import use_own_connections
from websauna_migrate.database.startup import retry_connecting

#: Execution option of a connection that writes: its transactions on SQLite take the write lock at
#: their start, so that two writers never fail half way.
WRITES = "websauna_migrate_writes"

#: The extra that brings a driver for each database.
DRIVER_EXTRAS = {"postgresql": "postgresql-binary", "mysql": "mysql", "mariadb": "mysql"}

#: What is to be installed for a driver's module, where it has another name.
DRIVER_DISTRIBUTIONS = {
    "psycopg2": '"websauna_migrate[postgresql-binary]"',
    "psycopg": '"websauna_migrate[postgresql-psycopg]"',
    "pymysql": '"websauna_migrate[mysql]"',
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}


#: Options of drivers that hold a password, a key, or a whole connection string with one.
SECRET_OPTION = re.compile("passw|pwd|secret|token|scram_|odbc_connect", re.IGNORECASE)


class DatabaseFailure(MigrationError, RuntimeError):
    """The database cannot be used.

    :ivar kind: ``unreachable`` for one that cannot be reached, refuses the user, or does not exist,
        ``read-only`` for a standby and every other server that accepts no writes, ``lost`` where
        the connection was lost between two steps
    """

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        if kind == "read-only":
            self.exit_code = ExitCode.FAILED
        super().__init__(message)


def unreachable(url: str, problem: str, remedy: str) -> DatabaseFailure:
    """Return the error of a database that no connection is to be had to.

    :param url: as text, without its password
    :param problem: the driver's own words, without the password
    """
    return DatabaseFailure("unreachable", f'Cannot use the database "{url}": {problem}\n{remedy}')


def is_secret(key: str) -> bool:
    """True if an option in a URL's query may hold a password or another secret."""
    return SECRET_OPTION.search(key) is not None


def safe_url(url: URL) -> str:
    """Return a URL as text, with its password as ``***`` wherever the URL may hold one."""
    query = {
        # A password with an unescaped "@" goes on behind it.
        key: "***" if is_secret(key) or "@" in "".join(value) else value
        for key, value in url.query.items()
    }
    return url.set(query=query).render_as_string(hide_password=True)


def secrets_of(url: URL) -> list[str]:
    """Return what must never be shown: the URL's passwords, also as they stand in a URL."""
    raw = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if is_secret(key):
            raw += [value] if isinstance(value, str) else value
    found = {
        form
        for text in raw
        for form in (text, quote(text, safe=""), quote_plus(text), repr(text)[1:-1])
    }
    return sorted((form for form in found if form), key=len, reverse=True)


def hide_password(text: str, url: URL) -> str:
    """Return a text with every password of the URL replaced by ``***``."""
    for secret in secrets_of(url):
        # A very short password would tear words apart and thereby give itself away.
        if len(secret) >= 3:
            text = text.replace(secret, "***")
    return text


def is_missing_file(url: URL) -> bool:
    """True if the URL is of an SQLite file that does not exist; connecting would create it."""
    if url.get_backend_name() != "sqlite":
        return False
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        return False
    return not os.path.exists(name)  # noqa: PTH110 - the driver takes a str


def database_of(url: URL) -> tuple[str, str | None]:
    """Return the kind and the name of a URL's database; of an SQLite file the absolute path."""
    kind = url.get_backend_name()
    name = url.database
    if kind == "sqlite" and name and name != ":memory:" and not name.startswith("file:"):
        name = os.path.abspath(name)  # noqa: PTH100 - as the driver finds it
    return "mysql" if kind == "mariadb" else kind, name or None


def open_engine(url: URL, options: Mapping[str, object], **arguments: Any) -> Engine:
    """Return SQLAlchemy's engine for a URL; nothing connects yet.

    :param options: ``sqlalchemy.*`` settings; the URL among them does not count
    :param arguments: further arguments of ``create_engine``
    :raises DatabaseFailure: if the URL's dialect or driver is not installed, or an option is wrong
    """
    names_driver = "+" in url.drivername
    url = with_synchronous_driver(url)
    if drivers := DRIVERS.get(url.drivername):
        driver = next(filter(find_spec, drivers), drivers[0])
        url = url.set(drivername=f"{url.drivername}+{driver.lower()}")
    try:
        return engine_from_config({**options, "sqlalchemy.url": url}, **arguments)
    except NoSuchModuleError:
        remedy = "Correct the setting sqlalchemy.url, or install the dialect's distribution."
        if url.get_backend_name() == "postgres":
            remedy = "Its name is postgresql: correct the setting sqlalchemy.url."
        raise unreachable(
            safe_url(url), f'SQLAlchemy knows no dialect "{url.drivername}".', remedy
        ) from None
    except ModuleNotFoundError as exc:
        extra = None if names_driver else DRIVER_EXTRAS.get(url.get_backend_name())
        module = str(exc.name).partition(".")[0]
        distribution = DRIVER_DISTRIBUTIONS.get(module, module)
        wanted = f'"websauna_migrate[{extra}]"' if extra else distribution
        raise unreachable(
            safe_url(url),
            f'the driver "{exc.name}" is not installed.',
            f"Install it: pip install {wanted}",
        ) from exc
    except Exception as exc:
        # What a dialect makes of the options is its own code.
        raise unreachable(
            safe_url(url),
            f"its options are not accepted: {hide_password(str(exc), url)}",
            "Correct the sqlalchemy.* settings.",
        ) from None


#: Drivers for a URL that names none: SQLAlchemy's own choice depends on its version (2.1 turned
#: from psycopg2 to psycopg for PostgreSQL), what is installed does not.
DRIVERS = {
    "postgresql": ("psycopg2", "psycopg"),
    "mysql": ("MySQLdb", "pymysql"),
    "mariadb": ("MySQLdb", "pymysql"),
}


#: Drivers that a synchronous program cannot use, by the dialect whose drivers take their place;
#: SQLite's is in Python.
ASYNCHRONOUS = {
    "postgresql+psycopg_async": "postgresql+psycopg",
    "postgresql+asyncpg": "postgresql",
    "sqlite+aiosqlite": "sqlite",
    "mysql+aiomysql": "mysql",
    "mysql+asyncmy": "mysql",
    "mariadb+aiomysql": "mariadb",
    "mariadb+asyncmy": "mariadb",
}

#: What they alone know in a URL's query; and what another driver calls otherwise.
OWN_OPTIONS = frozenset(
    {
        *("async_fallback", "prepared_statement_cache_size", "statement_cache_size"),
        *("max_cached_statement_lifetime", "max_cacheable_statement_size", "command_timeout"),
        *("direct_tls", "echo"),
    }
)
RENAMED_OPTIONS = {"ssl": "sslmode"}


def with_synchronous_driver(url: URL) -> URL:
    """Return a URL of an asynchronous driver as one of a synchronous driver of the database.

    :raises DatabaseFailure: if none is installed
    """
    dialect = ASYNCHRONOUS.get(url.drivername)
    if dialect is None:
        return url
    query = {key: value for key, value in url.query.items() if key not in OWN_OPTIONS}
    if url.get_backend_name() == "postgresql":
        query = {RENAMED_OPTIONS.get(key, key): value for key, value in query.items()}
    drivers = DRIVERS.get(dialect, ())
    if drivers and not any(find_spec(module) for module in drivers):
        raise unreachable(
            safe_url(url),
            f'its driver "{url.get_driver_name()}" is asynchronous, and migrations need one that '
            f"is not: none of {', '.join(drivers)} is installed.",
            f'Install one: pip install "websauna_migrate[{DRIVER_EXTRAS[dialect]}]". A URL for '
            "migrations alone is the setting websauna_migrate.url.",
        )
    return url.set(drivername=dialect, query=query)


def with_asynchronous_driver(url: URL) -> URL:
    """Return a URL as one of an asynchronous driver, if one is installed; else as it is."""
    for name in ASYNCHRONOUS if url.drivername not in ASYNCHRONOUS else ():
        dialect, _, driver = name.partition("+")
        if dialect == url.get_backend_name() and find_spec(driver.removesuffix("_async")):
            names = (
                {new: old for old, new in RENAMED_OPTIONS.items()} if driver == "asyncpg" else {}
            )
            query = {names.get(key, key): value for key, value in url.query.items()}
            return url.set(drivername=name, query=query)
    return url


def make_engine(
    url: URL,
    options: Mapping[str, object] = MappingProxyType({}),
    *,
    connect_retries: int = 0,
    session: Mapping[str, str] | None = None,
    transactional: bool = True,
    keeps_one: bool = False,
) -> Engine:
    """Return an engine of the service's own: the application's URL and options, but no pool.

    :param options: the application's ``sqlalchemy.*`` settings
    :param connect_retries: how often to try again while the server is starting
    :param transactional: begin transactions on SQLite where SQLAlchemy does; the driver begins some
        later, and PRAGMA has no effect in one
    :param session: settings of each session, see :func:`set_in_sessions`
    :param keeps_one: keep one connection to a server for the next use; to a file it costs nothing
    :raises DatabaseFailure: if the URL's dialect or driver is not installed
    """
    options = dict(options)
    if str(options.get("sqlalchemy.isolation_level", "")).upper() == "AUTOCOMMIT":
        # It would quietly take apart every step's transaction.
        del options["sqlalchemy.isolation_level"]
    if keeps_one and url.get_backend_name() != "sqlite":
        engine = open_engine(url, options, pool_size=1, max_overflow=0, pool_pre_ping=True)
    else:
        engine = open_engine(url, options, poolclass=NullPool)
    use_own_connections(engine)
    if engine.dialect.name == "sqlite":
        if transactional:
            make_transactional(engine)
    elif engine.dialect.driver in NAMED_BY:
        give_name(engine, NAMED_BY[engine.dialect.driver])
    if session:
        set_in_sessions(engine, session)
    if not keeps_one:
        lift_limits(engine)
    if connect_retries:
        # The last of the listeners: it connects itself, with what the others have set.
        retry_connecting(engine, connect_retries)
    return engine


#: Where a connection's ``info`` has the settings that ``env.py`` gave to its session.
SESSION = "websauna_migrate_session"

#: How the keys of values begin that settings have in front of an ``env.py`` which works on the
#: connection of the service, and behind its transaction, where that is another one: SET LOCAL.
BEFORE, BEHIND = "before: ", "behind: "


def set_in_sessions(engine: Engine, settings: Mapping[str, str]) -> None:
    """Let each session of an engine have settings, before SQLAlchemy looks for its schema.

    :param settings: on PostgreSQL and MariaDB values by name; on SQLite what ``PRAGMA name`` is and
        the file of ``ATTACH name``
    """
    kind = engine.dialect.name

    def set_all(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[SESSION] = settings
        cursor = dbapi_connection.cursor()
        for name, value in settings.items():
            if name.startswith((BEFORE, BEHIND)):
                continue
            if kind == "postgresql":
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            elif kind != "sqlite":
                known = float(value) if re.fullmatch(r"\d+\.\d+", value) else value
                known = int(value) if value.isdecimal() else known
                place = f"@`{name[1:]}`" if name.startswith("@") else f"SESSION `{name}`"
                cursor.execute(f"SET {place} = %s", (known,))
            elif name.startswith("ATTACH "):
                schema = name.removeprefix("ATTACH ").replace('"', '""')
                cursor.execute(f'ATTACH ? AS "{schema}"', (value,))
            else:
                cursor.execute(f"{name} = {value}")
        cursor.close()
        if kind == "postgresql":
            dbapi_connection.commit()

    event.listen(engine.pool, "connect", set_all, insert=True)
    if "collation_connection" in settings:
        # SQLAlchemy says SET NAMES, by which it is the server's again.
        event.listen(engine.pool, "connect", lambda *words: set_all(*words))


#: ``transaction_timeout`` is known from PostgreSQL 17 on. Behind a pooler, which invents the number
#: of the process that it tells, the session is shared with others: it stays as it is.
LIFT = (
    "SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE setting <> '0' "
    "AND source <> 'session' AND name IN ('lock_timeout', 'statement_timeout', "
    "'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"
)

#: The same of MariaDB's sessions that do nothing for a while; MySQL has the first alone.
LIFT_IDLE = (
    "SET SESSION wait_timeout = greatest(@@SESSION.wait_timeout, 28800) /*M!100300, "
    "SESSION idle_transaction_timeout = 0, SESSION idle_write_transaction_timeout = 0, "
    "SESSION idle_readonly_transaction_timeout = 0 */"
)


def lift_limits(engine: Engine) -> None:
    """Let an engine's sessions be without the limits of the role, the database and the server.

    They are meant for an application's statements. They would cut a CREATE INDEX CONCURRENTLY off
    half way, and end a session that waits for a script, or for a comparison of models. What
    listeners and ``env.py`` set stays, and the steps' own limits are set in each step.
    """
    kind = engine.dialect.name

    def lift(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        cursor = dbapi_connection.cursor()
        if kind == "postgresql":
            process = server_process(dbapi_connection)
            own = "" if process is None else f" AND pg_backend_pid() = {process}"
            cursor.execute(LIFT + own)
        else:
            cursor.execute(LIFT_IDLE)
        cursor.close()
        dbapi_connection.commit()

    if kind in ("postgresql", "mysql", "mariadb"):
        event.listen(engine.pool, "connect", lift, insert=True)


def server_process(dbapi_connection: object) -> int | None:
    """Return the number by which the server knows a connection, if the driver tells it."""
    # One that its owner closed may raise whatever it is asked.
    with suppress(Exception):
        info = getattr(dbapi_connection, "info", None)
        number: int | None = getattr(info, "backend_pid", None)
        if number is None:
            thread_id = getattr(dbapi_connection, "thread_id", None)
            number = thread_id() if callable(thread_id) else None
        return number
    return None


#: By which argument of its ``connect`` a driver tells the server what program it is.
NAMED_BY = {
    "psycopg2": "application_name",
    "psycopg": "application_name",
    "pymysql": "program_name",
    "mysqldb": "program_name",
}


def give_name(engine: Engine, argument: str) -> None:
    """Let the server's list of sessions say which process of which host this is."""
    name = f"websauna_migrate {os.getpid()} {socket.gethostname()}"[:63]

    @event.listens_for(engine, "do_connect")
    def say_name(
        dialect: Dialect, record: object, arguments: object, keywords: dict[str, object]
    ) -> None:
        keywords.setdefault(argument, name)


def make_transactional(engine: Engine) -> None:
    """Let SQLAlchemy begin SQLite's transactions, so that DDL is part of them.

    Python's driver begins one only before DML and leaves DDL outside: a step that is killed would
    leave its tables behind.
    """

    @event.listens_for(engine, "connect")
    def take_control(dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        dbapi_connection.isolation_level = None
        # For a look at the histories while others run; steps set a limit of their own.
        dbapi_connection.execute("PRAGMA busy_timeout = 15000")

    event.listen(engine, "begin", begin_on_sqlite)


def driver_of(connection: Connection) -> DBAPIConnection:
    """Return the driver's own connection; what it can do is each driver's own."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver


#: Where a connection's ``info`` has what is called just before BEGIN on SQLite.
BEFORE_BEGIN = "websauna_migrate_before_begin"


def begin_on_sqlite(connection: Connection) -> None:
    """Begin a transaction with everything in it: the driver leaves DDL outside."""
    driver = driver_of(connection)
    if driver.in_transaction:
        # An application's listener to all engines has begun it, as in SQLAlchemy's documentation;
        # or it is left of one that a reader kept from its commit.
        driver.execute("ROLLBACK")
    if (call := connection.info.get(BEFORE_BEGIN)) is not None:
        call()
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")


@contextmanager
def connect(engine: Engine) -> Iterator[Connection]:
    """Give a connection and close it; a failure to connect is told in one sentence.

    :raises DatabaseFailure: when the database is down, refuses the user, or does not exist
    """
    try:
        connection = engine.connect()
    except Exception as exc:
        # Drivers refuse an option, a port or a character with errors of their own.
        raise not_connected(exc, engine.url) from None
    try:
        yield connection
    finally:
        connection.close()


def not_connected(exc: Exception, url: URL) -> DatabaseFailure:
    """Return the error of an attempt to connect, by what the driver says."""
    error = exc.orig if isinstance(exc, DBAPIError) else exc
    if url.get_backend_name() == "sqlite":
        remedy = "Check that its folder exists and that you may write there."
    elif UNKNOWN_OPTION.search(str(error)):
        remedy = (
            f'The driver "{url.get_driver_name()}" does not know that option. Take it out of '
            "sqlalchemy.url, or name the database for migrations alone by the setting "
            "websauna_migrate.url."
        )
    else:
        remedy = (
            "Check that the server runs and that the setting sqlalchemy.url names the right "
            "host, port, user, password and database."
        )
    return unreachable(safe_url(url), one_line(hide_password(driver_words(error), url)), remedy)


#: What drivers say of an option in a URL that they do not have.
UNKNOWN_OPTION = re.compile("invalid (?:connection|URI query) (?:option|param)|unexpected keyword")


def driver_words(error: BaseException | None) -> str:
    """Return what a driver's error says.

    Those for MariaDB and MySQL are a number and a text: the number comes behind it.
    """
    args = error.args if error is not None else ()
    if len(args) == 2 and isinstance(args[0], int):
        return f"{args[1]} ({args[0]})"
    return str(error)


def said_by(exc: DBAPIError, url: URL) -> str:
    """Return what a driver says of a statement, as one sentence without the password of a URL."""
    return hide_password(one_line(driver_words(exc.orig)), url)


def one_line(text: str) -> str:
    """Return a driver's message as one line that ends in a full stop.

    What PostgreSQL adds to point at a place in the statement is left out.
    """
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line.strip("^ ") and not line.startswith("LINE ")]
    if len(kept) < len(lines) and any(line.startswith("LINE ") for line in lines):
        kept = kept[:1]
    words = " ".join(" ".join(kept).split())
    return words if words.endswith((".", "!", "?")) else words + "."
