"""``ws-db-shell``: the database's own client program, on the application's database."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from websauna_migrate.cli.clients.choose import shell_client
from websauna_migrate.cli.clients.start import become, database_url, split_arguments
from websauna_migrate.cli.console_script import console_script

DESCRIPTION = """\
Open a shell of the application's database: pgcli, else psql; litecli, else sqlite3; mycli, else
mariadb, else mysql. SQL that comes by a pipe is read by psql, sqlite3, mariadb or mysql, where
there is one.

The database is "websauna_migrate.url" in the INI file, else "sqlalchemy.url". The application is
not started, and its password is in no process list.
"""

EPILOG = """\
examples:
  ws-db-shell production.ini
  ws-db-shell production.ini -c "SELECT 1"
  ws-db-shell production.ini < script.sql

The exit status is the client's own; 1 if there is no client or no database, 2 for wrong usage.
"""


@console_script
def main(argv: Sequence[str]) -> NoReturn:
    """Replace the process by the client program."""
    ini, arguments = split_arguments(
        argv, "ws-db-shell", "client", description=DESCRIPTION, epilog=EPILOG
    )
    interactive = sys.stdin is not None and sys.stdin.isatty()
    become(shell_client(database_url(ini), arguments, interactive=interactive))
