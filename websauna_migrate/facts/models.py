"""The models of all packages, created on a connection as ``create_all()`` creates them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from sqlalchemy import Constraint, Index, MetaData, Table, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import driver_words, one_line
from websauna_migrate.facts.model_ddl import (
    NOT_CREATED,
    ModelsNotCreated,
    create_types,
    dialect_creates,
    open_parameters,
    used_sequences,
)
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.models.ownership_errors import no_target
from websauna_migrate.models.sqlalchemy_internals import (
    ddl_compiler,
    keys_as_they_are,
    types_of_metadata,
)
from websauna_migrate.models.table_order import is_dangling

if TYPE_CHECKING:
    from alembic_utils.replaceable_entity import ReplaceableEntity
    from sqlalchemy.engine.default import DefaultExecutionContext
    from sqlalchemy.engine.interfaces import DBAPICursor


@dataclass(frozen=True)
class Models:
    """What the registered packages' models have.

    :ivar tables: of all packages, each once
    :ivar entities: alembic-utils' views, functions, triggers and the like
    :ivar owner_of: returns the package of a table
    """

    tables: Sequence[Table]
    entities: Sequence[ReplaceableEntity]
    owner_of: Callable[[Table], str]
    #: What :meth:`schemas` found, by the name of the database.
    _found: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    def schemas(self, dialect: Dialect) -> tuple[str, ...]:
        """Return the schemas that the models name, sorted.

        :raises ModelsNotCreated: naming the column whose type is not one of the database
        """
        if dialect.name not in self._found:
            with unwritable_named(self.tables, dialect, self.owner_of):
                self._found[dialect.name] = self._schemas(dialect)
        return self._found[dialect.name]

    def _schemas(self, dialect: Dialect) -> tuple[str, ...]:
        originals = {table.metadata for table in self.tables}
        names = {one.schema for one in (*self.tables, *originals)}
        names.update(one.schema for each in originals for one in types_of_metadata(each))
        names.update(sequence.schema for sequence in used_sequences(self.tables, originals))
        for column in chain.from_iterable(table.columns for table in self.tables):
            names.add(getattr(column.default, "schema", None))
        # Types may be inside arrays, decorators and domains.
        names.update(
            getattr(one.element, "schema", None) for one in create_types(self.tables, dialect)
        )
        names.update(getattr(one, "schema", None) for one in self.entities)
        return tuple(sorted(name for name in names if isinstance(name, str)))

    def statements(
        self, connection: Connection, schemas: Mapping[str, str]
    ) -> tuple[str, ...] | None:
        """Return the statements that create everything, entities left out; nothing is executed.

        :param schemas: the names to write, by the names of schemas
        :returns: ``None`` if a listener of the models asks the database something
        :raises ModelsNotCreated: naming the table, and the column, index or constraint
        """
        with self.mapped(connection, schemas) as mapped:
            try:
                with recorded(mapped) as found:
                    create_all(mapped, self.tables)
            except NotRecorded:
                return None
        # An index is the same without it, which no transaction allows.
        return tuple(CONCURRENTLY.sub(r"\1", one) for one in found)

    def create(
        self,
        connection: Connection,
        schemas: Mapping[str, str],
        statements: Sequence[str] | None = None,
    ) -> None:
        """Create everything.

        :param schemas: the scratch schemas, by the names that they stand for
        :param statements: those that :meth:`statements` returned, with the names of the schemas
        :raises ModelsNotCreated: naming the table, and the column, index or constraint
        """
        with self.mapped(connection, schemas) as mapped:
            if statements is None:
                create_all(mapped, self.tables)
            elif not self.is_sent(mapped, statements):
                for statement in statements:
                    mapped.exec_driver_sql(statement)
        self.create_entities(connection, schemas)

    @contextmanager
    def mapped(self, connection: Connection, schemas: Mapping[str, str]) -> Iterator[Connection]:
        """Give a connection for which schemas have other names; name what cannot be created."""
        dialect = connection.dialect
        # That refuses two types of one name that differ: the second would be skipped in silence.
        self.schemas(dialect)
        try:
            yield connection.execution_options(schema_translate_map=dict(schemas))
        except Exception as exc:
            # What SQLAlchemy raises while it writes an expression is of any class.
            raise self.explained(exc, dialect, schemas) from exc
        finally:
            connection.execution_options(schema_translate_map=None)

    def is_sent(self, connection: Connection, statements: Sequence[str]) -> bool:
        """Send statements in one message, if that is possible and none of them fails."""
        if connection.dialect.name != "postgresql":
            return False
        message = connection.begin_nested()
        try:
            send_in_one_message(connection, statements)
        except Exception:
            # One by one they tell which of them it is.
            message.rollback()
            return False
        message.commit()
        return True

    def create_entities(self, connection: Connection, schemas: Mapping[str, str]) -> None:
        """Create alembic-utils' entities, those first that others need."""
        waiting = [one for one in self.entities if type(one).__name__ not in LEFT_OUT]
        while waiting:
            failed: list[tuple[ReplaceableEntity, DBAPIError]] = []
            for entity in waiting:
                try:
                    with connection.begin_nested():
                        connection.execute(placed(entity, schemas).to_sql_statement_create())
                except DBAPIError as exc:
                    failed.append((entity, exc))
            if len(failed) == len(waiting):
                entity, error = failed[0]
                place = f'{type(entity).__name__} "{entity.schema}.{entity.signature}"'
                raise ModelsNotCreated(None, place, one_line(driver_words(error.orig))) from error
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
            words = one_line(driver_words(exc.orig))
            if table is not None and (missing := MISSING_TYPE.match(words)):
                # The database tells a name that is not quoted in small letters.
                word = re.compile(rf"\b{re.escape(missing[1])}\b", re.IGNORECASE)
                named = (o.name for o in table.columns if word.search(o.type.compile(dialect)))
                place += "".join(f', column "{one}"' for one in islice(named, 1))
                words = (
                    f'type "{missing[1]}" does not exist. Create it in the database, or the '
                    "extension that has it; with create_type=False nothing else makes an enum."
                )
            return ModelsNotCreated(package, place, f"{words} In: {first[:500]}")
        return unwritable(exc, self.tables, dialect, self.owner_of) or ModelsNotCreated(
            None, "create_all()", f"{type(exc).__name__}: {one_line(str(exc))}"
        )


