"""Console scripts without the time of their imports: a process that has them forks for each.

Each command is a process of its own: it has its own streams, working directory, environment,
session and exit status, and executes the installed script, or ``-m`` a module. ``PYTHONPATH``
counts.

``fork_server.py SOCKET`` serves; it has this package imported unless the socket's name is that of
another module, which it has instead, and what both use.
``fork_server.py SOCKET SCRIPT [WORD ...]`` has a script run, and ends as it did; it imports no more
than it needs, for it starts with each command.
"""

from __future__ import annotations

import _socket
import array
import marshal
import os
import sys

STREAMS = (0, 1, 2)

#: Bytes of a number.
SIZE = 4


def ask(path: str, words: list[str]) -> None:
    """Have a script run on the streams of this process, and end as it did."""
    request = marshal.dumps((words, os.getcwd(), dict(os.environ)))  # noqa: PTH109
    server = _socket.socket(_socket.AF_UNIX)
    server.connect(path)
    streams = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", STREAMS))
    server.sendmsg([len(request).to_bytes(SIZE, "big")], [streams])
    server.sendall(request)
    status = int.from_bytes(server.recv(SIZE, _socket.MSG_WAITALL), "big")
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


def serve(path: str) -> list[str]:
    """Take requests until standard input ends; return in a child of each, as that process.

    :returns: the words of its command, a script's path or this Python's first
    """
    import select
    import signal
    import socket
    from pathlib import Path

    import_everything(Path(path).name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                sys.exit()
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                break
            connection.close()
    return receive(connection)


def import_everything(module: str) -> None:
    """Import what a command of a module may need."""
    import contextlib
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


def receive(connection: _socket.socket) -> list[str]:
    """Return in a child that has what a request says; watch over it in this process."""
    import socket
    from pathlib import Path

    streams = array.array("i", STREAMS)
    room = socket.CMSG_SPACE(len(streams) * streams.itemsize)
    data, rights, _, _ = connection.recvmsg(SIZE, room)
    streams = array.array("i", rights[0][2])
    request = connection.recv(int.from_bytes(data, "big"), socket.MSG_WAITALL)
    child = os.fork()
    for number, stream in enumerate(streams):
        if child == 0:
            os.dup2(stream, number)
        os.close(stream)
    if child:
        watch(child, connection)
    connection.close()
    os.setsid()
    words, folder, environment = marshal.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = folder if words[1:2] == ["-m"] else str(Path(words[0]).parent)
    sys.path[0:1] = [first, *map(os.path.abspath, paths)]
    sys.argv[:] = words[2:] if words[1:2] == ["-m"] else words
    return list(words)


def watch(child: int, connection: _socket.socket) -> None:
    """Tell how a child ends; end it where the process that asked is gone."""
    import contextlib
    import signal
    import threading

    def end_with_it() -> None:
        connection.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)

    threading.Thread(target=end_with_it, daemon=True).start()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(status.to_bytes(SIZE, "big"))
    os._exit(0)


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
    if sys.argv[2:]:
        ask(sys.argv[1], sys.argv[2:])
    execute(serve(sys.argv[1]))
