"""What a plan would lose, counted: rows of dropped tables, values of dropped columns, and the like.

It is told by the one reader of scripts. Counting is bounded and never waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.engines import driver_of, said_by
from websauna_migrate.planning.accesses import DEFAULT_SCHEMAS, Access, Key, full_name
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import Loss
from websauna_migrate.runs.script_checks import read_only
from websauna_migrate.runs.site import Site

#: Up to how many rows are counted, and one more.
LIMIT = 100_001

#: How long one count may take, and all of them, in seconds.
EACH, ALL = 5, 20


#: The columns that have an enum type.
COLUMNS_OF_TYPE = sa.text(
    "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE n.nspname END, "
    "c.relname, a.attname FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
    "JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace "
    "WHERE t.typname = :name AND NOT a.attisdropped AND t.typtype = 'e' "
    "AND coalesce(tn.nspname = :schema, pg_type_is_visible(t.oid)) ORDER BY 1, 2, 3"
).bindparams(sa.bindparam("schema", type_=sa.String))

#: How a script accepts a loss of its upgrade.
ACCEPT = (
    "Where that is meant, the script says so, by table or column: "
    'loses = {"users.nick": "copied by z1"}'
)


class LossRefused(MigrationError, RuntimeError):
    """A run would lose more than ``--max-loss`` allows, or what cannot be counted.

    :ivar losses: what no script accepts
    """

    exit_code = ExitCode.LOSS

    def __init__(self, losses: tuple[Loss, ...], allowed: int = 0, remedy: str = ACCEPT) -> None:
        self.losses = losses
        lines = "".join(f"\n  {loss}" for loss in losses)
        super().__init__(
            f"More than {allowed} rows or values would be lost, or cannot be counted, and nothing "
            f"was changed:{lines}\n{remedy}"
        )


def refuse_losses(site: Site, allowed: int, plan: Plan) -> None:
    """Refuse a plan that loses too much; called within the run.

    :param allowed: how many rows and values may be lost
    :raises LossRefused: naming what no script accepts
    """
    found = tuple(
        loss for loss in find_losses(site, plan) if loss.is_loss and loss.accepted is None
    )
    if any(loss.count is None for loss in found) or sum(x.count or 0 for x in found) > allowed:
        raise LossRefused(found, allowed)


def find_losses(site: Site, plan: Plan) -> tuple[Loss, ...]:
    """Return what a plan would lose, and the rows that are in its way; what is nothing is left out.

    :param plan: of what is applied now
    """
    with site.reading() as connection:
        if connection is None:
            return ()
        counter = Counter(connection)
        return tuple(
            loss
            for step in plan.steps
            for access in accesses_of(site, step)
            for loss in counter.look(step, access)
        )


def accesses_of(site: Site, step: Step) -> tuple[Access, ...]:
    """Return what the function of a step does, read from its script."""
    path = step.revision.path
    if step.direction == "upgrade":
        return site.loaded.environments[step.package].reader.index.upgrade(path)
    from websauna_migrate.revision_scripts.script_reader import read_effects

    return read_effects(Path(path).read_bytes(), path, "downgrade")


class Counter:
    """Follows the steps of a plan, and counts in the database as it is before them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + ALL
        #: What earlier steps have renamed, by the new name; ``None`` for what they have made.
        self.tables: dict[Key, Key | None] = {}
        self.columns: dict[tuple[Key, str], str | None] = {}
        #: The enum columns that were counted: of a script's ways for databases one is meant.
        self.enums: set[tuple[Step, str, tuple[str, ...]]] = set()

    def look(self, step: Step, access: Access) -> Iterator[Loss]:
        """Yield what is lost by one thing that a step does."""
        key = usual(access.key)
        now = self.tables.get(key, key)
        kind, columns = access.kind, access.columns
        if kind in ("create_type", "alter_type"):
            yield from self.look_at_type(step, access)
        elif kind == "unreadable":
            yield loss_of(step, access, None, "what it does cannot be read from the script")
        elif kind == "create_table" and access.sure:
            self.tables[key] = None
        elif kind == "rename_table" and access.new_name:
            self.tables[usual((access.new_schema, access.new_name))] = now
        elif now is None:
            return
        elif kind == "add_column" and access.column:
            self.columns[now, access.column] = None
            # MariaDB makes values up.
            if access.rule and self.connection.dialect.name not in ("mysql", "mariadb"):
                yield from self.count(step, access, now, ())
        elif kind == "rename_column" and access.column and access.new_name:
            old = self.columns.get((now, access.column), access.column)
            self.columns[now, access.new_name] = old
        elif kind == "drop_table":
            yield from self.count(step, access, now, ())
        elif (
            kind == "drop_column"
            or access.rule
            or (kind == "foreign_key" and columns and access.target_columns)
        ):
            known = [self.columns.get((now, name), name) for name in columns]
            if known and None not in known:
                yield from self.count(step, access, now, tuple(map(str, known)))

    def look_at_type(self, step: Step, access: Access) -> Iterator[Loss]:
        """Yield the rows of the columns of a type that have values which it loses."""
        if access.rule is None or self.connection.dialect.name != "postgresql":
            return
        with read_only(self.connection):
            columns = self.connection.execute(
                COLUMNS_OF_TYPE, {"name": access.name, "schema": access.schema}
            ).all()
        for schema, table, column in columns:
            own = replace(
                access, kind="alter_column", schema=schema, name=table, columns=(str(column),)
            )
            yield from self.count(step, own, usual((schema, table)), own.columns)

    def count(
        self, step: Step, access: Access, table: Key, columns: tuple[str, ...]
    ) -> Iterator[Loss]:
        """Yield how much one thing loses, unless it is nothing."""
        if access.rule == "enum value":
            seen = (step, table[1], columns)
            if seen in self.enums:
                return
            self.enums.add(seen)
        target = usual((access.target_schema, access.target_table or ""))
        if access.target_table:
            found = self.tables.get(target, target)
            if found is None:
                return
            target = found
        if time.monotonic() > self.deadline:
            yield loss_of(step, access, None, f"not counted: all counts together took {ALL} s")
            return
        try:
            with read_only(self.connection), bounded(self.connection):
                names = sa.inspect(self.connection)
                if not names.has_table(table[1], schema=table[0]):
                    return
                there = {column["name"] for column in names.get_columns(table[1], schema=table[0])}
                if not {*columns} <= there:
                    return
                query = query_of(access, table, columns, target)
                number = int(self.connection.execute(query).scalar() or 0)
        except DBAPIError as exc:
            words = said_by(exc, self.connection.engine.url)
            yield loss_of(step, access, None, f"not counted: {words}")
            return
        if number:
            yield loss_of(step, access, number)


