"""Revisions as plain data: what the graph knows of a revision script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of one package, as its script states it; nothing in it is resolved yet.

    :ivar package: dotted name of the package to whose history the revision belongs
    :ivar id: the revision identifier, unique within its package only
    :ivar down_revisions: parents in the same package; empty for a base, several for a merge
    :ivar depends_on: Alembic's ``depends_on``: identifiers or branch labels of the same package,
        or of others if it has none
    :ivar branch_labels: the labels that this script itself declares
    :ivar requires: requirements on other packages, ``package@revision`` each, as written
    :ivar run_before: revisions of other packages that require this one, ``package@revision`` each
    :ivar replaces: identifiers of the same package that were squashed into this revision
    :ivar gives_tables: tables that go to other packages, ``schema.name`` or name, each with the
        package that gets it; nothing is done to them in the database
    :ivar takes_tables: tables that come from other packages, each with the package that had it
    :ivar gives_types: named types that go with them, in the same way
    :ivar takes_types: named types that come with them, in the same way
    :ivar written_against: heads of other packages that the script's author had, each with its
        package first; they order pending steps and nothing else
    :ivar loses: tables, and columns as ``table.column``, whose rows or values may be lost, each
        with the reason; ``*`` for all that the script does
    :ivar doc: the script's docstring, stripped; its first paragraph is the message
    :ivar path: the script's file, absolute
    """

    package: str
    id: str
    down_revisions: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    run_before: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    gives_tables: tuple[tuple[str, str], ...] = ()
    takes_tables: tuple[tuple[str, str], ...] = ()
    gives_types: tuple[tuple[str, str], ...] = ()
    takes_types: tuple[tuple[str, str], ...] = ()
    written_against: tuple[tuple[str, str], ...] = ()
    loses: tuple[tuple[str, str], ...] = ()
    doc: str = ""
    path: str = ""

    @property
    def message(self) -> str:
        """The first paragraph of the docstring, as Alembic shows it."""
        return self.doc.split("\n\n", 1)[0]

    def __str__(self) -> str:
        """Return ``package@id``, the form in which requirements are written."""
        return f"{self.package}@{self.id}"


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


def attributes_of(names: Mapping[str, Any]) -> Literals:
    """Return what the names of a script are bound to, as the attributes of a revision.

    :raises ValueError: saying of one that cannot be one, a clause whose subject is the script
    """
    found: Literals = {}
    for attribute, name in ATTRIBUTES.items():
        value = names.get(name)
        if attribute == "id":
            if not isinstance(value, str) or not value:
                raise ValueError(f"its revision is {value!r}, not a text.")
            found[attribute] = value
        elif attribute in MAPPINGS:
            pairs = pairs_of(value) if isinstance(value, dict) else [("", value)] if value else []
            if not all(isinstance(part, str) and part for pair in pairs for part in pair):
                raise ValueError(f"its {name} is {value!r}, not a dictionary of names and texts.")
            found[attribute] = tuple(sorted(pairs))
        # Alembic takes an empty text for no dependency.
        elif value is not None and (name, value) != ("depends_on", ""):
            texts = (value,) if isinstance(value, str) else value
            is_set = isinstance(texts, (set, frozenset))
            if not (is_set or isinstance(texts, (tuple, list))) or not all(
                isinstance(one, str) for one in texts
            ):
                raise ValueError(
                    f"its {name} is {value!r}, neither a text nor a sequence of texts."
                )
            found[attribute] = tuple(sorted(texts) if is_set else texts)
    return {attribute: value for attribute, value in found.items() if value}
