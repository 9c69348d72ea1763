"""The ledger: a table that records every step of every run, and marks a step in progress.

A step's row is inserted in the step's own transaction before its script runs, with outcome
``running``, and updated to ``done`` right after the history table. In a purely transactional step
no other connection sees it as ``running``; whatever ends the transaction early (an
``autocommit_block``, a literal COMMIT, MariaDB's implicit one) publishes it exactly when the step
stops being atomic. A row that is seen as ``running`` while no run is in progress is therefore a
step that ended half done.

The row of a run's first step is written beforehand, as ``planned``, so that those who wait for the
run can read who it is. The next run writes ``unfinished`` where a killed one left it at that.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from websauna_migrate.database.cache import program_version
from websauna_migrate.database.engines import one_line
from websauna_migrate.database.history_tables import RecordsBroken, list_tables, usable
from websauna_migrate.planning.ledger_agreement import Recorded
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import LedgerEntry
from websauna_migrate.revision_scripts.script_error import ScriptRefused
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.runs.ledger_table import (
    ESSENTIAL,
    FEW,
    LEDGER_TABLE,
    column_names,
    create,
    installed_by,
    make_table,
    name_of,
    sql_of,
)
from websauna_migrate.runs.statement_log import statements_in

#: Outcomes. A step has exactly one row in each run.
PLANNED = "planned"
RUNNING = "running"
DONE = "done"
FAILED = "failed"
STOPPED = "stopped"
UNDONE = "undone"
UNFINISHED = "unfinished"

#: The direction of a row that tells of a stamp, besides "upgrade" and "downgrade".
STAMP = "stamp"

#: Columns of many letters, which are read where they are needed.
PACKED = frozenset({"script", "facts"})

NO_LEDGER = (
    "Correct the row if it was changed by hand. A table of another origin has to get another name: "
    "the ledger is made anew then."
)


def unreadable(table: str, problem: str, remedy: str = "") -> RecordsBroken:
    """Return the error of a ledger that cannot be read.

    :param remedy: what to do; empty for a table that is no ledger, or has foreign rows
    """
    return RecordsBroken(
        "ledger", f'The table "{table}" cannot be read: {problem} {remedy or NO_LEDGER}'
    )


#: The database's time in UTC, which all rows of a ledger have. SQLite's is this machine's.
CLOCKS = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
}


def utc_now() -> datetime:
    """Return this machine's time in UTC without a zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Ledger:
    """Reads and writes the ledger's table on a connection that it is given."""

    def __init__(self, schema: str | None = None) -> None:
        self.table = make_table(schema)
        self._ahead = timedelta(0)
        self.host = socket.gethostname()[:255]
        self.version = program_version()[:64]
        self._end = (
            update(self.table)
            .where(self.table.c.id == bindparam("b_id"), self.table.c.outcome == RUNNING)
            .values(outcome=bindparam("outcome"), ended=bindparam("ended"), note=bindparam("note"))
        )

    def is_there(self, connection: Connection) -> bool:
        """Tell whether the database has a ledger."""
        return LEDGER_TABLE in list_tables(connection, self.table.schema)

    def create(self, connection: Connection) -> None:
        """Create the table unless it is there, add what is missing, and read the clock."""
        create(connection, self.table)
        query = CLOCKS.get(connection.dialect.name)
        if query is not None:
            time_there = connection.exec_driver_sql(query).scalar_one()
            self._ahead = time_there.replace(tzinfo=None) - utc_now()

    def now(self) -> datetime:
        """Return the database's time in UTC without a zone, as of the last :meth:`create`."""
        return utc_now() + self._ahead

    def new_id(self, run: str, number: int) -> str:
        """Return 32 unique hexadecimal digits, for a step of a run.

        They begin with the time, so that the newest row is at the end of the index.
        """
        ahead = int(self._ahead.total_seconds() * 1e9)
        return f"{time.time_ns() + ahead:016x}{run[:8]}{number & 0xFFFFFFFF:08x}"

    def plan(
        self,
        connection: Connection,
        *,
        run: str,
        step: Step,
        steps: int,
        history_table: str,
        session: int | None = None,
    ) -> str:
        """Write the row of a run's first step before the run begins, and return its id.

        What a killed run left before the end of its first step is told as unfinished.

        :param steps: how many the run is to have
        """
        left = self.table.c.outcome == PLANNED
        connection.execute(update(self.table).where(left).values(outcome=UNFINISHED))
        values = self.values(
            run=run, number=1, step=step, history_table=history_table, session=session
        )
        values |= {"installed_by": installed_by(connection.engine.url), "steps": steps}
        connection.execute(insert(self.table), {**values, "outcome": PLANNED, "checksum": ""})
        return str(values["id"])

    def values(
        self,
        *,
        run: str,
        number: int,
        step: Step,
        history_table: str,
        session: int | None = None,
        entry: str | None = None,
        digest: str | None = None,
        script: str | None = None,
    ) -> dict[str, object]:
        """Return a row that marks a step as running, by column.

        :param entry: the row's id; default: a new one
        :param script: the script's text as it is kept; ``None`` where another row has it
        :param digest: the script's checksum, if it was taken when the script was imported
        """
        return {
            **self._row(run, number, step.package, step.revision.id, step.direction, history_table),
            **({} if entry is None else {"id": entry}),
            "outcome": RUNNING,
            "checksum": checksum(step.revision.path) if digest is None else digest,
            "session": session or 0,
            **({} if script is None else {"script": script}),
        }

    def _row(
        self, run: str, number: int, package: str, revision: str, direction: str, table: str
    ) -> dict[str, object]:
        """Return a row of a step that begins now, by column."""
        return {
            "id": self.new_id(run, number),
            "run": run,
            "number": number,
            "package": package[:255],
            "revision": revision[:255],
            "direction": direction,
            "history_table": table,
            "started": self.now(),
            "ended": None,
            "outcome": DONE,
            "host": self.host,
            "process": os.getpid(),
            "version": self.version,
            "checksum": "",
            "session": 0,
            "note": "",
        }

    def start(
        self, connection: Connection, values: dict[str, object], *, planned: bool = False
    ) -> None:
        """Write a step's row, which marks it.

        :param planned: whether the row is there already, written by :meth:`plan`
        """
        if planned:
            self.change(connection, str(values["id"]), values)
        else:
            connection.execute(insert(self.table), values)

    def marker(self, connection: Connection, values: Mapping[str, object], **others: str) -> str:
        """Return PostgreSQL's statement that writes a step's row, without parameters.

        :param others: columns with the SQL of what they get
        """
        row = {**{name: sql_of(value) for name, value in values.items()}, **others}
        names, given = ", ".join(row), ", ".join(row.values())
        return f"INSERT INTO {name_of(connection, self.table)} ({names}) VALUES ({given})"

    def end_with(
        self, connection: Connection, values: Mapping[str, object], change: str, *, marked: bool
    ) -> str:
        """Return PostgreSQL's statement that ends a step and changes its history in one.

        It changes nothing where the step is not marked any more. The time is the client's, as it is
        in all rows, and what the server took since it got the message.

        :param change: an UPDATE of the history table, with a WHERE
        :param marked: whether the step's row was sent; else it is written
        """
        ended = f"timestamp {sql_of(self.now())} + (clock_timestamp() - statement_timestamp())"
        if marked:
            told = (
                f"UPDATE {name_of(connection, self.table)} SET outcome = '{DONE}', ended = {ended} "
                f"WHERE id = {sql_of(values['id'])} AND outcome = '{RUNNING}'"
            )
        else:
            told = self.marker(connection, values, outcome=f"'{DONE}'", ended=ended)
        return f"WITH told AS ({told} RETURNING 1) {change} AND EXISTS (SELECT 1 FROM told)"

    def end(self, connection: Connection, entry: str, outcome: str = DONE, note: str = "") -> None:
        """Write how a step ended.

        :raises ScriptRefused: if the row is not there any more, or no longer marked
        """
        values = {"b_id": entry, "outcome": outcome, "ended": self.now(), "note": note[:255]}
        # -1: the driver does not count.
        if connection.execute(self._end, values).rowcount == 0:
            raise ScriptRefused("rollback")

    def record(
        self, connection: Connection, values: dict[str, object], outcome: str, *, planned: bool
    ) -> None:
        """Write a step that left nothing behind: it failed, or was stopped.

        :param planned: whether the row is there already; one that says "done" stays
        """
        values = {**values, "outcome": outcome, "ended": self.now()}
        if planned:
            connection.execute(
                update(self.table)
                .where(self.table.c.id == values["id"], self.table.c.outcome != DONE)
                .values(values)
            )
        else:
            connection.execute(insert(self.table), values)

    def stamp(
        self,
        connection: Connection,
        package: str,
        history_table: str,
        rows: Sequence[str],
        note: str = "",
    ) -> str:
        """Write that a history table got its rows by a stamp; the table must be there.

        :param note: why, where that was no person's word
        :returns: the run that it is in the ledger
        """
        run, revision = uuid.uuid4().hex, " ".join(sorted(rows)) or "base"
        values = self._row(run, 1, package, revision, STAMP, history_table)
        values |= {"ended": values["started"], "note": note[:255]}
        values["installed_by"] = installed_by(connection.engine.url)
        connection.execute(insert(self.table), values)
        return run

    def recorded(self, connection: Connection, plan: Plan) -> list[Recorded]:
        """Return what the table says of the steps of a plan, and of stamps, oldest first."""
        columns = self.table.c
        query = select(
            *(columns.package, columns.revision, columns.direction, columns.outcome),
            *(columns.started, columns.ended),
        ).where(columns.package.in_(plan.packages))
        wanted = {step.revision.id for step in plan.steps}
        if len(wanted) < FEW:
            query = query.where(columns.revision.in_(wanted) | (columns.direction == STAMP))
        with readable(connection, self.table.schema):
            # They begin with the time; on MariaDB, times have no fractions of a second.
            return [Recorded(*row) for row in connection.execute(query.order_by(columns.id))]

    def newest(self, connection: Connection) -> dict[tuple[str, str], LedgerEntry]:
        """Return the last step of each revision that was done, by package and revision."""
        columns = self.table.c
        # Identifiers begin with the time.
        last = (
            select(func.max(columns.id))
            .where(columns.outcome == DONE, columns.direction != STAMP)
            .group_by(columns.package, columns.revision)
        )
        found = self.read(connection, columns.id.in_(last))
        return {(entry.package, entry.revision): entry for entry in found}

    def stamps(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the stamps, oldest first; ``revision`` has the rows, with spaces between."""
        return self.read(connection, self.table.c.direction == STAMP)

    def change(self, connection: Connection, entry: str, values: Mapping[str, object]) -> None:
        """Change columns of a row."""
        connection.execute(update(self.table).where(self.table.c.id == entry).values(dict(values)))

    def remove(self, connection: Connection, entry: str) -> None:
        """Delete a row."""
        connection.execute(delete(self.table).where(self.table.c.id == entry))

    def interrupted(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the steps that are marked as running; the table must be there."""
        return self.read(connection, self.table.c.outcome == RUNNING)

    def entries(
        self, connection: Connection, package: str | None = None
    ) -> tuple[LedgerEntry, ...]:
        """Return all rows, oldest first, of one package or of all."""
        return self.read(
            connection, *([] if package is None else [self.table.c.package == package])
        )

    def run_of(self, connection: Connection) -> tuple[LedgerEntry, ...]:
        """Return the rows of the newest run, oldest first; while a run is in progress: its own."""
        newest = select(self.table.c.run).order_by(self.table.c.id.desc()).limit(1)
        return self.read(connection, self.table.c.run == newest.scalar_subquery())

    def read(
        self, connection: Connection, *conditions: ColumnElement[bool]
    ) -> tuple[LedgerEntry, ...]:
        """Return the rows that conditions choose, oldest first."""
        with readable(connection, self.table.schema):
            there = ESSENTIAL.union(column_names(connection, self.table))
            wanted = [one for one in self.table.c if one.name in there and one.name not in PACKED]
            query = select(*wanted).where(*conditions)
            # Identifiers begin with the time; on MariaDB, times have no fractions of a second.
            rows: Sequence[Row[tuple[object, ...]]] = connection.execute(
                query.order_by(self.table.c.started, self.table.c.id)
            ).all()
        return tuple(entry_of(row) for row in rows)


@contextmanager
def readable(connection: Connection, schema: str | None) -> Iterator[None]:
    """Name the ledger where it cannot be read.

    :raises RecordsBroken: if it has other columns, or values of another kind
    """
    try:
        with usable(connection, LEDGER_TABLE, schema, unreadable):
            yield
    except (TypeError, ValueError) as exc:
        # SQLite keeps whatever it is given, and the time is read from a text.
        raise unreadable(LEDGER_TABLE, one_line(str(exc))) from exc


def entry_of(row: Row[tuple[object, ...]]) -> LedgerEntry:
    """Return a row of the ledger.

    :raises RecordsBroken: if it was not written by a run
    """
    known = {
        name: value
        for name, value in row._mapping.items()
        if value is not None or name in ESSENTIAL
    }
    try:
        known["statements"] = statements_in(known.get("statements", ""))
    except (AttributeError, TypeError, ValueError) as exc:
        raise unreadable(LEDGER_TABLE, foreign(known["id"])) from exc
    entry = LedgerEntry(**known)
    texts = (entry.id, entry.run, entry.package, entry.revision, entry.outcome, entry.host)
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(entry.started, datetime)
        or entry.direction not in ("upgrade", "downgrade", STAMP)
    ):
        raise unreadable(LEDGER_TABLE, foreign(entry.id))
    return entry


def foreign(entry: object) -> str:
    """Return what is wrong with a row of another origin."""
    return f"the row {entry!r} was not written by a run."
