"""What a script may say of itself: the names that it sets, and the attributes of a revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from websauna_migrate.planning.revisions import Revision

#: The names in a script by the attributes of :class:`.Revision` that they are the values of.
ATTRIBUTES: Mapping[str, str] = {
    field.name: {"id": "revision", "down_revisions": "down_revision"}.get(field.name, field.name)
    for field in fields(Revision)
    if field.name not in ("package", "doc", "path")
}

#: Those whose values are dictionaries in a script, and pairs in a revision.
MAPPINGS = frozenset(f.name for f in fields(Revision) if "tuple[tuple" in str(f.type))

#: The attributes of :class:`.Revision` that are not empty, but for ``package`` and ``path``.
Literals = dict[str, "str | tuple[Any, ...]"]


def pairs_of(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the pairs of a dictionary in a script; a tuple as a value gives a pair for each."""
    return [
        (name, one)
        for name, value in mapping.items()
        for one in (value if isinstance(value, (tuple, list)) else (value,))
    ]
