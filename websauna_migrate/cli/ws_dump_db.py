"""``ws-dump-db``: a dump of the application's database on standard output."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO

from sqlalchemy.engine import URL

from websauna_migrate.cli.clients.choose import dump_client
from websauna_migrate.cli.clients.client import Client, ClientError, url_options
from websauna_migrate.cli.clients.sqlite_file import sqlite_file, sqlite_timeout_ms
from websauna_migrate.cli.clients.start import become, copy_output, database_url, split_arguments
from websauna_migrate.cli.console_script import console_script

DESCRIPTION = """\
Write a dump of the application's database to standard output, and nothing else: pg_dump for
PostgreSQL, mariadb-dump or mysqldump for MariaDB and MySQL, the .dump command of sqlite3 for
SQLite. What follows the INI file is given to that program as it is.

The database is "websauna_migrate.url" in the INI file, else "sqlalchemy.url". The application is
not started, and its password is in no process list.
"""

EPILOG = """\
examples:
  ws-dump-db production.ini > dump.sql
  ws-dump-db production.ini --format=c > dump.pgdump        (PostgreSQL)
  ws-dump-db production.ini --skip-events > dump.sql        (MariaDB, MySQL)
  ws-dump-db production.ini --data-only users > dump.sql    (SQLite)

mariadb-dump and mysqldump are started with --single-transaction, so that the application goes on
meanwhile, --hex-blob, --routines and --events, which need the rights to see them; their option
files (~/.my.cnf) are not read. Without a sqlite3 program Python's own module writes the dump, which
then takes no arguments.

The exit status is the dump program's own; 1 if it could not be started, 2 for wrong usage. Anything
but 0 means that the dump is not complete.
"""

#: How .dump reports a failure: as a comment in the dump, and with exit status 0.
SQLITE_FAILURES = (b"/**** ERROR: (", b"/****** CORRUPTION ERROR ", b"/****** ERROR: ")


def incomplete(file: str, problem: str) -> ClientError:
    """Return the error for a database of which not all was read, or written."""
    return ClientError("dump", f'The dump of "{file}" is not complete: {problem}')


@console_script
def main(argv: Sequence[str]) -> int:
    """Dump the database of an INI file."""
    ini, arguments = split_arguments(
        argv, "ws-dump-db", "dump", description=DESCRIPTION, epilog=EPILOG
    )
    url = database_url(ini)
    if url.get_backend_name() != "sqlite":
        client = dump_client(url, arguments)
        if not is_custom_format(arguments):
            become(client)
        try:
            return copy_output(client, sys.stdout.buffer)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise incomplete(url_options(url)["database"], f"{exc.strerror or exc}.") from exc
    return dump_sqlite(url, arguments, sys.stdout.buffer)


def is_custom_format(arguments: Sequence[str]) -> bool:
    """True if pg_dump is to write its own format to standard output.

    It does not notice then that the disk is full, and exits with 0.
    """
    words = " ".join(arguments)
    return bool(
        re.search(r"(?:^| )(?:-\w*F ?|--format[= ])c", words)
        and not re.search(r"(?:^| )(?:-\w*f|--file\b)", words)
    )


def dump_sqlite(url: URL, arguments: Sequence[str], output: BinaryIO) -> int:
    """Dump a SQLite database by the sqlite3 program, or by Python if there is none.

    :returns: the exit status
    :raises ClientError: if the database could not be read to its end: look what is wrong with it;
        or if Python cannot do what was asked for: install the program
    """
    file = sqlite_file(url)
    try:
        client = dump_client(url, arguments)
    except ClientError as exc:
        if arguments or exc.kind != "program":
            raise
        client = None
    try:
        if client is not None:
            return dump_by_program(client, file, output)
        dump_by_python(file, sqlite_timeout_ms(url), output)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise incomplete(file, f"{exc.strerror or exc}.") from exc
    return 0


def dump_by_program(client: Client, file: str, output: BinaryIO) -> int:
    """Copy what the sqlite3 program writes, and find out whether it was able to."""
    problem = ""
    with subprocess.Popen(
        client.argv(), env=client.variables(os.environ), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            if line.startswith(b"/****") and not problem and line.startswith(SQLITE_FAILURES):
                problem = line.decode("utf-8", "replace").strip("/* \n").removeprefix("ERROR: ")
        output.flush()
    status = process.returncode
    if status < 0:
        return 128 - status
    if problem and not status:
        raise incomplete(file, problem)
    return status


def dump_by_python(file: str, timeout_ms: int, output: BinaryIO) -> None:
    """Write the dump with Python's module.

    :raises ClientError: if the database could not be read to its end, or has virtual tables, which
        the module writes so that they cannot be restored
    """
    try:
        with contextlib.closing(
            sqlite3.connect(
                file, timeout_ms / 1000, isolation_level=None, uri=file.startswith("file:")
            )
        ) as connection:
            # Text that is no UTF-8 has to come out as it went in.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            # One snapshot for all tables.
            connection.execute("BEGIN")
            virtual = "SELECT 1 FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
            if connection.execute(virtual).fetchone():
                raise incomplete(
                    file,
                    "Python cannot dump its virtual tables. Install the sqlite3 program: "
                    "apt-get install sqlite3",
                )
            for statement in connection.iterdump():
                output.write(statement.encode("utf-8", "surrogateescape") + b"\n")
            output.flush()
    except sqlite3.Error as exc:
        raise incomplete(file, str(exc)) from exc
