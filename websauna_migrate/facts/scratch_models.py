"""The models' facts: created in a scratch place, read back in the server's own words.

On PostgreSQL the place is a schema in a transaction that is rolled back, on SQLite a database in
memory, on MariaDB a scratch database. It is made when it is needed: the facts of the same
statements on the same server are kept in the cache, see :class:`ScratchModels`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from websauna_migrate.config.settings import Settings
from websauna_migrate.database.cache import Cache
from websauna_migrate.database.engines import (
    connect,
    driver_words,
    hide_password,
    make_engine,
    one_line,
)
from websauna_migrate.facts.catalogue import facts_not_known, read_facts
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.model_ddl import write_checks_with_tables
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_databases import (
    new_name,
    no_right,
    scratch_database,
    scratch_settings,
)
from websauna_migrate.facts.standstill import Scratch

#: What stands for scratch schemas while statements are recorded.
STANDING_IN = "websauna_migrate_scratch_place_"

#: How facts are written down; another number for files that are read no more.
FORMAT = 2

#: All besides the statements that says what PostgreSQL makes of them: version, extensions, what
#: scripts may have made that models use, settings that are not the default, triggers of DDL.
POSTGRESQL_STATE = """
SELECT version(),
  ARRAY(SELECT extname || ' ' || extversion FROM pg_extension ORDER BY 1),
  ARRAY(SELECT t.oid::regtype || ' ' || t.typtype::text FROM pg_type t
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e', 'r', 'm')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname NOT LIKE 'pg\\_toast%%' ORDER BY 1),
  ARRAY(SELECT p.oid::regprocedure || ' ' || p.provolatile::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1),
  ARRAY(SELECT name || '=' || setting FROM pg_settings WHERE context IN ('user', 'superuser')
    AND source NOT IN ('default', 'override', 'client') ORDER BY 1),
  ARRAY(SELECT evtname || ' ' || evtenabled::text FROM pg_event_trigger ORDER BY 1),
  current_setting('search_path')
"""

MYSQL_STATE = """
SELECT version(), @@sql_mode, @@character_set_database, @@collation_database,
  @@character_set_server, @@collation_server, @@default_storage_engine,
  @@lower_case_table_names, @@explicit_defaults_for_timestamp
"""


@dataclass(frozen=True)
class Place:
    """Where models can be created.

    :ivar connection: to the server, for which their statements are written
    :ivar names: of the schemas that they name, the default one first
    :ivar state: what besides the statements says what becomes of them
    :ivar enter: makes the place; returns a connection inside and the scratch schemas
    """

    connection: Connection
    names: Sequence[str]
    state: object
    enter: Callable[[], tuple[Connection, Mapping[str, str]]]


@dataclass(eq=False)
class ScratchModels:
    """The models in a scratch place, as long as it is there.

    The place is made when something is first asked that only it can tell. Their facts are kept
    in the user's cache folder under the statements that create them, and what else says what the
    server makes of these. Models whose listeners ask the database something, or that have entities,
    are created each time.
    """

    models: Models
    place: Place
    cache: Cache

    def __post_init__(self) -> None:
        self.dialect = self.place.connection.dialect.name

    @cached_property
    def statements(self) -> tuple[str, ...] | None:
        """What creates the models, with names that stand for scratch schemas, see ``Models``."""
        names = {name: f"{STANDING_IN}{n}" for n, name in enumerate(self.place.names)}
        mapped = {} if self.dialect == "sqlite" else names
        return self.models.statements(self.place.connection, mapped)

    @cached_property
    def facts(self) -> Facts:
        """The models' facts, by the true names."""
        if self.statements is None or self.models.entities:
            return self.read()
        # SQLAlchemy keeps the indexes of a table in no order.
        known = [list(self.place.names), sorted(self.statements)]
        key = json.dumps([FORMAT, self.dialect, self.place.state, *known])
        kept = self.cache.read("facts", key)
        if kept is not None:
            return Facts.from_data(kept)
        found = self.read()
        self.cache.write("facts", key, found.as_data())
        return found

    @cached_property
    def inside(self) -> tuple[Connection, Mapping[str, str]]:
        """A connection inside the place, and the scratch schemas by the names they stand for."""
        connection, schemas = self.place.enter()
        statements = self.statements
        if statements is not None and schemas:
            for number, name in reversed([*enumerate(self.place.names)]):
                standing = f"{STANDING_IN}{number}"
                statements = tuple(one.replace(standing, schemas[name]) for one in statements)
        self.models.create(connection, schemas, statements)
        return connection, schemas

    def read(self) -> Facts:
        """Read the place again."""
        connection, schemas = self.inside
        if self.dialect == "sqlite":
            return read_facts(connection)
        names = {scratch: name for name, scratch in schemas.items()}
        return read_facts(connection, schemas=list(names), names=names)

    def writable(self, facts: Facts) -> Scratch:
        """Return the place as one where expressions can be written.

        :param facts: those of the models that count
        """
        return Scratch(self.dialect, facts, lambda: self.inside, self.read)


@contextmanager
def scratch_models(
    models: Models, settings: Settings, connection: Connection
) -> Iterator[ScratchModels]:
    """Give the models beside a database, and take them away at the end.

    :param connection: to the database. Where ``scratch_url`` is not set it is used itself on
        PostgreSQL, in a transaction of its own; in one that is open, in a savepoint.
    :raises ModelsNotCreated: naming what of the models cannot be created

    What is asked of the models raises it as well, and:

    :raises ScratchRefused: if the user may not make a place; the message has the grant
    """
    makers = {
        "postgresql": postgresql_place,
        "sqlite": sqlite_place,
        "mysql": mysql_place,
        "mariadb": mysql_place,
    }
    make = makers.get(connection.dialect.name)
    if make is None:
        raise facts_not_known(connection.dialect.name)
    with ExitStack() as stack:
        place = make(models, settings, connection, stack)
        yield ScratchModels(models, place, Cache.of(settings.cache))


def postgresql_place(
    models: Models, settings: Settings, connection: Connection, stack: ExitStack
) -> Place:
    """Return the place on PostgreSQL: scratch schemas, in a transaction that is rolled back.

    Names without a schema mean the scratch place first, then what they mean otherwise: types and
    functions that the application's scripts made, and extensions'.
    """
    if settings.scratch_url is not None:
        scratch = scratch_settings(settings)
        other = make_engine(scratch.require_url(), scratch.engine_options)
        connection = stack.enter_context(connect(other))
    outer = connection.begin_nested() if connection.in_transaction() else connection.begin()
    stack.callback(outer.rollback)
    state = connection.exec_driver_sql(POSTGRESQL_STATE).one()
    default = str(connection.exec_driver_sql("SELECT current_schema()").scalar() or "public")
    path = str(state[-1])
    names = [*dict.fromkeys([default, *models.schemas(connection.dialect)])]

    def enter() -> tuple[Connection, Mapping[str, str]]:
        schemas = {name: new_name() for name in names}
        for scratch in schemas.values():
            create_schema(connection, scratch)
        # No real table is locked by what is created here; one that were would not be waited for.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        before = f"{schemas[default]}, {path}" if path else schemas[default]
        connection.exec_driver_sql(f"SET LOCAL search_path = {before}".replace("%", "%%"))
        return connection, schemas

    return Place(connection, names, [*state], enter)


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
        raise no_right(
            "a scratch schema",
            url,
            one_line(hide_password(driver_words(exc.orig), url)),
            f"GRANT CREATE ON DATABASE {database} TO {user}",
        ) from exc


def sqlite_place(
    models: Models, settings: Settings, connection: Connection, stack: ExitStack
) -> Place:
    """Return the place on SQLite: a database in memory; the models' schemas are attached ones."""
    engine = make_engine(make_url("sqlite://"), settings.engine_options)
    stack.callback(engine.dispose)
    inside = stack.enter_context(connect(engine))
    stack.callback(inside.rollback)
    version = inside.exec_driver_sql("SELECT sqlite_version()").scalar()
    schemas = models.schemas(engine.dialect)
    for schema in schemas:
        if schema not in ("main", "temp"):
            quoted = engine.dialect.identifier_preparer.quote_identifier(schema)
            inside.exec_driver_sql(f"ATTACH ':memory:' AS {quoted}")
    return Place(inside, schemas, version, lambda: (inside, {}))


def mysql_place(
    models: Models, settings: Settings, connection: Connection, stack: ExitStack
) -> Place:
    """Return the place on MariaDB: scratch databases, one for each schema that the models name."""
    default = str(connection.engine.url.database)
    names = [*dict.fromkeys([default, *models.schemas(connection.dialect)])]
    server = scratch_settings(settings).require_url()
    # The dialect is changed, so the engine is one of its own.
    engine = make_engine(server, settings.engine_options)
    stack.callback(engine.dispose)
    write_checks_with_tables(engine.dialect)
    outside = stack.enter_context(connect(engine))
    state = [*outside.exec_driver_sql(MYSQL_STATE).one()]
    outside.rollback()

    def enter() -> tuple[Connection, Mapping[str, str]]:
        urls = {name: stack.enter_context(scratch_database(settings)) for name in names}
        engine = make_engine(urls[default], settings.engine_options)
        stack.callback(engine.dispose)
        write_checks_with_tables(engine.dialect)
        inside = stack.enter_context(connect(engine))
        stack.callback(inside.rollback)
        return inside, {name: str(url.database) for name, url in urls.items()}

    return Place(outside, names, state, enter)
