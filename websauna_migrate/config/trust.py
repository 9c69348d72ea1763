"""Warnings about revision scripts that other users can change."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def distrusted(package: str, paths: Iterable[Path | str]) -> Iterator[str]:
    """Yield a warning for a package whose scripts others may write to, at most one.

    A folder in which others may write lets them exchange what is below it, unless it is sticky, as
    ``/tmp`` is. So the folders above are looked at as well, up to the root.

    :param paths: its script directory, and the folders and files in it that are going to be used
    """
    given = [*dict.fromkeys(resolved(paths))]
    folders = {Path(folder) for folder in {os.path.dirname(path) for path in given}}  # noqa: PTH120
    every = folders.union(*(folder.parents for folder in folders))
    above = [str(folder) for folder in sorted(every)]
    known = set(given)
    for path, is_above in [
        *((path, False) for path in given),
        *((path, True) for path in above if path not in known),
    ]:
        if who := others(path, is_above=is_above):
            yield (
                f'The scripts of package "{package}" may be changed by others: "{path}", {who}. '
                "Whoever changes a script decides what this run does to the database."
            )
            return


def resolved(paths: Iterable[Path | str]) -> Iterator[str]:
    """Yield paths without symbolic links; each folder is resolved once, for all its files."""
    folders: dict[str, str] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.join(folders[folder], name)  # noqa: PTH118
        plain = name not in ("", ".", "..") and not os.path.islink(real)  # noqa: PTH114
        yield real if plain else os.path.realpath(path)


def distrusted_cache(folder: Path) -> Iterator[str]:
    """Yield a warning for a cache folder that a setting names and others may write to."""
    if who := others(folder.resolve()):
        yield (
            f'The folder "{folder}" of the setting websauna_migrate.cache may be changed by '
            f"others: {who}. What is in it is not used, so that each command reads all scripts."
        )


def others(path: Path | str, *, is_above: bool = False) -> str:
    """Return which other users may write to a file or folder, in words; empty for none.

    :param is_above: whether it is a folder above the scripts, where being sticky is enough
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    if is_above and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "every user of this machine may write to it"
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & stat.S_IWGRP and not is_private_group(status.st_gid, status.st_uid):
        return f"the group {status.st_gid} may write to it"
    return ""


def is_private_group(group: int, owner: int) -> bool:
    """True if a group is the owner's own, as many systems make one for each user.

    It has the number of the user, or is the user's primary group and bears the same name.
    """
    if group in (0, owner):
        return True
    import grp

    try:
        return pwd.getpwuid(owner).pw_name == grp.getgrgid(group).gr_name
    except KeyError:
        return False
