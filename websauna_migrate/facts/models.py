"""The models of all packages, created on a connection as ``create_all()`` creates them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import MetaData, Table, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from websauna_migrate.database.engines import one_line
from websauna_migrate.errors import MigrationError
from websauna_migrate.facts.model_ddl import create_types, dialect_creates, used_sequences
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.sqlalchemy_internals import ddl_compiler

__all__ = ["Models", "ModelsNotCreated"]


class ModelsNotCreated(MigrationError, ValueError):
    """The models cannot be created: SQLAlchemy cannot write something, or the server refuses it.

    :ivar place: the model and what of it, in words
    """

    def __init__(self, package: str | None, place: str, problem: str) -> None:
        self.package = package
        self.place = place
        self.problem = problem
        owner = f' of package "{package}"' if package else ""
        super().__init__(f"The models{owner} cannot be created in the database. {place}: {problem}")


@dataclass(frozen=True)
class Models:
    """What the registered packages' models have.

    :ivar tables: of all packages, each once
    :ivar entities: alembic-utils' views, functions, triggers and the like
    :ivar owner_of: returns the package of a table
    """

    tables: Sequence[Table]
    entities: Sequence[Any]
    owner_of: Callable[[Table], str]

    def schemas(self, dialect: Dialect) -> tuple[str, ...]:
        """Return the schemas that the models name, sorted."""
        originals = {table.metadata for table in self.tables}
        names = {one.schema for one in (*self.tables, *originals)}
        names.update(sequence.schema for sequence in used_sequences(self.tables, originals))
        for column in chain.from_iterable(table.columns for table in self.tables):
            names.add(getattr(column.default, "schema", None))
        # Types may be inside arrays, decorators and domains.
        names.update(
            getattr(one.element, "schema", None) for one in create_types(self.tables, dialect)
        )
        names.update(getattr(one, "schema", None) for one in self.entities)
        return tuple(sorted(name for name in names if isinstance(name, str)))

    def create(self, connection: Connection, schemas: Mapping[str, str]) -> None:
        """Create everything.

        :param schemas: the scratch schemas, by the names that they stand for
        :raises ModelsNotCreated: naming the table, and the column, index or constraint
        """
        dialect = connection.dialect
        # It refuses two types of one name that differ: the second would be skipped in silence.
        create_types(self.tables, dialect)
        mapped = connection.execution_options(schema_translate_map=dict(schemas))
        try:
            create_all(mapped, self.tables)
        except Exception as exc:
            # What SQLAlchemy raises while it writes an expression is of any class.
            raise self.explained(exc, dialect, schemas) from exc
        finally:
            connection.execution_options(schema_translate_map=None)
        self.create_entities(connection, schemas)

    def create_entities(self, connection: Connection, schemas: Mapping[str, str]) -> None:
        """Create alembic-utils' entities, those first that others need."""
        waiting = [one for one in self.entities if type(one).__name__ not in LEFT_OUT]
        while waiting:
            failed: list[tuple[Any, DBAPIError]] = []
            for entity in waiting:
                try:
                    with connection.begin_nested():
                        connection.execute(placed(entity, schemas).to_sql_statement_create())
                except DBAPIError as exc:
                    failed.append((entity, exc))
            if len(failed) == len(waiting):
                entity, error = failed[0]
                place = f'{type(entity).__name__} "{entity.schema}.{entity.signature}"'
                raise ModelsNotCreated(None, place, one_line(str(error.orig))) from error
            waiting = [entity for entity, _ in failed]

    def explained(
        self, exc: Exception, dialect: Dialect, schemas: Mapping[str, str]
    ) -> ModelsNotCreated:
        """Return the error that names what of the models could not be created."""
        if isinstance(exc, DBAPIError):
            statement = str(exc.statement)
            for scratch in schemas.values():
                statement = statement.replace(f"{scratch}.", "")
            first = " ".join(statement.split())
            found = re.search(r'(?:TABLE|ON) ["`]?([^\s"`(]+)', first)
            table = next((t for t in self.tables if found and t.name == found[1]), None)
            package = self.owner_of(table) if table is not None else None
            place = f'Table "{table.name}"' if table is not None else "A statement"
            return ModelsNotCreated(package, place, f"{one_line(str(exc.orig))} In: {first[:500]}")
        for table in self.tables:
            for place, write in parts_of(table, dialect):
                try:
                    write()
                except Exception as problem:
                    # The same error, now with its place.
                    text = f"{type(problem).__name__}: {one_line(str(problem))}"
                    return ModelsNotCreated(self.owner_of(table), place, text)
        return ModelsNotCreated(None, "create_all()", f"{type(exc).__name__}: {one_line(str(exc))}")


