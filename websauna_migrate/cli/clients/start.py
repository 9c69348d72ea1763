"""Starting a client program in place of this one."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
from typing import NoReturn

from websauna_migrate.cli.clients.client import Client
from websauna_migrate.errors import MigrationError

__all__ = ["become"]


def become(client: Client) -> NoReturn:
    """Replace this process by a client program, whose exit status then is this script's.

    :raises MigrationError: if the operating system refuses
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
        raise MigrationError(
            f'The program "{client.program}" cannot be started: {exc.strerror or exc}'
        ) from exc


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
