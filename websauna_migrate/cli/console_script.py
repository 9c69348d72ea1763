"""What the console scripts share: their exit status, the INI's database, and a client's start."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import plaster
import plaster_pastedeploy
from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
from sqlalchemy.engine import URL

from websauna_migrate.cli.output import reserve_stdout
from websauna_migrate.config.settings import SettingError, parse_url
from websauna_migrate.errors import MigrationError
from websauna_migrate.ini.loader import config_uri, open_loader

if TYPE_CHECKING:
    from websauna_migrate.cli.clients import Client

__all__ = ["ClientNotStarted", "IniUnreadable", "become", "console_script", "database_url"]

Main = Callable[[Sequence[str]], "int | None"]


class IniUnreadable(MigrationError, OSError):
    """The INI file cannot be read; ``ini`` is what the user wrote."""

    def __init__(self, ini: str, problem: str) -> None:
        self.ini = ini
        super().__init__(f'The INI file "{ini}" cannot be read: {problem}')


class ClientNotStarted(MigrationError, OSError):
    """The operating system refused to start a client program."""

    def __init__(self, program: str, problem: str) -> None:
        self.program = program
        super().__init__(f'The program "{program}" cannot be started: {problem}')


def console_script(function: Main) -> Callable[[Sequence[str] | None], int | None]:
    """Make a function of the arguments into the ``main(argv=None)`` of a console script.

    A known failure is one message on standard error, and its ``exit_code`` is the exit status. A
    reader that has gone, such as ``head``, ends the script quietly with status 1, Ctrl-C with 130.
    Any other exception keeps its traceback.
    """

    @functools.wraps(function)
    def main(argv: Sequence[str] | None = None) -> int | None:
        try:
            status = function(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
            return status
        except MigrationError as exc:
            return report(exc, exc.exit_code)
        except ConfigurationExecutionError as exc:
            # Pyramid wraps what an action raises, and adds the place of its directive.
            if isinstance(exc.evalue, MigrationError | ConfigurationError):
                return report(exc.evalue, 1)
            raise
        except ConfigurationError as exc:
            return report(exc, 1)
        except BrokenPipeError:
            # Or else Python would complain at its end about what it could not flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT

    return main


def report(exc: BaseException, status: int) -> int:
    """Write a failure's message to standard error and return the exit status."""
    print(exc, file=sys.stderr)
    return status


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
        raise IniUnreadable(ini, "there is no such file.") from exc
    except (OSError, LookupError, ImportError, plaster.PlasterError) as exc:
        raise IniUnreadable(ini, str(exc)) from exc
    for key in ("websauna_migrate.url", "sqlalchemy.url"):
        if settings.get(key):
            return parse_url(key, settings[key])
    raise SettingError(
        "sqlalchemy.url",
        f'it is missing from "{ini}". Set it in [app:main] to the database\'s URL.',
    )


def app_settings(loader: Any) -> Mapping[str, Any]:
    """Return the settings of the application to which a loader's URI points.

    PasteDeploy imports the application to find them. Where they all stand in one section that is
    neither needed nor wanted: a database must be within reach also when the code is broken.
    """
    if isinstance(loader, plaster_pastedeploy.Loader):
        section = f"app:{loader.uri.fragment or 'main'}"
        found: Mapping[str, Any] = loader.get_settings(section)
        if section in loader.get_sections() and not found.get("use", "").startswith("config:"):
            return found
    # What the application prints while it is imported must not end up in a dump.
    with reserve_stdout():
        settings: Mapping[str, Any] = loader.get_wsgi_app_settings()
        return settings


def become(client: Client) -> NoReturn:
    """Replace this process by a client program, whose exit status then is this script's.

    :raises ClientNotStarted: if the operating system refuses
    """
    path = ""
    if client.private_file is not None:
        path = f"/dev/fd/{private_descriptor(client.private_file)}"
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these, and a new program would inherit that: pg_dump | head has to end.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(client.program, client.argv(path), client.variables(os.environ, path))
    except OSError as exc:
        raise ClientNotStarted(client.program, exc.strerror or str(exc)) from exc


def private_descriptor(text: str) -> int:
    """Return an inheritable descriptor of a file with no name and the given content.

    The program opens it by ``/dev/fd``, as often as it wants. Nobody else can, it needs no
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
