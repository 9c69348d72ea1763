"""A proof in a scratch database that has what the author's has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import connect, driver_of, make_engine
from websauna_migrate.facts.mysql import without_schema
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.planning.plan import plan_round_trip, plan_upgrade
from websauna_migrate.proving.judge import Judge
from websauna_migrate.proving.not_proven import impossible
from websauna_migrate.replay.fresh import prepare, require_apart
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.migrating import run_steps
from websauna_migrate.runs.site import Site


def prove_apart(
    site: Site, new: Mapping[str, Sequence[str]], judge: Judge, at: Callable[[URL], Service]
) -> None:
    """Prove in a scratch database.

    :param at: returns the :class:`Service` of another database
    :raises MigrationError: as a run does, and if there can be no scratch database
    :raises NotProven: if the scripts leave a difference
    """
    require_apart(site.settings, {table.schema for table in judge.tables(whole=True)})
    applied = site.applied()
    with scratch_database(site.settings) as url:
        service = at(url)
        scratch = service.site()
        judge.loaded = scratch.loaded
        # The models are tried beside the scratch database, wherever that is.
        judge.settings = replace(service.settings, scratch_url=None)
        fill(site, scratch, url, applied)
        trip = plan_round_trip(scratch.loaded.graph, scratch.applied(), new)
        looks = [(trip.first, judge.before), (trip.there, judge.up), (trip.back, judge.down)]
        for steps, look in looks:
            run_steps(scratch, steps)
            look_at(service, look)
        run_steps(scratch, trip.again)
        if judge.unsettled:
            # What is written into the tables to compare expressions stays there.
            run_steps(scratch, trip.back)
            look_at(service, partial(judge.down, last=True))


def look_at(service: Service, look: Callable[[Connection], None]) -> None:
    """Let something look at a database."""
    with connect(service.make_engine()) as connection:
        look(connection)
        connection.rollback()


def fill(author: Site, scratch: Site, url: URL, applied: Mapping[str, tuple[str, ...]]) -> None:
    """Give a scratch database what the author's has, with its rows where they can be copied.

    :param applied: the rows of the histories in the author's database
    """
    dialect = url.get_backend_name()
    if not author.has_database:
        return
    if dialect == "sqlite":
        with author.connecting() as source, connect(make_engine(url)) as target:
            driver_of(source).backup(driver_of(target))
    elif dialect in ("mysql", "mariadb"):
        with_rows = author.settings.scratch_url is None
        engine = make_engine(url, author.settings.engine_options)
        with author.connecting() as source, connect(engine) as target:
            environments = author.loaded.environments.values()
            histories = [one.package.history_table for one in environments]
            copy_mysql(source, target, histories=histories, with_rows=with_rows)
    else:
        prepare(author.settings, url, scratch.loaded.graph.revisions)
        replay(scratch, applied)


def replay(scratch: Site, applied: Mapping[str, tuple[str, ...]]) -> None:
    """Run the scripts that are applied in the author's database."""
    histories = scratch.loaded.histories
    targets = {
        package: tuple(r for r in histories[package].squashed(rows) if r in histories[package])
        for package, rows in applied.items()
    }
    empty: Mapping[str, tuple[str, ...]] = dict.fromkeys(histories, ())
    wanted = {name: rows for name, rows in targets.items() if rows}
    try:
        run_steps(scratch, plan_upgrade(scratch.loaded.graph, empty, wanted).steps)
    except MigrationError as exc:
        first = str(exc).partition("\n")[0]
        raise impossible(
            f"It has to be tried in a scratch database, on which the earlier scripts fail. {first}"
        ) from exc


#: So many rows are copied on MariaDB, as far as the server knows how many there are.
MOST_ROWS = 100_000

TABLES = """
SELECT table_name, table_type, table_rows FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SEQUENCE')
ORDER BY table_type = 'BASE TABLE', table_name
"""

#: Columns that are not computed.
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = :table AND extra NOT LIKE '%GENERATED%'
ORDER BY ordinal_position
"""


def copy_mysql(
    source: Connection, target: Connection, *, histories: Collection[str], with_rows: bool
) -> None:
    """Copy the tables of a MariaDB or MySQL database; views, triggers and routines are left out.

    :param histories: tables whose rows are copied in any case
    :param with_rows: copy the rows too, if there are not too many; both are on one server then
    """
    found = [tuple(row) for row in source.execute(text(TABLES)) if row[0] != LEDGER_TABLE]
    database = str(source.engine.url.database)
    target.exec_driver_sql(
        "SET SESSION foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
    )
    target.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    for name, kind, _ in found:
        what = "SEQUENCE" if kind == "SEQUENCE" else "TABLE"
        shown = source.exec_driver_sql(f"SHOW CREATE {what} {quoted(name)}").one()
        # A column's next value comes from the copy of the sequence.
        target.exec_driver_sql(without_schema(str(shown[1]), database).replace("%", "%%"))
    few = sum(rows or 0 for _, _, rows in found) <= MOST_ROWS
    for name, kind, _ in found:
        if name in histories:
            rows = [tuple(r) for r in source.exec_driver_sql(f"SELECT * FROM {quoted(name)}")]
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                target.exec_driver_sql(f"INSERT INTO {quoted(name)} VALUES ({marks})", row)
        elif with_rows and few and kind != "SEQUENCE":
            columns = source.execute(text(COLUMNS), {"table": name}).scalars().all()
            listed = ", ".join(map(quoted, columns))
            target.exec_driver_sql(
                f"INSERT INTO {quoted(name)} ({listed}) "
                f"SELECT {listed} FROM {quoted(database)}.{quoted(name)}"
            )
    target.commit()
    source.rollback()


def quoted(name: str) -> str:
    """Return a name in quotes, for a driver that reads ``%``."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"
