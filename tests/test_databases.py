"""The servers that the other tests stand on do what those tests take for granted."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from databases import PASSWORD, MariaDBServer, PostgreSQLServer


def execute(url: str, *statements: str) -> list[object]:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return list(result.scalars()) if result.returns_rows else []


def tables(url: str) -> list[str]:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return sqlalchemy.inspect(connection).get_table_names()


@pytest.mark.parametrize("again", [1, 2])
def test_every_test_gets_an_empty_database(database_url, again):
    assert tables(database_url) == []
    execute(database_url, "CREATE TABLE t (a INTEGER)")
    assert tables(database_url) == ["t"]


def test_ddl_can_be_rolled_back(transactional_database_url):
    engine = sqlalchemy.create_engine(transactional_database_url, poolclass=NullPool)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.connection.dbapi_connection.isolation_level = None
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("CREATE TABLE t (a INTEGER)")
        connection.exec_driver_sql("ROLLBACK")
    assert tables(transactional_database_url) == []


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_dropping_a_database_puts_out_whoever_is_still_in_it(request, product):
    server = request.getfixturevalue(f"{product}_server")
    url = server.create_database()
    execute(url, "CREATE TABLE t (a INTEGER)")
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    connection = engine.connect()
    connection.exec_driver_sql("SELECT * FROM t")
    started = time.monotonic()
    server.drop_database(url)
    assert time.monotonic() - started < 5
    connection.invalidate()
    connection.close()
    with pytest.raises(sqlalchemy.exc.OperationalError):
        execute(url, "SELECT 1")


def test_dropping_a_postgresql_database_rolls_back_its_prepared_transactions(postgresql_server):
    url = postgresql_server.create_database()
    execute(url, "CREATE TABLE t (a INTEGER)", "PREPARE TRANSACTION 'left behind'")
    postgresql_server.drop_database(url)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not exist"):
        execute(url, "SELECT 1")


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_a_wrong_password_is_refused(request, product):
    server = request.getfixturevalue(f"{product}_server")
    url = server.url.set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(sqlalchemy.exc.OperationalError):
        execute(url, "SELECT 1")


def test_the_postgresql_server_is_described(postgresql_server: PostgreSQLServer, run):
    server = postgresql_server
    if server.directory is None:
        pytest.skip("the server is not ours")
    assert (server.host, server.password) == ("127.0.0.1", PASSWORD)
    assert (server.bin_dir / "pg_dump").exists()
    argv = [server.bin_dir / "psql", "-XAtc", "SELECT 7", "-U", server.user, "-p", str(server.port)]
    by_socket = run([*argv, "-h", server.socket_dir, "postgres"])
    assert (by_socket.stdout, by_socket.stderr) == ("7\n", "")
    by_tcp = run([*argv, "-h", server.host, "postgres"], env={"PGPASSWORD": server.password})
    assert (by_tcp.stdout, by_tcp.stderr) == ("7\n", "")


def test_the_mariadb_server_is_described(mariadb_server: MariaDBServer, run):
    server = mariadb_server
    if server.directory is None:
        pytest.skip("the server is not ours")
    argv = [server.bin_dir / "mariadb", "--no-defaults", "-N", "-e", "SELECT 7", "-u", server.user]
    secret = {"MYSQL_PWD": server.password}
    by_socket = run([*argv, f"--socket={server.socket}"], env=secret)
    assert (by_socket.stdout, by_socket.stderr) == ("7\n", "")
    by_tcp = run([*argv, f"--host={server.host}", f"--port={server.port}"], env=secret)
    assert (by_tcp.stdout, by_tcp.stderr) == ("7\n", "")


def test_the_password_survives_the_url(postgresql_url):
    assert make_url(postgresql_url).password == PASSWORD


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_a_server_ends_with_the_process_that_started_it(request, product):
    """Even when that process is killed."""
    if request.getfixturevalue(f"{product}_server").directory is None:
        pytest.skip("the server is not ours")
    code = f"""
import databases, os, signal
server = databases.start_{product}()
print(server.pid, server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    pid, directory = result.stdout.split(maxsplit=1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and Path(directory.strip()).exists():
        time.sleep(0.05)
    assert not Path(directory.strip()).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize(
    ("require", "status", "outcome", "workers"),
    [
        ("", 0, "2 skipped", "0"),
        ("mariadb", 1, "2 errors", "1"),
        ("SQLite, mariadb", 1, "2 errors", "0"),
    ],
)
def test_a_database_that_is_not_there_is_told(run, require, status, outcome, workers):
    result = run_tests(
        run,
        "mariadb",
        workers,
        WEBSAUNA_MIGRATE_TEST_MARIADB="mysql+pymysql://somebody:secret@127.0.0.1:1/mysql",
        WEBSAUNA_MIGRATE_REQUIRE=require,
    )
    assert result.returncode == status
    assert outcome in result.stdout
    assert "databases tested: none\n" in result.stdout
    required = ", but required" if require else ""
    assert f"database not tested{required}: MariaDB (the MariaDB server of " in result.stdout
    assert "secret" not in result.stdout + result.stderr


def test_a_required_database_that_no_test_used_is_a_failure(run):
    result = run_tests(run, "sqlite", "1", WEBSAUNA_MIGRATE_REQUIRE="sqlite,postgresql")
    assert result.returncode == 1
    assert "2 passed" in result.stdout
    assert f"databases tested: SQLite {sqlite3.sqlite_version}\n" in result.stdout
    assert (
        "database not tested, but required: PostgreSQL (no selected test needs it)" in result.stdout
    )


def test_a_database_that_nobody_knows_cannot_be_required(run):
    result = run_tests(run, "sqlite", "0", WEBSAUNA_MIGRATE_REQUIRE="sqlite oracle")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unknown database 'oracle'; known are sqlite, postgresql, mariadb" in result.stderr


def run_tests(run, product: str, workers: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run this file's first test on one product, in a pytest of its own."""
    return run(
        [
            *(sys.executable, "-m", "pytest", __file__, "-n", workers, "-p", "no:cacheprovider"),
            *("-k", f"every_test_gets_an_empty_database and {product}"),
        ],
        cwd=Path(__file__).parent.parent,
        env={"PYTEST_ADDOPTS": None, **env},
    )


def test_a_process_that_hangs_fails_the_test_with_what_it_printed(run):
    with pytest.raises(pytest.fail.Exception, match=r"(?s)did not end within 1 s.*waiting"):
        run(["sh", "-c", "echo waiting; sleep 60 & wait"], timeout=1)


def test_a_process_sees_nothing_of_the_developers_own_databases(run, monkeypatch):
    monkeypatch.setenv("PGHOST", "production.example.com")
    monkeypatch.setenv("ALEMBIC_CONFIG", "/nowhere.ini")
    shown = run(["env"], env={"ANSWER": "42", "HOME": None}).stdout.splitlines()
    assert "ANSWER=42" in shown
    assert [line for line in shown if line.startswith(("PG", "ALEMBIC_", "HOME="))] == []


def test_a_process_may_speak_bytes(run):
    assert run(["cat"], input=b"\xff\x00", text=False).stdout == b"\xff\x00"
