"""Doing what a parsed command line says, and the arguments that all commands share."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from plaster.exceptions import PlasterError
from sqlalchemy.exc import DBAPIError

from websauna_migrate.cli.app import Application
from websauna_migrate.cli.collecting import collect_from_here, keep_until_exit
from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.console_script import console_script
from websauna_migrate.cli.output import Output, reserve_stdout
from websauna_migrate.cli.progress import Progress
from websauna_migrate.cli.verbs import VERBS, Verb
from websauna_migrate.config.selection import parse_packages_argument, select_packages
from websauna_migrate.errors import MigrationError, UsageError
from websauna_migrate.interfaces import IMigrationRunStarted, IMigrationService

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

__all__ = ["add_global_arguments", "bootstrap", "execute", "group_of", "run_options"]

#: The INI file where the user names none.
DEFAULT_CONFIG = "development.ini"

#: Its section with Alembic's own options, which need not be there.
DEFAULT_SECTION = "alembic"

#: Commands that change no database, and run no scripts.
LOOKING = frozenset(
    {
        *("branches", "check", "current", "heads", "history"),
        *("lint", "plan", "revision", "show", "status"),
    }
)

#: Commands that end as soon as the scripts were looked at: they make no garbage to speak of.
SHORT = LOOKING - {"check", "lint", "revision"}


def bootstrap(uri: str) -> Mapping[str, Any]:
    """Start the application that a plaster URI describes."""
    from pyramid.paster import bootstrap

    env: Mapping[str, Any] = bootstrap(uri)
    return env


def run_options(options: Namespace, execute: Callable[[Namespace, Output], int]) -> int | None:
    """Do what options say, and return the exit status.

    A known failure is told in words, unless its traceback is asked for.
    """

    def run(argv: Sequence[str]) -> int:
        with known_failures(), reserve_stdout() as output:
            return execute(options, output)

    return run(()) if options.raiseerr else console_script(run)(())


def execute(options: Namespace, output: Output, boot: Callable[[str], Mapping[str, Any]]) -> int:
    """Start the application and do what the options say.

    :param boot: starts the application that a plaster URI describes
    :returns: the exit status
    """
    verb = VERBS.get(options.verb)
    if verb is None:
        raise UsageError(f'ws-alembic does not have Alembic\'s command "{options.verb}" yet.')
    if options.verb in LOOKING:
        keep_until_exit()
    asked = parse_packages_argument(options.x or ())
    application = Application.of(config_argument(options), boot)
    application.set_up_logging(quiet=options.quiet)
    with application.started() as env:
        service = env["registry"].getUtility(IMigrationService)
        sections = application.sections()
        if options.name not in sections and options.name != DEFAULT_SECTION:
            raise NoSection(options.name, application.ini)
        service.use_index = not options.no_index
        service.use_ini(application.ini, sections, options.name, cmd_opts=options)
        packages = packages_of(verb, asked, service)
        if options.verb == "upgrade" and not options.dry_run:
            # Mostly there is nothing to do.
            env["registry"].registerHandler(
                lambda event: collect_from_here(), (IMigrationRunStarted,)
            )
        elif options.verb not in SHORT:
            collect_from_here()
        if not options.quiet:
            Progress(sys.stderr).subscribe(env["registry"], service)
        with service.one_look():
            return verb.run(Call(options, service, packages, output)) or 0


class VersionAction(argparse.Action):
    """Print the versions and exit; they are looked up only if somebody asks."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print the versions of websauna_migrate and of Alembic."""
        print(f"{parser.prog} {version('websauna_migrate')} (Alembic {version('alembic')})")
        parser.exit()


def group_of(parser: ArgumentParser) -> ArgumentGroup:
    """Return a group whose arguments take the place of those that have the same flags."""
    return parser.add_argument_group(conflict_handler="resolve")


