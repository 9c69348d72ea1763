"""SQLite databases in memory, of which only one process, or one connection, knows."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from sqlalchemy.engine import URL

from websauna_migrate.base_errors import MigrationError


def memory_name(url: URL) -> str:
    """Return how a URL names a SQLite database that is no file; empty for any other database."""
    if url.get_backend_name() != "sqlite":
        return ""
    name = url.database or ":memory:"
    in_memory = name == ":memory:" or name.startswith("file::memory:")
    return name if in_memory or "memory" in asked(url, "mode") else ""


def asked(url: URL, option: str) -> tuple[str, ...]:
    """Return what a URL, or the file URI in it, says for an option of SQLite."""
    given = url.query.get(option, ())
    inner = parse_qs(urlsplit(url.database or "").query).get(option, [])
    return (*((given,) if isinstance(given, str) else given), *inner)


def refuse_in_memory(url: URL) -> None:
    """Raise an error for a SQLite database that is no file: no command can mean it."""
    name = memory_name(url)
    if name:
        raise MigrationError(
            f'The SQLite database "{name}" is in memory: it would be empty now, and gone when the '
            "command ends. Set a file in the setting sqlalchemy.url: sqlite:////path/to/file.sqlite"
        )


def refuse_private(url: URL) -> None:
    """Raise an error for a SQLite database that each connection has for itself alone."""
    name = memory_name(url)
    if name and "shared" not in asked(url, "cache"):
        raise MigrationError(
            f'The SQLite database "{name}" is in memory, and a connection of the service\'s own '
            "would have one of its own. Give the connection or the engine that is meant: "
            "upgrade(engine=engine)."
        )
