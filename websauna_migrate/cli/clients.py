"""Client programs: from a database's URL to a program, its arguments and its environment.

Nothing is started here. A password reaches a program as follows, never in its arguments:

========================= =====================================================================
``pg_dump psql pgcli``    ``PGPASSWORD``; other secrets of libpq in a service file
``mariadb mysql *dump``   an option file, the only one that is read, as the application too reads
                          none: neither ``~/.my.cnf`` nor ``~/.mylogin.cnf`` leads elsewhere
``mycli``                 ``MYSQL_PWD``
========================= =====================================================================

The option file and the service file are a :attr:`Client.private_file`, which has no name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import ArgumentError

from websauna_migrate.database.engines import is_secret
from websauna_migrate.database.programs import find_program
from websauna_migrate.errors import MigrationError

__all__ = [
    "PRIVATE_FILE",
    "Client",
    "NoDatabaseFile",
    "ProgramMissing",
    "UnsupportedDatabase",
    "UrlUnusable",
    "dump_client",
    "shell_client",
    "sqlite_file",
]

#: Stands for the path of the private file in arguments and variables.
PRIVATE_FILE = "\0private file\0"

Find = Callable[[Sequence[str]], "str | None"]

#: What to write to get a client program, and the backend's name in a message.
PRODUCTS = {
    "postgresql": ("PostgreSQL", "apt-get install postgresql-client"),
    "sqlite": ("SQLite", "apt-get install sqlite3"),
    "mysql": ("MariaDB and MySQL", "apt-get install mariadb-client"),
}
DUMPS = {
    "postgresql": ("pg_dump",),
    "sqlite": ("sqlite3",),
    "mysql": ("mariadb-dump", "mysqldump"),
}
#: The ones that complete and highlight, each with what is installed by pip.
COMFORTABLE = {"postgresql": "pgcli", "sqlite": "litecli", "mysql": "mycli"}
PLAIN = {"postgresql": ("psql",), "sqlite": ("sqlite3",), "mysql": ("mariadb", "mysql")}

#: What libpq takes from nowhere but a connection string or a service file, and is secret.
LIBPQ_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
SERVICE = "websauna_migrate"

#: Options of psycopg2 and psycopg which are the Python module's own. All others are libpq's.
PYTHON_OPTIONS = frozenset(
    [
        "async",
        "async_",
        "async_fallback",
        "autocommit",
        "connection_factory",
        "context",
        "cursor_factory",
        "prepare_threshold",
        "row_factory",
    ]
)
#: Drivers without libpq: the options of theirs that libpq has under the same name.
SAME_AS_LIBPQ = {
    "asyncpg": frozenset(["gsslib", "krbsrvname", "passfile", "service", "target_session_attrs"]),
    "pg8000": frozenset(["application_name"]),
}
POSTGRESQL_DRIVERS = frozenset(
    ["", "psycopg2", "psycopg", "psycopg_async", "psycopg2cffi", *SAME_AS_LIBPQ]
)
ADDRESS = frozenset(["host", "port", "user", "password", "dbname"])
SSL_MODES = frozenset(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])

#: Drivers that speak the protocol themselves: ``localhost`` is TCP for them, and port 3306 is not
#: to be changed by a variable. The other drivers, like the programs, use MySQL's C library.
PURE_PYTHON = frozenset(["aiomysql", "asyncmy", "cymysql", "mysqlconnector", "pymysql"])
#: Those that check the server's certificate and name as soon as they are given an authority.
CHECKS_BY_DEFAULT = frozenset(["aiomysql", "asyncmy", "pymysql"])
MYSQL_DRIVERS = PURE_PYTHON | {"", "mysqldb", "mariadbconnector"}
MYSQL_FILES = (
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_cipher",
    "ssl_key",
    "ssl_crl",
    "tls_version",
)

#: What the sqlite3 module takes from a URL's query; with ``uri=true`` the rest is SQLite's.
SQLITE_OPTIONS = frozenset(
    ["uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"]
)


class UnsupportedDatabase(MigrationError, NotImplementedError):
    """There is no client for a dialect; ``dialect`` is its name with the driver."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        hint = ' Write "postgresql" for "postgres".' if dialect.startswith("postgres") else ""
        super().__init__(
            f'The database URL is of dialect "{dialect}", for which no client program is known.'
            f"{hint}\nSupported are postgresql, mysql, mariadb and sqlite."
        )


