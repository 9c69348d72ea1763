"""What a service is configured with, and what its calls stand on; as the rooms below it see it."""

from __future__ import annotations

import functools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, Connection, Engine

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.package_environment import (
    AlembicOptions,
    EnvironmentFailure,
    PackageEnvironment,
)
from websauna_migrate.alembic_adapter.plain_env import is_plain, may_repeat
from websauna_migrate.config.packages import MigrationPackage, refuse_conflict
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import BEFORE, BEHIND, connect, make_engine
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Hooks, NamedHistories, Site

if TYPE_CHECKING:
    from argparse import Namespace

    from websauna_migrate.events import MigrationStepApplied
    from websauna_migrate.models.ownership import Ownership
    from websauna_migrate.results import CreatedScript, Run, StampedPackage
    from websauna_migrate.runs.ledger import Ledger


class Service(ABC):
    """What a service knows: its settings, its packages, their scripts and the database."""

    def __init__(
        self,
        settings: Settings | Callable[[], Settings],
        *,
        application: str | None = None,
        notify: Callable[[object], None] = lambda event: None,
    ) -> None:
        self._read_settings = settings if callable(settings) else lambda: settings
        self.root_package = application
        self.notify = notify
        self.options = AlembicOptions()
        #: Told in words when a run has to wait for another one.
        self.on_wait: Callable[[str], None] | None = None
        #: Told of each step that was applied, before the next one begins.
        self.on_step: Callable[[MigrationStepApplied], None] | None = None
        #: Read scripts from their text and remember it; else import every script.
        self.use_index = True
        #: In a thread, the scripts as :meth:`one_look` saw them.
        self._look = threading.local()
        #: What the newest of them has read.
        self._looked: LoadedScripts | None = None
        self._packages: dict[str, MigrationPackage] = {}
        #: What the packages' ``env.py`` set on their connections, and for which of them.
        self._known_session: tuple[object, Mapping[str, str]] | None = None
        self._named_histories: NamedHistories = {}

    @functools.cached_property
    def settings(self) -> Settings:
        """What the service is configured with."""
        return self._read_settings()

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger of all runs on the database."""
        from websauna_migrate.runs.ledger import Ledger

        return Ledger(self.settings.version_table_schema)

    @property
    def packages(self) -> tuple[MigrationPackage, ...]:
        """The registered packages, ordered by name."""
        return tuple(self._packages[name] for name in sorted(self._packages))

    @property
    def application(self) -> str | None:
        """Dotted name of the application's own package, or ``None``."""
        root = self.settings.package or self.root_package
        candidates = [
            name for name in self._packages if root == name or (root or "").startswith(name + ".")
        ]
        return max(candidates, key=len, default=None)

    @property
    def url(self) -> URL:
        """The database's URL; its ``repr`` hides the password."""
        return self.settings.require_url()

    def add_package(self, package: MigrationPackage) -> None:
        """Register a package.

        :raises ConfigurationError: if it is registered already, or shares its history table or its
            script directory with another package
        """
        refuse_conflict(package, self._packages.values())
        self._packages[package.name] = package

    def use_ini(
        self,
        path: str | None,
        sections: Mapping[str, Mapping[str, str]],
        main_section: str = "alembic",
        cmd_opts: Namespace | None = None,
    ) -> None:
        """Take Alembic's own options from an INI file and a command line.

        :param path: the INI file, absolute
        :param sections: its sections, interpolated
        :param main_section: the one with Alembic's options
        :param cmd_opts: the parsed command line, for scripts that ask for ``-x`` arguments
        """
        self.options = AlembicOptions(path, sections, main_section, cmd_opts)

    @property
    def ownership(self) -> Ownership:
        """Which package owns what of the models, as they are now."""
        from websauna_migrate.models.ownership import Ownership

        return Ownership(self.packages)

    def _snapshot(
        self, may_be_missing: Iterable[str] = (), settings: Settings | None = None
    ) -> LoadedScripts:
        held: LoadedScripts | None = getattr(self._look, "snapshot", None)
        same = settings is None or (held is not None and settings.url == held.settings.url)
        if held is not None and same and not may_be_missing:
            return held
        return LoadedScripts(
            self.packages,
            settings or self.settings,
            self.options,
            may_be_missing=may_be_missing,
            use_index=self.use_index,
        )

    @contextmanager
    def one_look(self, given: Connection | Engine | None = None) -> Iterator[None]:
        """Read the scripts once for all that this thread asks within the block.

        And not again in the next one, of any thread, if no file has changed until then.

        :param given: what the calls within it are given to work on
        """
        loaded = self.site(given=given).loaded
        if self._looked is not None:
            loaded.take_over(self._looked)
        self._look.snapshot = loaded
        try:
            yield
        finally:
            self._look.snapshot = None
            self._looked = loaded

    def site_anew(self, given: Connection | Engine | None = None) -> Site:
        """Return what a call works on that changes scripts: they are read again."""
        self._look.snapshot = None
        return self.site(given=given)

    def make_engine(self, tag: str | None = None) -> Engine:
        """Return a new engine of the service's own: no pool, and SQLite's DDL in transactions.

        :param tag: for ``env.py`` scripts, as Alembic's ``--tag``
        """
        return self._make_engine(self._session(tag))

    def _make_engine(
        self, session: Mapping[str, str] | None = None, *, transactional: bool = True
    ) -> Engine:
        settings = self.settings
        return make_engine(
            self.url,
            settings.engine_options,
            connect_retries=settings.connect_retries,
            session=session,
            transactional=transactional,
        )

    def _session(self, tag: str | None = None) -> Mapping[str, str]:
        """Return what the packages' ``env.py`` set on their connections, for the service's own."""
        files = [package.script_directory / "env.py" for package in self.packages]
        stamps = [file.stat().st_mtime_ns if file.is_file() else 0 for file in files]
        # An env.py may read any variable.
        key = (self.options, tag, stamps, dict(os.environ))
        if self._known_session is None or self._known_session[0] != key:
            environments = self._snapshot(may_be_missing=self._packages).environments
            make_engine = functools.partial(self._make_engine, transactional=False)
            found = find_settings(environments, make_engine, tag)
            self._known_session = (key, found)
            self._named_histories = {
                name: one.named_history for name, one in environments.items() if one.named_history
            }
        return self._known_session[1]

    def site(
        self,
        may_be_missing: Iterable[str] = (),
        given: Connection | Engine | None = None,
        tag: str | None = None,
    ) -> Site:
        """Return what a call works on: the scripts as they are now, and the database.

        :param given: what the caller gave to work on, in place of ``sqlalchemy.url``
        :param tag: for ``env.py`` scripts, as Alembic's ``--tag``
        """
        make = self.make_engine if tag is None else functools.partial(self.make_engine, tag)
        settings = None
        if given is not None:
            settings = replace(self.settings, url=given.engine.url)
            make = functools.partial(self.at(given.engine.url).make_engine, tag)
        return Site(
            self._snapshot(may_be_missing, settings),
            settings or self.settings,
            make_engine=make,
            hooks=Hooks(self.notify, self.on_wait, self.on_step),
            ledger=lambda: self.ledger,
            given=given,
            named_histories=lambda: self._named_histories,
        )

    # What rooms ask the service to do, as IMigrationService describes it

    @abstractmethod
    def at(self, url: URL) -> Service:
        """Return a service of the same packages for another database, which tells no subscriber."""

    @abstractmethod
    def with_changes(self, settings: Settings, packages: Sequence[MigrationPackage]) -> Service:
        """Return a service with other settings and packages, which tells the same subscribers."""

    @abstractmethod
    def upgrade(self, revision: Targets = "heads", *, packages: Packages = None) -> Run:
        """Apply revisions."""

    @abstractmethod
    def stamp(
        self, revisions: Targets = "heads", *, packages: Packages = None, purge: bool = False
    ) -> tuple[StampedPackage, ...]:
        """Write into the history tables which revisions are applied."""

    @abstractmethod
    def revision(
        self,
        message: str | None = None,
        *,
        packages: Packages = None,
        autogenerate: bool = False,
        allow_drops: bool = False,
        prove: str | None = None,
    ) -> tuple[CreatedScript, ...]:
        """Write new scripts."""

    @abstractmethod
    def move_table(
        self, table: str | Sequence[str], source: str, target: str
    ) -> tuple[CreatedScript, CreatedScript]:
        """Write the two scripts that hand tables over."""


