"""The file of a SQLite database, for its clients."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import URL

from websauna_migrate.cli.clients.client import ClientError, is_true, unusable_url, url_options

#: What the sqlite3 module takes from a URL's query; with ``uri=true`` the rest is SQLite's.
SQLITE_OPTIONS = frozenset(
    ["uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"]
)


def sqlite_file(url: URL) -> str:
    """Return the file of a SQLite database, as an absolute path or as SQLite's own ``file:`` URI.

    :raises ClientError: if there is none, or if the URL has a host
    """
    if url.host or url.username or url.password or url.port:
        raise unusable_url("it has a host. Write three slashes before a relative path, and four.")
    options = url_options(url)
    name = path = options["database"]
    if is_true(options.get("uri", "")) and name.startswith("file:"):
        own = {k: v for k, v in sorted(url.query.items()) if k not in SQLITE_OPTIONS}
        path = unquote(re.sub(r"^file:(//[^/]*)?", "", name.partition("?")[0]))
        name += "?" * bool(own) + "&".join(f"{key}={value}" for key, value in own.items())
        if own.get("mode") == "memory":
            path = ""
    elif name != ":memory:":
        name = path = str(Path(name).absolute()) if name else ""
    if path in ("", ":memory:"):
        raise ClientError(
            "file",
            "The SQLite database is in the application's memory, where no other program can read "
            "it. Set a file in the database URL: sqlite:////path/to/file.sqlite",
        )
    if not Path(path).is_file():
        raise ClientError(
            "file",
            f'The SQLite database "{path}" does not exist. Correct the database URL, or create '
            'the database with "ws-alembic upgrade".',
        )
    return name


def sqlite_timeout_ms(url: URL) -> int:
    """Return how long to wait for another's lock: what the URL says, else as Python's module."""
    try:
        return int(float(url_options(url).get("timeout", 5)) * 1000)
    except ValueError:
        raise unusable_url('its "timeout" is no number of seconds.') from None


def sqlite_word(word: str) -> str:
    """Return a word of a dot command, in quotes where it needs them."""
    if re.fullmatch(r"[\w./:,%*=-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
