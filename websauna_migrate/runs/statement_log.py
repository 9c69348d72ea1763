"""Which statements of a step ended, for a step that is no longer one transaction.

Each is written into the step's row of the ledger, in the transaction that the statement belongs to,
so that both are there or neither is. Before that moment they are kept in memory. What is written is
never a value, and no more of a statement than what it does to what: ``CREATE TABLE half``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from websauna_migrate.database.engines import driver_of
from websauna_migrate.results import LedgerStatement
from websauna_migrate.revision_scripts.script_error import running_line
from websauna_migrate.runs.ledger_table import name_of
from websauna_migrate.runs.statement_words import COMMENTS
from websauna_migrate.runs.step_queue import own_cursor

IDENTIFIER = r'(?:"[^"\0]+"|`[^`\0]+`|\[[^\]\0]+\]|[\w$]+)'
NAME = rf"{IDENTIFIER}(?:\s*\.\s*{IDENTIFIER})?"

#: The beginning of a statement: what it does, and to what.
KIND = re.compile(
    rf"""
    \s* (?P<words>
        (?: CREATE | ALTER | DROP ) \s+
        (?: (?: OR \s+ REPLACE | UNIQUE | TEMPORARY | TEMP | UNLOGGED | MATERIALIZED ) \s+ )*
        (?: TABLE | INDEX | VIEW | TYPE | SEQUENCE | SCHEMA | EXTENSION | FUNCTION | PROCEDURE
          | TRIGGER | DOMAIN | DATABASE )
        (?: \s+ CONCURRENTLY )?
      | INSERT (?: \s+ IGNORE )? \s+ INTO | REPLACE \s+ INTO | DELETE \s+ FROM | UPDATE
      | TRUNCATE (?: \s+ TABLE )? | REFRESH \s+ MATERIALIZED \s+ VIEW | REINDEX \s+ \w+
    ) \s+
    (?: IF \s+ (?:NOT\s+)? EXISTS \s+ )? (?: ONLY \s+ )? (?P<name> {NAME} )
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: What only asks the database, as SQLAlchemy does for a script: no statement of the step.
READS = re.compile(
    rf"{COMMENTS}(?:SHOW\b|DESC(?:RIBE)?\b|PRAGMA\b(?!.*=)|SELECT\b(?!.*\bINTO\b).*\bFROM\s+"
    r"(?:pg_catalog\.|information_schema\.|[\w\".]*sqlite_(?:master|schema)\b))[^;]*;?\s*\Z",
    re.IGNORECASE | re.DOTALL,
)

LEADING = re.compile(COMMENTS, re.DOTALL)

SAVEPOINT = "websauna_migrate_log"

#: libpq's number of a transaction that is open and sound.
IN_TRANSACTION = 2

#: How many statements of a step are told at most.
MOST = 500

#: How much of a statement is looked at.
LOOKED_AT = 2000


def kind_of(sql: str) -> str:
    """Return what a statement does, to what: never a value."""
    text = sql[:LOOKED_AT]
    text = text[LEADING.match(text).end() :]  # type: ignore[union-attr]
    found = KIND.match(text)
    if found is not None:
        return f"{' '.join(found['words'].split()).upper()} {found['name']}"[:255]
    first = re.match(r"[A-Za-z]+", text)
    return first.group().upper()[:255] if first else ""