def at_odds(
    name: str, values: Mapping[str, str], environments: Mapping[str, PackageEnvironment]
) -> EnvironmentFailure:
    """Return the error of packages that set a setting otherwise: one run has one session.

    :param values: by package
    """
    name, behind = name.removeprefix(BEHIND), name.startswith(BEHIND)
    moment = " for what comes behind the migrations" if behind else ""
    (package, value), *others = sorted(values.items())
    said = ", ".join(f'that of "{other}" to "{its}"' for other, its in others)
    return environments[package].failure(
        f'sets {name.removeprefix(BEFORE)} to "{value}", {said}{moment}. Nothing was changed. Let '
        "them agree, or migrate the packages of each value by an application of their own.",
    )


def sets_session(environment: PackageEnvironment) -> bool:
    """True if a package has an ``env.py`` that may do something to its connection."""
    try:
        source = environment.env_py.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return environment.env_py.exists()
    return not is_plain(source) or may_repeat(source)


def find_settings(
    environments: Mapping[str, PackageEnvironment],
    make_engine: Callable[[], Engine],
    tag: str | None = None,
) -> Mapping[str, str]:
    """Return the settings on which the packages' ``env.py`` agree.

    :param tag: as ``context.get_tag_argument()`` gives it to them
    :raises EnvironmentFailure: if they do not
    """
    found: dict[str, dict[str, str]] = {}
    for package, environment in sorted(environments.items()):
        if not sets_session(environment):
            continue
        from websauna_migrate.alembic_adapter.env_session import session_of

        with (
            nullcontext() if PROCESS_LOCK.is_held_here else PROCESS_LOCK.held(),
            connect(make_engine()) as connection,
        ):
            for name, value in session_of(environment, connection, tag).items():
                found.setdefault(name, {})[package] = value
    for name, values in found.items():
        if len(set(values.values())) > 1:
            raise at_odds(name, values, environments)
    return {name: next(iter(values.values())) for name, values in found.items()}
