"""What the database was behind each run, kept in the ledger: prints of its objects."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, desc, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.cache import program_version
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.units import Prints, by_unit, pack_prints, read_plain, unpack_prints
from websauna_migrate.runs.kept_scripts import LIMIT
from websauna_migrate.runs.ledger_table import column_names

log = logging.getLogger(__name__)

#: The note of a row whose facts a person accepted.
ACCEPTED = "drift accepted"

#: The kind of a fact that is a history's rows.
HISTORY = "history"

#: So many of the newest ones are looked at.
NEWEST = 50


@dataclass(frozen=True)
class KeptFacts:
    """What a database was behind a run, or when a person accepted it.

    :ivar package: of the run's last step
    :ivar note: of the ledger's row
    :ivar prints: see :mod:`.facts.units`
    """

    run: str
    package: str
    started: datetime
    note: str
    prints: Prints

    @property
    def name(self) -> str:
        """It in words."""
        return f"run {self.run[:8]} of {self.started:%Y-%m-%d %H:%M} UTC"


def history_fact(package: str, rows: Iterable[str]) -> Fact:
    """Return the rows of a package's history table as a fact, which is kept with the others."""
    return Fact.make(HISTORY, "", package, {"rows": tuple(sorted(rows))})


def around(connection: Connection) -> str:
    """Return what prints depend on besides the objects: another server writes them otherwise."""
    server = ".".join(map(str, connection.dialect.server_version_info or ()))
    return f"{connection.dialect.name} {server}, websauna_migrate {program_version()}"


def keep_facts(
    connection: Connection, table: Table, histories: Mapping[str, Iterable[str]], *runs: str
) -> None:
    """Keep what the database is in the row of each run's last step; what fails changes no run.

    :param connection: in no transaction
    :param histories: the rows of each package's history table
    """
    try:
        facts = [*read_plain(connection).objects, *map(history_fact, histories, histories.values())]
        packed = pack_prints(by_unit(facts), around(connection))
        # A longer text than MariaDB's is not kept.
        fits = connection.dialect.name not in ("mysql", "mariadb") or len(packed) <= LIMIT
        values = {"facts": packed if fits else None}
        connection.rollback()
        for run in runs:
            rows = select(table.c.id).where(table.c.run == run).order_by(desc(table.c.number))
            entry = connection.execute(rows.limit(1)).scalar()
            connection.execute(update(table).where(table.c.id == entry).values(values))
        connection.commit()
    except (DBAPIError, MigrationError) as exc:
        connection.rollback()
        log.info("The facts behind the run were not kept: %s", exc)


def kept_facts(connection: Connection, table: Table) -> tuple[list[KeptFacts], bool]:
    """Return the newest facts that were kept, newest first, and if they are those of the last run.

    Those that another version of the server or of this program wrote are left out.

    :param table: the ledger, which must be there
    """
    if not {"facts", "note"}.issubset(column_names(connection, table)):
        return [], False
    columns = table.c
    query = select(*(columns.run, columns.package, columns.started, columns.note, columns.facts))
    query = query.where(columns.facts.is_not(None)).order_by(desc(columns.id)).limit(NEWEST)
    found: list[KeptFacts] = []
    now = around(connection)
    for run, package, started, note, packed in connection.execute(query):
        try:
            kept = KeptFacts(run, package, started, note, unpack_prints(packed))
        except ValueError:
            # It was changed by hand, so it says nothing.
            continue
        if kept.prints.around == now:
            found.append(kept)
    steps = select(columns.run).where(columns.direction != "stamp", columns.outcome == "done")
    newest = connection.execute(steps.order_by(desc(columns.id)).limit(1)).scalar()
    own = next((one.run for one in found if one.note != ACCEPTED), None)
    return found, newest is not None and newest == own
