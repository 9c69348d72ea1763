"""What the ledger keeps of a failure: the database's words, the line, the statement, no value."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import driver_words, hide_password, one_line
from websauna_migrate.runs.statement_log import StatementLog

__all__ = ["failure_of", "without_values"]

#: Codes of PostgreSQL whose message may quote data or a script's text: data exceptions, syntax
#: errors, and what a function raises.
QUOTES_VALUES = ("22", "42601", "P0")

#: Where messages of MariaDB and SQLite quote values, and what a piece of the statement's text.
VALUES = (
    re.compile(r"(?P<before>Duplicate entry )'.*'(?= for key)", re.DOTALL),
    re.compile(r"(?P<before>\bvalue:? )'.*?'(?= for |\s*$|\.$)", re.DOTALL),
    re.compile(r"(?P<before>\bnear )(?:'.*'|\".*\")", re.DOTALL),
    re.compile(r"(?P<before>\bunrecognized token: )\".*\"", re.DOTALL),
)

#: MariaDB's number of an error that a script's own SIGNAL raises.
SIGNAL = 1644


def failure_of(
    exc: BaseException, log: StatementLog | None, place: str, url: URL
) -> dict[str, object]:
    """Return the ledger's columns about a failure.

    :param log: of the step's statements
    :param place: the script's path and line, as messages have it
    """
    line = re.search(r", line (\d+)$", place)
    failed = None
    if isinstance(exc, DBAPIError):
        words = without_values(exc)
        if log is not None and exc.statement:
            failed = log.find(exc.statement)
    else:
        words = str(exc) if isinstance(exc, MigrationError) else type(exc).__name__
    return {
        "error": hide_password(one_line(words), url),
        "line": int(line[1]) if line else None,
        "statement": failed and failed.number,
        "kind": failed and failed.kind,
    }


def without_values(exc: DBAPIError) -> str:
    """Return the database's words without what they quote of rows, parameters and statements."""
    original: Any = exc.orig
    diagnosis = getattr(original, "diag", None)
    if diagnosis is not None and diagnosis.message_primary:
        code = str(getattr(original, "pgcode", None) or getattr(original, "sqlstate", None))
        words = str(diagnosis.message_primary)
        if code.startswith(QUOTES_VALUES):
            words = re.sub(r"\".*\"|'.*'", '"..."', words, flags=re.DOTALL)
        return words
    words = driver_words(original)
    if getattr(original, "args", ())[:1] == (SIGNAL,):
        words = re.sub(r"'.*'", '"..."', words, flags=re.DOTALL)
    for pattern in VALUES:
        words = pattern.sub(r'\g<before>"..."', words)
    return words
