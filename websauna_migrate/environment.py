"""Alembic's view of a package: its configuration, its script directory, and how env.py is run.

A script directory stays an ordinary Alembic environment. Three kinds of it work alike: none at all
(the service configures Alembic itself), the template's ``env.py`` that calls
:func:`run_migrations`, and an older, hand-written one with an engine of its own. For the last kind
the service is in the way of one call only, ``context.configure``: it puts its own connection, the
package's history table and its URL in place of what the script gives, and leaves the rest alone.
"""

from __future__ import annotations

import logging.config
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import URL, Connection

from websauna_migrate.alembic_internals import LoadedScriptDirectory, ProxiedEnvironment
from websauna_migrate.errors import MigrationError
from websauna_migrate.packages import MigrationPackage
from websauna_migrate.type_memory import TypeMemory

__all__ = ["AlembicOptions", "PackageEnvironment", "run_migrations"]

#: Where a running environment is found by the template's ``env.py``.
ATTRIBUTE = "websauna_migrate"

Steps = Callable[[Any, MigrationContext], Sequence[Any]]


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
    arguments: Any = None


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
        engine_options: Mapping[str, Any],
        schema: str | None,
        options: AlembicOptions,
        on_error: Callable[[Path, BaseException], None] | None = None,
    ) -> None:
        self.package = package
        self.url = url
        self.schema = schema
        self.options = options
        self.on_error = on_error
        self.config = self._make_config(engine_options)
        self._scripts: LoadedScriptDirectory | None = None
        self.types = TypeMemory()
        #: What the template's ``env.py`` gave to :func:`run_migrations`, once it has been run.
        self.standard_options: Mapping[str, Any] | None = None

    def _make_config(self, engine_options: Mapping[str, Any]) -> Config:
        config = Config(ini_section=self.options.main_section)
        for section, values in self.options.sections.items():
            for key, value in values.items():
                if section != self.options.main_section or key not in NOT_SHARED:
                    config.set_section_option(section, key, value.replace("%", "%%"))
        main = {"script_location": str(self.package.script_directory)}
        if self.package.own_version_locations:
            main["path_separator"] = "newline"
            main["version_locations"] = "\n".join(
                str(path) for path in self.package.own_version_locations
            )
        if self.url is not None:
            main["sqlalchemy.url"] = self.url.render_as_string(hide_password=False)
        main.update({key: str(value) for key, value in engine_options.items()})
        for key, value in main.items():
            config.set_main_option(key, value.replace("%", "%%"))
        config.cmd_opts = self.options.arguments
        # Set last: the file was read by the include mechanism already, not by Alembic.
        config.config_file_name = self.options.path
        return config

    @property
    def exists(self) -> bool:
        """Whether the script directory is there."""
        return self.package.script_directory.is_dir()

    @property
    def scripts(self) -> LoadedScriptDirectory:
        """The script directory, its files read once."""
        if self._scripts is None:
            self._scripts = LoadedScriptDirectory.load(self.config, self.on_error)
        return self._scripts

    def forget_scripts(self) -> None:
        """Read the script directory again when it is needed next."""
        self._scripts = None

    def run(
        self,
        steps: Steps,
        *,
        connection: Connection | None = None,
        output: TextIO | None = None,
        rows: tuple[str, ...] | None = None,
        configure: Mapping[str, Any] | None = None,
        **context_options: Any,
    ) -> None:
        """Run the package's environment once, with ``steps`` as Alembic's work function.

        :param connection: the connection that does the work; ``None`` for offline mode, whose SQL
            goes to ``output``
        :param rows: the history table's rows where they are known; ``None`` to read them
        :param configure: options of ``context.configure`` that the service insists on
        :param context_options: further options of Alembic's ``EnvironmentContext``, ``tag`` among
            them
        :raises EnvironmentFailure: when ``env.py`` never ran the migrations
        """
        called = False

        def work(rows: Any, context: MigrationContext) -> Sequence[Any]:
            nonlocal called
            # A multi-database env.py runs its migrations once per engine: ours is one.
            if called:
                return ()
            called = True
            return steps(rows, context)

        environment = BoundEnvironment(
            self,
            connection=connection,
            output=output,
            rows=rows,
            insisted=dict(configure or {}),
            fn=work,
            as_sql=connection is None,
            **context_options,
        )
        with environment:
            if self.standard_options is not None:
                environment.run_standard(self.standard_options)
            elif not Path(self.scripts.env_py_location).exists():
                environment.run_standard({})
            else:
                with self.attached(environment), logging_left_alone(self.options.path):
                    self.scripts.run_env()
        if not called:
            raise EnvironmentFailure(
                self.package.name,
                self.scripts.env_py_location,
                "did not call context.run_migrations(). Nothing was changed. See Alembic's "
                "documentation of env.py, or replace it by the two lines of the template.",
            )
        self.types.keep(environment.memo)

    @contextmanager
    def attached(self, environment: BoundEnvironment) -> Iterator[None]:
        """Let the template's ``env.py`` find the running environment."""
        self.config.attributes[ATTRIBUTE] = environment
        try:
            yield
        finally:
            del self.config.attributes[ATTRIBUTE]


