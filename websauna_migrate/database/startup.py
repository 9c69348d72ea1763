"""Connecting to a server that is still starting: which errors say so, and trying again."""

from __future__ import annotations

import logging
import re
import time

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection

from websauna_migrate.database.lock_errors import error_number

log = logging.getLogger(__name__)

#: Seconds between two attempts to connect.
RETRY_SECONDS = 1.0

#: What libpq says of each address that it tried, behind "connection to server at ... failed: ".
REASON = re.compile(r".*failed: (.*)")

#: Reasons that pass when the server has started. The words behind FATAL are those of SQLSTATE
#: 57P03, which no driver passes on where a connection was never made.
PASSING = re.compile(
    r"Connection refused|No such file or directory|"
    r"FATAL:\s+the database system is (?:starting up|not yet accepting connections|not accepting "
    r"connections|shutting down|in recovery mode)"
)

#: MariaDB's client could not connect to a socket file or to a port; the system's error number is
#: ENOENT or ECONNREFUSED.
NO_SERVER = (2002, 2003)
NO_LISTENER = re.compile(r"\((?:\[Errno )?(?:2|61|111)\b")


def is_starting(exc: BaseException, kind: str) -> bool:
    """True if an attempt to connect failed only because the server does not listen yet.

    A wrong password, host name or database is never among them. Of several addresses that one host
    name has, each must have failed for such a reason.

    :param kind: SQLAlchemy's name of the database
    """
    words = str(exc)
    if kind == "postgresql":
        reasons = REASON.findall(words)
        return bool(reasons) and all(PASSING.match(reason) for reason in reasons)
    if kind in ("mysql", "mariadb"):
        return error_number(exc) in NO_SERVER and NO_LISTENER.search(words) is not None
    return False


def retry_connecting(engine: Engine, retries: int) -> None:
    """Let an engine try again to connect while the server is starting.

    :param retries: the number of attempts after the first; a second passes between two
    """

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, record: object, arguments: list[object], keywords: dict[str, object]
    ) -> DBAPIConnection:
        for number in range(1, retries + 1):
            try:
                return dialect.connect(*arguments, **keywords)
            except dialect.loaded_dbapi.Error as exc:
                if not is_starting(exc, dialect.name):
                    raise
            log.warning(
                "The database server does not accept connections yet; attempt %d of %d follows.",
                number + 1,
                retries + 1,
            )
            time.sleep(RETRY_SECONDS)
        return dialect.connect(*arguments, **keywords)
