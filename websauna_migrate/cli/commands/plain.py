"""Commands that need no application, with Alembic's own templates."""

from __future__ import annotations

import os
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from websauna_migrate.base_errors import MigrationError, UsageError, address_of
from websauna_migrate.cli.output import Output

if TYPE_CHECKING:
    from alembic.config import Config


def completion(options: Namespace, output: Output) -> None:
    """Print what makes a shell complete ``ws-alembic``."""
    from websauna_migrate.cli.shell_completion import SHELLS

    output.raw(SHELLS[options.shell])


def help_on(options: Namespace, output: Output) -> None:
    """Print the help of a command, what a failure means, or the help of all."""
    from websauna_migrate.cli.parser import commands_of, make_parser

    parser = make_parser()
    commands = commands_of(parser)
    if options.topic is None:
        output.raw(parser.format_help())
    elif options.topic in commands:
        output.raw(commands[options.topic].format_help())
    else:
        output.lines(meaning_of(options.topic))


def init(options: Namespace, output: Output) -> None:
    """Make a script directory in a folder: ours, or with a template's name plain Alembic's."""
    if options.template:
        from alembic import command

        command.init(
            make_config(options, output),
            options.directory,
            template=options.template,
            package=options.package,
        )
        return
    from websauna_migrate.config.template import create_files

    folder = Path(options.directory)
    try:
        written = list(create_files(folder))
        for path in (folder / "__init__.py", folder / "versions" / "__init__.py"):
            if options.package and not path.exists():
                path.touch()
                written.append(path)
    except OSError as exc:
        raise MigrationError(f'"{folder}" cannot be written: {exc.strerror}.') from exc
    output.done([str(path) for path in written] or [f'"{folder}" has all its files already.'])
    if not options.quiet:
        print(
            "It is found without a setting as alembic/ inside the package, or beside its "
            'pyproject.toml; elsewhere by add_migration_package(script_location="...").',
            file=sys.stderr,
        )


def new_package(options: Namespace, output: Output) -> None:
    """Write the project of a new application or add-on, and say what comes next."""
    from websauna_migrate.cli.new_package import write_project

    folder = Path(options.directory or options.package)
    written = write_project(options.package, folder, addon=options.addon)
    if not options.quiet:
        output.done(str(path) for path in written)
        there = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
        command = f'{there}pip install -e ".[test]" && ws-alembic upgrade && pytest'
        print(f"Next: {command}", file=sys.stderr)


def list_templates(options: Namespace, output: Output) -> None:
    """List Alembic's templates."""
    from alembic import command

    command.list_templates(make_config(options, output))


def make_config(options: Namespace, output: Output) -> Config:
    """Return Alembic's configuration for an INI file that need not be there."""
    from alembic.config import Config

    given = options.config or [os.environ.get("ALEMBIC_CONFIG") or "alembic.ini"]
    return Config(given[-1], ini_section=options.name, cmd_opts=options, stdout=output.stream)


#: Names of a glossary, one a line, and what stands below them.
ENTRY = re.compile(r"((?:^    \w+\n)+)((?:^        \S[^\n]*\n)+)", re.M)


def read_meanings() -> dict[str, str]:
    """Return what the page says, by the name of each failure."""
    text = files("websauna_migrate.cli").joinpath("messages.rst").read_text(encoding="utf-8")
    return {
        name: without_markup(" ".join(body.split()))
        for names, body in ENTRY.findall(text)
        for name in names.split()
    }


def without_markup(text: str) -> str:
    """Return a text of the documentation as a terminal shows it."""
    text = re.sub(r":doc:`([\w-]+)`", r"docs/\1.rst", text)
    return text.replace("``", "`")


def meaning_of(name: str) -> Iterator[str]:
    """Yield the lines that tell what a failure means.

    :raises UsageError: if there is none of this name
    """
    meanings = read_meanings()
    found = {one.lower(): one for one in meanings}.get(name.lower())
    if found is None:
        close = get_close_matches(name, meanings, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise UsageError(
            f'There is no command and no failure "{name}".{hint} The commands: ws-alembic help. '
            f"The failures: {', '.join(sorted(meanings))}."
        )
    yield found
    yield from wrap(meanings[found], 80, initial_indent="  ", subsequent_indent="  ")
    yield f"In the documentation: {address_of(found)}"
