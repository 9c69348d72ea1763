"""``ws-dump-db`` with real databases, and with programs that show how they were started."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from by_fork import programs_by_fork
from runs import execute

SECRET = "s3cr3t;touch${IFS}x"
BLOB = bytes(range(256)) * 3
TEXT = "\\N 'quoted' \"é\" 漢字 😀 100% \t\r\n;-- \\."


def with_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=False)


@pytest.fixture
def ini(tmp_path: Path) -> Callable[..., Path]:
    """Write an INI file with a URL, as it stands."""

    def write(url: str, more: str = "", name: str = "site.ini") -> Path:
        path = tmp_path / name
        # An application that cannot even be imported: a dump does not need it.
        path.write_text(
            f"[app:main]\nuse = egg:no_such_distribution\nsqlalchemy.url = {url}\n{more}",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., str]:
    """Write shell scripts that stand for client programs, and return a PATH with them in front."""
    directory = tmp_path / "programs"

    def write(**scripts: str) -> str:
        directory.mkdir(exist_ok=True)
        for name, script in scripts.items():
            path = directory / name.replace("_dump_", "-dump")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return path_with(directory)

    return write


def path_with(directory: Path | None) -> str:
    """Return a PATH with a directory in front, in which the console scripts are found too."""
    own = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return os.pathsep.join([str(directory), *own] if directory else own)


@contextlib.contextmanager
def connect(url: str) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def fill(url: str, binary: str) -> None:
    with connect(url) as connection:
        text = "TEXT" if binary == "BYTEA" else "TEXT CHARACTER SET utf8mb4"
        connection.exec_driver_sql(f"CREATE TABLE t (id INTEGER PRIMARY KEY, b {binary}, s {text})")
        insert = sqlalchemy.text("INSERT INTO t VALUES (:id, :b, :s)")
        connection.execute(insert, [{"id": 1, "b": BLOB, "s": TEXT}, {"id": 2, "b": b"", "s": ""}])
        connection.commit()


def content(url: str) -> list[tuple[Any, ...]]:
    with connect(url) as connection:
        rows = connection.exec_driver_sql("SELECT id, b, s FROM t ORDER BY id")
        return [(number, bytes(blob), text) for number, blob, text in rows]


EXPECTED = [(1, BLOB, TEXT), (2, b"", "")]


@contextlib.contextmanager
def running(
    argv: list[str | Path], program: str, path: str, **options: Any
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """Start a console script and wait until the client program runs."""
    environment = {**os.environ, "PATH": path, "OWN_VARIABLE": "kept"}
    script = shutil.which(str(argv[0]), path=path)
    with subprocess.Popen(
        [str(script), *map(str, argv[1:])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                tree = [psutil.Process(process.pid)]
                tree += tree[0].children(recursive=True)
                for candidate in tree:
                    with contextlib.suppress(psutil.Error):
                        if any(Path(word).name == program for word in candidate.cmdline()[:2]):
                            yield process, candidate
                            return
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            pytest.fail(f"{program} was not started")
        finally:
            if process.poll() is None:
                process.kill()


# PostgreSQL


@pytest.mark.parametrize("by_socket", [False, True])
def test_a_postgresql_dump_can_be_restored(
    by_socket, postgresql_server, postgresql_url, ini, run
) -> None:
    fill(postgresql_url, "BYTEA")
    url = make_url(postgresql_url)
    if by_socket:
        query = {"host": str(postgresql_server.socket_dir), "port": str(url.port)}
        url = URL.create(url.drivername, url.username, database=url.database, query=query)
    path = path_with(postgresql_server.bin_dir)
    text = url.render_as_string(hide_password=False)
    dump = run(["ws-dump-db", ini(text)], env={"PATH": path}, text=False)
    assert (dump.returncode, dump.stderr) == (0, b"")
    copy = postgresql_server.create_database()
    try:
        result = run(
            ["ws-db-shell", ini(copy), "-v", "ON_ERROR_STOP=1", "-q"],
            env={"PATH": path},
            input=dump.stdout,
            text=False,
        )
        assert (result.returncode, result.stderr) == (0, b"")
        assert content(copy) == EXPECTED
    finally:
        postgresql_server.drop_database(copy)


def test_arguments_reach_pg_dump(postgresql_server, postgresql_url, ini, run) -> None:
    fill(postgresql_url, "BYTEA")
    path = path_with(postgresql_server.bin_dir)
    argv = ["ws-dump-db", ini(postgresql_url), "--format=c"]
    dump = run(argv, env={"PATH": path}, text=False)
    assert (dump.returncode, dump.stderr) == (0, b"")
    listing = run(
        [postgresql_server.bin_dir / "pg_restore", "--list"], input=dump.stdout, text=False
    )
    assert listing.returncode == 0
    assert b"TABLE DATA public t " in listing.stdout
    result = run(["ws-dump-db", ini(postgresql_url), "--schema-only"], env={"PATH": path})
    assert "CREATE TABLE public.t" in result.stdout
    assert "COPY" not in result.stdout


@pytest.mark.parametrize("words", [["-Fc"], ["--format=custom"], ["-F", "p"], ["-Ft"]])
def test_a_postgresql_dump_into_a_full_disk_is_a_failure(
    postgresql_server, postgresql_url, ini, run, tmp_path, words
) -> None:
    ours = programs_by_fork(tmp_path / "ours")
    env = {"PATH": os.pathsep.join([ours, path_with(postgresql_server.bin_dir)])}
    line = f"ws-dump-db {ini(postgresql_url)} {' '.join(words)}"
    full = run(["sh", "-c", f"{line} >/dev/full"], env=env)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr and "Traceback" not in full.stderr
    whole = run(line.split(), env=env, text=False)
    assert (whole.returncode, whole.stderr) == (0, b"")
    assert len(whole.stdout) > 100


def test_a_port_where_no_server_listens(postgresql_server, postgresql_url, ini, run) -> None:
    """The port of the URL counts; an older tool ignored it, and dumped nothing with status 0."""
    url = make_url(postgresql_url).set(port=1)
    result = run(
        ["ws-dump-db", ini(with_password(url))],
        env={"PATH": path_with(postgresql_server.bin_dir), "PGPORT": str(postgresql_server.port)},
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "port 1 failed: Connection refused" in result.stderr


def test_several_hosts(postgresql_server, postgresql_url, ini, run) -> None:
    url = make_url(postgresql_url)
    query = {
        "host": ("127.0.0.1:1", f"127.0.0.1:{url.port}"),
        "target_session_attrs": "read-write",
    }
    url = URL.create(url.drivername, url.username, url.password, database=url.database, query=query)
    result = run(
        ["ws-dump-db", ini(url.render_as_string(hide_password=False))],
        env={"PATH": path_with(postgresql_server.bin_dir)},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "PostgreSQL database dump complete" in result.stdout


def test_options_of_libpq_reach_the_server(postgresql_server, postgresql_url, ini, run) -> None:
    query = {"sslmode": "require"}
    url = make_url(postgresql_url).update_query_dict(query)
    result = run(
        ["ws-dump-db", ini(with_password(url))],
        env={"PATH": path_with(postgresql_server.bin_dir)},
    )
    assert result.returncode == 1
    # The server has no TLS, and its own programs are made without it.
    assert re.search('"require" invalid when SSL|does not support SSL, but', result.stderr)


def test_a_single_percent_sign_in_the_password(postgresql_server, postgresql_url, ini, run) -> None:
    user, password = "percent", "100%;x"
    with connect(postgresql_url) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '100%%;x'", ())
        connection.commit()
    try:
        url = make_url(postgresql_url)
        text = f"postgresql://{user}:{password}@{url.host}:{url.port}/{url.database}"
        result = run(["ws-dump-db", ini(text)], env={"PATH": path_with(postgresql_server.bin_dir)})
        assert (result.returncode, result.stderr) == (0, "")
        assert "PostgreSQL database dump complete" in result.stdout
    finally:
        with connect(postgresql_url) as connection:
            connection.exec_driver_sql(f"DROP ROLE {user}")
            connection.commit()


def test_a_wrong_password(postgresql_server, postgresql_url, ini, run) -> None:
    url = make_url(postgresql_url).set(password=SECRET)
    result = run(
        ["ws-dump-db", ini(with_password(url))],
        env={"PATH": path_with(postgresql_server.bin_dir)},
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "password authentication failed" in result.stderr
    assert SECRET not in result.stderr


def test_an_older_pg_dump_says_so_itself(postgresql_server, postgresql_url, ini, run) -> None:
    program = shutil.which("pg_dump")
    version = program and subprocess.run([program, "--version"], capture_output=True, text=True)
    if not version or int(re.findall(r"\d+", version.stdout)[0]) >= int(
        postgresql_server.version.split(".")[0]
    ):
        pytest.skip("there is no pg_dump on PATH that is older than the server")
    result = run(["ws-dump-db", ini(postgresql_url)])
    assert (result.returncode, result.stdout) == (1, "")
    assert "aborting because of server version mismatch" in result.stderr


def test_no_password_in_the_process_list_while_pg_dump_runs(
    postgresql_server, postgresql_url, ini
) -> None:
    fill(postgresql_url, "BYTEA")
    more = "\n".join(["session.secret = 0ther", "[DEFAULT]", "mail.password = 0ther"])
    path = path_with(postgresql_server.bin_dir)
    with connect(postgresql_url) as connection:
        connection.exec_driver_sql("LOCK TABLE t")
        argv = ["ws-dump-db", ini(postgresql_url, more)]
        with running(argv, "pg_dump", path) as (process, program):
            cmdline = Path(f"/proc/{program.pid}/cmdline").read_bytes().decode()
            environment = program.environ()
            assert program.pid == process.pid
            connection.rollback()
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert b"PostgreSQL database dump complete" in output
    assert f"port={postgresql_server.port}" in cmdline
    assert postgresql_server.password not in cmdline
    assert make_url(postgresql_url).render_as_string(hide_password=False) not in cmdline
    # The user's own environment, and the password: nothing else of the INI.
    own = {key: value for key, value in os.environ.items() if key != "PATH"}
    expected = {**own, "OWN_VARIABLE": "kept", "PGPASSWORD": postgresql_server.password}
    environment.pop("PATH")
    assert environment == expected
    assert "0ther" not in cmdline + repr(environment)


def test_a_secret_of_libpq_is_in_a_file_without_name(ini, programs, run) -> None:
    file = "$PGSERVICEFILE"
    script = f'stat -L -c %a {file}; echo "$1"; cat {file}; cat {file}; echo {file}'
    result = run(
        ["ws-dump-db", ini("postgresql://h/d?sslpassword=s3cr3t")],
        env={"PATH": programs(pg_dump=script)},
    )
    service = "[websauna_migrate]\nsslpassword=s3cr3t\n"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"600\n--dbname=host=h dbname=d service=websauna_migrate\n{service}{service}/dev/fd/"
    )


# MariaDB


@pytest.mark.parametrize("by_socket", [False, True])
def test_a_mariadb_dump_can_be_restored(
    by_socket, mariadb_server, mariadb_url, ini, run, tmp_path
) -> None:
    fill(mariadb_url, "LONGBLOB")
    event = "CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO SELECT 1"
    execute(mariadb_url, "CREATE PROCEDURE p() SELECT 1", event)
    url = make_url(mariadb_url)
    # The programs' own files must not lead to another server or user.
    (tmp_path / ".my.cnf").write_text(
        "[client]\nhost=nowhere.invalid\nport=1\npassword=wrong\nsocket=/nowhere\n"
        "[mariadb-dump]\nno-data\n"
    )
    if by_socket:
        url = url.set(host=None, port=None, query={"unix_socket": str(mariadb_server.socket)})
    env = {"PATH": path_with(mariadb_server.bin_dir), "HOME": str(tmp_path)}
    text = url.render_as_string(hide_password=False)
    dump = run(["ws-dump-db", ini(text)], env=env, text=False)
    assert (dump.returncode, dump.stderr) == (0, b"")
    assert b"-- Dump completed on" in dump.stdout
    assert b" PROCEDURE `p`()" in dump.stdout and b" EVENT `e` " in dump.stdout
    copy = mariadb_server.create_database()
    try:
        result = run(["ws-db-shell", ini(copy)], env=env, input=dump.stdout, text=False)
        assert (result.returncode, result.stderr) == (0, b"")
        assert content(copy) == EXPECTED
    finally:
        mariadb_server.drop_database(copy)


def test_localhost_with_a_port_is_that_port_and_not_the_socket(
    mariadb_server, mariadb_url, ini, run
) -> None:
    fill(mariadb_url, "LONGBLOB")
    url = make_url(mariadb_url).set(host="localhost")
    env = {"PATH": path_with(mariadb_server.bin_dir), "MYSQL_UNIX_PORT": "/nowhere"}
    result = run(["ws-dump-db", ini(with_password(url)), "--no-data", "t"], env=env)
    assert (result.returncode, result.stderr) == (0, "")
    assert "CREATE TABLE `t`" in result.stdout
    assert "INSERT" not in result.stdout
    result = run(["ws-dump-db", ini(with_password(url.set(port=1)))], env=env)
    assert result.returncode == 2
    assert "Can't connect to server" in result.stderr
    assert "CREATE TABLE" not in result.stdout


def test_no_password_in_the_process_list_while_mariadb_dump_runs(
    mariadb_server, mariadb_url, ini
) -> None:
    fill(mariadb_url, "LONGBLOB")
    path = path_with(mariadb_server.bin_dir)
    temporary = Path(tempfile.gettempdir())
    before = set(temporary.iterdir())
    with connect(mariadb_url) as connection:
        connection.exec_driver_sql("LOCK TABLES t WRITE")
        argv = ["ws-dump-db", ini(mariadb_url)]
        with running(argv, "mariadb-dump", path) as (process, program):
            cmdline = Path(f"/proc/{program.pid}/cmdline").read_bytes().decode()
            environment = program.environ()
            connection.exec_driver_sql("UNLOCK TABLES")
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert b"-- Dump completed on" in output
    assert program.pid == process.pid
    assert mariadb_server.password not in cmdline + repr(environment)
    assert {k: v for k, v in environment.items() if k != "PATH"} == {
        **{k: v for k, v in os.environ.items() if k != "PATH"},
        "OWN_VARIABLE": "kept",
    }
    assert not any("my" in file.name for file in set(temporary.iterdir()) - before)


def test_the_option_file_is_private(ini, programs, run) -> None:
    script = 'stat -L -c "%a %s" "${1#*=}"; echo "$@"; cat "${1#*=}"'
    result = run(
        ["ws-dump-db", ini("mysql+pymysql://u:p@h/d"), "--routines"],
        env={"PATH": programs(mariadb_dump_=script)},
    )
    option_file = '[client]\nprotocol="TCP"\nhost="h"\nport="3306"\nuser="u"\npassword="p"\n'
    assert (result.returncode, result.stderr) == (0, "")
    assert re.sub(r"/dev/fd/\d+", "/dev/fd/N", result.stdout) == (
        f"600 {len(option_file)}\n"
        f"--defaults-file=/dev/fd/N --single-transaction --hex-blob --routines --events d "
        f"--routines\n{option_file}"
    )


# SQLite


def make_file(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, s TEXT)")
        connection.execute("INSERT INTO t VALUES (1, ?, ?), (2, x'', '')", (BLOB, TEXT))
        connection.commit()


NO_SQLITE3 = "/nowhere"


@pytest.mark.parametrize("path", [None, NO_SQLITE3])
def test_a_sqlite_dump_can_be_restored(path, sqlite_url, ini, run, tmp_path) -> None:
    if path is None and shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 program: apt-get install sqlite3")
    make_file(tmp_path / "database.sqlite")
    # What is printed from here must not be part of the dump.
    (tmp_path / ".sqliterc").write_text(".headers on\n.echo on\nSELECT 'noise';\n")
    script = Path(sys.executable).parent / "ws-dump-db"
    env = {"HOME": str(tmp_path), **({"PATH": path} if path else {})}
    dump = run([script, ini(sqlite_url)], env=env, text=False)
    assert (dump.returncode, dump.stderr) == (0, b"")
    assert b"noise" not in dump.stdout
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.sqlite")) as connection:
        connection.executescript(dump.stdout.decode())
    assert content(f"sqlite:///{tmp_path / 'copy.sqlite'}") == EXPECTED


@pytest.mark.parametrize("path", [None, NO_SQLITE3])
def test_a_locked_sqlite_database_is_no_empty_dump(path, ini, run, tmp_path) -> None:
    """The program itself reports that as a comment in the dump, with status 0."""
    file = tmp_path / "database.sqlite"
    make_file(file)
    script = Path(sys.executable).parent / "ws-dump-db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        result = run(
            [script, ini(f"sqlite:///{file}?timeout=0.1")], env={"PATH": path} if path else {}
        )
    assert result.returncode == 1
    number = "" if path else "(5) "
    assert result.stderr == f'The dump of "{file}" is not complete: {number}database is locked\n'


@pytest.mark.parametrize("path", [None, NO_SQLITE3])
def test_a_file_that_is_no_database(path, ini, run, tmp_path) -> None:
    file = tmp_path / "database.sqlite"
    file.write_text("no database " * 200)
    script = Path(sys.executable).parent / "ws-dump-db"
    result = run([script, ini(f"sqlite:///{file}")], env={"PATH": path} if path else {})
    assert result.returncode == 1
    assert result.stderr.endswith("file is not a database\n")


def test_python_dumps_one_snapshot_or_says_what_it_cannot_do(ini, run, tmp_path) -> None:
    file = tmp_path / "database.sqlite"
    make_file(file)
    script = Path(sys.executable).parent / "ws-dump-db"
    result = run([script, ini(f"sqlite:///{file}"), "--data-only"], env={"PATH": NO_SQLITE3})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("No client program for SQLite was found: looked for sqlite3 on")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE VIRTUAL TABLE search USING fts5(s)")
    result = run([script, ini(f"sqlite:///{file}")], env={"PATH": NO_SQLITE3})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f'The dump of "{file}" is not complete: Python cannot dump its virtual tables. Install '
        "the sqlite3 program: apt-get install sqlite3\n"
    )


def test_text_that_is_no_utf8_comes_out_as_it_went_in(ini, run, tmp_path) -> None:
    file = tmp_path / "database.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (s TEXT)")
        connection.execute("INSERT INTO t VALUES (CAST(x'e9ff' AS TEXT))")
        connection.commit()
    script = Path(sys.executable).parent / "ws-dump-db"
    for env in ({}, {"PATH": NO_SQLITE3}):
        dump = run([script, ini(f"sqlite:///{file}")], env=env, text=False)
        assert dump.returncode == 0
        assert b"VALUES('\xe9\xff')" in dump.stdout


def test_arguments_reach_the_dump_command(sqlite_url, ini, run, tmp_path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 program: apt-get install sqlite3")
    with contextlib.closing(sqlite3.connect(tmp_path / "database.sqlite")) as connection:
        connection.executescript("CREATE TABLE 'a b' (x); CREATE TABLE c (x);")
    result = run(["ws-dump-db", ini(sqlite_url), "a b"])
    assert "c (x)" not in result.stdout
    assert "a b" in result.stdout
    result = run(["ws-dump-db", ini(sqlite_url), "--bogus"])
    assert (result.returncode, result.stdout) == (1, "")
    assert "--bogus" in result.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "in the application's memory"),
        ("sqlite:///:memory:", "in the application's memory"),
        ("sqlite:///%(here)s/none.db", 'none.db" does not exist'),
    ],
)
def test_nothing_to_dump_is_a_failure(url, words, ini, run, tmp_path) -> None:
    result = run(["ws-dump-db", ini(url)])
    assert (result.returncode, result.stdout) == (1, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "none.db").exists()


# How the program is started


@pytest.mark.parametrize("status", [0, 3, 77])
def test_the_exit_status_is_passed_on(status, ini, programs, run) -> None:
    path = programs(pg_dump=f"echo dump; exit {status}")
    result = run(["ws-dump-db", ini("postgresql://h/d")], env={"PATH": path})
    assert (result.returncode, result.stdout, result.stderr) == (status, "dump\n", "")


def test_a_program_that_was_killed(ini, programs, run, tmp_path) -> None:
    path = programs(pg_dump="kill -KILL $$", sqlite3="kill -TERM $$")
    script = shutil.which("ws-dump-db", path=path)
    # A shell calls it 128 and the number of the signal.
    result = run(
        ["sh", "-c", f'"{script}" "{ini("postgresql://h/d")}"; exit $?'], env={"PATH": path}
    )
    assert result.returncode == 128 + signal.SIGKILL
    make_file(tmp_path / "database.sqlite")
    result = run(
        ["ws-dump-db", ini("sqlite:///%(here)s/database.sqlite")],
        env={"PATH": path},
    )
    assert result.returncode == 128 + signal.SIGTERM


def test_a_reader_that_has_gone_ends_the_program(ini, programs, run) -> None:
    path = programs(pg_dump="exec yes", sqlite3="exec yes")
    for url in ("postgresql://h/d", "sqlite:////dev/../etc/passwd"):
        script = shutil.which("ws-dump-db", path=path)
        result = run(["sh", "-c", f'"{script}" "{ini(url)}" | head -n 1'], env={"PATH": path})
        assert (result.stdout, result.stderr) == ("y\n", ""), url


def test_no_shell_reads_the_url(ini, programs, run, tmp_path) -> None:
    script = 'echo "$#"; printf "%s\\n" "$@"'
    evil = "x;touch evil;$(touch evil)`touch evil`|touch evil"
    url = URL.create("postgresql", evil, evil, "h", 1, evil, {"application_name": evil})
    path = programs(pg_dump=script, psql=script)
    text = url.render_as_string(hide_password=False)
    for name in ("ws-dump-db", "ws-db-shell"):
        result = run([name, ini(text), ";touch evil"], env={"PATH": path}, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        count, conninfo, argument = result.stdout.splitlines()
        assert (count, argument) == ("2", ";touch evil")
        assert f"application_name='{evil}'" in conninfo
        assert f"user='{evil}'" in conninfo
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("url", "program"),
    [
        ("postgresql://u:{}@h/d", "pg_dump"),
        ("postgresql://u@h/d?password={}", "pg_dump"),
        ("mysql+pymysql://u:{}@h/d", "mariadb_dump_"),
        ("mysql+pymysql://u@h/d?passwd={}", "mariadb_dump_"),
    ],
)
def test_no_password_in_any_cmdline(url, program, ini, programs) -> None:
    path = programs(**{program: "sleep 60"})
    name = program.replace("_dump_", "-dump")
    argv = ["ws-dump-db", ini(url.format("s3cr3t"))]
    with running(argv, name, path) as (process, client):
        for found in [psutil.Process(process.pid), client, *client.children(recursive=True)]:
            assert b"s3cr3t" not in Path(f"/proc/{found.pid}/cmdline").read_bytes()
        for child in client.children():
            child.kill()


# The INI


def test_the_services_own_url_wins(ini, programs, run) -> None:
    path = programs(pg_dump='echo "$1"')
    more = "websauna_migrate.url = postgresql://owner@h/d\n"
    result = run(["ws-dump-db", ini("postgresql://user@h/d", more)], env={"PATH": path})
    assert result.stdout == "--dbname=host=h dbname=d user=owner\n"


def test_included_files_are_read(ini, programs, run, tmp_path) -> None:
    path = programs(pg_dump='echo "$1"')
    ini("postgresql://%(name)s@h/d", name="base.ini")
    top = tmp_path / "top.ini"
    top.write_text("[includes]\ninclude_ini_files = base.ini\n[app:main]\nname = me\n")
    for argument in (top, f"ws://{top}", f"{top}#main"):
        result = run(["ws-dump-db", argument], env={"PATH": path})
        assert result.stdout == "--dbname=host=h dbname=d user=me\n", result.stderr


def test_what_the_application_prints_is_not_in_the_dump(programs, run, tmp_path) -> None:
    (tmp_path / "noisy_app.py").write_text("print('noise')\ndef main(*a, **k): 1 / 0\n")
    (tmp_path / "base.ini").write_text(
        "[app:main]\nuse = call:noisy_app:main\nsqlalchemy.url = postgresql://h/d\n"
    )
    (tmp_path / "top.ini").write_text("[app:main]\nuse = config:base.ini\n")
    result = run(
        ["ws-dump-db", tmp_path / "top.ini"],
        env={"PATH": programs(pg_dump='echo "$1"'), "PYTHONPATH": str(tmp_path)},
    )
    assert result.stdout == "--dbname=host=h dbname=d\n"
    assert result.stderr == "noise\n"


@pytest.mark.parametrize(
    "url", ["postgresql:/u:s3cr3t@h/d", "postgresql://u:s3cr3t@h:x/d", "s3cr3t"]
)
def test_a_url_that_is_none_is_not_shown(url, ini, run) -> None:
    result = run(["ws-dump-db", ini(url)])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        'Setting "sqlalchemy.url": it is no database URL. Write '
        "dialect://user:password@host:port/database, with special characters of the password "
        "percent-encoded.\n"
    )


@pytest.mark.parametrize("name", ["ws-dump-db", "ws-db-shell"])
def test_failures_that_are_known(name, run, tmp_path) -> None:
    (tmp_path / "empty.ini").write_text("[app:main]\n")
    (tmp_path / "mssql.ini").write_text(
        "[app:main]\nsqlalchemy.url = mssql+pyodbc://u:s3cr3t@h/d\n"
    )
    for argument, message in (
        (
            "empty.ini",
            'Setting "sqlalchemy.url": it is missing from "empty.ini". Set it in [app:main] to '
            "the database's URL.\n",
        ),
        (
            "mssql.ini",
            'The database URL is of dialect "mssql+pyodbc", for which no client program is '
            "known.\nSupported are postgresql, mysql, mariadb and sqlite.\n",
        ),
        (
            "foo://x",
            'The INI file "foo://x" cannot be read: Could not find a matching loader for the '
            'scheme "foo", protocol "wsgi".\n',
        ),
    ):
        result = run([name, argument], cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (1, "", message)
    result = run([name, "none.ini"], cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "none.ini" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["ws-dump-db", "ws-db-shell"])
def test_usage(name, ini, run) -> None:
    result = run([name])
    assert (result.returncode, result.stdout) == (2, "")
    assert "the following arguments are required: INI" in result.stderr
    result = run([name, "-h"])
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: {name} [-h] INI [arguments for the" in result.stdout


def test_a_program_that_the_system_refuses_to_start(ini, programs, run, tmp_path) -> None:
    path = programs(pg_dump="")
    program = tmp_path / "programs" / "pg_dump"
    program.write_bytes(b"\x7fELF no program")
    result = run(["ws-dump-db", ini("postgresql://h/d")], env={"PATH": path})
    assert result.returncode == 1
    assert result.stderr == f'The program "{program}" cannot be started: Exec format error\n'
