"""How to start a client program, and what a database's URL says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.engine import URL

from websauna_migrate.base_errors import MigrationError

#: Stands for the path of the private file in arguments and variables.
PRIVATE_FILE = "\0private file\0"


class ClientError(MigrationError, RuntimeError):
    """A client program cannot be started, or did not do all of its work.

    :ivar kind: ``database`` for one that has no client, ``url`` for a URL that no client can be
        given, ``file`` for a SQLite database without a file, ``program`` where none is installed,
        ``dump`` for a dump that is not complete
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def unusable_url(problem: str) -> ClientError:
    """Return the error for a database URL that no client can be given; it is never shown."""
    return ClientError("url", f"The database URL cannot be used: {problem}")


@dataclass(frozen=True, slots=True)
class Client:
    """How to start a client program.

    :ivar program: its path
    :ivar arguments: without the program itself; :data:`PRIVATE_FILE` may stand in them
    :ivar environment: variables to set besides the user's own, ``None`` to remove one;
        :data:`PRIVATE_FILE` may stand in them
    :ivar private_file: content of a file that only the program may read, if it needs one
    """

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    private_file: str | None = field(default=None, repr=False)

    def argv(self, private_path: str = "") -> list[str]:
        """Return the argument vector, with the private file at the given path."""
        words = [self.program, *self.arguments]
        return [word.replace(PRIVATE_FILE, private_path) for word in words]

    def variables(self, own: Mapping[str, str], private_path: str = "") -> dict[str, str]:
        """Return the environment: the user's own, and what the program needs besides."""
        merged = {**own, **self.environment}
        return {
            key: value.replace(PRIVATE_FILE, private_path)
            for key, value in merged.items()
            if value is not None
        }


def url_options(url: URL) -> dict[str, str]:
    """Return the parts of a URL and the options of its query, which win; repeated, the last one."""
    query = {key: v if isinstance(v, str) else v[-1] for key, v in url.query.items()}
    aliases = {"db": "database", "dbname": "database", "passwd": "password", "username": "user"}
    return {
        "host": url.host or "",
        "port": str(url.port) if url.port else "",
        "user": url.username or "",
        "password": str(url.password) if url.password is not None else "",
        "database": url.database or "",
        **{aliases.get(key, key): value for key, value in query.items()},
    }


def is_true(text: str) -> bool:
    """Read an option as SQLAlchemy does."""
    return text.strip().lower() in ("true", "yes", "on", "y", "t", "1")
