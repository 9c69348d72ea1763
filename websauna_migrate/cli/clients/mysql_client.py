"""The clients of MariaDB and MySQL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import URL

from websauna_migrate.cli.clients.client import (
    PRIVATE_FILE,
    Client,
    is_true,
    unusable_url,
    url_options,
)

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
        raise unusable_url(
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
