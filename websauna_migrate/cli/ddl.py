"""The models as a SQL script: what ``create_all()`` would run, for tables of several MetaData."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table, TextClause, event
from sqlalchemy.dialects.postgresql import CreateDomainType, CreateEnumType
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateSequence, ExecutableDDLElement

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.facts.model_ddl import create_types, dialect_creates, used_sequences
from websauna_migrate.facts.models import unwritable_named
from websauna_migrate.plain_text import in_quotes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from websauna_migrate.config.packages import MigrationPackage


def not_sql(dialect: str, error: Exception) -> MigrationError:
    """Return the error for models that SQLAlchemy cannot write in a dialect."""
    return MigrationError(f"The models cannot be written as SQL of {dialect}: {error}")


def tables_of(packages: Iterable[MigrationPackage]) -> list[Table]:
    """Return all tables of the packages' models, each once."""
    found = chain.from_iterable(m.tables.values() for p in packages for m in p.metadata)
    return list(dict.fromkeys(found))


def select_tables(
    names: Iterable[str], packages: Sequence[MigrationPackage], owner_of: Callable[[Table], str]
) -> list[Table]:
    """Return the tables that are meant by names.

    :param names: a package means the tables that it owns; ``table`` is one without a schema, or
        else every one of that name; ``schema.table`` is also understood
    :param owner_of: returns the name of a table's package
    :raises UsageError: if a name is unknown: write one of the names in the message
    """
    tables = tables_of(packages)
    known = [package.name for package in packages]
    selected: dict[Table, None] = {}
    for name in names:
        owned = [table for table in tables if name in known and owner_of(table) == name]
        named = [table for table in tables if table.fullname == name] or [
            table for table in tables if table.name == name
        ]
        if name not in known and not named:
            close = difflib.get_close_matches(name, [*known, *(t.fullname for t in tables)])
            hint = f" Did you mean {in_quotes(close, ' or ')}?" if close else ""
            raise UsageError(
                f'There is no package and no table "{name}" in the models.{hint}\n'
                f"Registered packages are: {in_quotes(known)}."
            )
        selected.update(dict.fromkeys([*owned, *named]))
    return list(selected)


def sql_dialect(url: URL) -> Dialect:
    """Return the dialect of a database for a script, with no driver and no connection.

    :raises MigrationError: if SQLAlchemy does not know it: install what brings it
    """
    try:
        # In the default style of many drivers a percent sign in a statement is written twice.
        dialect_class: Callable[..., Dialect] = url.get_dialect()
        return dialect_class(paramstyle="named")
    except SQLAlchemyError as exc:
        raise not_sql(url.drivername, exc) from exc


def create_statements(
    tables: Collection[Table],
    dialect: Dialect,
    *,
    all_sequences: bool = False,
    owner_of: Callable[[Table], str] = lambda table: "",
) -> list[str]:
    """Return the statements that create tables, with all that SQLAlchemy would create with them.

    The order depends on the tables alone: a table follows those that it refers to, in whichever
    MetaData they are, and constraints of tables that refer to each other come at the end. The
    types come first, each once. DDL that is attached to the tables or their MetaData by events is
    included.

    :param all_sequences: also the sequences of the MetaData that no column of the tables uses
    :param owner_of: returns the package of a table
    :returns: each without its semicolon
    :raises MigrationError: if the models cannot be written for the dialect, naming the place
    """
    tables = sorted(tables, key=lambda table: table.fullname)
    script = Script(dialect)
    what = f"cannot be written as SQL of {dialect.name}"
    try:
        with unwritable_named(tables, dialect, owner_of, what):
            script.create(tables, all_sequences=all_sequences)
            return [script.render(element) for element in script.in_order()]
    except SQLAlchemyError as exc:
        raise not_sql(dialect.name, exc) from exc


class Script:
    """Collects the DDL that SQLAlchemy would run."""

    def __init__(self, dialect: Dialect) -> None:
        """Begin an empty script."""
        self.dialect = dialect
        self.connection: Any = MockConnection(dialect, self.add)
        self.elements: list[ExecutableDDLElement | TextClause] = []
        self.sequences: set[tuple[str | None, str]] = set()

    def add(self, element: ExecutableDDLElement, parameters: object = None) -> None:
        """Take an element that SQLAlchemy runs."""
        if isinstance(element, CreateEnumType | CreateDomainType):
            # Those come from ``types``: SQLAlchemy 2.0 and 2.1 run them at different times, and
            # for tables that were not asked for.
            return
        if isinstance(element, CreateSequence):
            key = (element.element.schema, str(element.element.name))
            if key in self.sequences:
                return
            self.sequences.add(key)
        if isinstance(element, ExecutableDDLElement | TextClause):
            self.elements.append(element)

    def create(self, tables: Sequence[Table], *, all_sequences: bool) -> None:
        """Let SQLAlchemy create the tables."""
        together = MetaData()
        originals = list(dict.fromkeys(table.metadata for table in tables))

        def before(_: MetaData, connection: Connection, **given: object) -> None:
            for metadata in originals:
                own = [table for table in tables if table.metadata is metadata]
                metadata.dispatch.before_create(metadata, connection, **{**given, "tables": own})
            self.elements += create_types(tables, self.dialect)
            for sequence in used_sequences(tables, originals if all_sequences else ()):
                # Refuses, as create_all() does, where the database has no sequences.
                if dialect_creates(sequence, self.dialect):
                    sequence.create(connection, checkfirst=False)

        def after(_: MetaData, connection: Connection, **given: object) -> None:
            for metadata in originals:
                own = [table for table in tables if table.metadata is metadata]
                metadata.dispatch.after_create(metadata, connection, **{**given, "tables": own})

        event.listen(together, "before_create", before)
        event.listen(together, "after_create", after)
        # It sorts the tables that it is given, whosever they are.
        together.create_all(self.connection, tables=tables, checkfirst=False)

    def in_order(self) -> Iterator[ExecutableDDLElement | TextClause]:
        """Yield the elements, with those in order by text that SQLAlchemy keeps in sets."""
        for kind, neighbours in groupby(self.elements, key=kind_of):
            group = list(neighbours)
            yield from group if kind is None else sorted(group, key=self.render)

    def render(self, element: ExecutableDDLElement | TextClause) -> str:
        """Return the SQL of an element."""
        return str(element.compile(dialect=self.dialect)).strip().rstrip(";").rstrip()


def kind_of(element: object) -> tuple[type, object] | None:
    """Tell which neighbours of an element might come in any order."""
    if isinstance(element, CreateIndex):
        return CreateIndex, element.element.table
    return (AddConstraint, None) if isinstance(element, AddConstraint) else None