#: What PostgreSQL says of a type that is not there.
MISSING_TYPE = re.compile(r'type "([^"]+?)(?:\[\])*" does not exist')


#: What makes an index without holding writers up, outside of a transaction.
CONCURRENTLY = re.compile(r"(CREATE (?:UNIQUE )?INDEX) CONCURRENTLY\b")


def unwritable(
    exc: Exception,
    tables: Iterable[Table],
    dialect: Dialect,
    owner_of: Callable[[Table], str],
    what: str = NOT_CREATED,
) -> ModelsNotCreated | None:
    """Return the error of the part of the models that SQLAlchemy cannot write as DDL.

    :param exc: what was raised; a part that raises the same is the one that is meant
    :param owner_of: returns the package of a table
    :param what: what cannot be done with the models, in words
    :returns: ``None`` if it can write them all
    """
    found: ModelsNotCreated | None = None
    for table in tables:
        for place, write in parts_of(table, dialect):
            try:
                write()
            except Exception as problem:
                # That of a table adds which column it is.
                same = words_of(problem) in words_of(exc)
                if found is None or same:
                    text = f"{type(problem).__name__}: {one_line(str(problem))}"
                    found = ModelsNotCreated(owner_of(table), place, text, what)
                if same:
                    return found
    return found


def words_of(exc: Exception) -> str:
    """Return an error's message without the addresses of objects, and of pages about it."""
    return re.sub(r"0x[0-9a-f]+|\s*\(Background on this error at: [^)]*\)", "", str(exc))


@contextmanager
def unwritable_named(
    tables: Iterable[Table],
    dialect: Dialect,
    owner_of: Callable[[Table], str],
    what: str = NOT_CREATED,
) -> Iterator[None]:
    """Say of an error that the models cause where in the models that is; leave others as they are.

    :param what: what cannot be done with the models, in words
    :raises ModelsNotCreated: naming package, table, and column, constraint or index
    :raises OwnershipError: for a foreign key to what no package has
    """
    known = tuple(tables)
    for table in known:
        for place, name in open_parameters(table):
            place = f'Table "{table.fullname}", {place}'
            problem = (
                f'the parameter ":{name}" has no value, and would be written as NULL. A colon that '
                "belongs to a text is written with a backslash before it."
            )
            raise ModelsNotCreated(owner_of(table), place, problem, what)
        for key in table.foreign_keys:
            if is_dangling(key):
                raise no_target(key, owner_of(table), known)
    try:
        yield
    except MigrationError:
        raise
    except Exception as exc:
        # What SQLAlchemy raises while it writes an expression is of any class.
        found = unwritable(exc, known, dialect, owner_of, what)
        if found is not None:
            raise found from exc
        raise


