"""``ws-db-shell`` with real clients, and with programs that show how they were started."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from test_dump_db import path_with, running

SCRIPT = Path(sys.executable).parent / "ws-db-shell"
SHOW = 'echo "$(basename $0)"; printf "%s\\n" "$@"'


@pytest.fixture
def ini(tmp_path: Path) -> Callable[[str], Path]:
    def write(url: str) -> Path:
        path = tmp_path / "site.ini"
        path.write_text(f"[app:main]\nsqlalchemy.url = {url}\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., str]:
    """Write shell scripts that stand for client programs, and return a PATH with only those."""
    directory = tmp_path / "programs"
    directory.mkdir()
    for name in ("basename", "cat", "sleep"):
        (directory / name).symlink_to(str(shutil.which(name)))

    def write(**scripts: str) -> str:
        for name, script in scripts.items():
            path = directory / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return str(directory)

    return write


def in_terminal(argv: list[str | Path], path: str) -> str:
    """Run a program as a person at a terminal does and return its output."""
    terminal, name = os.openpty()
    try:
        result = subprocess.run(
            [str(word) for word in argv],
            stdin=name,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": path},
        )
    finally:
        os.close(terminal)
        os.close(name)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the programs of a test are found: clients may be installed beside Python."""
    for name in ("pgcli", "litecli", "mycli"):
        if (SCRIPT.parent / name).exists():
            pytest.skip(f"{name} is installed beside Python")


CLIENTS = {
    "postgresql://h/d": ("pgcli", ["psql"]),
    "sqlite:///%(here)s/site.ini": ("litecli", ["sqlite3"]),
    "mysql+pymysql://h/d": ("mycli", ["mariadb", "mysql"]),
    "mariadb+pymysql://h/d": ("mycli", ["mariadb", "mysql"]),
}


@pytest.mark.parametrize("url", list(CLIENTS))
def test_the_comfortable_client_is_for_a_person(url, ini, programs, run, installed) -> None:
    comfortable, plain = CLIENTS[url]
    path = programs(**dict.fromkeys([comfortable, *plain], SHOW))
    assert in_terminal([SCRIPT, ini(url)], path).split()[0] == comfortable
    assert run([SCRIPT, ini(url)], env={"PATH": path}).stdout.split()[0] == plain[0]


@pytest.mark.parametrize("url", list(CLIENTS))
def test_the_next_client_where_one_is_missing(url, ini, programs, run, installed) -> None:
    comfortable, plain = CLIENTS[url]
    path = programs(**{plain[-1]: SHOW})
    assert in_terminal([SCRIPT, ini(url)], path).split()[0] == plain[-1]
    (Path(path) / plain[-1]).rename(Path(path) / comfortable)
    assert run([SCRIPT, ini(url)], env={"PATH": path}).stdout.split()[0] == comfortable


@pytest.mark.parametrize(
    ("url", "install"),
    [
        ("postgresql://h/d", "apt-get install postgresql-client, or pip install pgcli"),
        ("sqlite:///%(here)s/site.ini", "apt-get install sqlite3, or pip install litecli"),
        ("mysql+pymysql://h/d", "apt-get install mariadb-client, or pip install mycli"),
        ("mariadb+pymysql://h/d", "apt-get install mariadb-client, or pip install mycli"),
    ],
)
def test_no_client_is_installed(url, install, ini, programs, run, installed) -> None:
    result = run([SCRIPT, ini(url)], env={"PATH": programs()})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.endswith(f"\nInstall one: {install}\n")
    assert "Traceback" not in result.stderr


def test_the_exit_status_is_passed_on(ini, programs, run) -> None:
    path = programs(psql="cat; exit 3")
    result = run([SCRIPT, ini("postgresql://h/d")], env={"PATH": path}, input="SELECT 1;\n")
    assert (result.returncode, result.stdout, result.stderr) == (3, "SELECT 1;\n", "")


@pytest.mark.parametrize(
    ("url", "program"), [("postgresql://u:{}@h/d", "psql"), ("mysql+pymysql://u:{}@h/d", "mariadb")]
)
def test_no_password_in_any_cmdline(url, program, ini, programs) -> None:
    path = programs(**{program: "exec sleep 60"})
    path = os.pathsep.join([path, str(SCRIPT.parent)])
    argv = [SCRIPT, ini(url.format("s3cr3t"))]
    with running(argv, "sleep", path, stdin=subprocess.DEVNULL) as (process, client):
        assert client.pid == process.pid
        assert b"s3cr3t" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.kill()


