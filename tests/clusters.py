"""What stands around database servers: a pooler, a standby, a cluster; started by tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from databases import PASSWORD, USER, PostgreSQLServer, Unavailable
from fast_folder import short_folder

__all__ = ["GaleraCluster", "galera_cluster", "pgbouncer", "standby_of"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def account(*names: str) -> str | None:
    """Return an account that a server may run as; ``None`` for this process's own."""
    if os.geteuid() != 0:
        return None
    for name in names:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Unavailable(f"none of the accounts {', '.join(names)} exists")


@contextmanager
def directory_of(user: str | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ws-cluster-", dir=short_folder()))
    try:
        if user:
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def process(argv: list[str], user: str | None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block."""
    with log.open("ab") as stream:
        running = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            **identity(user),
        )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def identity(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def wait_until(condition: Callable[[], Any], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(sa.exc.DBAPIError, OSError, pymysql.err.Error):
            if condition():
                return
        if time.monotonic() > deadline:
            raise Unavailable(f"it did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    with sa.create_engine(url, poolclass=NullPool).connect() as connection:
        return connection.scalar(sa.text("SELECT 1")) == 1


@contextmanager
def pgbouncer(
    server: PostgreSQLServer, mode: str = "transaction"
) -> Iterator[Callable[[str], str]]:
    """Run pgbouncer before a server; gives what turns a server's URL into the pooler's."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise Unavailable("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    user = account("postgres", "nobody")
    port = free_port()
    with directory_of(user) as directory:
        (directory / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        (directory / "ini").write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={server.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {directory}/users\n"
            f"pool_mode = {mode}\ndefault_pool_size = 20\nmax_client_conn = 200\n"
            # Each test has a database of its own, and a pool for it.
            "server_idle_timeout = 2\nserver_reset_query_always = 0\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        for name in ("users", "ini"):
            if user:
                shutil.chown(directory / name, user)
        log = directory / "log"
        log.touch()
        with process([program, str(directory / "ini")], user, log):

            def pooled(url: str) -> str:
                return make_url(url).set(host="127.0.0.1", port=port).render_as_string(False)

            maintenance = server.url.render_as_string(False)
            wait_until(lambda: answers(pooled(maintenance)), 15, log)
            yield pooled


@contextmanager
def standby_of(server: PostgreSQLServer) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run a standby of a server; gives its port, and what promotes it."""
    assert server.bin_dir is not None and server.directory is not None
    bin_dir = server.directory / "install" / "bin"
    if not bin_dir.exists():
        bin_dir = server.bin_dir
    user = account("postgres", "nobody") if os.geteuid() == 0 else None
    owner = pwd.getpwuid((server.directory / "data").stat().st_uid).pw_name if user else None
    port = free_port()
    with directory_of(owner) as directory:
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(
            [
                str(bin_dir / "pg_basebackup"),
                *("-h", "127.0.0.1", "-p", str(server.port), "-U", USER),
                *("-D", str(directory / "data"), "-R", "-X", "stream", "-c", "fast"),
            ],
            env=environment,
            check=True,
            capture_output=True,
            **identity(owner),
        )
        argv = [
            str(bin_dir / "postgres"),
            *("-D", str(directory / "data")),
            *("-c", f"port={port}", "-c", f"unix_socket_directories={directory}"),
            *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
            *("-c", "max_prepared_transactions=10", "-c", "fsync=off"),
        ]
        log = directory / "log"
        log.touch()
        with process(argv, owner, log):
            url = server.url.set(port=port).render_as_string(False)
            wait_until(lambda: answers(url), 30, log)

            def promote() -> None:
                with sa.create_engine(
                    url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
                ).connect() as connection:
                    connection.execute(sa.text("SELECT pg_promote(true, 30)"))

            yield port, promote


class GaleraNode:
    """One node of a cluster."""

    def __init__(self, port: int, running: subprocess.Popen[bytes], log: Path) -> None:
        self.port = port
        self.running = running
        self.log = log

    def url(self, database: str) -> str:
        return URL.create(
            "mysql+pymysql", "root", "", "127.0.0.1", self.port, database, {"charset": "utf8mb4"}
        ).render_as_string(False)

    def status(self, name: str) -> str:
        engine = sa.create_engine(self.url("mysql"), poolclass=NullPool)
        with engine.connect() as connection:
            row = connection.exec_driver_sql(f"SHOW STATUS LIKE '{name}'").first()
            return str(row[1]) if row else ""

    def kill(self) -> None:
        self.running.kill()
        self.running.wait()


class GaleraCluster:
    """A cluster on loopback."""

    def __init__(self, nodes: list[GaleraNode]) -> None:
        self.nodes = nodes

    def execute(self, *statements: str, node: int = 0) -> None:
        engine = sa.create_engine(
            self.nodes[node].url("mysql"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@contextmanager
def galera_cluster(size: int = 3) -> Iterator[GaleraCluster]:
    """Run a Galera cluster."""
    provider = Path("/usr/lib/galera/libgalera_smm.so")
    daemon = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    install = shutil.which("mariadb-install-db", path=f"{os.environ['PATH']}:/usr/bin")
    if not provider.exists() or daemon is None or install is None or not shutil.which("rsync"):
        raise Unavailable(
            "Galera is not installed (Debian: apt-get install mariadb-server galera-4 rsync)"
        )
    user = account("mysql")
    from contextlib import ExitStack

    ports = [(free_port(), free_port(), free_port(), free_port()) for _ in range(size)]
    members = ",".join(f"127.0.0.1:{group}" for _, group, _, _ in ports)
    with ExitStack() as stack:
        nodes = []
        for number, (port, group, ist, sst) in enumerate(ports):
            directory = stack.enter_context(directory_of(user))
            data = directory / "data"
            options = ["--no-defaults", f"--datadir={data}", f"--tmpdir={directory}"]
            if user:
                options.append(f"--user={user}")
            subprocess.run(
                [install, *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
                check=True,
                capture_output=True,
            )
            log = directory / "log"
            log.touch()
            argv = [
                daemon,
                *options,
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--socket={directory / 'socket'}",
                f"--pid-file={directory / 'pid'}",
                "--skip-name-resolve",
                "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=64M",
                "--max-connections=200",
                "--wsrep-on=ON",
                f"--wsrep-provider={provider}",
                f"--wsrep-cluster-address=gcomm://{members if number else ''}",
                "--wsrep-cluster-name=websauna",
                "--wsrep-node-address=127.0.0.1",
                f"--wsrep-node-name=node{number}",
                "--wsrep-sst-method=rsync",
                f"--wsrep-sst-receive-address=127.0.0.1:{sst}",
                "--wsrep-provider-options="
                f"gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{ist};"
                "gcache.size=32M",
            ]
            running = stack.enter_context(process(argv, None, log))
            node = GaleraNode(port, running, log)
            wait_until(lambda n=node: n.status("wsrep_ready") == "ON", 90, log)
            nodes.append(node)
        wait_until(
            lambda: all(n.status("wsrep_cluster_size") == str(size) for n in nodes),
            60,
            nodes[0].log,
        )
        yield GaleraCluster(nodes)