class UrlUnusable(MigrationError, ValueError):
    """A database URL says something that no client can be told; it is never shown."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"The database URL cannot be used: {problem}")


class NoDatabaseFile(MigrationError, FileNotFoundError):
    """A SQLite database is no file, or its file is missing; ``file`` is ``None`` in memory."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        super().__init__(
            "The SQLite database is in the application's memory, where no other program can read "
            "it. Set a file in the database URL: sqlite:////path/to/file.sqlite"
            if file is None
            else f'The SQLite database "{file}" does not exist. Correct the database URL, or '
            'create the database with "ws-alembic upgrade".'
        )

    def __str__(self) -> str:
        # OSError would show its arguments its own way.
        return str(self.args[0])


class ProgramMissing(MigrationError, LookupError):
    """None of the programs that would do is installed; ``programs`` are their names."""

    def __init__(self, programs: Sequence[str], backend: str) -> None:
        self.programs = tuple(programs)
        product, install = PRODUCTS[backend]
        ways = [install, *(f"pip install {n}" for n in programs if n == COMFORTABLE[backend])]
        super().__init__(
            f"No client program for {product} was found: looked for {', '.join(programs)} on "
            f"PATH and beside Python.\nInstall one: {', or '.join(ways)}"
        )


@dataclass(frozen=True, slots=True)
class Client:
    """How to start a client program.

    :ivar program: its path
    :ivar arguments: without the program itself; :data:`PRIVATE_FILE` may stand in them
    :ivar environment: variables to set besides the user's own, ``None`` to remove one;
        :data:`PRIVATE_FILE` may stand in them
    :ivar private_file: content of a file that only the program may read, if it needs one
    """

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    private_file: str | None = field(default=None, repr=False)

    def argv(self, private_path: str = "") -> list[str]:
        """Return the argument vector, with the private file at the given path."""
        words = [self.program, *self.arguments]
        return [word.replace(PRIVATE_FILE, private_path) for word in words]

    def variables(self, own: Mapping[str, str], private_path: str = "") -> dict[str, str]:
        """Return the environment: the user's own, and what the program needs besides."""
        merged = {**own, **self.environment}
        return {
            key: value.replace(PRIVATE_FILE, private_path)
            for key, value in merged.items()
            if value is not None
        }


def dump_client(url: URL, arguments: Sequence[str] = (), *, find: Find = find_program) -> Client:
    """Return the program that writes a database's dump to its standard output.

    :param arguments: more for the program, as they are; with SQLite for the ``.dump`` command
    :param find: finds the first of some programs
    :raises ProgramMissing: if none is installed: install one
    :raises MigrationError: if the URL cannot be used
    """
    backend = backend_of(url)
    program = require(find, DUMPS[backend], backend)
    if backend == "postgresql":
        # A dump is in the database's own encoding: nothing can be lost then.
        return libpq_client(url, program, arguments, without=("client_encoding",))
    if backend == "sqlite":
        file = sqlite_file(url)
        words = " ".join([".dump", *(sqlite_word(word) for word in arguments)])
        wait = f".timeout {sqlite_timeout_ms(url)}"
        # What ~/.sqliterc prints would become part of the dump.
        own = ("-batch", "-init", os.devnull, "-cmd", wait)
        return Client(program, (*own, file, words))
    database = url_options(url)["database"]
    if not database:
        raise UrlUnusable("it names no database to dump. Append /name to the host.")
    if database.startswith("-"):
        raise UrlUnusable("the name of its database begins with a dash.")
    return mysql_client(url, program, ("--single-transaction", "--hex-blob", database, *arguments))


