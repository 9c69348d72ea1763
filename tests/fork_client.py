"""``fork_client.py SOCKET SCRIPT [WORD ...]`` has a script run by a fork, and ends as it did.

It speaks as ``fork_server.py`` does, and imports no more than it needs: it starts with each
command.
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


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2:])
