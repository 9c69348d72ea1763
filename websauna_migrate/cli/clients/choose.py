"""Which client program dumps a database, or opens a shell on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.engine import URL

from websauna_migrate.cli.clients.client import Client, ClientError, unusable_url, url_options
from websauna_migrate.cli.clients.mysql_client import MYSQL_DRIVERS, mycli_client, mysql_client
from websauna_migrate.cli.clients.postgresql_client import POSTGRESQL_DRIVERS, libpq_client
from websauna_migrate.cli.clients.sqlite_file import sqlite_file, sqlite_timeout_ms, sqlite_word
from websauna_migrate.database.programs import find_program

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


def dump_client(url: URL, arguments: Sequence[str] = (), *, find: Find = find_program) -> Client:
    """Return the program that writes a database's dump to its standard output.

    :param arguments: more for the program, as they are; with SQLite for the ``.dump`` command
    :param find: finds the first of some programs
    :raises ClientError: if none is installed: install one
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
        raise unusable_url("it names no database to dump. Append /name to the host.")
    if database.startswith("-"):
        raise unusable_url("the name of its database begins with a dash.")
    always = ("--single-transaction", "--hex-blob", "--routines", "--events")
    return mysql_client(url, program, (*always, database, *arguments))


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
    :raises ClientError: if none is installed: install one
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

    :raises ClientError: for all others, for drivers whose URLs mean something else, and if a
        part of the URL holds a NUL, at which every program would cut it off
    """
    backend, _, driver = url.drivername.partition("+")
    backend = "mysql" if backend == "mariadb" else backend
    known = (
        (backend == "sqlite" and driver in ("", "pysqlite", "aiosqlite"))
        or (backend == "mysql" and driver in MYSQL_DRIVERS)
        or (backend == "postgresql" and driver in POSTGRESQL_DRIVERS)
    )
    if not known:
        hint = ' Write "postgresql" for "postgres".' if backend.startswith("postgres") else ""
        raise ClientError(
            "database",
            f'The database URL is of dialect "{url.drivername}", for which no client program is '
            f"known.{hint}\nSupported are postgresql, mysql, mariadb and sqlite.",
        )
    if any("\0" in text for text in url_options(url).values()):
        raise unusable_url("it contains %00, a character that no program can be given.")
    return backend


def require(find: Find, names: Sequence[str], backend: str) -> str:
    """Return the path of the first program that is installed.

    :raises ClientError: if there is none
    """
    program = find(names)
    if program is None:
        product, install = PRODUCTS[backend]
        ways = [install, *(f"pip install {n}" for n in names if n == COMFORTABLE[backend])]
        raise ClientError(
            "program",
            f"No client program for {product} was found: looked for {', '.join(names)} on "
            f"PATH and beside Python.\nInstall one: {', or '.join(ways)}",
        )
    return program
