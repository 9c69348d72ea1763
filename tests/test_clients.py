"""From a database URL to a client program: arguments, environment, private file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from websauna_migrate.cli.clients.choose import (
    dump_client,
    shell_client,
)
from websauna_migrate.cli.clients.client import PRIVATE_FILE, Client
from websauna_migrate.cli.clients.sqlite_file import sqlite_file
from websauna_migrate.database.programs import find_program
from websauna_migrate.errors import ClientError

SECRET = "s3cr3t"


def first(names: Sequence[str]) -> str:
    """Find every program."""
    return f"/nowhere/{names[0]}"


def only(*installed: str):
    return lambda names: next((f"/nowhere/{n}" for n in names if n in installed), None)


def dump(url: str, *arguments: str, find=first) -> Client:
    return dump_client(make_url(url), arguments, find=find)


def shell(url: str, *arguments: str, find=first, interactive: bool = False) -> Client:
    return shell_client(make_url(url), arguments, interactive=interactive, find=find)


# PostgreSQL


@pytest.mark.parametrize(
    ("url", "conninfo", "password"),
    [
        (
            "postgresql+psycopg2://user:p%40%2Fss%3A%25@db.example:5433/app",
            "host=db.example dbname=app user=user port=5433",
            "p@/ss:%",
        ),
        ("postgresql://user:100%@db/app", "host=db dbname=app user=user", "100%"),
        (
            "postgresql://u:p@[2001:db8::1]:5433/d",
            "host=2001:db8::1 dbname=d user=u port=5433",
            "p",
        ),
        ("postgresql://[::1]/d", "host=::1 dbname=d", None),
        (
            "postgresql+psycopg2://user@/db?host=/var/run/postgresql",
            "dbname=db user=user host=/var/run/postgresql",
            None,
        ),
        (
            "postgresql+psycopg://u@/db?host=a:5432&host=b:5433&target_session_attrs=read-write",
            "dbname=db user=u host=a,b target_session_attrs=read-write port=5432,5433",
            None,
        ),
        (
            "postgresql://u@/db?host=a,b&port=1,2",
            "dbname=db user=u host=a,b port=1,2",
            None,
        ),
        (
            "postgresql://u@h/db?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem",
            "host=h dbname=db user=u sslmode=verify-full sslrootcert='/etc/my ca.pem'",
            None,
        ),
        (
            "postgresql://u@h/db?options=-csearch_path%3Da%5C%20b",
            r"host=h dbname=db user=u options='-csearch_path=a\\ b'",
            None,
        ),
        ("postgresql://h/it's", r"host=h dbname='it\'s'", None),
        # The query wins, as in SQLAlchemy.
        ("postgresql://u:p@h/db?password=q&port=7", "host=h dbname=db user=u port=7", "q"),
        ("postgresql+psycopg2://u@h/db?database=x", "host=h user=u dbname=x", None),
        ("postgresql+psycopg://h/d?prepare_threshold=5&autocommit=1", "host=h dbname=d", None),
        # A new option of libpq is passed on, unknown ones of other drivers are not.
        ("postgresql://h/d?brand_new=1", "host=h dbname=d brand_new=1", None),
        (
            "postgresql+asyncpg://u:p@h:6/d?ssl=require&command_timeout=3",
            "host=h user=u port=6 dbname=d sslmode=require",
            "p",
        ),
        ("postgresql+asyncpg://h/d?ssl=true", "host=h dbname=d sslmode=require", None),
        (
            "postgresql+pg8000://u@/d?unix_sock=/run/pg/.s.PGSQL.5433",
            "user=u dbname=d host=/run/pg port=5433",
            None,
        ),
    ],
)
def test_libpq_is_told_what_the_url_says(url: str, conninfo: str, password: str | None) -> None:
    for client in (dump(url), shell(url)):
        (named,) = client.arguments
        option, _, text = named.partition("=")
        assert option == "--dbname"
        # The order means nothing.
        assert sorted(text.split(" ")) == sorted(conninfo.split(" "))
        assert client.environment == ({"PGPASSWORD": password} if password else {})
        assert client.private_file is None


def test_the_programs_of_postgresql() -> None:
    url = "postgresql://h/d"
    assert dump(url).program == "/nowhere/pg_dump"
    assert shell(url, interactive=True).program == "/nowhere/pgcli"
    assert shell(url, interactive=True, find=only("psql")).program == "/nowhere/psql"
    # pgcli writes to a terminal.
    assert shell(url).program == "/nowhere/psql"
    assert shell(url, find=only("pgcli")).program == "/nowhere/pgcli"


def test_pgcli_is_not_led_elsewhere_by_a_service_of_the_environment() -> None:
    client = shell("postgresql://h/d", interactive=True)
    assert client.variables({"PGSERVICE": "other", "HOME": "/root"}) == {"HOME": "/root"}
    client = shell("postgresql://h/d")
    assert client.variables({"PGSERVICE": "other"}) == {"PGSERVICE": "other"}


def test_a_url_that_says_nothing_leaves_all_to_libpq() -> None:
    assert dump("postgresql://").argv() == ["/nowhere/pg_dump"]


def test_the_encoding_of_the_application_does_not_change_a_dump() -> None:
    url = "postgresql://h/d?client_encoding=latin1"
    assert dump(url).arguments == ("--dbname=host=h dbname=d",)
    assert shell(url).arguments == ("--dbname=host=h dbname=d client_encoding=latin1",)


def test_arguments_are_passed_on_as_they_are() -> None:
    words = ("--format=c", "-h", "--", "$(touch x)", "a b", "")
    assert dump("postgresql://h/d", *words).arguments == ("--dbname=host=h dbname=d", *words)
    assert shell("postgresql://h/d", *words).arguments == ("--dbname=host=h dbname=d", *words)


@pytest.mark.parametrize(
    "key", ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"]
)
def test_other_secrets_of_libpq_are_in_a_private_service_file(key: str) -> None:
    client = dump(f"postgresql://u@h/d?{key}=se%20=cret")
    assert "cret" not in " ".join(client.argv("/dev/fd/3"))
    assert client.private_file == f"[websauna_migrate]\n{key}=se =cret\n"
    assert client.argv("/dev/fd/3")[1].endswith("service=websauna_migrate")
    assert client.variables({}, "/dev/fd/3") == {"PGSERVICEFILE": "/dev/fd/3"}


@pytest.mark.parametrize(
    "query", ["sslpassword=a&service=b", "sslpassword=a%20", "sslpassword=%0A"]
)
def test_a_secret_that_a_service_file_cannot_hold_is_refused(query: str) -> None:
    with pytest.raises(ClientError, match='"sslpassword"'):
        dump(f"postgresql://h/d?{query}")


def test_hosts_and_ports_that_do_not_match() -> None:
    with pytest.raises(ClientError) as caught:
        dump(f"postgresql://u:{SECRET}@/db?host=a,b,c&port=1,2")
    assert str(caught.value) == (
        "The database URL cannot be used: its hosts and ports cannot be read. Write "
        "?host=a:5432&host=b:5432, or ?host=a,b&port=5432,5432."
    )


# MariaDB and MySQL


def options_of(client: Client) -> dict[str, str | None]:
    assert client.private_file is not None
    heading, *lines = client.private_file.splitlines()
    assert heading == "[client]"
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip('"') if equals else None for name, equals, value in pairs}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "mysql+pymysql://u:p%40%25@h:3307/db?charset=utf8mb4",
            {"protocol": "TCP", "host": "h", "port": "3307", "user": "u", "password": "p@%"},
        ),
        # The programs would take the socket, and another server's.
        (
            "mysql+pymysql://u@localhost:3307/db",
            {"protocol": "TCP", "host": "localhost", "port": "3307", "user": "u"},
        ),
        ("mariadb+asyncmy:///db", {"protocol": "TCP", "host": "localhost", "port": "3306"}),
        ("mysql+pymysql://[::1]/db", {"protocol": "TCP", "host": "::1", "port": "3306"}),
        (
            "mysql+pymysql://u:p@h:3307/db?unix_socket=/run/my.sock",
            {
                "protocol": "SOCKET",
                "host": "h",
                "port": "3307",
                "user": "u",
                "password": "p",
                "socket": "/run/my.sock",
            },
        ),
        # mysqlclient is the same library as that of the programs.
        ("mysql://u:p@localhost/db", {"host": "localhost", "user": "u", "password": "p"}),
        ("mysql+mysqldb://h/db?passwd=p&user=v", {"host": "h", "user": "v", "password": "p"}),
    ],
)
def test_the_option_file_says_what_the_url_says(url: str, options: dict[str, str | None]) -> None:
    client = dump(url)
    assert options_of(client) == options
    assert client.arguments == (
        f"--defaults-file={PRIVATE_FILE}",
        *("--single-transaction", "--hex-blob", "--routines", "--events", "db"),
    )
    assert client.argv("/dev/fd/3")[1] == "--defaults-file=/dev/fd/3"
    client = shell(url)
    assert options_of(client) == options
    assert client.arguments == (f"--defaults-file={PRIVATE_FILE}", "--database=db")


TLS = {"ssl-mode", "skip-ssl", "ssl", "ssl-verify-server-cert", "ssl-ca", "ssl-cert", "ssl-key"}


@pytest.mark.parametrize(
    ("url", "mariadb", "mysql"),
    [
        ("mysql+pymysql://h/d", {}, {}),
        (
            "mysql+pymysql://h/d?ssl_ca=/ca&ssl_cert=/c&ssl_key=/k",
            {"ssl": None, "ssl-verify-server-cert": None},
            {"ssl-mode": "VERIFY_IDENTITY"},
        ),
        (
            "mysql+pymysql://h/d?ssl_ca=/ca&ssl_check_hostname=false",
            {"ssl": None, "ssl-verify-server-cert": None},
            {"ssl-mode": "VERIFY_CA"},
        ),
        ("mysql+mysqldb://h/d?ssl_ca=/ca", {"ssl": None}, {"ssl-mode": "REQUIRED"}),
        ("mysql+mysqldb://h/d?ssl_mode=PREFERRED", {}, {"ssl-mode": "PREFERRED"}),
        ("mysql+pymysql://h/d?ssl_disabled=true", {"skip-ssl": None}, {"ssl-mode": "DISABLED"}),
        (
            "mysql+mysqlconnector://h/d?ssl_verify_identity=true",
            {"ssl": None, "ssl-verify-server-cert": None},
            {"ssl-mode": "VERIFY_IDENTITY"},
        ),
        (
            "mariadb+mariadbconnector://h/d?ssl_verify_cert=1",
            {"ssl": None, "ssl-verify-server-cert": None},
            {"ssl-mode": "VERIFY_CA"},
        ),
    ],
)
def test_encryption_is_as_strict_as_the_drivers(
    url: str, mariadb: dict[str, str | None], mysql: dict[str, str | None]
) -> None:
    query = make_url(url).query
    files = {f"ssl-{k}": query[f"ssl_{k}"] for k in ("ca", "cert", "key") if f"ssl_{k}" in query}
    for program, expected in (("mariadb-dump", mariadb), ("mysqldump", mysql)):
        options = options_of(dump(url, find=only(program)))
        found = {key: value for key, value in options.items() if key in TLS}
        assert found == {**files, **expected}, program


def test_a_password_survives_the_option_file() -> None:
    client = dump("mysql+pymysql://u:%20a%22b%5Cc%23d%27e%0A%09@h/db")
    assert client.private_file is not None
    assert r'password=" a\"b\\c#d' + "'" + r'e\n\t"' in client.private_file


def test_the_programs_of_mariadb_and_mysql(tmp_path: Path) -> None:
    url = "mysql+pymysql://h/d"
    assert dump(url).program == "/nowhere/mariadb-dump"
    assert dump(url, find=only("mysqldump")).program == "/nowhere/mysqldump"
    assert shell(url, interactive=True).program == "/nowhere/mycli"
    assert shell(url, interactive=True, find=only("mysql")).program == "/nowhere/mysql"
    assert shell(url).program == "/nowhere/mariadb"


def test_the_login_file_of_mysql_does_not_lead_elsewhere() -> None:
    client = dump("mysql+pymysql://h/d", find=only("mysqldump"))
    assert client.environment == {"MYSQL_TEST_LOGIN_FILE": "/dev/null/none"}


def test_mysql_by_the_name_of_mysql_can_be_mariadb(tmp_path: Path) -> None:
    (tmp_path / "mariadb-dump").touch()
    (tmp_path / "mysqldump").symlink_to(tmp_path / "mariadb-dump")
    client = dump("mysql+pymysql://h/d", find=lambda names: str(tmp_path / "mysqldump"))
    assert client.environment == {}


def test_mycli_gets_its_password_by_the_environment() -> None:
    client = shell(
        f"mysql+pymysql://u:{SECRET}@h:3307/d?ssl_ca=/ca", "-e", "SELECT 1", interactive=True
    )
    assert client == Client(
        "/nowhere/mycli",
        (
            *("--host=h", "--port=3307", "--user=u", "--ssl-ca=/ca", "--ssl-verify-server-cert"),
            *("--database=d", "-e", "SELECT 1"),
        ),
        {"MYSQL_PWD": SECRET},
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql+pymysql://h", "it names no database to dump. Append /name to the host."),
        ("mysql+pymysql://h/--help", "the name of its database begins with a dash."),
        (
            "mysql+pymysql://h/d?read_default_file=/etc/x.cnf",
            'its "read_default_file" or "read_default_group" cannot be followed. Write what '
            "stands there into the URL, or start the client by hand.",
        ),
        ("mysql+pymysql://u:%00@h/d", "it contains %00, a character that no program can be given."),
    ],
)
def test_what_the_programs_of_mysql_cannot_be_told(url: str, problem: str) -> None:
    with pytest.raises(ClientError) as caught:
        dump(url)
    assert str(caught.value) == f"The database URL cannot be used: {problem}"


# SQLite


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a b%.db"
    file.touch()
    return file


def test_the_file_of_a_url(file: Path) -> None:
    quoted = "a%20b%25.db"
    assert sqlite_file(make_url(f"sqlite:///{file}")) == str(file)
    assert sqlite_file(make_url("sqlite+aiosqlite:///a b%.db?timeout=3")) == str(file)
    uri = f"file:{quoted}"
    query = {"uri": "true", "mode": "ro", "timeout": "1"}
    assert sqlite_file(URL.create("sqlite", database=uri, query=query)) == f"{uri}?mode=ro"
    uri = f"file://{file.parent}/{quoted}"
    assert sqlite_file(URL.create("sqlite", database=uri, query={"uri": "true"})) == uri


def test_the_programs_of_sqlite(file: Path) -> None:
    url = f"sqlite:///{file}"
    own = ("-batch", "-init", "/dev/null", "-cmd", ".timeout 5000")
    assert dump(url) == Client("/nowhere/sqlite3", (*own, str(file), ".dump"))
    client = dump(f"{url}?timeout=0.5", "--data-only", "user%", 'a "b')
    assert client.arguments[-3:] == (".timeout 500", str(file), '.dump --data-only user% "a \\"b"')
    assert shell(url, "SELECT 1") == Client("/nowhere/sqlite3", (str(file), "SELECT 1"))
    assert shell(url, interactive=True) == Client("/nowhere/litecli", (str(file),))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:shared?uri=true&mode=memory&cache=shared",
    ],
)
@pytest.mark.parametrize("client", [dump, shell])
def test_a_database_in_memory(url: str, client) -> None:
    with pytest.raises(ClientError) as caught:
        client(url)
    assert str(caught.value) == (
        "The SQLite database is in the application's memory, where no other program can read it. "
        "Set a file in the database URL: sqlite:////path/to/file.sqlite"
    )


@pytest.mark.parametrize("url", ["sqlite:///none.db", "sqlite:///file:none.db?uri=true"])
@pytest.mark.parametrize("client", [dump, shell])
def test_a_file_that_does_not_exist(url: str, client, file: Path) -> None:
    with pytest.raises(ClientError) as caught:
        client(url)
    assert "none.db" in str(caught.value)
    assert str(caught.value).endswith(
        '" does not exist. Correct the database URL, or create the database with '
        '"ws-alembic upgrade".'
    )
    assert not (file.parent / "none.db").exists()


def test_a_host_in_a_url_of_sqlite() -> None:
    with pytest.raises(ClientError, match="Write three slashes before a relative path"):
        dump("sqlite://file.db")


# All


@pytest.mark.parametrize(
    ("url", "dialect", "hint"),
    [
        ("mssql+pyodbc://u:s3cr3t@h/d", "mssql+pyodbc", ""),
        ("oracle://h/d", "oracle", ""),
        ("sqlite+pysqlcipher://:s3cr3t@/d.db", "sqlite+pysqlcipher", ""),
        ("mysql+pyodbc://dsn", "mysql+pyodbc", ""),
        ("postgres://u:s3cr3t@h/d", "postgres", ' Write "postgresql" for "postgres".'),
    ],
)
@pytest.mark.parametrize("client", [dump, shell])
def test_a_dialect_without_client(url: str, dialect: str, hint: str, client) -> None:
    with pytest.raises(ClientError) as caught:
        client(url)
    assert str(caught.value) == (
        f'The database URL is of dialect "{dialect}", for which no client program is known.{hint}\n'
        "Supported are postgresql, mysql, mariadb and sqlite."
    )


@pytest.mark.parametrize(
    ("client", "url", "message"),
    [
        (
            dump,
            "postgresql://h/d",
            "No client program for PostgreSQL was found: looked for pg_dump on PATH and beside "
            "Python.\nInstall one: apt-get install postgresql-client",
        ),
        (
            shell,
            "postgresql://h/d",
            "No client program for PostgreSQL was found: looked for psql, pgcli on PATH and beside "
            "Python.\nInstall one: apt-get install postgresql-client, or pip install pgcli",
        ),
        (
            dump,
            "mariadb+pymysql://h/d",
            "No client program for MariaDB and MySQL was found: looked for mariadb-dump, mysqldump "
            "on PATH and beside Python.\nInstall one: apt-get install mariadb-client",
        ),
        (
            shell,
            "mysql+pymysql://h/d",
            "No client program for MariaDB and MySQL was found: looked for mariadb, mysql, mycli "
            "on PATH and beside Python.\n"
            "Install one: apt-get install mariadb-client, or pip install mycli",
        ),
        (
            shell,
            "sqlite:////dev/none",
            "No client program for SQLite was found: looked for sqlite3, litecli on PATH and "
            "beside Python.\nInstall one: apt-get install sqlite3, or pip install litecli",
        ),
    ],
)
def test_no_program_is_installed(client, url: str, message: str) -> None:
    with pytest.raises(ClientError) as caught:
        client(url, find=only())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h/d",
        f"postgresql://u@h/d?password={SECRET}",
        f"postgresql+asyncpg://u:{SECRET}@h/d",
        f"mysql+pymysql://u:{SECRET}@h/d",
        f"mysql://u@h/d?passwd={SECRET}",
        f"mariadb://u@h/d?password={SECRET}",
    ],
)
def test_no_password_in_arguments_or_in_a_repr(url: str) -> None:
    for client in (dump(url), shell(url), shell(url, interactive=True)):
        assert SECRET not in " ".join(client.argv("/dev/fd/3"))
        assert SECRET not in repr(client)


def test_programs_are_looked_for_beside_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "some-client"
    program.write_text("#!/nowhere/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program(["other-client", "some-client"]) == str(program)
    assert find_program(["other-client"]) is None
