"""``ws-alembic``: Alembic's command line, for an application made of many packages."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.console_script import CANNOT_TELL, as_known, console_script

# What the command line needs is imported once Ctrl-C is understood, and what boots an application
# once the command line is.
if TYPE_CHECKING:
    from argparse import Namespace

    from websauna_migrate.cli.command_table import Command
    from websauna_migrate.cli.for_programs import ForPrograms
    from websauna_migrate.cli.output import Output


#: After how many new objects Python's collector looks at them, once an application has started.
MANY = 100_000


@console_script
def main(words: Sequence[str]) -> int:
    """Run ``ws-alembic`` and return the exit status."""
    with seldom_collected():
        if "_WS_ALEMBIC_COMPLETE" in os.environ:
            from websauna_migrate.cli.shell_completion import print_candidates

            print_candidates(words)
            return 0
        from websauna_migrate.cli.command_table import COMMANDS
        from websauna_migrate.cli.for_programs import ForPrograms
        from websauna_migrate.cli.output import reserve_stdout
        from websauna_migrate.cli.parser import DEFAULT_CONFIG, make_parser
        from websauna_migrate.cli.render.text import name_in_commands

        parser = make_parser()
        options = parser.parse_args(words)
        default = os.environ.get("ALEMBIC_CONFIG") or DEFAULT_CONFIG
        ini = options.config[0] if options.config else default
        name_in_commands(None if ini == default else ini, options.x or ())
        if not hasattr(options, "verb"):
            parser.error("too few arguments")
        command = COMMANDS[options.verb]
        with reserve_stdout() as output:
            programs = ForPrograms(options, output)
            with programs.telling():
                status = run(command, options, output, programs)
            return output.finish(status)


def run(command: Command, options: Namespace, output: Output, programs: ForPrograms) -> int:
    """Do a command and return the exit status."""
    from websauna_migrate.cli.command_table import run_command

    try:
        if command.needs_application(options):
            with no_answer() if command.answers else contextlib.nullcontext():
                return run_in_application(command, options, output, programs)
        return run_command(command.plain, options, output)
    except SystemExit as exc:
        raise MigrationError(
            f'The command "{options.verb}" was ended by SystemExit({exc.code}), which a '
            "script or the application raised. Let it raise another error, or return."
        ) from exc


def run_in_application(
    command: Command, options: Namespace, output: Output, programs: ForPrograms
) -> int:
    """Start the application, do a command in it, and return the exit status."""
    from websauna_migrate.cli.app import Application
    from websauna_migrate.cli.command_table import run_command
    from websauna_migrate.cli.commands.call import Call, find_packages, read_scope
    from websauna_migrate.cli.parser import DEFAULT_SECTION
    from websauna_migrate.cli.progress import Progress
    from websauna_migrate.database.in_memory import refuse_in_memory

    asked = read_scope(options.x or ())
    application = Application.chosen(options.config)
    application.set_up_logging(quiet=options.quiet)
    with application.service() as service:
        sections = application.sections()
        if options.name not in sections and options.name != DEFAULT_SECTION:
            raise UsageError(
                f'"{application.ini}" has no section [{options.name}]. Name the one with '
                "Alembic's own options with -n, or leave it out: no such section is needed."
            )
        service.use_index = not options.no_index
        service.use_ini(application.ini, sections, options.name, cmd_opts=options)
        packages = find_packages(command, asked, service)
        if command.needs_database(options):
            refuse_in_memory(service.url)
        gc.freeze()
        gc.set_threshold(MANY)
        gc.enable()
        programs.subscribe(application.registry, service)
        if not options.quiet and programs.events is None:
            Progress().subscribe(application.registry, service)
        with service.one_look():
            call = Call(options, service, packages, output, asked)
            return run_command(command.function, call)


@contextlib.contextmanager
def no_answer() -> Iterator[None]:
    """Let every known failure within a block end the script with the status of a missing answer."""
    try:
        yield
    except Exception as exc:
        known = as_known(exc)
        if known is None:
            raise
        known.exit_code = CANNOT_TELL
        raise known from exc


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Turn Python's collector of reference cycles off until it is enabled.

    An application's modules and models are hundreds of thousands of objects that stay until the
    end. Looking through them while they are made, and twice when the interpreter ends, takes a
    tenth of a short command's time.
    """
    threshold = gc.get_threshold()
    gc.disable()
    try:
        yield
        if gc.isenabled():
            # The finalizers of what a run left behind are called; at the end none would be.
            gc.collect()
    finally:
        # What is frozen is not looked at when the interpreter ends.
        gc.freeze()
        gc.set_threshold(*threshold)
        gc.enable()
