"""``ws-alembic``: Alembic's command line, for an application made of many packages."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import alembic.config
from alembic.config import CommandFunction
from alembic.util import CommandError
from plaster.exceptions import PlasterError
from sqlalchemy.exc import DBAPIError

from websauna_migrate.errors import MigrationError, UsageError
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.scripts.application import Application
from websauna_migrate.scripts.main import console_script
from websauna_migrate.scripts.output import Output, reserve_stdout
from websauna_migrate.scripts.progress import Progress
from websauna_migrate.scripts.verbs import VERBS, Call, Verb
from websauna_migrate.selection import parse_packages_argument, select_packages

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

__all__ = ["CommandLine", "main"]

DESCRIPTION = """\
Migrate the databases of applications made of many packages. All commands and arguments are
Alembic's, and work on the package in whose project the command is run, else on the application's
own; -x packages= names others."""

EPILOG = """\
Results go to standard output, everything else to standard error. The exit status is 0 if all is
done, 1 if it could not be done, 2 if the command line could not be understood, 3 if a step is half
done, 130 or 143 if a signal stopped it."""

#: The INI file where the user names none.
DEFAULT_CONFIG = "development.ini"

#: Its section with Alembic's own options, which need not be there.
DEFAULT_SECTION = "alembic"

#: Commands that need no application, and what to say of them.
ALEMBICS_OWN = {
    "init": "Initialize a script directory for plain Alembic. Nobody needs it for ws-alembic: the "
    "first 'revision' of a package makes its script directory.",
    "list_templates": "List the templates of 'init'. Nobody needs it for ws-alembic: the first "
    "'revision' of a package makes its script directory.",
}


class CommandLine(alembic.config.CommandLine):
    """Alembic's command line, whose commands the migration service of an application does."""

    def __init__(self, prog: str | None = "ws-alembic") -> None:
        super().__init__(prog)
        self.parser.description = DESCRIPTION
        self.parser.epilog = EPILOG
        add_global_arguments(group_of(self.parser))
        for name in VERBS:
            if name not in self.subparsers.choices:
                self.register_verb(name)

    @staticmethod
    def bootstrap(uri: str) -> Mapping[str, Any]:
        """Start the application that a plaster URI describes; a test may replace it."""
        from pyramid.paster import bootstrap

        env: Mapping[str, Any] = bootstrap(uri)
        return env

    def register_command(self, fn: CommandFunction) -> None:
        """Register a command of Alembic's, with what our verb of the same name adds to it."""
        verb = VERBS.get(fn.__name__)
        if verb is not None:
            self._POSITIONAL_OPTS = {**type(self)._POSITIONAL_OPTS, **verb.positionals}
        super().register_command(fn)
        self.finish_parser(fn.__name__)

    def register_verb(self, name: str) -> None:
        """Register a command that Alembic does not have."""
        self.subparsers.add_parser(name, help=VERBS[name].help)
        self.finish_parser(name)

    def finish_parser(self, name: str) -> None:
        """Add to a command's parser what Alembic has not."""
        parser = self.subparsers.choices[name]
        parser.set_defaults(verb=name)
        parser.description = ALEMBICS_OWN.get(name)
        verb = VERBS.get(name)
        if verb is not None and verb.arguments is not None:
            verb.arguments(group_of(parser))

    def main(self, argv: Sequence[str] | None = None) -> NoReturn:
        """Execute a command line and exit."""
        sys.exit(self.run(argv))

    def run(self, argv: Sequence[str] | None = None) -> int | None:
        """Execute a command line and return its exit status."""
        options = self.parser.parse_args(argv)
        if not hasattr(options, "verb"):
            self.parser.error("too few arguments")

        def execute(argv: Sequence[str]) -> int:
            with known_failures(), reserve_stdout() as output:
                return self.execute(options, output)

        # A known failure is told in words, unless its traceback is asked for.
        return execute(()) if options.raiseerr else console_script(execute)(())

    def execute(self, options: Namespace, output: Output) -> int:
        """Start the application and do what the options say.

        :returns: the exit status
        """
        if options.verb in ALEMBICS_OWN:
            self.run_alembics_own(options, output)
            return 0
        verb = VERBS.get(options.verb)
        if verb is None:
            raise UsageError(f'ws-alembic does not have Alembic\'s command "{options.verb}" yet.')
        asked = parse_packages_argument(options.x or ())
        application = Application.of(config_argument(options), self.bootstrap)
        application.set_up_logging(quiet=options.quiet)
        with application.started() as env:
            service = env["registry"].getUtility(IMigrationService)
            sections = application.sections()
            if options.name not in sections and options.name != DEFAULT_SECTION:
                raise NoSection(options.name, application.ini)
            service.use_index = not options.no_index
            service.use_ini(application.ini, sections, options.name, cmd_opts=options)
            packages = packages_of(verb, asked, service)
            if not options.quiet:
                Progress(sys.stderr).subscribe(env["registry"], service)
            with service.one_look():
                return verb.run(Call(options, service, packages, output)) or 0

    def run_alembics_own(self, options: Namespace, output: Output) -> None:
        """Run a command that needs no application, with Alembic's own templates."""
        toml, ini = self._inis_from_config(options)
        config = alembic.config.Config(
            ini, toml_file=toml, ini_section=options.name, cmd_opts=options, stdout=output.stream
        )
        function, positionals, keywords = options.cmd
        function(
            config,
            *(getattr(options, name) for name in positionals),
            **{name: getattr(options, name) for name in keywords},
        )


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
        print(f"{parser.prog} {version('websauna_migrate')} (Alembic {alembic.__version__})")
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
    except (CommandError, OSError) as exc:
        if isinstance(exc, MigrationError | BrokenPipeError):
            raise
        raise MigrationError(str(exc)) from exc
    except DBAPIError as exc:
        raise MigrationError(f"The database answered with an error: {exc.orig}") from exc


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run ``ws-alembic``; the exit status is returned."""
    return CommandLine().run(argv)