def shell_client(
    url: URL,
    arguments: Sequence[str] = (),
    *,
    interactive: bool = True,
    find: Find = find_program,
) -> Client:
    """Return the program in which a person, or a script by a pipe, gives SQL to a database.

    :param arguments: more for the program, as they are
    :param interactive: whether a person types; a script is read by the plain programs, if there
        is one, because the comfortable ones write to a terminal
    :param find: finds the first of some programs
    :raises ProgramMissing: if none is installed: install one
    :raises MigrationError: if the URL cannot be used
    """
    backend = backend_of(url)
    comfortable, plain = COMFORTABLE[backend], PLAIN[backend]
    names = (comfortable, *plain) if interactive else (*plain, comfortable)
    program = require(find, names, backend)
    is_comfortable = Path(program).stem == comfortable
    if backend == "postgresql":
        client = libpq_client(url, program, arguments)
        # pgcli would prefer the service in this variable to the connection string.
        environment = {**client.environment, **({"PGSERVICE": None} if is_comfortable else {})}
        return Client(program, client.arguments, environment, client.private_file)
    if backend == "sqlite":
        return Client(program, (sqlite_file(url), *arguments))
    if is_comfortable:
        return mycli_client(url, program, arguments)
    database = url_options(url)["database"]
    named = (f"--database={database}",) if database else ()
    return mysql_client(url, program, (*named, *arguments))


def backend_of(url: URL) -> str:
    """Return ``postgresql``, ``sqlite`` or ``mysql``.

    :raises UnsupportedDatabase: for all others, and for drivers whose URLs mean something else
    :raises UrlUnusable: if a part of the URL holds a NUL, at which every program would cut it off
    """
    backend, _, driver = url.drivername.partition("+")
    backend = "mysql" if backend == "mariadb" else backend
    known = (
        (backend == "sqlite" and driver in ("", "pysqlite", "aiosqlite"))
        or (backend == "mysql" and driver in MYSQL_DRIVERS)
        or (backend == "postgresql" and driver in POSTGRESQL_DRIVERS)
    )
    if not known:
        raise UnsupportedDatabase(url.drivername)
    if any("\0" in text for text in url_options(url).values()):
        raise UrlUnusable("it contains %00, a character that no program can be given.")
    return backend


def require(find: Find, names: Sequence[str], backend: str) -> str:
    """Return the path of the first program that is installed, or raise :class:`ProgramMissing`."""
    program = find(names)
    if program is None:
        raise ProgramMissing(names, backend)
    return program


def url_options(url: URL) -> dict[str, str]:
    """Return the parts of a URL and the options of its query, which win; repeated, the last one."""
    query = {key: v if isinstance(v, str) else v[-1] for key, v in url.query.items()}
    aliases = {"db": "database", "dbname": "database", "passwd": "password", "username": "user"}
    return {
        "host": url.host or "",
        "port": str(url.port) if url.port else "",
        "user": url.username or "",
        "password": str(url.password) if url.password is not None else "",
        "database": url.database or "",
        **{aliases.get(key, key): value for key, value in query.items()},
    }


def is_true(text: str) -> bool:
    """Read an option as SQLAlchemy does."""
    return text.strip().lower() in ("true", "yes", "on", "y", "t", "1")


# PostgreSQL


def libpq_client(
    url: URL, program: str, arguments: Sequence[str], *, without: Sequence[str] = ()
) -> Client:
    """Return a program that takes a libpq connection string as ``--dbname``."""
    options = {k: v for k, v in libpq_options(url).items() if k not in without}
    environment: dict[str, str | None] = {}
    password = options.pop("password", "")
    if password:
        environment["PGPASSWORD"] = password
    secrets = {key: options.pop(key) for key in LIBPQ_SECRETS if key in options}
    if unknown := next(filter(is_secret, options), None):
        raise UrlUnusable(f'libpq has no option "{unknown}", and its value is not to be shown.')
    private_file = None
    if secrets:
        if "service" in options:
            raise UrlUnusable(
                f'"{next(iter(secrets))}" and "service" are both in it. Move the former into the '
                "service file."
            )
        if any(value != value.rstrip() or "\n" in value for value in secrets.values()):
            raise UrlUnusable(f'"{next(iter(secrets))}" ends with a blank or holds a line break.')
        lines = [f"[{SERVICE}]", *(f"{key}={value}" for key, value in secrets.items())]
        private_file = "\n".join(lines) + "\n"
        environment["PGSERVICEFILE"] = PRIVATE_FILE
        options["service"] = SERVICE
    # The options of a string that is given as the name are what the application's driver gives
    # libpq; a database whose name looks like such a string is safe inside of one.
    conninfo = " ".join(f"{key}={conninfo_value(value)}" for key, value in options.items())
    named = (f"--dbname={conninfo}",) if conninfo else ()
    return Client(program, (*named, *arguments), environment, private_file)


