"""Facts: what a schema is, as plain data that two databases can be compared by."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | str | tuple[str, ...] | None

#: The attribute that holds a column's place among the others of its table.
POSITION = "position"

#: The attribute that holds a whole definition, beside attributes that were read from it. A
#: difference in it is told only where no other attribute tells it.
AS_WRITTEN = "definition as a whole"

#: Attributes that hold an expression, which a server may write otherwise once it was written back.
EXPRESSIONS = frozenset({"default", "generated", "definition", "using", "with check"})


@dataclass(frozen=True, slots=True)
class Fact:
    """An object of a database, and all that the server knows of it.

    :ivar kind: ``table``, ``column``, ``constraint``, ``index``, ``enum type``, ...
    :ivar schema: empty for schemas and extensions themselves
    :ivar name: of a constraint that has none, its definition
    :ivar table: the table, view or type whose part the object is
    :ivar attributes: sorted by name; an attribute that the object does not have is left out
    :ivar server_named: true if the server chose the name, as far as the name itself tells
    """

    kind: str
    schema: str
    name: str
    table: str | None = None
    attributes: tuple[tuple[str, Value], ...] = ()
    server_named: bool = False

    @classmethod
    def make(
        cls,
        kind: str,
        schema: str,
        name: str,
        attributes: Mapping[str, Value],
        *,
        table: str | None = None,
        server_named: bool = False,
    ) -> Fact:
        """Return a fact without the attributes that are ``None``, false or empty."""
        kept = {key: value for key, value in attributes.items() if value not in (None, False, ())}
        return cls(kind, schema, name, table, tuple(sorted(kept.items())), server_named)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the object is known by, in the order of facts.

        A sequence keeps its name when its owner changes.
        """
        whole = self.name if self.kind == "sequence" else self.table or self.name
        return (self.schema, whole, self.kind, self.name)

    def get(self, attribute: str) -> Value:
        """Return an attribute, ``None`` if the object does not have it."""
        for name, value in self.attributes:
            if name == attribute:
                return value
        return None

    def with_texts(self, change: Callable[[str], str], *, but: Collection[str] = ()) -> Fact:
        """Return the fact with other texts in its attributes, but for some of these."""
        return replace(
            self,
            attributes=tuple(
                (key, change(value) if isinstance(value, str) and key not in but else value)
                for key, value in self.attributes
            ),
        )

    def changed(self, **attributes: Value) -> Fact:
        """Return the fact with other attributes."""
        merged = dict(self.attributes) | attributes
        return replace(self, attributes=tuple(sorted(merged.items())))


#: A row of the server's catalogue; its values are of the types that the query gives.
Row: TypeAlias = tuple[Any, ...]


def by_true_names(names: Mapping[str, str], quote: Callable[[str], str]) -> Callable[[Fact], Fact]:
    """Return what gives a fact true names in place of those of scratch schemas, in its texts too.

    The scratch names occur nowhere else and need no quotes.

    :param names: the true names, by those of the scratch schemas
    :param quote: returns a name as it stands in SQL
    """
    pattern = re.compile("|".join(map(re.escape, sorted(names, reverse=True))) or "(?!)")

    def true_text(text: str) -> str:
        return pattern.sub(lambda found: quote(names[found[0]]), text)

    def true_fact(fact: Fact) -> Fact:
        return replace(
            fact.with_texts(true_text),
            schema=names.get(fact.schema, fact.schema),
            name=names.get(fact.name) or true_text(fact.name),
        )

    return true_fact


#: Facts by what the server said of them: the same words are the same facts.
Pieces: TypeAlias = dict[Hashable, tuple[Fact, ...]]


@dataclass(frozen=True, slots=True)
class Facts:
    """The objects of a database, or of a part of it.

    :ivar default_schema: the one whose objects are named without it
    :ivar objects: sorted by their keys
    """

    default_schema: str
    objects: tuple[Fact, ...] = ()

    @classmethod
    def make(cls, default_schema: str, objects: Iterable[Fact]) -> Facts:
        """Return facts in their order."""
        return cls(default_schema, tuple(sorted(objects, key=lambda one: one.key)))

    def key_of(self, fact: Fact) -> tuple[str | None, str]:
        """Return schema and name of the table, view or type that a fact is, or is a part of.

        :returns: ``None`` for the default schema
        """
        schema = None if fact.schema == self.default_schema else fact.schema
        return schema, fact.table or fact.name

    @property
    def by_key(self) -> dict[tuple[str | None, str], list[Fact]]:
        """The facts of each table, view, type or other object that is no part of another one."""
        found: dict[tuple[str | None, str], list[Fact]] = {}
        for one in self.objects:
            found.setdefault(self.key_of(one), []).append(one)
        return found

    def only(self, wanted: Callable[[Fact], bool]) -> Facts:
        """Return a part of the facts."""
        return Facts(self.default_schema, tuple(one for one in self.objects if wanted(one)))

    def as_data(self) -> dict[str, object]:
        """Return plain data for JSON."""
        objects = [
            [o.kind, o.schema, o.name, o.table, dict(o.attributes), o.server_named]
            for o in self.objects
        ]
        return {"default_schema": self.default_schema, "objects": objects}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Facts:
        """Return facts from what :meth:`as_data` returned, also after a way through JSON."""

        def read(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
            for key, value in sorted(attributes.items()):
                yield key, tuple(value) if isinstance(value, list) else value

        objects = (
            Fact(kind, schema, name, table, tuple(read(attributes)), server_named)
            for kind, schema, name, table, attributes, server_named in data["objects"]
        )
        return cls.make(data["default_schema"], objects)
