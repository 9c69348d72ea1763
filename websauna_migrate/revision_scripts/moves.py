"""Tables that move between packages: what the two scripts of a move say about it.

A table moves by two revisions, one in each package, which do nothing in the database:
``gives_tables = {"offers": "shop"}`` in a script of the package that had it, and ``takes_tables =
{"offers": "app"}`` in one of the package that gets it, which requires the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from websauna_migrate.planning.accesses import Access, split_name
from websauna_migrate.planning.revisions import Revision


def what_is_given(revision: Revision) -> Iterator[Access]:
    """Yield what a revision gives away; it comes after all else that the revision does."""
    for text, _ in revision.gives_tables:
        yield Access("give_table", *split_name(text))
    for text, _ in revision.gives_types:
        yield Access("give_type", *split_name(text))


def what_is_taken(revision: Revision) -> Iterator[Access]:
    """Yield what a revision takes over; it comes before all else that the revision does."""
    for text, _ in revision.takes_types:
        yield Access("take_type", *split_name(text))
    for text, _ in revision.takes_tables:
        yield Access("take_table", *split_name(text))
