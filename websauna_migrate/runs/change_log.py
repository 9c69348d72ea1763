"""Who changed a database by hand, and with what: an event trigger of PostgreSQL, on demand.

It records nothing of runs, never fails a statement, and is no package's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import driver_words, one_line
from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.facts.units import Unit
from websauna_migrate.locks.run_lock import lock_key
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site

#: The table, and the beginning of the names of function and event triggers.
NAME = "websauna_migrate_changes"

#: Letters of a statement that are kept.
KEPT = 2000

#: What is installed; the schema is put in. A failure fails no statement.
INSTALL = """
CREATE TABLE IF NOT EXISTS {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamp NOT NULL,
    role text NOT NULL,
    client text NOT NULL,
    command text NOT NULL,
    object text NOT NULL,
    statement text NOT NULL
);
CREATE OR REPLACE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    objects text[];
BEGIN
    IF coalesce(current_setting('application_name', true), '') LIKE 'websauna_migrate %' THEN
        RETURN;
    END IF;
    -- A run on a connection of the application's has the lock of runs.
    IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
            AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((classid::bigint << 32) | objid::bigint) = {key}) THEN
        RETURN;
    END IF;
    IF tg_event = 'sql_drop' THEN
        objects := ARRAY(SELECT object_identity FROM pg_event_trigger_dropped_objects()
            WHERE NOT is_temporary AND object_type <> 'type' AND (original OR normal));
    ELSE
        objects := ARRAY(SELECT object_identity FROM pg_event_trigger_ddl_commands()
            WHERE schema_name IS DISTINCT FROM 'pg_temp');
    END IF;
    INSERT INTO {table} (at, role, client, command, object, statement)
    SELECT clock_timestamp() AT TIME ZONE 'UTC', session_user,
        concat_ws(' ', nullif(current_setting('application_name', true), ''),
            host(inet_client_addr())),
        tg_tag, object, left(current_query(), {kept})
    FROM unnest(objects) AS object WHERE object IS NOT NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN;
END
$body$;
DROP EVENT TRIGGER IF EXISTS {name}_end;
DROP EVENT TRIGGER IF EXISTS {name}_drop;
CREATE EVENT TRIGGER {name}_end ON ddl_command_end EXECUTE FUNCTION {function}();
CREATE EVENT TRIGGER {name}_drop ON sql_drop EXECUTE FUNCTION {function}();
"""

REMOVE = """
DROP EVENT TRIGGER IF EXISTS {name}_end;
DROP EVENT TRIGGER IF EXISTS {name}_drop;
DROP FUNCTION IF EXISTS {function}();
DROP TABLE IF EXISTS {table};
"""


def record_who(site: Site, *, stop: bool = False) -> None:
    """Install the event trigger, or bring it up to date, under the lock of runs.

    :param stop: remove it, and what it recorded
    :raises MigrationError: on another database, and where the role may not
    """
    with Runner(site).locked() as (connection, _):
        if connection.dialect.name != "postgresql":
            raise MigrationError(
                f"{connection.dialect.name} has no event triggers: who changed a database is "
                "recorded on PostgreSQL alone."
            )
        schema = site.schema or connection.exec_driver_sql("SELECT current_schema()").scalar()
        table = f"{quote_name(str(schema))}.{NAME}"
        key = lock_key(site.schema or "")
        script = REMOVE if stop else INSTALL
        statements = script.format(table=table, function=table, name=NAME, kept=KEPT, key=key)
        try:
            connection.exec_driver_sql(statements.replace("%", "%%"))
        except DBAPIError as exc:
            connection.rollback()
            raise MigrationError(
                f"The event trigger was not changed: {one_line(driver_words(exc.orig))} PostgreSQL "
                "lets superusers alone make one: run the command with the URL of such a role."
            ) from exc
        connection.commit()


@dataclass(frozen=True)
class Change:
    """A statement that was recorded."""

    at: datetime
    role: str
    client: str
    object: str
    statement: str

    def __str__(self) -> str:
        """Return it as a clause."""
        by = f" by {self.client}" if self.client else ""
        return (
            f"role {self.role}{by} at {self.at:%Y-%m-%d %H:%M:%S} UTC: {one_line(self.statement)}"
        )


class Changes:
    """What was recorded, newest first; nothing where no trigger is."""

    def __init__(
        self, connection: Connection, schema: str | None, since: datetime | None = None
    ) -> None:
        """Read it.

        :param since: leave out what is older
        """
        self.rows: list[Change] = []
        if connection.dialect.name != "postgresql" or NAME not in list_tables(connection, schema):
            return
        table = f"{quote_name(schema)}.{NAME}" if schema else NAME
        where, values = (" WHERE at > :since", {"since": since}) if since else ("", {})
        query = f"SELECT at, role, client, object, statement FROM {table}{where} ORDER BY id DESC"
        found = connection.execute(text(query), values)
        self.rows = [Change(*row) for row in found]

    def of(self, units: Iterable[Unit], since: datetime | None) -> str:
        """Return who changed one of some objects last, a clause; empty if nothing tells.

        :param since: a run behind which the objects were as they should be
        """
        units = list(units)
        names = {name for unit in units for name in names_of(unit)}
        parts = "|".join(re.escape(unit[3]) for unit in units if unit[3] not in ("", unit[1]))
        found = [
            row for row in self.rows if row.object in names and (since is None or row.at > since)
        ]
        # A table is named for its columns, too: a statement with the name of one goes before.
        naming = [row for row in found if parts and re.search(rf"\b(?:{parts})\b", row.statement)]
        return str((naming or found)[0]) if found else ""


def names_of(unit: Unit) -> Iterator[str]:
    """Yield how event triggers name an object, and the table that it is a part of."""
    schema, whole, _, name, _ = unit
    yield f"{quote_name(schema)}.{quote_name(whole)}"
    if name and name != whole:
        yield f"{quote_name(schema)}.{quote_name(name)}"
        yield f"{quote_name(name)} on {quote_name(schema)}.{quote_name(whole)}"