def libpq_options(url: URL) -> dict[str, str]:
    """Return what the URL says, by libpq's keywords."""
    driver = url.drivername.partition("+")[2]
    try:
        # SQLAlchemy's own reading of several hosts, the same for all drivers.
        dialect: Dialect = PGDialect_psycopg2()  # type: ignore[no-untyped-call]
        given = dialect.create_connect_args(url)[1]
    except (ArgumentError, ValueError):
        raise UrlUnusable(
            "its hosts and ports cannot be read. Write ?host=a:5432&host=b:5432, or "
            "?host=a,b&port=5432,5432."
        ) from None
    options = {
        key: str(value[-1] if isinstance(value, tuple) else value) for key, value in given.items()
    }
    if "database" in options:
        options["dbname"] = options.pop("database")
    if driver not in SAME_AS_LIBPQ:
        return {key: value for key, value in options.items() if key not in PYTHON_OPTIONS}
    if driver == "asyncpg" and (ssl := options.get("ssl", "").lower()):
        options["sslmode"] = ssl if ssl in SSL_MODES else "require" if is_true(ssl) else "disable"
    if driver == "pg8000" and (path := options.get("unix_sock")):
        options["host"] = str(Path(path).parent)
        if match := re.fullmatch(r"\.s\.PGSQL\.(\d+)", Path(path).name):
            options["port"] = match[1]
    known = ADDRESS | SAME_AS_LIBPQ[driver] | ({"sslmode"} if "ssl" in options else set())
    return {key: value for key, value in options.items() if key in known}


