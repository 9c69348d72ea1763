"""Who runs this process, for the ledger."""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import subprocess

from sqlalchemy.engine import URL

__all__ = ["installed_by", "os_user"]

#: Says who runs migrations, where that is not the user of the system.
VARIABLE = "WEBSAUNA_MIGRATE_BY"


def installed_by(url: URL) -> str:
    """Return who changes a database: the person, the system's user and the database's.

    The person is ``WEBSAUNA_MIGRATE_BY``, else git's user where one is set.
    """
    person = " ".join(os.environ.get(VARIABLE, "").split()) or git_user()
    users = ", ".join(filter(None, (os_user(), url.username and f"database user {url.username}")))
    return (f"{person} ({users})" if person else users)[:255]


def os_user() -> str:
    """Return the name of the system's user, or its number if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.geteuid()}"


@functools.cache
def git_user() -> str:
    """Return git's user; empty if there is no git, or none is set."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        found = subprocess.run(
            [git, "config", "--get", "user.name"],
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return ""
    return " ".join(found.stdout.split())
