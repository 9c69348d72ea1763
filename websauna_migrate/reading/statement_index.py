"""What plain scripts gave to their databases, remembered by their texts.

To run a plain script means to import it, and to let Alembic and SQLAlchemy make SQL of its
operations: half of what an upgrade from nothing takes, as a test suite runs it again and again. The
same text gives the same statements as long as everything else is the same that has a say in it
(:class:`.Compilation`), so they are kept.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import sqlalchemy

from websauna_migrate.database.cache import Cache
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.runs.ledger import program_version

__all__ = ["StatementIndex"]

#: Raised when statements are kept in another way.
FORMAT = 1

#: For how many databases the statements of a script are kept: those that were used last.
DATABASES = 3

#: The checksum of a script's text, what the script says of itself, and its statements by what had a
#: say in them.
Row = tuple[str, str, dict[str, list[str]]]


class StatementIndex:
    """The statements of one package's scripts."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """Read the index of a script directory, if there is one that can be trusted."""
        self._cache = cache
        self._key = f"{FORMAT} {versions()}\n{os.path.realpath(directory)}"
        found = cache.read("statements", self._key)
        self._rows: dict[str, Row] = {
            name: (row[0], row[1], row[2])
            for name, row in (found.items() if isinstance(found, dict) else ())
            if is_row(row)
        }
        self._changed = False

    def knows(self, revision: Revision, direction: str, digest: str) -> bool:
        """Tell whether a script need not be imported.

        :param digest: the checksum of its text
        """
        row = self._rows.get(name_of(revision, direction))
        return row is not None and row[0] == digest and row[1] == says(revision)

    def statements(self, revision: Revision, direction: str, database: str) -> list[str] | None:
        """Return the statements of a function that the index knows.

        :param database: all that has a say in the statements besides
        :returns: ``None`` if it was never run there
        """
        return self._rows[name_of(revision, direction)][2].get(database)

    def add(
        self,
        revision: Revision,
        direction: str,
        digest: str,
        database: str,
        statements: Iterable[str],
    ) -> None:
        """Keep what a function of a script gave.

        :param digest: the checksum of the script's text as it was run
        """
        name, said = name_of(revision, direction), says(revision)
        row = self._rows.get(name)
        kept = row[2] if row is not None and row[:2] == (digest, said) else {}
        if database not in kept:
            for old in [*kept][: 1 - DATABASES]:
                del kept[old]
        kept[database] = [*statements]
        self._rows[name] = (digest, said, kept)
        self._changed = True

    def save(self, revisions: Iterable[Revision]) -> None:
        """Keep what is new.

        :param revisions: the package's; what is known of others is forgotten
        """
        if not self._changed:
            return
        names = {name_of(one, way) for one in revisions for way in ("upgrade", "downgrade")}
        self._rows = {name: row for name, row in self._rows.items() if name in names}
        self._cache.write("statements", self._key, self._rows)
        self._changed = False


def is_row(found: Any) -> bool:
    """Tell whether something is a row as it was written."""
    return (
        isinstance(found, list)
        and [type(part) for part in found] == [str, str, dict]
        and all(
            isinstance(given, list) and all(isinstance(sql, str) for sql in given)
            for given in found[2].values()
        )
    )


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
