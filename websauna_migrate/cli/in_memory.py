"""SQLite databases in memory, of which only one process knows: no command can mean them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from sqlalchemy.engine import URL

from websauna_migrate.errors import MigrationError

__all__ = ["refuse_in_memory"]


def refuse_in_memory(url: URL) -> None:
    """Raise an error for a SQLite database that is no file."""
    if url.get_backend_name() != "sqlite":
        return
    name = url.database or ":memory:"
    mode = url.query.get("mode") or parse_qs(urlsplit(name).query).get("mode", [""])[0]
    if name == ":memory:" or name.startswith("file::memory:") or mode == "memory":
        raise MigrationError(
            f'The SQLite database "{name}" is in memory: it would be empty now, and gone when the '
            "command ends. Set a file in the setting sqlalchemy.url: sqlite:////path/to/file.sqlite"
        )
