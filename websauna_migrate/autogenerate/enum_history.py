"""The values that an enum type has after all scripts of a package, read from their source.

Only PostgreSQL can say what values a type has. On other databases the scripts tell, so that a
value which was added on a developer's SQLite reaches the PostgreSQL where the script runs.
"""

from __future__ import annotations

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.owned import Key

__all__ = ["last_values"]


def last_values(snapshot: LoadedScripts, package: str, key: Key) -> tuple[str, ...] | None:
    """Return the values of a type as the package's last script that says so has them.

    :returns: ``None`` if no script says so, or a later one changes the type by SQL of its own
    """
    found: tuple[str, ...] | None = None
    for revision in snapshot.graph.timeline([package]):
        history = snapshot.types[package, revision.id]
        values = history.last(key[1])
        if values is not None:
            found = values
        elif history.alters(key[1]):
            found = None
    return found
