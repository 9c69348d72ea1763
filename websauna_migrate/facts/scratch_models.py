"""The models' facts: created in a scratch place, read back in the server's own words.

On PostgreSQL the place is a schema in a transaction that is rolled back, on SQLite a database in
memory, on MariaDB a scratch database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import connect, hide_password, make_engine, one_line
from websauna_migrate.facts.catalogue import FactsNotKnown, read_facts
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.model_ddl import write_checks_with_tables
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_databases import (
    ScratchRefused,
    scratch_database,
    scratch_settings,
)
from websauna_migrate.facts.scratch_names import new_name

__all__ = ["ScratchModels", "scratch_models"]


@dataclass
class ScratchModels:
    """The models in a scratch place, as long as it is there.

    :ivar facts: by the true names
    :ivar connection: inside the place
    :ivar schemas: the scratch schemas, by the names that they stand for
    """

    facts: Facts
    connection: Connection
    schemas: Mapping[str, str]

    def read(self) -> Facts:
        """Read the place again."""
        return read_place(self.connection, self.schemas)


def read_place(connection: Connection, schemas: Mapping[str, str]) -> Facts:
    """Return the facts of scratch schemas by their true names."""
    if connection.dialect.name == "sqlite":
        return read_facts(connection)
    names = {scratch: name for name, scratch in schemas.items()}
    return read_facts(connection, schemas=list(names), names=names)


@contextmanager
def scratch_models(
    models: Models, settings: Settings, connection: Connection
) -> Iterator[ScratchModels]:
    """Create the models beside a database, and take them away at the end.

    :param connection: to the database. Where ``scratch_url`` is not set it is used itself on
        PostgreSQL, in a transaction of its own; in one that is open, in a savepoint.
    :raises ScratchRefused: if the user may not; the message has the grant
    :raises ModelsNotCreated: naming what of the models cannot be created
    """
    with ExitStack() as stack:
        name = connection.dialect.name
        if name == "postgresql":
            if settings.scratch_url is not None:
                scratch = scratch_settings(settings)
                other = make_engine(scratch.require_url(), scratch.engine_options)
                connection = stack.enter_context(connect(other))
            place = postgresql_place(models, connection)
        elif name == "sqlite":
            place = sqlite_place(models, settings)
        elif name in ("mysql", "mariadb"):
            place = mysql_place(models, settings, connection)
        else:
            raise FactsNotKnown(name)
        yield stack.enter_context(place)


@contextmanager
def postgresql_place(models: Models, connection: Connection) -> Iterator[ScratchModels]:
    """Give the models in scratch schemas, in a transaction that is rolled back.

    Names without a schema mean the scratch place first, then what they mean otherwise: types and
    functions that the application's scripts made, and extensions'.
    """
    outer = connection.begin_nested() if connection.in_transaction() else connection.begin()
    try:
        default, path = connection.exec_driver_sql(
            "SELECT current_schema(), current_setting('search_path')"
        ).one()
        default = str(default or "public")
        true_names = dict.fromkeys([default, *models.schemas(connection.dialect)])
        schemas = {name: new_name() for name in true_names}
        for scratch in schemas.values():
            create_schema(connection, scratch)
        # No real table is locked by what is created here; one that were would not be waited for.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        before = f"{schemas[default]}, {path}" if path else schemas[default]
        connection.exec_driver_sql(f"SET LOCAL search_path = {before}".replace("%", "%%"))
        models.create(connection, schemas)
        yield ScratchModels(read_place(connection, schemas), connection, schemas)
    finally:
        outer.rollback()


def create_schema(connection: Connection, name: str) -> None:
    """Create a scratch schema."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    except DBAPIError as exc:
        url = connection.engine.url
        database, user = connection.exec_driver_sql(
            "SELECT quote_ident(current_database()), quote_ident(current_user)"
        ).one()
        raise ScratchRefused(
            "a scratch schema",
            url,
            one_line(hide_password(str(exc.orig), url)),
            f"GRANT CREATE ON DATABASE {database} TO {user}",
        ) from exc


@contextmanager
def sqlite_place(models: Models, settings: Settings) -> Iterator[ScratchModels]:
    """Give the models in a database in memory; their schemas are attached ones."""
    engine = make_engine(make_url("sqlite://"), settings.engine_options)
    with connect(engine) as connection:
        for schema in models.schemas(engine.dialect):
            if schema not in ("main", "temp"):
                quoted = engine.dialect.identifier_preparer.quote_identifier(schema)
                connection.exec_driver_sql(f"ATTACH ':memory:' AS {quoted}")
        models.create(connection, {})
        yield ScratchModels(read_place(connection, {}), connection, {})
        connection.rollback()
    engine.dispose()


@contextmanager
def mysql_place(
    models: Models, settings: Settings, connection: Connection
) -> Iterator[ScratchModels]:
    """Give the models in scratch databases, one for each schema that they name."""
    default = str(connection.engine.url.database)
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(scratch_database(settings))
            for name in dict.fromkeys([default, *models.schemas(connection.dialect)])
        }
        engine = make_engine(urls[default], settings.engine_options)
        write_checks_with_tables(engine.dialect)
        inside = stack.enter_context(connect(engine))
        schemas = {name: str(url.database) for name, url in urls.items()}
        models.create(inside, schemas)
        yield ScratchModels(read_place(inside, schemas), inside, schemas)
        inside.rollback()