# Real clients


def test_psql_reads_a_pipe(postgresql_server, postgresql_url, ini, run) -> None:
    path = path_with(postgresql_server.bin_dir)
    result = run(
        [SCRIPT, ini(postgresql_url), "-At", "-v", "ON_ERROR_STOP=1"],
        env={"PATH": path},
        input="SELECT 'é😀', current_database();\nSELECT nothing;\n",
    )
    name = make_url(postgresql_url).database
    assert (result.returncode, result.stdout) == (3, f"é😀|{name}\n")
    assert 'column "nothing" does not exist' in result.stderr


def test_no_password_in_the_process_list_while_psql_runs(
    postgresql_server, postgresql_url, ini
) -> None:
    path = path_with(postgresql_server.bin_dir)
    argv = [SCRIPT, ini(postgresql_url), "-c", "SELECT pg_sleep(60)"]
    with running(argv, "psql", path, stdin=subprocess.DEVNULL) as (process, client):
        cmdline = Path(f"/proc/{client.pid}/cmdline").read_bytes().decode()
        assert client.pid == process.pid
        assert f"port={postgresql_server.port}" in cmdline
        assert postgresql_server.password not in cmdline
        process.kill()


def test_sqlite3_reads_a_pipe(sqlite_url, ini, run) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 program: apt-get install sqlite3")
    file = str(make_url(sqlite_url).database)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 'é😀' AS s")
    result = run([SCRIPT, ini(sqlite_url)], input="SELECT s FROM t;\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "é😀\n", "")
    result = run([SCRIPT, ini(sqlite_url), "-json", "SELECT 1 AS one"])
    assert result.stdout == '[{"one":1}]\n'
    assert run([SCRIPT, ini(sqlite_url)], input="SELECT nothing;\n").returncode == 1


@pytest.mark.parametrize("by_socket", [False, True])
def test_mariadb_reads_a_pipe(by_socket, mariadb_server, mariadb_url, ini, run) -> None:
    url = make_url(mariadb_url)
    if by_socket:
        url = url.set(host=None, port=None, query={"unix_socket": str(mariadb_server.socket)})
    env = {"PATH": path_with(mariadb_server.bin_dir)}
    path = ini(url.render_as_string(hide_password=False))
    result = run([SCRIPT, path, "-N"], env=env, input="SELECT DATABASE(), CURRENT_USER();\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{url.database}\twebsauna@%\n"
    result = run([SCRIPT, path, "-e", "SELECT nothing"], env=env)
    assert result.returncode == 1
    assert "Unknown column 'nothing'" in result.stderr


@pytest.mark.parametrize("program", ["pgcli", "mycli", "litecli"])
def test_comfortable_clients(program, request, ini, run, tmp_path) -> None:
    found = shutil.which(program, path=os.environ.get("WEBSAUNA_MIGRATE_CLIENTS", "/nowhere"))
    if found is None:
        pytest.skip(f"WEBSAUNA_MIGRATE_CLIENTS names no directory with {program}")
    product = {"pgcli": "postgresql", "mycli": "mariadb", "litecli": "sqlite"}[program]
    url = request.getfixturevalue(f"{product}_url")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE only_here (x INTEGER)")
    engine.dispose()
    # Alone on PATH, so that it is chosen for a pipe too.
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / program).symlink_to(found)
    (directory / "stty").symlink_to(str(shutil.which("stty")))
    table = {
        "postgresql": "SELECT 'found ' || relname FROM pg_class WHERE relname = 'only_here'",
        "mariadb": "SELECT CONCAT('found ', table_name) FROM information_schema.tables "
        "WHERE table_schema = DATABASE()",
        "sqlite": "SELECT 'found ' || name FROM sqlite_master",
    }[product]
    words = {"pgcli": ["-c", table], "mycli": ["-e", table], "litecli": ["-e", table]}[program]
    result = run(
        [SCRIPT, ini(url), *words],
        env={"PATH": str(directory), "HOME": str(tmp_path), "PGSERVICE": "elsewhere"},
    )
    assert re.search("found only_here", result.stdout), result