def table_of(kind: str) -> str:
    """Return the table of what a statement does, without a schema; empty if it is about none."""
    words = re.findall(IDENTIFIER, kind)
    about_table = len(words) > 1 and words[0] in ("ALTER", "DROP", "TRUNCATE", "UPDATE", "DELETE")
    return words[-1].strip('"`') if about_table and "INDEX" not in words else ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a step.

    :ivar number: its place in the step, from 1
    :ivar line: of the script; 0 if none of its lines gave it
    """

    number: int
    kind: str
    line: int


class StatementLog:
    """The statements of the running step.

    :ivar last: the one that was begun last
    :ivar running: the one that is being executed
    :ivar is_published: whether the step is no longer one transaction
    """

    def __init__(self, connection: Connection, table: Table, now: Callable[[], datetime]) -> None:
        """Prepare.

        :param table: the ledger's
        :param now: gives the time by the ledger's clock
        """
        self._connection = connection
        self._table = table
        self._now = now
        self._is_mysql = connection.dialect.name in ("mysql", "mariadb")
        self._entry = ""
        self._path = ""
        self._ended: list[Statement] = []
        self.is_published = False
        self._count = 0
        self._reads = False
        self.last: Statement | None = None
        self.running: Statement | None = None

    def begin_step(self, entry: str, path: str) -> None:
        """Say that a step's statements come now.

        :param entry: its row in the ledger
        :param path: the script's
        """
        self._entry, self._path = entry, path
        self._ended, self.is_published = [], False
        self._count, self.last, self.running = 0, None, None

    def begin(self, sql: str) -> None:
        """Take notice of a statement that is about to be executed."""
        self._reads = READS.match(sql[:LOOKED_AT]) is not None
        line = running_line(self._path) or 0
        self.last = self.running = Statement(self._count + 1, kind_of(sql), line)
        self._count += not self._reads

    def end(self, *, commit: bool) -> None:
        """Take notice that the last statement went well.

        Several of one kind at one line of the script, such as the rows of a loop, are one. What
        only reads the catalogue is none.

        :param commit: whether it was committed, so that no transaction is open for what is written
        """
        self.running = None
        if self.last is None or self._reads:
            return
        previous = self._ended[-1] if self._ended else None
        if previous is not None and (previous.kind, previous.line) == (
            self.last.kind,
            self.last.line,
        ):
            return
        if len(self._ended) == MOST:
            return
        self._ended.append(self.last)
        if self.is_published:
            self._write([self.last])
            if commit:
                self._connection.connection.commit()

    def publish(self) -> None:
        """Write what ended so far: the step stops being one transaction now."""
        if not self.is_published and self._entry:
            self.is_published = True
            self._write(self._ended)

    def changed_table(self) -> str:
        """Return the table that the last statement is about, without a schema; empty for none."""
        return "" if self.last is None else table_of(self.last.kind)

    def find(self, sql: str) -> Statement | None:
        """Return the statement of a text, the last if there are several."""
        kind = kind_of(sql)
        every = [*self._ended, *filter(None, [self.last])]
        return next((one for one in reversed(every) if one.kind == kind), None)

    def _write(self, statements: list[Statement]) -> None:
        if not statements or not self._entry:
            return
        driver = driver_of(self._connection)
        # Past SQLAlchemy, which may be in the middle of another statement.
        has_queue = getattr(driver, "queue", None) is not None
        cursor = own_cursor(driver) if has_queue else driver.cursor()
        now = self._now().isoformat(" ", "seconds")
        lines = "".join(
            f"{one.number}\t{one.line}\t{now}\t{plain(one.kind)}\n" for one in statements
        )
        told = f"coalesce(statements, ''), '{lines}'"
        told = f"concat({told})" if self._is_mysql else told.replace("''), ", "'') || ")
        change = (
            f"UPDATE {name_of(self._connection, self._table)} SET statements = {told} "
            f"WHERE id = '{self._entry}'"
        )
        in_transaction = is_in_transaction(self._connection.dialect.name, driver)
        try:
            if in_transaction:
                cursor.execute(f"SAVEPOINT {SAVEPOINT}; {change}; RELEASE SAVEPOINT {SAVEPOINT}")
            else:
                cursor.execute(change)
        except self._connection.dialect.loaded_dbapi.Error:
            # The script may have locked tables, or set another role: it is not to fail for that.
            self._entry = ""
            if in_transaction:
                cursor.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        finally:
            cursor.close()


def is_in_transaction(dialect: str, driver: DBAPIConnection) -> bool:
    """True if PostgreSQL itself is in a transaction, which an error would end.

    Behind a literal COMMIT a driver may still believe that it is.
    """
    if dialect != "postgresql":
        return False
    info = getattr(driver, "info", None)
    return info is None or int(info.transaction_status) == IN_TRANSACTION


def statements_in(text: str) -> tuple[LedgerStatement, ...]:
    """Return the statements that a row of the ledger has.

    :raises ValueError: if they were not written here
    """
    found = []
    for line in text.splitlines():
        number, place, ended, kind = line.split("\t")
        time = datetime.fromisoformat(ended)
        found.append(LedgerStatement(int(number), kind, int(place), time))
    return tuple(found)


def plain(kind: str) -> str:
    """Return a kind without what a literal would have to escape, or a driver would read."""
    return re.sub(r"""[^\w ."`$\[\]-]""", "?", kind)
