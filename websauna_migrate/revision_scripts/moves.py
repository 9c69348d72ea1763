"""Tables that move between packages: what the two scripts of a move say about it.

A table moves by two revisions, one in each package, which do nothing in the database:
``gives_tables = {"offers": "shop"}`` in a script of the package that had it, and ``takes_tables =
{"offers": "app"}`` in one of the package that gets it, which requires the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts.effects import Effect, Key

__all__ = ["full_name", "split_name", "what_is_given", "what_is_taken"]


def split_name(text: str) -> Key:
    """Return the schema, ``None`` if none is written, and the name of ``schema.name``."""
    schema, _, name = text.rpartition(".")
    return schema or None, name


def full_name(schema: str | None, name: str) -> str:
    """Return ``schema.name``, or the name alone where no schema is known."""
    return f"{schema}.{name}" if schema else name


def what_is_given(revision: Revision) -> Iterator[Effect]:
    """Yield what a revision gives away; it comes after all else that the revision does."""
    for text, _ in revision.gives_tables:
        yield Effect("give_table", *split_name(text))
    for text, _ in revision.gives_types:
        yield Effect("give_type", *split_name(text))


def what_is_taken(revision: Revision) -> Iterator[Effect]:
    """Yield what a revision takes over; it comes before all else that the revision does."""
    for text, _ in revision.takes_types:
        yield Effect("take_type", *split_name(text))
    for text, _ in revision.takes_tables:
        yield Effect("take_table", *split_name(text))
