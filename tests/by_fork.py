"""Our programs for what starts them itself, a shell or a script: each is run by a fork.

``run_process`` does the same for what it starts.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from conftest import fork_server

__all__ = ["PROGRAMS", "by_fork", "programs_by_fork"]

PROGRAMS = ("ws-alembic", "ws-create-table", "ws-db-shell", "ws-dump-db")


def by_fork(script: Path, python: Path | None = None) -> list[str]:
    """Return the words that have a Python script run by a fork.

    :param python: of the environment whose script it is; default the one beside it
    """
    server = fork_server("websauna_migrate", str(python or script.with_name("python")))
    client = str(Path(__file__).with_name("fork_client.py"))
    return [sys.executable, "-I", "-S", client, server, str(script)]


def programs_by_fork(folder: Path, scripts: Path | None = None) -> str:
    """Write our programs into a folder, for the beginning of a ``PATH``, and return the folder.

    :param scripts: where an environment has them; default this Python's
    """
    folder.mkdir(exist_ok=True)
    for name in PROGRAMS:
        words = by_fork((scripts or Path(sys.executable).parent) / name)
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
    return str(folder)
