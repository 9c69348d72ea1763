"""What is known of a half done step: what of it ran, what did not, and what is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import UNREADABLE, Access
from websauna_migrate.results import InterruptedStep, LedgerEntry, LedgerStatement
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.revision_scripts.script_files import checksum
from websauna_migrate.revision_scripts.script_reader import read_effects
from websauna_migrate.runs.kept_scripts import kept_script
from websauna_migrate.runs.site import Site

#: What changes nothing in the schema by itself.
USES = ("read_table", "use_type", "foreign_key", "use_other_schema", *UNREADABLE)

TABLE_OF_STATEMENT = re.compile(
    r"^(?:(?:CREATE|ALTER|DROP) .*?TABLE|INSERT .*?INTO|REPLACE INTO|DELETE FROM|UPDATE|"
    r"TRUNCATE(?: TABLE)?) (?P<name>.+)$",
    re.DOTALL,
)


def one_of(attempts: Sequence[LedgerEntry]) -> LedgerEntry:
    """Return a step as its newest mark tells it, with what ended in any of its attempts.

    :param attempts: its marks, oldest first: one for each time that it ended half done
    """
    ended = {
        (one.number, one.kind, one.line): one for entry in attempts for one in entry.statements
    }
    return replace(attempts[-1], statements=tuple(ended.values()))


def look_closely(
    site: Site, connection: Connection, attempts: Sequence[LedgerEntry], known: str
) -> InterruptedStep:
    """Return what can be said of a step that ended half done.

    :param attempts: its marks, oldest first
    :param known: what its history table says, a sentence
    """
    entry = one_of(attempts)
    effects = effects_now(site, entry)
    left = not_run(site, connection, attempts, effects)
    return InterruptedStep(
        entry,
        known,
        failure=f"{entry.error}{entry.failed_at}" if entry.error else "",
        not_run=tuple(f"line {one.line}: {one}" for one in left),
        objects=tuple(objects_there(connection, entry.statements, effects)),
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


def effects_now(site: Site, entry: LedgerEntry) -> tuple[Access, ...]:
    """Return what a step's script changes, as it is now; nothing if it is not there."""
    history = site.loaded.histories.get(entry.package)
    if history is None or entry.revision not in history.replacements.written:
        return ()
    revision = history.replacements.written[entry.revision]
    return changes_in(site.loaded.environments[entry.package].reader.text(revision), entry)


def changes_in(source: bytes | None, entry: LedgerEntry) -> tuple[Access, ...]:
    """Return what the function of a step changes, by a text of its script, as far as it is read."""
    if source is None:
        return ()
    try:
        found = read_effects(source, entry.revision, entry.direction)
    except ScriptError:
        return ()
    return tuple(one for one in found if one.kind not in USES)


def not_run(
    site: Site,
    connection: Connection,
    attempts: Sequence[LedgerEntry],
    effects: Sequence[Access],
) -> tuple[Access, ...]:
    """Return what a script does behind the places that all attempts at it came to.

    :param effects: what it changes, as it is now
    """
    came_to: set[tuple[Access, int]] = set()
    for attempt in attempts:
        # A script may have been mended between two attempts, and its lines moved.
        source = kept_script(connection, site.ledger.table, attempt.checksum)
        then = effects if source is None else changes_in(source, attempt)
        pairs = zip(numbered(then), then, strict=True)
        came_to.update(key for key, one in pairs if not is_behind(one, attempt))
    pairs = zip(numbered(effects), effects, strict=True)
    return tuple(one for key, one in pairs if key not in came_to)


def numbered(effects: Sequence[Access]) -> list[tuple[Access, int]]:
    """Return each effect without its place in the text, and how many like it are before it."""
    many: Counter[Access] = Counter()
    found = []
    for one in effects:
        alike = replace(one, line=0, sure=True)
        found.append((alike, many[alike]))
        many[alike] += 1
    return found


def is_behind(access: Access, attempt: LedgerEntry) -> bool:
    """True if an attempt did not come to an operation of its script."""
    if attempt.line is not None:
        return access.line >= attempt.line
    return access.line > max((one.line for one in attempt.statements), default=0)


def objects_there(
    connection: Connection, statements: Sequence[LedgerStatement], effects: Sequence[Access]
) -> Iterator[str]:
    """Yield what the catalogue has of the tables that the statements and the script name."""
    names: dict[tuple[str | None, str], None] = {}
    for one in statements:
        found = TABLE_OF_STATEMENT.match(one.kind)
        if found is not None:
            names[split(found["name"])] = None
    for access in effects:
        if access.name and not access.kind.endswith(("_type", "_schema")):
            names[access.key] = None
            if access.kind == "rename_table" and access.new_name:
                names[access.new_schema, access.new_name] = None
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
