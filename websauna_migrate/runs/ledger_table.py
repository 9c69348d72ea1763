"""The ledger's table: made, and brought up to date, under the run's lock.

The version of a ledger is the columns that it has. A later release adds some, each of which may be
NULL or has a default, and takes none away; so the release before goes on with the same ledger, and
a look at one that has not been brought up to date needs no more than the first columns.
"""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import subprocess
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    select,
    text,
)
from sqlalchemy.engine import URL, Connection

from websauna_migrate.runs.postgresql_statements import literal

LEDGER_TABLE = "websauna_migrate_ledger"

#: What a ledger cannot be without. What else is missing is added.
ESSENTIAL = frozenset({"id", "run", "package", "revision", "direction", "started", "outcome"})

#: For fewer identifiers or checksums than these the ledger is asked by them.
FEW = 200


def make_table(schema: str | None) -> Table:
    """Return the ledger's table; its types are the same on every database."""
    return Table(
        LEDGER_TABLE,
        MetaData(),
        Column("id", String(32), primary_key=True),
        Column("run", String(32), nullable=False),
        Column("number", Integer, nullable=False),
        Column("package", String(255), nullable=False),
        Column("revision", String(255), nullable=False),
        Column("direction", String(16), nullable=False),
        Column("history_table", String(64), nullable=False),
        Column("started", DateTime, nullable=False),
        Column("ended", DateTime),
        Column("outcome", String(16), nullable=False),
        Column("host", String(255), nullable=False),
        Column("process", Integer, nullable=False),
        Column("version", String(64), nullable=False),
        Column("checksum", String(64), nullable=False),
        Column("session", BigInteger, nullable=False),
        Column("note", String(255), nullable=False),
        # Since the ledger's second version.
        Column("installed_by", String(255)),
        Column("error", Text),
        Column("line", Integer),
        Column("statement", Integer),
        Column("kind", String(255)),
        # A line for each: number, line of the script, time and kind, with tabs between.
        Column("statements", Text),
        # Since the third: the script's text, packed, in one row of those with its checksum.
        Column("script", Text),
        # And what the database was behind a run, in the row of its last step: prints, packed.
        Column("facts", Text),
        # Since the fourth: how many steps the run was to have, in the row of the first.
        Column("steps", Integer),
        schema=schema,
    )


def create(connection: Connection, table: Table) -> None:
    """Create the table unless it is there, and add the columns that are missing."""
    name = connection.dialect.name
    if name in ("mysql", "mariadb"):
        # Names may have any character; a database in another character set refuses some. Elsewhere,
        # naming the option would import the dialect.
        table.dialect_kwargs[f"{name}_charset"] = "utf8mb4"
        from sqlalchemy.dialects.mysql import DATETIME

        # Without a number of digits it is whole seconds, which most steps take less than.
        for column in table.columns:
            if isinstance(column.type, DateTime):
                column.type = DATETIME(fsp=6)
    table.create(connection, checkfirst=True)
    there = column_names(connection, table)
    for column in table.columns:
        if column.name not in there:
            add_column(connection, table, column)


def add_column(connection: Connection, table: Table, column: Column[Any]) -> None:
    """Add a column to a table that has rows."""
    default = ""
    if not column.nullable:
        default = f" DEFAULT {0 if isinstance(column.type, Integer) else repr('')} NOT NULL"
    quote = connection.dialect.identifier_preparer.quote
    name = name_of(connection, table).replace(":", "\\:")
    connection.execute(
        text(
            f"ALTER TABLE {name} ADD COLUMN {quote(column.name)} "
            f"{column.type.compile(connection.dialect)}{default}"
        )
    )


def column_names(connection: Connection, table: Table) -> Collection[str]:
    """Return the names of the columns that a table has."""
    return connection.execute(select(text("*")).select_from(table).where(false())).keys()


def name_of(connection: Connection, table: Table) -> str:
    """Return a table's name as the driver takes it, in quotes where need be."""
    name = str(connection.dialect.identifier_preparer.format_table(table))
    return name.replace("%%", "%")


def sql_of(value: object) -> str:
    """Return a value of the ledger as PostgreSQL's literal."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"'{value.isoformat(' ', 'microseconds')}'"
    return str(value) if isinstance(value, int) else literal(str(value))


#: Says who runs migrations, where that is not the user of the system.
VARIABLE = "WEBSAUNA_MIGRATE_BY"


def installed_by(url: URL) -> str:
    """Return who changes a database: the person, the system's user and the database's.

    The person is ``WEBSAUNA_MIGRATE_BY``, else git's user where one is set.
    """
    person = " ".join(os.environ.get(VARIABLE, "").split()) or git_user()
    users = ", ".join(filter(None, (os_user(), url.username and f"database user {url.username}")))
    return (f"{person} ({users})" if person else users)[:255]


def os_user() -> str:
    """Return the name of the system's user, or its number if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.geteuid()}"


@functools.cache
def git_user() -> str:
    """Return git's user; empty if there is no git, or none is set."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        found = subprocess.run(
            [git, "config", "--get", "user.name"],
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return ""
    return " ".join(found.stdout.split())
