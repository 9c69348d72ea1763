"""The scripts of one package that a run is going to need: imported, or known without."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from types import ModuleType
from typing import Any

from websauna_migrate.database.cache import Cache
from websauna_migrate.database.timeouts import timeouts_of_script
from websauna_migrate.errors import MigrationError
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Direction, is_transactional
from websauna_migrate.reading.plain_scripts import is_plain_script, is_repeatable
from websauna_migrate.reading.plain_texts import only_defines
from websauna_migrate.reading.revision_reader import ScriptReader
from websauna_migrate.reading.script_files import checksum, checksum_of, read_script
from websauna_migrate.reading.statement_index import StatementIndex

__all__ = ["PreparedScripts"]


class PreparedScripts:
    """Scripts that a run can rely on: none turns out to be broken between two steps.

    What a plain script gives is known from its text, if it was run before. It is imported when
    that turns out not to be enough.

    :ivar remembers: whether what scripts give is looked up, and kept
    """

    def __init__(self, reader: ScriptReader) -> None:
        self._reader = reader
        self.remembers = False
        self._digests: dict[str, str] = {}
        self._known: set[tuple[str, Direction]] = set()
        self._functions: dict[tuple[str, Direction], Callable[[], object] | None] = {}

    @cached_property
    def _index(self) -> StatementIndex:
        directory = self._reader.package.script_directory
        return StatementIndex(self._reader.cache or Cache(None), directory)

    def prepare(self, revision: Revision, direction: Direction, *, remember: bool) -> None:
        """See that a script can be run.

        :param remember: whether to look for what is known of it, and to remember what it gives
        :raises ScriptBroken: if it cannot be imported
        :raises ScriptChanged: if it is not what it was when it was read
        """
        path = revision.path
        if self._reader.has_imported(revision) or self.is_known(revision, direction):
            return
        self.remembers = remember and self._reader.cache is not None
        source = read_script(path)
        digest = self._digests[path] = "" if source is None else checksum_of(source)
        if self.remembers and self._index.knows(revision, direction, digest):
            self._known.add((path, direction))
            self._reader.texts[path] = digest
        else:
            # Where there is no text, an import tells why, or needs none.
            self._reader.imported(revision, source if path.endswith(".py") else None)

    def digest(self, revision: Revision) -> str:
        """Return the SHA-256 of a script's file, hexadecimal, as it is run."""
        found = self._digests.get(revision.path)
        return checksum(revision.path) if found is None else found

    def is_known(self, revision: Revision, direction: Direction) -> bool:
        """Tell whether a script is known to be plain.

        It sets no limits of its own then, and its step may be one transaction.
        """
        return (revision.path, direction) in self._known

    def own_limits(self, revision: Revision, direction: Direction) -> dict[str, float]:
        """Return the limits that a script sets for itself, by name.

        :raises BadTimeout: if one is not a number, or below 0
        """
        if self.is_known(revision, direction):
            return {}
        return timeouts_of_script(self._reader.imported(revision), revision.path)

    def plain_function(
        self, revision: Revision, direction: Direction
    ) -> Callable[[], object] | None:
        """Return a script's function if it is plain, and its step may be one transaction.

        The script is imported if it was not.
        """
        key = revision.path, direction
        if key not in self._functions:
            module = self._reader.imported(revision)
            function: Callable[[], object] | None = getattr(module, direction, None)
            plain = is_transactional(module) and is_plain_script(function)
            self._functions[key] = function if plain else None
        return self._functions[key]

    def statements(
        self, revision: Revision, direction: Direction, database: str | None
    ) -> list[str] | None:
        """Return what a script gives to a database, if that is known.

        :param database: all that has a say in it, see :class:`.StatementIndex`; ``None`` if it
            cannot be known
        """
        if database is None or not self.is_known(revision, direction):
            return None
        return self._index.statements(revision, direction, database)

    def remember(
        self,
        revision: Revision,
        direction: Direction,
        database: str | None,
        statements: Iterable[tuple[str, Any]],
    ) -> None:
        """Keep what a script gave, if it gives the same each time.

        :param statements: each with its parameters
        """
        code = self._reader.codes.get(revision.path)
        if database is None or not self.remembers or code is None:
            return
        given = [*statements]
        module = self._reader.imported(revision)
        function: Any = self.plain_function(revision, direction)
        if (
            function is not None
            and is_repeatable(function)
            and only_defines(code, module)
            and not is_limited(module, revision.path)
            and not any(parameters for _, parameters in given)
        ):
            texts = [sql for sql, _ in given]
            self._index.add(revision, direction, self.digest(revision), database, texts)

    def save(self) -> None:
        """Keep what is new in the cache."""
        if self.remembers:
            self._index.save(self._reader.revisions)


def is_limited(module: ModuleType, path: str) -> bool:
    """Tell whether a script's step differs from others' by what the script says of it."""
    try:
        return bool(timeouts_of_script(module, path)) or not is_transactional(module)
    except MigrationError:
        return True
