"""Reading facts of a database: which module reads which server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.facts.fact import Facts, Pieces


def facts_not_known(dialect: str) -> MigrationError:
    """Return the error of a database whose catalogue is not understood."""
    return MigrationError(
        f'Facts are read of PostgreSQL, SQLite, MariaDB and MySQL, not of "{dialect}".'
    )


def read_facts(
    connection: Connection,
    *,
    schemas: Collection[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Facts:
    """Read the facts of a database, in one snapshot.

    A transaction that the connection is in is used as it is. Objects of extensions and of the
    server itself are left out; so are owners, grants and tablespaces.

    :param schemas: those to read; ``None`` for all of the database, on MariaDB for the current one
    :param names: the names that scratch schemas stand for, by theirs
    :raises MigrationError: for another database than the four
    """
    default_schema, pieces = read_pieces(connection, schemas=schemas, names=names)
    return Facts.make(default_schema, chain.from_iterable(pieces.values()))


class Look:
    """Looks at a database, and knows what it saw."""

    def __init__(self, connection: Connection, names: Mapping[str, str] | None = None) -> None:
        """Begin without having seen anything.

        :param names: the names that scratch schemas stand for, by theirs
        """
        self.connection = connection
        self.schemas = names
        self.forget()

    def forget(self) -> None:
        """Let the next look take all for new."""
        self.pieces: Pieces = {}

    def look(self) -> tuple[str, Pieces, Pieces]:
        """Return the default schema, the facts that came, and those that went."""
        before = self.pieces
        default_schema, now = read_pieces(self.connection, names=self.schemas, known=before)
        self.pieces = now
        came = {key: facts for key, facts in now.items() if key not in before}
        gone: Pieces = {}
        if len(now) - len(came) != len(before):
            gone = {key: facts for key, facts in before.items() if key not in now}
        return default_schema, came, gone


def read_pieces(
    connection: Connection,
    *,
    schemas: Collection[str] | None = None,
    names: Mapping[str, str] | None = None,
    known: Pieces | None = None,
) -> tuple[str, Pieces]:
    """Read the facts of a database by the words in which the server told them.

    :param known: those of an earlier look, which are taken over where the words are the same
    :returns: the default schema, and the facts
    """
    known = known or {}
    with snapshot(connection):
        if connection.dialect.name == "postgresql":
            from websauna_migrate.facts.postgresql import read_postgresql

            return read_postgresql(connection, schemas, names or {})
        if connection.dialect.name == "sqlite":
            from websauna_migrate.facts.sqlite import read_sqlite

            return read_sqlite(connection, known)
        if connection.dialect.name in ("mysql", "mariadb"):
            from websauna_migrate.facts.mysql import read_mysql

            return read_mysql(connection, schemas, names or {}, known)
        raise facts_not_known(connection.dialect.name)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Let all queries see the same moment, as far as the server can."""
    if connection.in_transaction():
        yield
        return
    try:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
    finally:
        connection.rollback()
