"""Whether somebody else may change the scripts that a run is going to execute."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["distrusted"]


def distrusted(package: str, paths: Iterable[Path]) -> Iterator[str]:
    """Yield a warning for a package whose scripts others may write to, at most one.

    :param paths: its script directory, and the folders and files in it that are going to be used
    """
    me = os.geteuid()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_mode & stat.S_IWOTH:
            who = "every user of this machine may write to it"
        elif status.st_uid not in (0, me):
            who = f"it belongs to another user (uid {status.st_uid})"
        else:
            continue
        yield (
            f'The scripts of package "{package}" may be changed by others: "{path}", {who}. '
            "Whoever changes a script decides what this run does to the database."
        )
        return