def conninfo_value(value: str) -> str:
    """Return a value for a connection string, in quotes where it needs them."""
    if re.fullmatch(r"[\w./:,@+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# MariaDB and MySQL


def mysql_client(url: URL, program: str, arguments: Sequence[str]) -> Client:
    """Return a program that reads an option file."""
    is_mariadb = Path(program).resolve().name.startswith("mariadb")
    lines = [
        name if value is None else f"{name}={option_file_value(value)}"
        for name, value in mysql_options(url, is_mariadb=is_mariadb).items()
    ]
    return Client(
        program,
        (f"--defaults-file={PRIVATE_FILE}", *arguments),
        # MySQL reads the login file last and whatever options say: there is none at this path.
        {} if is_mariadb else {"MYSQL_TEST_LOGIN_FILE": f"{os.devnull}/none"},
        "\n".join(["[client]", *lines]) + "\n",
    )


def mysql_options(url: URL, *, is_mariadb: bool) -> dict[str, str | None]:
    """Return what the URL says, by the programs' option names; ``None`` for one without value."""
    options = url_options(url)
    if options.get("read_default_file") or options.get("read_default_group"):
        raise UrlUnusable(
            'its "read_default_file" or "read_default_group" cannot be followed. Write what stands '
            "there into the URL, or start the client by hand."
        )
    is_pure = url.drivername.partition("+")[2] in PURE_PYTHON
    found: dict[str, str | None] = {}
    if is_pure:
        # The programs take "localhost" for the socket, and then a port for nothing.
        found = {"protocol": "TCP", "host": "localhost", "port": "3306"}
    found.update({k: options[k] for k in ("host", "port", "user", "password") if options[k]})
    if options.get("unix_socket"):
        found.update(protocol="SOCKET", socket=options["unix_socket"])
    found.update({k.replace("_", "-"): options[k] for k in MYSQL_FILES if options.get(k)})
    mode = tls_mode(url)
    if mode and not is_mariadb:
        found["ssl-mode"] = mode
    elif mode == "DISABLED":
        found["skip-ssl"] = None
    elif mode and mode != "PREFERRED":
        found["ssl"] = None
        if mode.startswith("VERIFY"):
            # Its programs cannot check the authority alone; the stricter check is the safe one.
            found["ssl-verify-server-cert"] = None
    return found


def tls_mode(url: URL) -> str | None:
    """Return what the driver would do about TLS, as a value of MySQL's ``ssl-mode``."""
    options = url_options(url)
    driver = url.drivername.partition("+")[2]
    if mode := options.get("ssl_mode"):
        return mode.upper()
    if is_true(options.get("ssl_disabled", "")):
        return "DISABLED"
    if is_true(options.get("ssl_verify_identity", "")):
        return "VERIFY_IDENTITY"
    if driver in CHECKS_BY_DEFAULT and (options.get("ssl_ca") or options.get("ssl_capath")):
        checks_name = is_true(options.get("ssl_check_hostname", "true"))
        return "VERIFY_IDENTITY" if checks_name else "VERIFY_CA"
    if is_true(options.get("ssl_verify_cert", "")):
        return "VERIFY_CA"
    if is_true(options.get("ssl", "")) or any(options.get(key) for key in MYSQL_FILES):
        return "REQUIRED"
    return None


def option_file_value(value: str) -> str:
    """Return a value for an option file, in quotes; a line break may be part of it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def mycli_client(url: URL, program: str, arguments: Sequence[str]) -> Client:
    """Return mycli, which reads no option file that could be given to it."""
    options = mysql_options(url, is_mariadb=False)
    database = url_options(url)["database"]
    names = ("host", "port", "user", "socket", *(k.replace("_", "-") for k in MYSQL_FILES))
    words = [f"--{name}={options[name]}" for name in names if options.get(name)]
    if options.get("ssl-mode") == "VERIFY_IDENTITY":
        words.append("--ssl-verify-server-cert")
    if database:
        words.append(f"--database={database}")
    password = options.get("password")
    return Client(program, (*words, *arguments), {"MYSQL_PWD": password} if password else {})


# SQLite


def sqlite_file(url: URL) -> str:
    """Return the file of a SQLite database, as an absolute path or as SQLite's own ``file:`` URI.

    :raises NoDatabaseFile: if there is none
    :raises UrlUnusable: if the URL has a host
    """
    if url.host or url.username or url.password or url.port:
        raise UrlUnusable("it has a host. Write three slashes before a relative path, and four.")
    options = url_options(url)
    name = path = options["database"]
    if is_true(options.get("uri", "")) and name.startswith("file:"):
        own = {k: v for k, v in sorted(url.query.items()) if k not in SQLITE_OPTIONS}
        path = unquote(re.sub(r"^file:(//[^/]*)?", "", name.partition("?")[0]))
        name += "?" * bool(own) + "&".join(f"{key}={value}" for key, value in own.items())
        if own.get("mode") == "memory":
            raise NoDatabaseFile(None)
    elif name != ":memory:":
        name = path = str(Path(name).absolute()) if name else ""
    if path in ("", ":memory:"):
        raise NoDatabaseFile(None)
    if not Path(path).is_file():
        raise NoDatabaseFile(path)
    return name


def sqlite_timeout_ms(url: URL) -> int:
    """Return how long to wait for another's lock: what the URL says, else as Python's module."""
    try:
        return int(float(url_options(url).get("timeout", 5)) * 1000)
    except ValueError:
        raise UrlUnusable('its "timeout" is no number of seconds.') from None


def sqlite_word(word: str) -> str:
    """Return a word of a dot command, in quotes where it needs them."""
    if re.fullmatch(r"[\w./:,%*=-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