def usual(key: Key) -> Key:
    """Return a table's name with ``None`` for a schema that it is in by default."""
    return (None if key[0] in DEFAULT_SCHEMAS else key[0]), key[1]


def query_of(access: Access, table: Key, columns: tuple[str, ...], target: Key) -> sa.Select[int]:
    """Return a query that gives how many rows or values something loses, or has in its way."""
    own = sa.table(table[1], *map(sa.column, columns), schema=table[0])
    parts = [own.c[name] for name in columns]
    given = [part.is_not(None) for part in parts]
    rows = sa.select(sa.literal(1).label("one")).select_from(own)
    if access.kind == "drop_column":
        rows = rows.where(sa.or_(*given))
    elif access.rule == "not null" and parts:
        rows = rows.where(sa.or_(*(part.is_(None) for part in parts)))
    elif access.rule == "enum value":
        texts = [sa.cast(part, sa.String(255)) for part in parts]
        rows = rows.where(*given, *(text.not_in(access.values) for text in texts))
    elif access.rule == "unique":
        number = (sa.func.count() - 1).label("more")
        groups = sa.select(number).select_from(own).where(*given).group_by(*parts)
        return sa.select(sa.func.sum(groups.having(sa.func.count() > 1).subquery().c.more))
    elif access.kind == "foreign_key":
        remote: list[sa.ColumnClause[Any]] = [sa.column(name) for name in access.target_columns]
        other = sa.table(target[1], *remote, schema=target[0]).alias("referred")
        same = [
            part == other.c[name] for part, name in zip(parts, access.target_columns, strict=False)
        ]
        found = sa.select(sa.literal(1)).select_from(other).where(*same).correlate(own).exists()
        rows = rows.where(*given, ~found)
    return sa.select(sa.func.count()).select_from(rows.limit(LIMIT).subquery())


@contextmanager
def bounded(connection: Connection) -> Iterator[None]:
    """Let no statement within the block run for long, or wait for a lock."""
    kind = connection.dialect.name
    if kind == "postgresql":
        # Both end with the transaction, or savepoint, around it.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{EACH}s'")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        yield
    elif kind == "sqlite":
        driver = driver_of(connection)
        deadline = time.monotonic() + EACH
        driver.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
    else:
        # In seconds at MariaDB, milliseconds at MySQL. A session that was given gets its own back.
        mariadb = getattr(connection.dialect, "is_mariadb", False)
        name, value = (
            ("max_statement_time", EACH) if mariadb else ("max_execution_time", EACH * 1000)
        )
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = 1, {name} = {value}")
        yield


def loss_of(step: Step, access: Access, count: int | None, problem: str = "") -> Loss:
    """Return a loss, with what its script says of it."""
    table = full_name(*usual(access.key))
    names = [table, *(f"{table}.{column}" for column in access.columns), "*"]
    accepted = dict(step.revision.loses) if step.direction == "upgrade" else {}
    return Loss(
        package=step.package,
        revision=step.revision.id,
        path=step.revision.path,
        line=access.line,
        kind=access.rule or access.kind,
        table=table,
        columns=access.columns,
        does=str(access),
        count=count,
        problem=problem,
        accepted=next((accepted[name] for name in names if name in accepted), None),
    )
