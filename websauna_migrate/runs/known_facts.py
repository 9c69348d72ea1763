"""What the database says of a step that ended half done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.results import LedgerEntry

__all__ = ["known_facts"]


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
        listed = ", ".join(f'"{row}"' for row in rows) or "none"
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
