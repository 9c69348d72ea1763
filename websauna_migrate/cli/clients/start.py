"""Starting a client program, for the database of an INI file, in place of this one or below it."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NoReturn

import plaster
import plaster_pastedeploy
from sqlalchemy.engine import URL

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.cli.clients.client import Client
from websauna_migrate.cli.output import reserve_stdout
from websauna_migrate.config.settings import SettingError, parse_url
from websauna_migrate.ini.loader import config_uri, open_loader


def become(client: Client) -> NoReturn:
    """Replace this process by a client program, whose exit status then is this script's.

    :raises MigrationError: if the operating system refuses
    """
    path = private_path(client)
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these, and a new program would inherit that: pg_dump | head has to end.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(client.program, client.argv(path), client.variables(os.environ, path))
    except OSError as exc:
        raise not_started(client, exc) from exc


def copy_output(client: Client, output: BinaryIO) -> int:
    """Run a client program and write what it writes, for one that does not notice a full disk.

    :returns: its exit status
    :raises OSError: if that cannot be written
    :raises MigrationError: if the operating system refuses to start it
    """
    path = private_path(client)
    try:
        process = subprocess.Popen(
            client.argv(path),
            env=client.variables(os.environ, path),
            stdout=subprocess.PIPE,
            close_fds=not path,
        )
    except OSError as exc:
        raise not_started(client, exc) from exc
    with process:
        assert process.stdout is not None
        try:
            shutil.copyfileobj(process.stdout, output, 1 << 20)
            output.flush()
        except BaseException:
            process.kill()
            raise
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def not_started(client: Client, problem: OSError) -> MigrationError:
    """Return the error of a program that cannot be started."""
    words = problem.strerror or problem
    return MigrationError(f'The program "{client.program}" cannot be started: {words}')


def private_path(client: Client) -> str:
    """Return the path of a client's private file, for a new program; empty if there is none."""
    if client.private_file is None:
        return ""
    return f"/dev/fd/{private_descriptor(client.private_file)}"


def private_descriptor(text: str) -> int:
    """Return an inheritable descriptor of a file with no name and the given content.

    The program opens it by ``/dev/fd``, as often as it wants. No other can, it needs no
    clearing up, and on Linux it is never on a disk.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("websauna_migrate")
        os.fchmod(descriptor, 0o600)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with os.fdopen(descriptor, "wb", closefd=False) as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    # 0 to 2 are the program's own, even if this process was started without them.
    inheritable = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 3)
    os.close(descriptor)
    return inheritable


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