def models_named(settings: Settings, ownership: Ownership) -> AbstractContextManager[None]:
    """Say of an error where in the models it is, if SQLAlchemy cannot write a part of them."""
    try:
        tables = ownership.tables
        dialect = settings.require_url().get_dialect()()
    except (MigrationError, SQLAlchemyError):
        # That is told where it belongs.
        return nullcontext()
    return unwritable_named(tables, dialect, ownership.owner_of)


def create_all(connection: Connection, tables: Sequence[Table]) -> None:
    """Create tables of several MetaData, with what listens to these, in SQLAlchemy's own order."""
    together = MetaData()
    originals = list(dict.fromkeys(table.metadata for table in tables))

    defaults = {column.default for table in tables for column in table.columns}

    def own(metadata: MetaData, given: Mapping[str, object]) -> dict[str, object]:
        return {**given, "tables": [table for table in tables if table.metadata is metadata]}

    def before(_: MetaData, connection: Connection, **given: object) -> None:
        for metadata in originals:
            metadata.dispatch.before_create(metadata, connection, **own(metadata, given))
        for sequence in used_sequences(tables, originals):
            # One that is a column's own default comes with its table.
            if sequence not in defaults and dialect_creates(sequence, connection.dialect):
                sequence.create(connection, checkfirst=False)

    def after(_: MetaData, connection: Connection, **given: object) -> None:
        for metadata in originals:
            metadata.dispatch.after_create(metadata, connection, **own(metadata, given))

    event.listen(together, "before_create", before)
    event.listen(together, "after_create", after)
    with keys_as_they_are(tables):
        together.create_all(connection, tables=tables, checkfirst=False)


def parts_of(table: Table, dialect: Dialect) -> list[tuple[str, Callable[[], object]]]:
    """Return the parts of a table in words, each with what writes it as DDL."""
    found: list[tuple[str, Callable[[], object]]] = []
    whose = f'Table "{table.fullname}"'
    for column in table.columns:
        write = CreateColumn(column)
        place = f'{whose}, column "{column.name}"'
        found.append((place, partial(write.compile, dialect=dialect)))
    compiler = ddl_compiler(dialect)
    for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
        place = f"{whose}, {named(constraint)}"
        found.append((place, partial(compiler.process, constraint)))
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        creation = CreateIndex(index)
        found.append((f"{whose}, {named(index)}", partial(creation.compile, dialect=dialect)))
    whole = CreateTable(table)
    found.append((whose, partial(whole.compile, dialect=dialect)))
    return found


def named(item: Constraint | Index) -> str:
    """Return a constraint or index in words."""
    kind = "index" if isinstance(item, Index) else "constraint"
    if isinstance(item.name, str):
        return f'{kind} "{item.name}"'
    columns = ", ".join(f'"{column.name}"' for column in getattr(item, "columns", ()))
    return f"{type(item).__name__} without a name" + (f" on {columns}" if columns else "")


#: What is left out: extensions are as they are, and grants are no facts.
LEFT_OUT = frozenset({"PGExtension", "PGGrantTable"})


def placed(entity: ReplaceableEntity, schemas: Mapping[str, str]) -> ReplaceableEntity:
    """Return an entity as it is in scratch schemas: its own, and those that its text names."""
    other = copy.copy(entity)
    other.schema = schemas.get(entity.schema, entity.schema)
    other.definition = placed_text(entity.definition, schemas)
    if hasattr(other, "on_entity"):
        other.on_entity = placed_text(other.on_entity, schemas)
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


# Statements that are recorded in place of being executed, and sent as one message

#: Drivers that send several statements in one message.
DRIVERS = frozenset({"psycopg2", "psycopg"})


class NotRecorded(Exception):
    """A listener of the models executes a statement whose answer it may read."""


@contextmanager
def recorded(connection: Connection) -> Iterator[list[str]]:
    """Record the DDL that is executed within the block; nothing is sent.

    :raises NotRecorded: if something else is executed
    """
    found: list[str] = []

    def execute(
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: DefaultExecutionContext | None,
    ) -> bool | None:
        if context is None or context.root_connection is not connection:
            return None
        if not context.isddl or parameters:
            raise NotRecorded
        found.append(statement)
        return True

    event.listen(connection.engine, "do_execute", execute)
    try:
        yield found
    finally:
        event.remove(connection.engine, "do_execute", execute)


def send_in_one_message(connection: Connection, statements: Sequence[str]) -> None:
    """Send statements to PostgreSQL: in one message where the driver can, else one by one."""
    if connection.dialect.driver not in DRIVERS:
        for statement in statements:
            connection.exec_driver_sql(statement)
    elif statements:
        cursor = connection.connection.cursor()
        # With parameters, though there are none, the driver reads the doubled % as one.
        cursor.execute(";\n".join(statements), {})
        cursor.close()
