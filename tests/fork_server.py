"""Console scripts without the time of their imports: a process that has them forks for each.

Each command is a process of its own: it has its own streams, working directory, environment,
session and exit status, and executes the installed script, or ``-m`` a module. ``PYTHONPATH``
counts.

``fork_server.py SOCKET`` serves; it has this package imported unless the socket's name is that of
another module, which it has instead, and what both use. :func:`ask` has a command run.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Bytes of a number.
SIZE = 4


def ask(
    path: str,
    words: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    streams: Sequence[int],
    timeout: float,
) -> int:
    """Have a command run to its end, and return its status as :mod:`subprocess` has it.

    :param path: the server's socket
    :param streams: the descriptors of its standard streams
    :param timeout: seconds
    :raises TimeoutError: if it takes longer; it is killed
    """
    request = marshal.dumps((list(words), folder, dict(environment)))
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(timeout)
        server.connect(path)
        socket.send_fds(server, [len(request).to_bytes(SIZE, "big")], list(streams))
        server.sendall(request)
        answer = server.recv(SIZE)
    if len(answer) < SIZE:
        raise ConnectionError(f"The server of forks has ended before {words[0]}.")
    return os.waitstatus_to_exitcode(int.from_bytes(answer, "big"))


def serve(path: str) -> list[str]:
    """Take requests until standard input ends; return in a child of each, as that process.

    :returns: the words of its command, a script's path or this Python's first
    """
    import_everything(Path(path).name)
    asking: dict[int, socket.socket] = {}
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(ends, warn_on_full_buffer=False)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, 0, ended, *asking.values()], [], [])
            if ended in ready:
                os.read(ended, 4096)
                answer(asking)
            for process, connection in list(asking.items()):
                if 0 in ready or connection in ready:
                    # Who asked has gone.
                    end(process)
                    asking.pop(process).close()
            if 0 in ready:
                sys.exit()
            if listener in ready:
                connection, _ = listener.accept()
                streams, request = receive(connection)
                process = os.fork()
                if process == 0:
                    break
                for stream in streams:
                    os.close(stream)
                asking[process] = connection
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.close()
    for other in asking.values():
        other.close()
    os.close(ended)
    os.close(ends)
    return become(streams, *marshal.loads(request))


def answer(asking: dict[int, socket.socket]) -> None:
    """Tell those who asked how their processes have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            connection = asking.pop(process, None)
            if connection is not None:
                with connection, contextlib.suppress(OSError):
                    connection.sendall(status.to_bytes(SIZE, "big"))


def end(process: int) -> None:
    """Kill a process and its session, which it may not have yet."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(process, signal.SIGKILL)


def import_everything(module: str) -> None:
    """Import what a command of a module may need."""
    import gc
    import importlib
    import pkgutil

    from read_once import read_once

    names = ["pyramid.paster", "pyramid.config", "plaster_pastedeploy", "psycopg2", "pymysql"]
    names += ["alembic.config", "alembic.command", "sqlalchemy.orm", "zope.sqlalchemy"]
    if module == "websauna_migrate":
        package = importlib.import_module(module)
        names += [one.name for one in pkgutil.walk_packages(package.__path__, f"{module}.")]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    read_once()
    gc.freeze()


def receive(connection: socket.socket) -> tuple[list[int], bytes]:
    """Return the standard streams of a command, and what else is asked for."""
    size, streams, _, _ = socket.recv_fds(connection, SIZE, 3)
    return streams, connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)


def become(
    streams: list[int], words: list[str], folder: str, environment: dict[str, str]
) -> list[str]:
    """Take the streams, the folder and the variables of a command; return its words."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = folder if words[1:2] == ["-m"] else str(Path(words[0]).parent)
    sys.path[0:1] = [first, *map(os.path.abspath, paths)]
    sys.argv[:] = words[2:] if words[1:2] == ["-m"] else words
    return words


def execute(command: list[str]) -> None:
    """Execute a script or a module as the interpreter does, and end with it.

    Threads, exit handlers and streams come to their end. The interpreter does not take itself
    apart: after so many imports that takes longer than most commands do.
    """
    import atexit
    import runpy
    import threading

    status = 0
    try:
        if command[1:2] == ["-m"]:
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as exc:
        if exc.code is not None and not isinstance(exc.code, int):
            raise
        status = exc.code or 0
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        # The interpreter tells it.
        sys.exit(status)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    execute(serve(sys.argv[1]))
