"""What plain scripts gave to their databases, remembered by their texts.

To run a plain script means to import it, and to let Alembic and SQLAlchemy make SQL of its
operations: half of what an upgrade from nothing takes, as a test suite runs it again and again. The
same text gives the same statements as long as everything else is the same that has a say in it
(:class:`.Compilation`), so they are kept.

What was imported may come from a stale ``__pycache__``. So before it is used for the first time,
the text itself is compiled, and has to be the function that gave the statements.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import sqlalchemy

from websauna_migrate.cache import Cache
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.reading.plain_scripts import fingerprint, is_repeatable
from websauna_migrate.runs.ledger import program_version

__all__ = ["StatementIndex"]

#: Raised when statements are kept in another way.
FORMAT = 1

#: For how many databases the statements of a script are kept: those that were used last.
DATABASES = 3

UNPROVEN, PROVEN, REFUSED = 0, 1, 2


class Row:
    """What is known of one function of a script.

    :ivar digest: the checksum of the script's text
    :ivar says: what the script says of itself
    :ivar state: whether the text is known to be what gave the statements, or to be of no use
    :ivar function: its fingerprint
    :ivar statements: by what had a say in them
    """

    __slots__ = ("digest", "function", "says", "state", "statements")

    def __init__(
        self, digest: str, says: str, state: int, function: str, statements: dict[str, list[str]]
    ) -> None:
        self.digest = digest
        self.says = says
        self.state = state
        self.function = function
        self.statements = statements

    def plain(self) -> list[Any]:
        """Return what JSON can keep."""
        return [self.digest, self.says, self.state, self.function, self.statements]


class StatementIndex:
    """The statements of one package's scripts."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        self._key = f"{FORMAT} {versions()}\n{os.path.realpath(directory)}"
        found = cache.read("statements", self._key)
        self._rows = {
            name: Row(*row) for name, row in (found if isinstance(found, dict) else {}).items()
        }
        self._changed = False

    def knows(
        self, revision: Revision, direction: str, digest: str, load: Callable[[], ModuleType | None]
    ) -> bool:
        """Tell whether a script need not be imported.

        :param digest: the checksum of its text
        :param load: makes a module of nothing but the text; ``None`` if the text does more than to
            define
        """
        name = name_of(revision, direction)
        row = self._rows.get(name)
        if row is None or row.digest != digest or row.says != says(revision):
            return False
        if row.state == UNPROVEN:
            self._changed = True
            module = load()
            if module is None:
                row.state, row.statements = REFUSED, {}
                return False
            function: Any = getattr(module, direction, None)
            if not is_repeatable(function) or fingerprint(function) != row.function:
                del self._rows[name]
                return False
            row.state = PROVEN
        return row.state == PROVEN

    def statements(self, revision: Revision, direction: str, database: str) -> list[str] | None:
        """Return the statements of a function that the index knows.

        :param database: all that has a say in the statements besides
        :returns: ``None`` if it was never run there
        """
        return self._rows[name_of(revision, direction)].statements.get(database)

    def add(
        self,
        revision: Revision,
        direction: str,
        digest: str,
        function: Callable[..., Any],
        database: str,
        statements: Iterable[str],
    ) -> None:
        """Keep what a function of a script gave.

        :param digest: the checksum of the script's text when it was imported
        """
        if not isinstance(function, FunctionType) or not is_repeatable(function):
            return
        name, now = name_of(revision, direction), fingerprint(function)
        row = self._rows.get(name)
        if row is None or (row.digest, row.says) != (digest, says(revision)):
            row = Row(digest, says(revision), UNPROVEN, now, {})
            self._rows[name] = row
        if row.state == REFUSED or row.function != now:
            return
        for old in [*row.statements][: 1 - DATABASES]:
            del row.statements[old]
        row.statements[database] = [*statements]
        self._changed = True

    def save(self, revisions: Iterable[Revision]) -> None:
        """Keep what is new.

        :param revisions: the package's; what is known of others is forgotten
        """
        if not self._changed:
            return
        names = {name_of(one, way) for one in revisions for way in ("upgrade", "downgrade")}
        self._rows = {name: row for name, row in self._rows.items() if name in names}
        rows = {name: row.plain() for name, row in self._rows.items()}
        self._cache.write("statements", self._key, rows)
        self._changed = False


def name_of(revision: Revision, direction: str) -> str:
    """Return what names a function of a script."""
    return f"{direction} {revision.id}"


#: What a script says of itself, and is planned with.
SAYS = attrgetter(
    *(field.name for field in fields(Revision) if field.name not in ("package", "doc", "path"))
)


def says(revision: Revision) -> str:
    """Return what a script says of itself, as one text."""
    return repr(SAYS(revision))


@functools.cache
def versions() -> str:
    """Return the versions of all that makes SQL of a script."""
    import alembic

    libraries = f"alembic-{alembic.__version__} sqlalchemy-{sqlalchemy.__version__}"
    return f"{program_version()} {platform.python_version()} {sys.flags.optimize} {libraries}"