def create_all(connection: Connection, tables: Sequence[Table]) -> None:
    """Create tables of several MetaData, with what listens to these, in SQLAlchemy's own order."""
    together = MetaData()
    originals = list(dict.fromkeys(table.metadata for table in tables))

    defaults = {column.default for table in tables for column in table.columns}

    def own(metadata: MetaData, given: dict[str, Any]) -> dict[str, object]:
        return {**given, "tables": [table for table in tables if table.metadata is metadata]}

    def before(_: MetaData, connection: Any, **given: Any) -> None:
        for metadata in originals:
            metadata.dispatch.before_create(metadata, connection, **own(metadata, given))
        for sequence in used_sequences(tables, originals):
            # One that is a column's own default comes with its table.
            if sequence not in defaults and dialect_creates(sequence, connection.dialect):
                sequence.create(connection, checkfirst=False)

    def after(_: MetaData, connection: Any, **given: Any) -> None:
        for metadata in originals:
            metadata.dispatch.after_create(metadata, connection, **own(metadata, given))

    event.listen(together, "before_create", before)
    event.listen(together, "after_create", after)
    together.create_all(connection, tables=tables, checkfirst=False)


def parts_of(table: Table, dialect: Dialect) -> list[tuple[str, Callable[[], object]]]:
    """Return the parts of a table in words, each with what writes it as DDL."""
    found: list[tuple[str, Callable[[], object]]] = []
    for column in table.columns:
        write = CreateColumn(column)
        place = f'Table "{table.fullname}", column "{column.name}"'
        found.append((place, partial(write.compile, dialect=dialect)))
    compiler = ddl_compiler(dialect)
    for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
        place = f'Table "{table.fullname}", constraint "{constraint.name}"'
        found.append((place, partial(compiler.process, constraint)))
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        place = f'Table "{table.fullname}", index "{index.name}"'
        found.append((place, partial(CreateIndex(index).compile, dialect=dialect)))
    whole = CreateTable(table)
    found.append((f'Table "{table.fullname}"', partial(whole.compile, dialect=dialect)))
    return found


#: What is left out: extensions are as they are, and grants are no facts.
LEFT_OUT = frozenset({"PGExtension", "PGGrantTable"})


def placed(entity: Any, schemas: Mapping[str, str]) -> Any:
    """Return an entity as it is in scratch schemas: its own, and those that its text names."""
    other = copy.copy(entity)
    other.schema = schemas.get(entity.schema, entity.schema)
    other.definition = placed_text(entity.definition, schemas)
    if hasattr(entity, "on_entity"):
        other.on_entity = placed_text(entity.on_entity, schemas)
    return other


def placed_text(text: str, schemas: Mapping[str, str]) -> str:
    """Return a text with scratch schemas in place of those that names in it begin with.

    The way back gives the same text again: what is in quotes that it needs loses them here and gets
    them there, what is in others keeps them.
    """
    for name, scratch in schemas.items():
        quoted = '"' + name.replace('"', '""') + '"'
        if quote_name(name) == name:
            text = re.sub(rf'(?<![\w.$"]){re.escape(name)}(?=\s*\.)', scratch, text)
            scratch = f'"{scratch}"'
        text = re.sub(rf"{re.escape(quoted)}(?=\s*\.)", scratch, text)
    return text
