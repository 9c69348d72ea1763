"""Facts of a scratch place, told by the names that its schemas stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from websauna_migrate.facts.fact import Fact


class Renamed:
    """Puts names in place of those of scratch schemas, in facts and in their texts.

    The scratch names occur nowhere else and need no quotes.
    """

    def __init__(self, names: Mapping[str, str], quote: Callable[[str], str]) -> None:
        """Take the true names by those of the scratch schemas.

        :param quote: returns a name as it stands in SQL
        """
        self.names = names
        self.quote = quote
        self.pattern = re.compile("|".join(map(re.escape, sorted(names, reverse=True))) or "(?!)")

    def fact(self, fact: Fact) -> Fact:
        """Return a fact with true names."""
        return replace(
            fact,
            schema=self.names.get(fact.schema, fact.schema),
            name=self.names.get(fact.name) or self.text(fact.name),
            attributes=tuple(
                (key, self.text(value) if isinstance(value, str) else value)
                for key, value in fact.attributes
            ),
        )

    def text(self, text: str) -> str:
        """Return a text with true names, in quotes where they need them."""
        return self.pattern.sub(lambda found: self.quote(self.names[found[0]]), text)
