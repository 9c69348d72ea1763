"""What is known of a half done step: what of it ran, what did not, and what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import UNREADABLE, Access
from websauna_migrate.results import InterruptedStep, LedgerEntry, LedgerStatement
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.runs.site import Site

#: What changes nothing in the schema by itself.
USES = ("read_table", "use_type", "foreign_key", "use_other_schema", *UNREADABLE)

TABLE_OF_STATEMENT = re.compile(
    r"^(?:(?:CREATE|ALTER|DROP) .*?TABLE|INSERT .*?INTO|REPLACE INTO|DELETE FROM|UPDATE|"
    r"TRUNCATE(?: TABLE)?) (?P<name>.+)$",
    re.DOTALL,
)


def look_closely(
    site: Site, connection: Connection, entry: LedgerEntry, known: str
) -> InterruptedStep:
    """Return what can be said of a step that ended half done.

    :param known: what its history table says, a sentence
    """
    left = tuple(not_run(site, entry))
    return InterruptedStep(
        entry,
        known,
        failure=f"{entry.error}{entry.failed_at}" if entry.error else "",
        not_run=tuple(f"line {one.line}: {one}" for one in left),
        objects=tuple(objects_there(connection, entry.statements, left)),
        script=script_words(site, entry),
    )


def script_words(site: Site, entry: LedgerEntry) -> str:
    """Return what became of the step's script since; empty if it is as it was."""
    history = site.loaded.histories.get(entry.package)
    if history is None or entry.revision not in history.replacements.written:
        return "Its script is not there any more."
    path = history.replacements.written[entry.revision].path
    if entry.checksum and entry.checksum != checksum(path):
        return f'Its script "{path}" was changed since.'
    return ""


def not_run(site: Site, entry: LedgerEntry) -> Iterator[Access]:
    """Yield what the script of an upgrade does behind the place that it came to."""
    history = site.loaded.histories.get(entry.package)
    written = {} if history is None else history.replacements.written
    if entry.direction != "upgrade" or entry.revision not in written:
        return
    reached = max((one.line for one in entry.statements), default=0)
    for access in site.loaded.all_effects[entry.package, entry.revision]:
        behind = access.line > reached if entry.line is None else access.line >= entry.line
        if behind and access.kind not in USES:
            yield access


def objects_there(
    connection: Connection, statements: Sequence[LedgerStatement], left: Sequence[Access]
) -> Iterator[str]:
    """Yield what the catalogue has of the tables that the statements and operations name."""
    names: dict[tuple[str | None, str], None] = {}
    for one in statements:
        found = TABLE_OF_STATEMENT.match(one.kind)
        if found is not None:
            names[split(found["name"])] = None
    for access in left:
        names[access.schema, access.name] = None
    try:
        inspector = inspect(connection)
        for schema, name in names:
            yield table_words(inspector, schema, name)
    except SQLAlchemyError:
        connection.rollback()


def split(name: str) -> tuple[str | None, str]:
    """Return the schema, if one was written, and the name of a table, without quotes."""
    parts = re.findall(r'"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+', name)
    plain = [part.strip('"`[]') for part in parts]
    return (plain[0], plain[1]) if len(plain) > 1 else (None, plain[0])


def table_words(inspector: Inspector, schema: str | None, name: str) -> str:
    """Return what the catalogue has of a table."""
    full = f'"{schema}.{name}"' if schema else f'"{name}"'
    if not inspector.has_table(name, schema):
        return f"no table {full}"
    columns = ", ".join(one["name"] for one in inspector.get_columns(name, schema))
    indexes = ", ".join(str(one["name"]) for one in inspector.get_indexes(name, schema))
    return f"table {full}, columns {columns}{f'; indexes {indexes}' if indexes else ''}"


def known_facts(
    entry: LedgerEntry, connection: Connection, applied: Mapping[str, Sequence[str]]
) -> str:
    """Return what the database says of a half done step, in words.

    :param applied: the rows of the history tables, by package
    """
    rows = applied.get(entry.package)
    if rows is None:
        facts = ["Its package is not registered any more"]
    else:
        there = "has" if entry.revision in rows else "does not have"
        listed = in_quotes(rows) or "none"
        facts = [f'Its history table "{entry.history_table}" {there} its row (rows: {listed})']
    found = invalid_indexes(connection)
    if found:
        facts.append(f"INVALID indexes: {', '.join(found)}")
    return "; ".join(facts) + "."


def invalid_indexes(connection: Connection) -> tuple[str, ...]:
    """Return the indexes that a CREATE INDEX CONCURRENTLY left unfinished; PostgreSQL has them."""
    if connection.dialect.name != "postgresql":
        return ()
    try:
        return tuple(
            connection.scalars(
                text(
                    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) "
                    "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                    "JOIN pg_namespace n ON n.oid = c.relnamespace "
                    "WHERE NOT i.indisvalid AND n.nspname !~ '^pg_' ORDER BY 1"
                )
            )
        )
    except SQLAlchemyError:
        connection.rollback()
        return ()
