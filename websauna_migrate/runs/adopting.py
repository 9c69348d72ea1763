"""Making histories of other tools the packages' own, and giving them back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import MetaData, Table, delete, func, insert, inspect, select, text
from sqlalchemy.engine import Connection

from websauna_migrate.database.history_tables import read_rows, version_table, write_rows
from websauna_migrate.facts.postgresql import make_name
from websauna_migrate.planning.steps import Reason, Step
from websauna_migrate.results import LedgerEntry, StampedPackage
from websauna_migrate.runs.ledger import STAMP
from websauna_migrate.runs.ledger_table import installed_by
from websauna_migrate.runs.other_histories import OtherHistory
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site

#: The ledger's outcome of revisions whose history was taken over.
TAKEN_OVER = "taken over"

#: How the ledger's note of an adoption begins: the table, or what tables without any are.
FROM_TABLE = re.compile(r'^from the table "(.+)", by ')
ADOPTED = "adopted: "
GIVEN_BACK = "given back"


def adopt_histories(
    site: Site,
    taken: Sequence[OtherHistory],
    stamped: Mapping[str, tuple[Sequence[str], str]],
) -> None:
    """Write the histories of packages, all in one transaction, with rows in the ledger.

    Where the database commits by itself, the new rows are there before the old ones go.

    :param taken: histories that stand in other tables
    :param stamped: the rows of packages that have none anywhere, each with the proof
    :raises HistoryContradicted: if the histories are not as they were when they were looked for
    """
    with Runner(site).locked("adopt") as (connection, read):
        before = read()
        site.ledger.create(connection)
        for one in taken:
            if before[one.package]:
                continue
            record(site, connection, one)
            take(site, connection, one)
        for name, (rows, proof) in stamped.items():
            table = site.packages[name].history_table
            write_rows(connection, table, site.schema, tuple(rows))
            site.ledger.stamp(connection, name, table, tuple(rows), note=ADOPTED + proof)
        connection.commit()


def record(site: Site, connection: Connection, one: OtherHistory) -> None:
    """Say in the ledger from which table a history comes."""
    history = site.loaded.histories[one.package]
    run = uuid.uuid4().hex
    by = installed_by(connection.engine.url)
    for number, revision in enumerate(one.revisions, 1):
        step = Step(
            package=one.package,
            revision=history.revisions[history.meant_by(revision)],
            direction="upgrade",
            reasons=(Reason("requested", f"{one.package}@{revision}"),),
            rows_before=frozenset(),
            rows_after=frozenset(one.revisions),
        )
        table = one.history_table
        values = site.ledger.values(run=run, number=number, step=step, history_table=table)
        values["note"] = f'from the table "{one.table}", by {by}'[:255]
        values["installed_by"] = by
        site.ledger.record(connection, values, TAKEN_OVER, planned=False)


def take(site: Site, connection: Connection, one: OtherHistory) -> None:
    """Make a version table the package's own: by its name if it is whole, else by its rows."""
    old = one.table
    there = inspect(connection).has_table(old.name, schema=old.schema)
    rows = read_rows(connection, [old.name], old.schema)[old.name] if there else ()
    default = connection.dialect.default_schema_name
    at_home = old.visible and site.schema is None and old.schema in (default, "main")
    if at_home and {*rows} == {*one.revisions}:
        rename_table(connection, old.name, one.history_table)
        return
    write_rows(connection, one.history_table, site.schema, one.revisions)
    shape = version_table(old.name, old.schema)
    connection.execute(delete(shape).where(shape.c.version_num.in_(one.revisions)))
    if not connection.scalar(select(func.count()).select_from(shape)):
        shape.drop(connection)


def rename_table(connection: Connection, old: str, new: str) -> None:
    """Rename a version table, with its constraints, so that another one can get the name."""
    quote = connection.dialect.identifier_preparer.quote
    Table(new, MetaData()).drop(connection, checkfirst=True)
    if connection.dialect.name == "sqlite" and made_anew(connection, old, new):
        return
    statements = [f"ALTER TABLE {quote(old)} RENAME TO {quote(new)}"]
    if connection.dialect.name == "postgresql":
        query = "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:name AS regclass)"
        there = connection.scalars(text(query), {"name": quote(old).replace("%%", "%")}).all()
        for former, name in zip(names_in(old), names_in(new), strict=True):
            if former in there:
                statements.append(
                    f"ALTER TABLE {quote(new)} RENAME CONSTRAINT {quote(former)} TO {quote(name)}"
                )
    for statement in statements:
        connection.exec_driver_sql(statement)


