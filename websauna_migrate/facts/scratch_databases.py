"""Scratch databases: made empty beside the real one, or at ``scratch_url``, and always removed.

Each has a keeper: a session inside it, or a lock, which ends with the process however that ends.
What is without a keeper was left by a process that was killed, and is removed at the next start.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.settings import SettingError, Settings
from websauna_migrate.database.engines import (
    connect,
    driver_words,
    hide_password,
    one_line,
    open_engine,
    safe_url,
)
from websauna_migrate.database.own_connections import use_own_connections

SETTING = "websauna_migrate.scratch_url"

#: What lets a user make scratch databases, by dialect.
GRANTS = {
    "postgresql": "ALTER ROLE {user} CREATEDB",
    "mysql": "GRANT ALL ON `websauna\\_migrate\\_scratch\\_%`.* TO {user}",
}


class ScratchRefused(MigrationError, PermissionError):
    """There can be no scratch place.

    :ivar kind: ``right`` where the user may not make one, ``apart`` where scripts would reach
        beyond it
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def no_right(what: str, url: URL, problem: str, grant: str) -> ScratchRefused:
    """Return the error of a user who may not make a scratch place.

    :param problem: the server's own word
    """
    # No right to create helps where nothing may be written.
    remedy = "" if "read-only" in problem else f"Let an administrator run: {grant}\nOr set "
    return ScratchRefused(
        "right",
        f'The user "{url.username}" may not make {what} at "{safe_url(url)}": {problem}\n'
        f"{remedy or 'Set '}{SETTING} to the URL of a database whose user may.",
    )


def scratch_settings(settings: Settings) -> Settings:
    """Return settings whose database is where scratch places are made.

    :raises SettingError: if ``scratch_url`` is of another product than the database
    """
    if settings.scratch_url is None:
        return settings
    product = settings.scratch_url.get_backend_name()
    if settings.url is not None and product != settings.url.get_backend_name():
        raise SettingError(SETTING, f"it is of {product}, which the database is not.")
    return replace(settings, url=settings.scratch_url)


@contextmanager
def scratch_database(settings: Settings) -> Iterator[URL]:
    """Give the URL of an empty database, and remove it at the end.

    Those that killed processes left are removed first.

    :raises ScratchRefused: if the user may not make one; the message has the grant
    """
    url = scratch_settings(settings).require_url()
    if url.get_backend_name() == "sqlite":
        with scratch_file() as path:
            yield url.set(database=str(path), query={})
        return
    engine = use_own_connections(
        open_engine(url, settings.engine_options, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    )
    name = new_name()
    with connect(engine) as connection:
        remove_abandoned(connection)
        create(connection, name, url)
    try:
        with kept(settings, url.set(database=name)):
            yield url.set(database=name)
    finally:
        with connect(engine) as connection:
            # With all who are still in it.
            force = " WITH (FORCE)" if connection.dialect.name == "postgresql" else ""
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}{force}")
        engine.dispose()


# Files


@contextmanager
def scratch_file() -> Iterator[Path]:
    """Give the path of a database file that does not exist yet, in a folder of its own."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        remove_abandoned_folder(folder)
    folder = parent / new_name()
    folder.mkdir(mode=0o700)
    try:
        with (folder / "keeper").open("w") as keeper:
            fcntl.flock(keeper, fcntl.LOCK_EX)
            yield folder / "database.sqlite"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_folder(folder: Path) -> None:
    """Remove a folder whose maker does not hold its file any more."""
    if is_makerless(folder.name) is None:
        return
    with suppress(OSError):
        descriptor = os.open(folder / "keeper", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


# Servers


def create(connection: Connection, name: str, url: URL) -> None:
    """Create a database with the character set and collation of the connection's own."""
    if connection.dialect.name == "postgresql":
        # The template has nothing that its maker added, and may be copied while others are in it.
        statement = f"CREATE DATABASE {name} TEMPLATE template0{postgresql_locale(connection)}"
    else:
        row = connection.exec_driver_sql(
            "SELECT @@character_set_database, @@collation_database"
        ).one()
        statement = f"CREATE DATABASE {name} CHARACTER SET {row[0]} COLLATE {row[1]}"
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as exc:
        grant = GRANTS[connection.dialect.name].format(user=user_of(connection))
        problem = one_line(hide_password(driver_words(exc.orig), url))
        raise no_right("a scratch database", url, problem, grant) from exc


def postgresql_locale(connection: Connection) -> str:
    """Return the options of CREATE DATABASE that give the locale of the connection's database."""
    row = connection.exec_driver_sql(
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database "
        "WHERE datname = current_database()"
    ).one()
    words = (str(word).replace("'", "''").replace("%", "%%") for word in row)
    return " ENCODING '{}' LC_COLLATE '{}' LC_CTYPE '{}'".format(*words)


def user_of(connection: Connection) -> str:
    """Return the user as it stands in a GRANT."""
    if connection.dialect.name == "postgresql":
        return str(connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one())
    name, _, host = str(
        connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one()
    ).rpartition("@")
    return f"'{name}'@'{host}'"


@contextmanager
def kept(settings: Settings, url: URL) -> Iterator[None]:
    """Hold a session that shows others that a scratch database is in use."""
    keeper = use_own_connections(open_engine(url, settings.engine_options, poolclass=NullPool))
    with connect(keeper) as connection:
        if connection.dialect.name != "postgresql":
            connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": url.database})
        connection.rollback()
        yield
    keeper.dispose()


def remove_abandoned(connection: Connection) -> None:
    """Drop the scratch databases whose makers are gone."""
    if connection.dialect.name == "postgresql":
        query = "SELECT datname FROM pg_database"
    else:
        query = "SELECT schema_name FROM information_schema.schemata"
    for name in connection.exec_driver_sql(query).scalars().all():
        gone = is_makerless(str(name))
        if gone is None:
            continue
        # Another process may do the same, and a user may not drop another one's.
        with suppress(DBAPIError):
            if connection.dialect.name == "postgresql":
                # Without FORCE it fails where a session is inside, so where the maker is alive.
                force = " WITH (FORCE)" if gone else ""
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}{force}")
            elif connection.scalar(text("SELECT IS_USED_LOCK(:n)"), {"n": name}) is None:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


# Names, which say which process of which host made a place, and when

PREFIX = "websauna_migrate_scratch_"

FORM = re.compile(PREFIX + r"([0-9a-f]{8})_(\d+)_(\d+)_(\d+)")

#: For how long a place may be without a sign of its maker's life, in seconds: it is just starting.
GRACE_S = 120

_numbers = itertools.count(1)


def this_host() -> str:
    """Return what stands for this host in a name: short, and without characters to quote."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def new_name() -> str:
    """Return a name that no other place has, of at most 63 characters."""
    return f"{PREFIX}{this_host()}_{os.getpid()}_{int(time.time())}_{next(_numbers)}"


def is_makerless(name: str) -> bool | None:
    """Tell by the name of a place whether its maker was a process of this host that is gone.

    ``None`` for another name, and where the maker may not have given a sign of life yet.
    """
    found = FORM.fullmatch(name)
    if found is None:
        return None
    gone = False
    if found[1] == this_host():
        try:
            os.kill(int(found[2]), 0)
        except ProcessLookupError:
            gone = True
        except OSError:
            gone = False
    is_young = time.time() - int(found[3]) < GRACE_S
    return None if is_young and not gone else gone
