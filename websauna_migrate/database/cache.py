"""The user's cache folder: small files of plain data, each of which can be made anew.

Whatever goes wrong with it, a command works as it does without. Nothing is read from, or written
to, a folder that another user may write to.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Part of every file's name, so that versions of this package do not read each other's files.
FORMAT = 1

#: A file that was not written for so long, in seconds, goes when another process writes one.
STALE_SECONDS = 90 * 24 * 3600

#: The folders that this process looked through for such files.
LOOKED_THROUGH: set[Path] = set()

OURS = re.compile(r"\.?[a-z]+-\d+-[0-9a-f]{32}\.json")


def default_folder() -> Path | None:
    """Return the platform's place for caches: ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return folder / "websauna_migrate" if folder.is_absolute() else None


@functools.cache
def program_version() -> str:
    """Return this package's version."""
    try:
        return version("websauna_migrate")
    except PackageNotFoundError:
        return "unknown"


class Cache:
    """A folder of files that this user alone may write to.

    :ivar folder: it is made when the first file is written; ``None`` for no cache at all
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def of(cls, setting: str | None) -> Cache:
        """Return the cache that the setting ``websauna_migrate.cache`` means.

        :param setting: a folder, ``off``, or ``None`` for the default
        """
        if setting is not None:
            return cls(None if setting.lower() == "off" else Path(setting).expanduser().absolute())
        try:
            return cls(default_folder())
        except RuntimeError:
            # A user without a home directory.
            return cls(None)

    def read(self, kind: str, key: str) -> Any:
        """Return the value that was written for a key, ``None`` if there is none or it is damaged.

        :param kind: the beginning of the file's name
        """
        with contextlib.suppress(OSError, ValueError), self._opened() as folder:
            descriptor = os.open(file_name(kind, key), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or not is_private(status):
                    return None
                digest, _, body = file.read().partition(b"\n")
            # A file that was damaged is thrown away, not interpreted.
            if digest == digest_of(key, body):
                return json.loads(body)
        return None

    def write(self, kind: str, key: str, value: object) -> None:
        """Write a value as JSON, atomically: another process reads the old file or the new one."""
        body = json.dumps(value, separators=(",", ":")).encode()
        with contextlib.suppress(OSError), self._opened(make=True) as folder:
            name = file_name(kind, key)
            # Two processes, or threads, write to files of their own.
            temporary = f".{name}.{os.getpid()}.{time.monotonic_ns():x}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            try:
                descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(digest_of(key, body) + b"\n" + body)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            if self.folder is not None and self.folder not in LOOKED_THROUGH:
                LOOKED_THROUGH.add(self.folder)
                remove_stale(folder)

    @contextlib.contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[int]:
        """Yield a descriptor of the folder; all files are named relative to it.

        :raises OSError: if it does not exist, or another user may write to it
        """
        if self.folder is None:
            raise FileNotFoundError
        if make:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if not is_private(os.fstat(folder)):
                raise PermissionError
            yield folder
        finally:
            os.close(folder)


def file_name(kind: str, key: str) -> str:
    """Return the name of a key's file."""
    return f"{kind}-{FORMAT}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.json"


def digest_of(key: str, body: bytes) -> bytes:
    """Return what tells a file as it was written from a damaged one, and one key from another."""
    return hashlib.blake2b(os.fsencode(key) + b"\0" + body, digest_size=16).hexdigest().encode()


def is_private(status: os.stat_result) -> bool:
    """True if a folder or file belongs to this user, and no other user may write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def remove_stale(folder: int) -> None:
    """Delete the files in a folder that were not written for :data:`STALE_SECONDS`."""
    oldest = time.time() - STALE_SECONDS
    with os.scandir(folder) as entries:
        for entry in entries:
            # The folder may be one that a user keeps other things in as well.
            if OURS.match(entry.name) is None:
                continue
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.name, dir_fd=folder)
