"""The command line of a script that starts a client program, and the URL of its INI file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import plaster
import plaster_pastedeploy
from sqlalchemy.engine import URL

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.cli.output import reserve_stdout
from websauna_migrate.config.settings import SettingError, parse_url
from websauna_migrate.ini.loader import config_uri, open_loader


def split_arguments(
    argv: Sequence[str], prog: str, program: str, *, description: str, epilog: str
) -> tuple[str, Sequence[str]]:
    """Return the INI file and the arguments for the client program.

    :param argv: the arguments of the process, without its name
    :param prog: what the console script is called
    :param program: what kind of program it starts, ``dump``
    :raises SystemExit: with 0 behind ``--help``, with 2 if there is no INI file
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] INI [arguments for the {program} program]",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ini", metavar="INI", help="the application's INI file, or a plaster URI")
    # Whatever follows the INI is the program's, also what argparse would take for its own.
    return parser.parse_args(argv[:1]).ini, argv[1:]


def database_url(ini: str) -> URL:
    """Return the application's database, read from its INI file without starting it.

    :param ini: a path or a plaster URI; ``#name`` means ``[app:name]``
    :raises MigrationError: if the file cannot be read, or says nothing usable
    """
    try:
        loader = open_loader(config_uri(ini))
        settings = app_settings(loader)
    except MigrationError:
        raise
    except FileNotFoundError as exc:
        raise MigrationError(
            f'The INI file "{ini}" cannot be read: there is no such file.'
        ) from exc
    except (OSError, LookupError, ImportError, plaster.PlasterError) as exc:
        raise MigrationError(f'The INI file "{ini}" cannot be read: {exc}') from exc
    for key in ("websauna_migrate.url", "sqlalchemy.url"):
        if settings.get(key):
            return parse_url(key, settings[key])
    raise SettingError(
        "sqlalchemy.url",
        f'it is missing from "{ini}". Set it in [app:main] to the database\'s URL.',
    )


def app_settings(loader: Any) -> Mapping[str, str]:
    """Return the settings of the application to which a loader's URI points.

    PasteDeploy imports the application to find them. Where they all stand in one section that is
    neither needed nor wanted: a database must be within reach also when the code is broken.
    """
    if isinstance(loader, plaster_pastedeploy.Loader):
        section = f"app:{loader.uri.fragment or 'main'}"
        found: Mapping[str, str] = loader.get_settings(section)
        if section in loader.get_sections() and not found.get("use", "").startswith("config:"):
            return found
    # What the application prints while it is imported must not end up in a dump.
    with reserve_stdout():
        settings: Mapping[str, str] = loader.get_wsgi_app_settings()
        return settings
