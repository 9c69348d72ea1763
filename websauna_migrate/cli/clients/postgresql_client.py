"""The clients of PostgreSQL, which all take a connection string of libpq."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import ArgumentError

from websauna_migrate.cli.clients.client import PRIVATE_FILE, Client, is_true, unusable_url
from websauna_migrate.database.engines import is_secret

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
        raise unusable_url(f'libpq has no option "{unknown}", and its value is not to be shown.')
    private_file = None
    if secrets:
        if "service" in options:
            raise unusable_url(
                f'"{next(iter(secrets))}" and "service" are both in it. Move the former into the '
                "service file."
            )
        if any(value != value.rstrip() or "\n" in value for value in secrets.values()):
            raise unusable_url(f'"{next(iter(secrets))}" ends with a blank or holds a line break.')
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
        raise unusable_url(
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
