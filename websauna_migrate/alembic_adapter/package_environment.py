"""Alembic's view of a package: its configuration and its script directory.

A script directory stays an ordinary Alembic environment. Three kinds of it work alike: none at all
(the service configures Alembic itself), the template's ``env.py`` that calls
:func:`websauna_migrate.environment.run_migrations`, and an older, hand-written one with an engine
of its own. For the last kind the service is in the way of one call only, ``context.configure``: it
puts its own connection, the package's history table and its URL in place of what the script gives,
and leaves the rest alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, Dialect

from websauna_migrate.alembic_adapter.plain_env import is_asynchronous
from websauna_migrate.alembic_adapter.type_memory import TypeMemory
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.database.cache import Cache
from websauna_migrate.database.engines import ASYNCHRONOUS, with_asynchronous_driver
from websauna_migrate.revision_scripts.revision_reader import ScriptReader

if TYPE_CHECKING:
    from argparse import Namespace

    from alembic.config import Config
    from alembic_utils.replaceable_entity import ReplaceableEntity

    from websauna_migrate.alembic_adapter.internals import LoadedScriptDirectory


class EnvironmentFailure(MigrationError, RuntimeError):
    """A package's ``env.py`` did not do what Alembic's documentation asks of it."""

    def __init__(self, package: str, path: str, problem: str) -> None:
        self.package = package
        self.path = path
        super().__init__(f'The env.py of package "{package}" ({path}) {problem}')


@dataclass(frozen=True)
class AlembicOptions:
    """What comes from the INI file and the command line rather than from the application.

    :ivar path: the INI file, absolute, or ``None`` inside a running application
    :ivar sections: sections of the INI by name, interpolated
    :ivar main_section: the one with Alembic's own options, ``-n``
    :ivar arguments: the parsed command line, for ``context.get_x_argument``
    """

    path: str | None = None
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    main_section: str = "alembic"
    arguments: Namespace | None = None


#: Options of the ``[alembic]`` section that say where one package's scripts are, or which database
#: is meant: the service knows both for every package.
NOT_SHARED = ("script_location", "version_locations", "sqlalchemy.url")


class PackageEnvironment:
    """One package as Alembic sees it."""

    def __init__(
        self,
        package: MigrationPackage,
        *,
        url: URL | None,
        engine_options: Mapping[str, object],
        schema: str | None,
        options: AlembicOptions,
        cache: Cache | None = None,
        home: URL | None = None,
    ) -> None:
        """Describe the environment; nothing of Alembic is needed before something is to run.

        :param home: where the URL is a scratch database's, that of the application's own
        :param cache: where what was read of scripts is kept; ``None`` to import them all
        """
        self.package = package
        self.url = url
        self.home = home
        self.schema = schema
        self.options = options
        self.engine_options = engine_options
        self.cache = cache
        self.types = TypeMemory()
        #: What the package's ``env.py`` registered with alembic-utils.
        self.entities: list[ReplaceableEntity] = []
        #: What ``env.py`` says of the history table, if it was asked.
        self.named_history: Mapping[str, object] = {}
        #: For SQL that is written, the dialect of a connection to the server: it knows whether that
        #: is MariaDB, and how it reads a backslash. ``None`` if it was not asked.
        self.asked: Dialect | None = None
        #: The options that the template's ``env.py`` gave, once it has been run; none where it is
        #: about to replace the package's own.
        self.standard_options: Mapping[str, object] | None = {} if package.own_env_py else None

    @cached_property
    def config(self) -> Config:
        """Alembic's configuration, as ``env.py`` sees it."""
        from alembic.config import Config

        config = Config(ini_section=self.options.main_section)
        for section, values in self.options.sections.items():
            for key, value in values.items():
                if section != self.options.main_section or key not in NOT_SHARED:
                    config.set_section_option(section, key, value.replace("%", "%%"))
        directory = self.package.script_directory
        if not directory.is_dir():
            # Mostly, it is there.
            from websauna_migrate.config.template import template_folder

            directory = template_folder()
        main = {"script_location": str(directory)}
        if self.package.own_version_locations:
            main["path_separator"] = "newline"
            main["version_locations"] = "\n".join(
                str(path) for path in self.package.own_version_locations
            )
        if self.url is not None:
            main["sqlalchemy.url"] = self.env_url(self.url).render_as_string(hide_password=False)
        main.update({key: str(value) for key, value in self.engine_options.items()})
        for key, value in main.items():
            config.set_main_option(key, value.replace("%", "%%"))
        config.cmd_opts = with_command(self.options.arguments)
        # Set last: the file was read by the include mechanism already, not by Alembic.
        config.config_file_name = self.options.path
        return config

    def env_url(self, url: URL) -> URL:
        """Return a URL as ``env.py`` can use it: one that makes an asynchronous engine, too.

        One that names an asynchronous driver may put it into the URL itself.
        """
        try:
            source = self.env_py.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return url
        drivers = (name.partition("+")[2] for name in ASYNCHRONOUS)
        if is_asynchronous(source) and not any(driver in source for driver in drivers):
            return with_asynchronous_driver(url)
        return url

    @property
    def env_py(self) -> Path:
        """Where the package's ``env.py`` is, if it has one."""
        return self.package.env_py

    def failure(self, problem: str) -> EnvironmentFailure:
        """Return the error of what the package's ``env.py`` does.

        :param problem: what that is; ``env.py`` is the sentence's subject
        """
        return EnvironmentFailure(self.package.name, str(self.env_py), problem)

    def require_same(self, first: Mapping[str, str], second: Mapping[str, str]) -> None:
        """Refuse to run migrations for a second session: a run of the service has one.

        :param first: what is known of the session in which they ran, by a name for it
        :raises EnvironmentFailure: if the second is another one
        """
        for name in dict.fromkeys([*first, *second]):
            if first.get(name) == second.get(name):
                continue
            remedy = (
                "Let env.py take the URL of its config alone, and run ws-alembic once for each "
                "database, with an INI whose setting websauna_migrate.url names it"
                if name in ("the database", "the server")
                else "Let env.py take one of them from the command line, as Alembic's cookbook "
                "does for tenants by context.get_x_argument(as_dictionary=True): ws-alembic -x "
                "tenant=NAME"
            )
            raise self.failure(
                f'runs its migrations several times: {name} is "{first.get(name)}", then '
                f'"{second.get(name)}". A run of the service has one session. Nothing was changed. '
                f"{remedy}",
            )

    def refuse_other_history(
        self, options: Mapping[str, object], default_schemas: Collection[str | None]
    ) -> None:
        """Refuse another history table than the package's: plain Alembic would go by that one.

        :param options: of ``context.configure``, as ``env.py`` gives them
        :param default_schemas: those that a name without one may mean
        :raises EnvironmentFailure: if ``env.py`` names one
        """
        table, by_package = self.package.history_table, f"version_table.{self.package.name}"
        for option, ours, setting, same in (
            ("version_table", table, by_package, ()),
            ("version_table_schema", self.schema, "version_table_schema", default_schemas),
        ):
            given = options.get(option)
            if given is not None and given != ours and (ours is not None or given not in same):
                raise self.failure(
                    f"says {option}={given!r}, and the history is kept with {ours!r}. Nothing was "
                    f"changed. Let env.py say {option}={ours!r}; where no history is yet, you may "
                    f"set websauna_migrate.{setting} = {given} in its place.",
                )

    @property
    def exists(self) -> bool:
        """Whether the script directory is there, or a folder with scripts that is elsewhere."""
        folders = (self.package.script_directory, *self.package.own_version_locations)
        return any(folder.is_dir() for folder in folders)

    @cached_property
    def reader(self) -> ScriptReader:
        """What reads the scripts, each once."""
        return ScriptReader(
            self.package,
            lambda: self.scripts,
            # A script that has no source is known by an import alone.
            cache=None if self._alembic_flag("sourceless") else self.cache,
            recursive=self._alembic_flag("recursive_version_locations"),
        )

    @cached_property
    def scripts(self) -> LoadedScriptDirectory:
        """Alembic's script directory, whose scripts are imported when they are needed."""
        from websauna_migrate.alembic_adapter.internals import LoadedScriptDirectory

        return LoadedScriptDirectory.load(self.config, self.reader)

    def _alembic_flag(self, name: str) -> bool:
        """Return one of Alembic's own options that is ``true`` or not."""
        section = self.options.sections.get(self.options.main_section, {})
        return any(key.lower() == name and value == "true" for key, value in section.items())


def with_command(arguments: Namespace | None) -> Namespace | None:
    """Add what Alembic's parser adds to a command line that was parsed without it.

    ``env.py`` may ask ``config.cmd_opts.cmd`` for the command: Alembic's function, and the names of
    its positional and keyword arguments. For a command that Alembic does not have these are those
    of ``current``, which only looks.
    """
    import alembic.command

    if arguments is not None and not hasattr(arguments, "cmd"):
        verb = getattr(arguments, "verb", None)
        function = getattr(alembic.command, str(verb), alembic.command.current)
        spec = inspect.getfullargspec(function)
        first = len(spec.args) - len(spec.defaults or ())
        arguments.cmd = (function, spec.args[1:first], spec.args[first:])
    return arguments
