"""Start the application of an INI file, and find the migration service in it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import plaster
from pyramid import paster
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.parser import DEFAULT_CONFIG
from websauna_migrate.config.starting import for_a_command
from websauna_migrate.database.engines import hide_password
from websauna_migrate.ini.loader import Loader, config_uri, open_loader
from websauna_migrate.interfaces import IMigrationService

if TYPE_CHECKING:
    from pyramid.registry import Registry

    from websauna_migrate.service import MigrationService

#: Frames of these packages before the first of the application say nothing about it.
MACHINERY = frozenset(
    {
        *("contextlib", "importlib", "paste", "pkg_resources", "plaster", "plaster_pastedeploy"),
        *("pyramid", "venusian", "websauna_migrate", "zope"),
    }
)

#: Sections that logging alone understands: they have a ``%`` syntax of their own.
LOGGING_SECTIONS = ("logger", "handler", "formatter")


class Application:
    """An application that an INI file describes.

    :ivar uri: of the INI file, any that plaster knows
    :ivar registry: the application's, once it is started
    """

    def __init__(self, argument: str) -> None:
        """Find the application that a user means by a path or a URI."""
        self.uri = config_uri(argument)
        self.registry: Registry | None = None

    @classmethod
    def chosen(cls, arguments: Sequence[str] | None) -> Application:
        """Return the application of the INI file that ``-c`` names, else of the default.

        :raises MigrationError: if nothing was given and the default does not exist
        :raises UsageError: if there are several: an INI includes others by ``[includes]``
        """
        given = arguments or list(filter(None, [os.environ.get("ALEMBIC_CONFIG")]))
        if len(given) > 1:
            raise UsageError(
                "Only one INI file may be given with -c. It can include others: "
                '"include_ini_files" in its section [includes].'
            )
        if not given and not Path(DEFAULT_CONFIG).is_file():
            raise MigrationError(
                f'There is no "{DEFAULT_CONFIG}" in "{Path.cwd()}". Name the application\'s INI '
                "file: ws-alembic -c INI COMMAND, or set the environment variable ALEMBIC_CONFIG."
            )
        return cls(*given or [DEFAULT_CONFIG])

    @property
    def ini(self) -> str:
        """The absolute path of the INI file."""
        path = getattr(self._loader, "filepath", None) or plaster.parse_uri(self.uri).path
        return str(Path(path).absolute())

    @property
    def factory(self) -> str:
        """What makes the application, as its section in the INI file says."""
        name = plaster.parse_uri(self.uri).fragment or "main"
        settings = self._loader.get_settings(f"app:{name}")
        return str(settings.get("use") or settings.get("paste.app_factory") or f"app:{name}")

    def sections(self) -> dict[str, dict[str, str]]:
        """Return the settings of all sections that are not logging's, by section."""
        loader = self._loader
        found: dict[str, dict[str, str]] = {}
        once = loader.reading_once() if isinstance(loader, Loader) else contextlib.nullcontext()
        with once:
            for section in loader.get_sections():
                if not section.startswith(LOGGING_SECTIONS):
                    # Another program's section may have a syntax of its own too.
                    with contextlib.suppress(MigrationError, ValueError):
                        found[section] = dict(loader.get_settings(section))
        return found

    def set_up_logging(self, *, quiet: bool = False) -> None:
        """Configure logging as the INI file says.

        :param quiet: let only warnings and errors through to the terminal; log files get all
        """
        # Alembic lists its own parts at INFO whenever it is imported; a section of the file that
        # names this logger sets another level.
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
        self._loader.setup_logging()
        if quiet:
            for handler in terminal_handlers():
                handler.setLevel(max(handler.level, logging.WARNING))

    @contextlib.contextmanager
    def service(self) -> Iterator[MigrationService]:
        """Start the application and yield its migration service; close it at the end.

        :raises MigrationError: when the application raises: its own traceback is in the message,
            without passwords; or when it does not include websauna_migrate
        """
        try:
            with for_a_command():
                env = paster.bootstrap(self.uri)
        except MigrationError:
            raise
        # An application that exits while it starts is no command that succeeded.
        except (Exception, SystemExit) as exc:
            # Pyramid wraps what a configuration action raises; a known failure stays one.
            known = getattr(exc, "evalue", None)
            if isinstance(known, MigrationError):
                raise known from exc
            words = functools.reduce(hide_url, self._urls(), own_traceback(exc))
            if isinstance(exc, ModuleNotFoundError) and first_own_frame(exc.__traceback__) is None:
                words += "\nInstall the project that has it into this environment: pip install -e ."
            if isinstance(exc, AttributeError) and str(exc) == "add_migration_package":
                words += '\nAdd before that line: config.include("websauna_migrate")'
            raise MigrationError(
                f'The application "{self.factory}" of "{self.ini}" did not start: '
                f"{type(exc).__name__}.\n\n{words}"
            ) from exc
        try:
            self.registry = env["registry"]
            service = self.registry.queryUtility(IMigrationService)
            if service is None:
                raise MigrationError(
                    f'The application "{self.factory}" of "{self.ini}" does not include '
                    'websauna_migrate. Add "config.include("websauna_migrate")" to the code that '
                    "configures it."
                )
            yield service
        finally:
            env["closer"]()

    def _urls(self) -> list[str]:
        """Return the options of all sections that may be a database's URL."""
        with contextlib.suppress(MigrationError, OSError, LookupError, ValueError):
            sections = self.sections().values()
            return [text for options in sections for text in options.values() if "://" in text]
        return []

    @functools.cached_property
    def _loader(self) -> Any:
        return open_loader(self.uri)


def hide_url(words: str, text: str) -> str:
    """Return words without the passwords of a URL; all of one that cannot be read is hidden."""
    try:
        return hide_password(words, make_url(text.strip()))
    except (ArgumentError, ValueError):
        return words.replace(text, "***")


def own_traceback(error: BaseException) -> str:
    """Return an error's traceback from the application's first frame on.

    Where no frame is the application's, say because the INI file names something that is not
    there, the error's own words are all there is to say.
    """
    start = first_own_frame(error.__traceback__)
    if start is None:
        return "".join(traceback.format_exception_only(error)).rstrip()
    lines = traceback.TracebackException(type(error), error, start).format()
    return "".join(lines).rstrip()


def first_own_frame(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame on that is not machinery's."""
    while frames is not None:
        module = str(frames.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in MACHINERY:
            return frames
        frames = frames.tb_next
    return None


def terminal_handlers() -> Iterator[logging.Handler]:
    """Yield the log handlers that write to standard error."""
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if getattr(handler, "stream", None) is sys.stderr:
            yield handler