def names_in(table: str) -> tuple[str, str]:
    """Return the names of what PostgreSQL keeps of a version table as Alembic makes it."""
    return f"{table}_pkc"[:63], make_name(table, "version_num", "not_null")


def made_anew(connection: Connection, old: str, new: str) -> bool:
    """Make a table of SQLite anew under another name, which RENAME would put in quotes for ever.

    :returns: False if it has indexes or triggers, or its statement cannot be read
    """
    statement = text("SELECT sql FROM sqlite_master WHERE tbl_name = :old AND sql IS NOT NULL")
    written = connection.scalars(statement, {"old": old}).all()
    found = (
        re.match(r'CREATE TABLE (?:"(?:[^"]|"")+"|\w+)(?=\s*\()', written[0]) if written else None
    )
    if len(written) != 1 or found is None:
        return False
    quote = connection.dialect.identifier_preparer.quote
    keys = (f"CONSTRAINT {quote(f'{one}_pkc')} " for one in (old, new))
    definition = written[0][found.end() :].replace(*keys)
    connection.exec_driver_sql(f"CREATE TABLE {quote(new)}{definition}")
    connection.exec_driver_sql(f"INSERT INTO {quote(new)} SELECT * FROM {quote(old)}")
    Table(old, MetaData()).drop(connection)
    return True


def adopted_packages(
    site: Site, connection: Connection, packages: Sequence[str]
) -> dict[str, LedgerEntry]:
    """Return the newest adoption of each package that was not given back, from the ledger."""
    found: dict[str, LedgerEntry] = {}
    if not site.ledger.is_there(connection):
        # Files alone were taken over.
        return found
    for name in packages:
        for entry in site.ledger.entries(connection, name):
            if entry.outcome == TAKEN_OVER or entry.note.startswith(ADOPTED):
                found[name] = entry
            elif entry.direction == STAMP:
                found.pop(name, None)
    return found


def give_back(
    site: Site, connection: Connection, adopted: Mapping[str, LedgerEntry]
) -> tuple[StampedPackage, ...]:
    """Give histories back to the tables that they came from, in the current transaction."""
    done = []
    for name, entry in sorted(adopted.items()):
        table = site.packages[name].history_table
        rows = read_rows(connection, [table], site.schema)[table]
        found = FROM_TABLE.match(entry.note)
        site.ledger.stamp(connection, name, table, (), note=GIVEN_BACK)
        if found is None:
            write_rows(connection, table, site.schema, None)
        else:
            give_table_back(site, connection, table, found[1], rows)
        done.append(StampedPackage(name, rows, ()))
    return tuple(done)


def drop_histories(site: Site, connection: Connection, packages: Collection[str]) -> None:
    """Drop the history tables of packages."""
    for name in packages:
        write_rows(connection, site.packages[name].history_table, site.schema, None)


def drop_empty_ledger(
    site: Site, connection: Connection, going: Collection[tuple[str, str]]
) -> bool:
    """Drop the ledger where it tells of adoptions alone, all of which were given back.

    :param going: packages and revisions whose scripts the adoptions wrote
    """
    if not site.ledger.is_there(connection):
        return False
    entries = site.ledger.entries(connection)
    tells_more = any(
        entry.outcome != TAKEN_OVER
        and not entry.note.startswith(ADOPTED)
        and entry.note != GIVEN_BACK
        and (entry.package, entry.revision) not in going
        for entry in entries
    )
    names = sorted({entry.package for entry in entries})
    if tells_more or adopted_packages(site, connection, names):
        return False
    site.ledger.table.drop(connection)
    return True


def give_table_back(
    site: Site, connection: Connection, own: str, former: str, rows: Sequence[str]
) -> None:
    """Let the table from which a history came have its rows again."""
    schema, name = named_table(connection, former)
    if not schema and site.schema is None and not inspect(connection).has_table(name):
        rename_table(connection, own, name)
        return
    if inspect(connection).has_table(name, schema=schema):
        shape = version_table(name, schema)
        connection.execute(insert(shape), [{"version_num": row} for row in rows])
    else:
        write_rows(connection, name, schema, rows)
    write_rows(connection, own, site.schema, None)


def named_table(connection: Connection, full: str) -> tuple[str | None, str]:
    """Return the schema and the name of a table; either may have a dot."""
    schemas = set(inspect(connection).get_schema_names())
    for place, letter in enumerate(full):
        if letter == "." and full[:place] in schemas:
            return full[:place], full[place + 1 :]
    return None, full
