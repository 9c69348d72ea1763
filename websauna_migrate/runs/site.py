"""A site: the scripts of all packages, and the database that they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.selection import UnknownPackage
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import connect, is_missing_file
from websauna_migrate.database.given_connections import open_given
from websauna_migrate.database.history_tables import list_tables, read_rows
from websauna_migrate.interfaces import Packages

if TYPE_CHECKING:
    from websauna_migrate.events import MigrationStepApplied
    from websauna_migrate.runs.ledger import Ledger


@dataclass(frozen=True)
class Hooks:
    """Functions that a run calls.

    :ivar notify: gets the events of a run
    :ivar on_wait: gets a sentence when the run waits for another one; ``None`` to log it
    :ivar on_step: gets each step soon after it was applied
    """

    notify: Callable[[object], None]
    on_wait: Callable[[str], None] | None = None
    on_step: Callable[[MigrationStepApplied], None] | None = None


#: Options of ``context.configure`` by package.
NamedHistories = Mapping[str, Mapping[str, object]]


class Site:
    """What one call of the service works on.

    :ivar loaded: the scripts of all packages
    :ivar settings: the service's
    :ivar make_engine: makes an engine of the service's own
    :ivar named_histories: gives what ``env.py`` files that were asked say of the history table
    """

    def __init__(
        self,
        loaded: LoadedScripts,
        settings: Settings,
        *,
        make_engine: Callable[[], Engine],
        hooks: Hooks,
        ledger: Callable[[], Ledger],
        given: Connection | Engine | None = None,
        named_histories: Callable[[], NamedHistories] = dict,
    ) -> None:
        """Prepare; nothing is read and nothing connects yet.

        :param given: what the caller gave to work on, in place of a connection of the service's own
        """
        self.loaded = loaded
        self.settings = settings
        self.make_engine = make_engine
        self.hooks = hooks
        self.given = given
        self.named_histories = named_histories
        self._ledger = ledger

    @property
    def packages(self) -> Mapping[str, MigrationPackage]:
        """The registered packages by name."""
        return self.loaded.packages

    @property
    def schema(self) -> str | None:
        """The schema of the history tables and the ledger."""
        return self.settings.version_table_schema

    @property
    def ledger(self) -> Ledger:
        """The ledger of all runs on the database."""
        return self._ledger()

    @property
    def has_database(self) -> bool:
        """False if the database is an SQLite file that does not exist yet."""
        return self.given is not None or not is_missing_file(self.settings.require_url())

    def connecting(
        self, make: Callable[[], Engine] | None = None
    ) -> AbstractContextManager[Connection]:
        """Give a connection to the database.

        :param make: makes the engine, in place of :attr:`make_engine`
        """
        if self.given is not None:
            return open_given(self.given)
        return connect((make or self.make_engine)())

    def select(self, packages: Packages) -> tuple[str, ...]:
        """Return the names of the packages meant, sorted, each once.

        :raises UnknownPackage: for a name that is not registered
        """
        known = sorted(self.packages)
        if packages is None:
            return tuple(known)
        names = [packages] if isinstance(packages, str) else list(packages)
        for name in names:
            if name not in self.packages:
                raise UnknownPackage(name, known)
        return tuple(sorted(set(names)))

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """Give a connection for reading, or ``None`` where :attr:`has_database` is false."""
        if not self.has_database:
            yield None
        else:
            with self.connecting() as connection:
                yield connection

    def applied(self) -> Mapping[str, tuple[str, ...]]:
        """Return the rows of every registered package's history table."""
        with self.reading() as connection:
            if connection is None:
                return dict.fromkeys(self.packages, ())
            return self.read(connection)[0]

    def read(self, connection: Connection) -> tuple[Mapping[str, tuple[str, ...]], frozenset[str]]:
        """Return the rows of every registered package's history table, and the names of tables."""
        existing = list_tables(connection, self.schema, views=True)
        tables = {name: package.history_table for name, package in self.packages.items()}
        rows = read_rows(connection, existing.intersection(tables.values()), self.schema)
        return {name: rows.get(table, ()) for name, table in tables.items()}, frozenset(existing)