def add_global_arguments(group: ArgumentGroup) -> None:
    """Replace those of Alembic's global arguments that mean something else here."""
    group.add_argument(
        "--version",
        action=VersionAction,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="Show the versions of websauna_migrate and Alembic and exit",
    )
    group.add_argument(
        "-c",
        "--config",
        action="append",
        metavar="INI",
        help="The application's own INI file: a path, ws://PATH or any plaster URI; defaults to "
        'value of ALEMBIC_CONFIG environment variable, or "development.ini"',
    )
    group.add_argument(
        "-x",
        action="append",
        metavar="ARGUMENT",
        help="packages=all or packages=fooapp,fooapp.blog: the packages to work on; anything "
        "else is consumed by custom env.py scripts, e.g. -x setting1=somesetting",
    )
    group.add_argument(
        "-n",
        "--name",
        type=str,
        default=DEFAULT_SECTION,
        help="Name of section in .ini file to use for Alembic config",
    )
    group.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="No progress, no summary, no log lines below a warning on the terminal; "
        "what a command was asked to show, and errors, are printed all the same",
    )
    group.add_argument(
        "--no-index",
        action="store_true",
        help="Import every revision script, rather than read what it says of itself from its text "
        "and from the index in the user's cache folder",
    )


class NoConfig(MigrationError, FileNotFoundError):
    """No INI file was named, and there is none where one is looked for; ``directory`` is that."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            f'There is no "{DEFAULT_CONFIG}" in "{directory}". Name the application\'s INI file: '
            "ws-alembic -c INI COMMAND, or set the environment variable ALEMBIC_CONFIG."
        )


class NoSection(UsageError, LookupError):
    """What ``-n`` names is no section of the INI file; ``section`` and ``ini`` are these."""

    def __init__(self, section: str, ini: str) -> None:
        self.section = section
        self.ini = ini
        super().__init__(
            f'"{ini}" has no section [{section}]. Name the one with Alembic\'s own options with '
            "-n, or leave it out: no such section is needed."
        )


def config_argument(options: Namespace) -> str:
    """Return what the user gave as the INI file, or the default.

    :raises NoConfig: if nothing was given and the default does not exist
    :raises UsageError: if there are several: an INI includes others by ``[includes]``
    """
    given = options.config or list(filter(None, [os.environ.get("ALEMBIC_CONFIG")]))
    if len(given) > 1:
        raise UsageError(
            "Only one INI file may be given with -c. It can include others: "
            '"include_ini_files" in its section [includes].'
        )
    if given:
        return str(given[0])
    if not Path(DEFAULT_CONFIG).is_file():
        raise NoConfig(Path.cwd())
    return DEFAULT_CONFIG


def packages_of(
    verb: Verb, asked: Sequence[str] | str | None, service: Any
) -> tuple[str, ...] | None:
    """Return the packages that a command works on, ``None`` for all."""
    if verb.unasked and asked is not None:
        raise UsageError("This command names its package itself: leave out -x packages=.")
    if asked == "all" or (asked is None and (verb.everywhere or verb.unasked)):
        return None
    names = tuple(package.name for package in service.packages)
    return select_packages(asked, names, service.application, Path.cwd())


@contextlib.contextmanager
def known_failures() -> Iterator[None]:
    """Turn what other libraries raise at a user's mistake into failures with a message."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise
    except PlasterError as exc:
        raise UsageError(f"What -c names cannot be read as an INI file: {exc}") from exc
    except DBAPIError as exc:
        raise MigrationError(f"The database answered with an error: {exc.orig}") from exc
    except Exception as exc:
        known = isinstance(exc, OSError) or is_command_error(exc)
        if not known or isinstance(exc, MigrationError | BrokenPipeError):
            raise
        raise MigrationError(str(exc)) from exc


def is_command_error(exc: Exception) -> bool:
    """Tell whether an error is Alembic's own of a user's mistake."""
    # Whoever raised it has imported it.
    errors = sys.modules.get("alembic.util.exc")
    return errors is not None and isinstance(exc, errors.CommandError)
