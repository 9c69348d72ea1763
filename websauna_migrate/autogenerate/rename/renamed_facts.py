"""Facts of a database as they will be once tables and columns are renamed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.facts.brackets import renamed_in
from websauna_migrate.facts.fact import Fact, Facts


def renamed_facts(facts: Facts, renames: Renames) -> Facts:
    """Return facts under the new names of tables, columns, and what is named after them."""
    if not renames:
        return facts
    renamer = FactRenamer(facts, renames)
    return Facts.make(facts.default_schema, map(renamer.fact, facts.objects))


#: Attributes whose texts name no tables and columns.
NO_SQL = frozenset({"comment", "type", "collation"})


class FactRenamer:
    """Renames what facts speak of."""

    def __init__(self, facts: Facts, renames: Renames) -> None:
        self.facts = facts
        self.renames = renames

    def fact(self, fact: Fact) -> Fact:
        """Return a fact under the new names."""
        schema, old = self.facts.key_of(fact)
        new = self.renames.new_table(schema, old)
        columns = self.renames.columns_of(schema, new)
        names = self.renames.constraints.get((schema, new), {})
        name = new if fact.table is None and fact.kind == "table" else fact.name
        if fact.kind == "column":
            name = columns.get(name, name)
        elif fact.kind == "sequence" and fact.table is not None:
            name = self.sequence_name(name, old, new, columns)
        elif fact.table is not None:
            # SQLite's have their definition for a name where they have none.
            unnamed = name == fact.get("definition")
            name = self.text(name, columns) if unnamed else names.get(name, name)
        # MariaDB names a key after its first column, and leaves it so when that is renamed.
        outdated = name == fact.name and re.sub(r"_\d+$", "", name) in columns
        return replace(
            fact,
            name=name,
            server_named=fact.server_named and not outdated,
            table=None if fact.table is None else new,
            attributes=tuple(
                (
                    key,
                    value
                    if key in NO_SQL or not isinstance(value, str)
                    else self.text(value, columns),
                )
                for key, value in fact.attributes
            ),
        )

    def sequence_name(self, name: str, old: str, new: str, columns: Mapping[str, str]) -> str:
        """Return the new name of a sequence that is named after its table and column."""
        for one in (*columns, ""):
            if one and name == f"{old}_{one}_seq":
                return f"{new}_{columns[one]}_seq"
        return re.sub(rf"^{re.escape(old)}_", f"{new}_", name)

    def text(self, text: str, columns: Mapping[str, str]) -> str:
        """Return a definition with the new names in it.

        :param columns: the new names of the columns of the definition's own table
        """
        head, references, referred = text.partition(" REFERENCES ")
        head = renamed_in(head, columns)
        for one in self.renames.tables:
            # An index is on a table, a sequence belongs to a column of one.
            name = rf"(?<=[\s.]){re.escape(one.old)}(?=[\s(])"
            head = re.sub(rf"^(CREATE .*? ON .*?){name}", rf"\g<1>{one.new}", head)
            head = re.sub(rf"^{re.escape(one.old)}\.(?=\w+$)", f"{one.new}.", head)
        if not references:
            return head
        found = re.match(r'((?:[\w"`]+\.)?["`]?)(\w+)(.*)', referred, re.DOTALL)
        if found is None:
            return head + references + referred
        before, table, rest = found.groups()
        schema = None if self.facts.default_schema in before or "." not in before else before[:-1]
        new = self.renames.new_table(schema, table)
        theirs = self.renames.columns_of(schema, new)
        return head + references + before + new + renamed_in(rest, theirs)