class BoundEnvironment(ProxiedEnvironment):
    """Alembic's environment, bound to a package and to the run's own connection."""

    def __init__(
        self,
        owner: PackageEnvironment,
        *,
        connection: Connection | None,
        output: TextIO | None,
        rows: tuple[str, ...] | None,
        insisted: dict[str, Any],
        **options: Any,
    ) -> None:
        super().__init__(owner.config, owner.scripts, **options)
        self.owner = owner
        self.run_connection = connection
        self.output = output
        self.rows = rows
        self.insisted = insisted
        #: The named types that the step created, see :mod:`websauna_migrate.type_memory`.
        self.memo: dict[str, Any] = {}

    def configure(self, *args: Any, **kwargs: Any) -> None:
        """Configure as ``env.py`` says, but for what the service is answerable for."""
        # The first parameter, and the only one that scripts give by position.
        if args:
            kwargs["connection"] = args[0]
        for key in ("connection", "url", "dialect_name"):
            kwargs.pop(key, None)
        if self.run_connection is not None:
            kwargs["connection"] = self.run_connection
            kwargs.pop("literal_binds", None)
        else:
            assert self.owner.url is not None
            kwargs["url"] = self.owner.url
            kwargs["literal_binds"] = True
            kwargs["output_buffer"] = self.output
        for key, value in self.insisted.items():
            combine = COMBINED.get(key)
            given = kwargs.get(key)
            kwargs[key] = combine(given, value) if combine and given is not None else value
        kwargs["version_table"] = self.owner.package.history_table
        kwargs["version_table_schema"] = self.owner.schema
        kwargs["transaction_per_migration"] = True
        if self.owner.url is not None and self.owner.url.get_backend_name() == "sqlite":
            kwargs["transactional_ddl"] = True
        super().configure(**kwargs)
        self.memo = self.get_context().impl.memo
        self.owner.types.attach(self.memo, self.run_connection)
        if self.rows is not None and self.run_connection is not None:
            self.get_context().get_current_heads = self.known_heads  # type: ignore[method-assign]

    def known_heads(self) -> tuple[str, ...]:
        """Return the rows that the run knows, in place of Alembic's query for them.

        The transaction of the step begins here, so that a history table that is made for the
        first revision is part of it.
        """
        assert self.run_connection is not None and self.rows is not None
        if not self.run_connection.in_transaction():
            self.run_connection.begin()
        return self.rows

    def run_standard(self, options: Mapping[str, Any]) -> None:
        """Do what every ``env.py`` does, with ``options`` for ``context.configure``."""
        self.configure(**{"target_metadata": list(self.owner.package.metadata), **options})
        with self.begin_transaction():
            self.run_migrations()


def both(first: Any, second: Any) -> Any:
    """Return a filter that includes what both filters include."""
    return lambda *args: first(*args) and second(*args)


def either(first: Any, second: Any) -> Any:
    """Return a renderer that asks the second where the first leaves it to the default."""

    def render(*args: Any) -> Any:
        rendered = first(*args)
        return second(*args) if rendered is False else rendered

    return render


def in_turn(first: Any, second: Any) -> Any:
    """Return a hook that calls one after the other; each may be one or a collection of them."""
    functions = [f for hooks in (first, second) for f in ([hooks] if callable(hooks) else hooks)]

    def call(*args: Any, **kwargs: Any) -> None:
        for function in functions:
            function(*args, **kwargs)

    return call


#: Options that ``env.py`` and the service both have a say in; in all others the service insists.
COMBINED: Mapping[str, Callable[[Any, Any], Any]] = {
    "include_name": both,
    "include_object": both,
    "render_item": either,
    "process_revision_directives": in_turn,
    "on_version_apply": in_turn,
    "compare_type": lambda given, ours: given,
    "compare_server_default": lambda given, ours: given,
    "render_as_batch": lambda given, ours: given,
    "include_schemas": lambda given, ours: given or ours,
}


def run_migrations(**options: Any) -> None:
    """Run a package's migrations; the whole of the template's ``env.py``.

    Under ``ws-alembic`` and the service it hands over to the run in progress, on whose connection
    all work is done. Under plain ``alembic -c development.ini`` it boots the application of that
    INI file first and connects as its settings say.

    :param options: further options of Alembic's ``context.configure``, such as
        ``include_object`` or ``render_item``; they are read once in a run
    """
    from alembic import context

    environment = context.config.attributes.get(ATTRIBUTE)
    if isinstance(environment, BoundEnvironment):
        environment.owner.standard_options = options
        environment.run_standard(options)
    else:
        from websauna_migrate.plain_alembic import run_plain

        run_plain(options)


@contextmanager
def logging_left_alone(path: str | None) -> Iterator[None]:
    """Keep an older ``env.py`` from setting up logging again.

    ``fileConfig(config.config_file_name)`` is in every ``env.py`` of Alembic's own templates.
    Logging was set up from the application's INI already, includes and all, and a second reading
    of the bare file would fail without them, silence existing loggers, or log to stdout.
    """
    original = logging.config.fileConfig

    def file_config(fname: Any, *args: Any, **kwargs: Any) -> None:
        if fname is None or (
            path is not None and isinstance(fname, (str, os.PathLike)) and os.fspath(fname) == path
        ):
            return
        original(fname, *args, **kwargs)

    logging.config.fileConfig = file_config
    try:
        yield
    finally:
        logging.config.fileConfig = original
