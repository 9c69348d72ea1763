"""Starting a client program, in place of this one or below it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import BinaryIO, NoReturn

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.cli.clients.client import Client


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
