"""Console scripts without the time of their imports: a process that has them forks for each.

Each command is a process of its own: it has its own streams, working directory, environment,
session and exit status, and executes the installed script. ``PYTHONPATH`` counts.

``fork_server.py SOCKET`` serves. ``fork_server.py SOCKET SCRIPT [WORD ...]`` has a script run, and
ends as it did.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
import sys
from pathlib import Path

NUMBER = struct.Struct("!I")
STREAMS = (0, 1, 2)


def ask(path: str, words: list[str]) -> None:
    """Have a script run on the streams of this process, and end as it did."""
    request = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))
        server.sendmsg([NUMBER.pack(len(request))], [streams])
        server.sendall(request)
        (status,) = NUMBER.unpack(server.recv(NUMBER.size, socket.MSG_WAITALL))
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


def serve(path: str) -> str:
    """Take requests until standard input ends; return in a child of each, as that process.

    :returns: the path of the script that the child executes
    """
    import select
    import signal

    import_everything()
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


def import_everything() -> None:
    """Import what a command may need."""
    import gc
    import importlib
    import pkgutil

    import websauna_migrate
    from read_once import read_once

    names = ["pyramid.paster", "pyramid.config", "alembic.config", "psycopg2", "pymysql"]
    found = pkgutil.walk_packages(websauna_migrate.__path__, "websauna_migrate.")
    for name in [*names, *(module.name for module in found)]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    read_once()
    gc.freeze()


def receive(connection: socket.socket) -> str:
    """Return in a child that has what a request says; watch over it in this process."""
    data, rights, _, _ = connection.recvmsg(NUMBER.size, socket.CMSG_SPACE(3 * NUMBER.size))
    streams = array.array("i", rights[0][2])
    request = connection.recv(*NUMBER.unpack(data), socket.MSG_WAITALL)
    child = os.fork()
    for number, stream in enumerate(streams):
        if child == 0:
            os.dup2(stream, number)
        os.close(stream)
    if child:
        watch(child, connection)
    connection.close()
    os.setsid()
    words, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[0:1] = [str(Path(words[0]).parent), *map(os.path.abspath, paths)]
    sys.argv[:] = words
    return str(words[0])


def watch(child: int, connection: socket.socket) -> None:
    """Tell how a child ends; end it where the process that asked is gone."""
    import signal
    import threading

    def end_with_it() -> None:
        connection.recv(1)
        os.killpg(child, signal.SIGKILL)

    threading.Thread(target=end_with_it, daemon=True).start()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(NUMBER.pack(status))
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[2:]:
        ask(sys.argv[1], sys.argv[2:])
    import runpy

    runpy.run_path(serve(sys.argv[1]), run_name="__main__")
