"""Which statements of a plan work on tables that the plan itself creates.

No program uses such a table yet: a lock on it blocks none, and it has no rows to lose.
squawk knows that of the tables of one transaction, and only for some of its rules; a plan has one
transaction for each step.
"""

from __future__ import annotations

import re

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.sql_reader import read_sql
from websauna_migrate.revision_scripts.sql_text import parse_name, pattern, split_statements

__all__ = ["NewTables", "matters_for_new"]

ALTER = pattern(r"alter (?:foreign )?table (?:if exists )?(?:only )?Q.*")
CREATE = pattern(r"create (?:(?:unlogged|temp|temporary|foreign) )?table (?!if not exists )Q.*")
CREATE_INDEX = pattern(
    r"create (?:unique )?index (?:concurrently )?(?:if not exists )?(?:(?!on )I )?on (?:only )?Q.*"
)
DROP = pattern(r"drop (?P<kind>table|index) (?:concurrently )?(?:if exists )?Q\s*"
               r"(?:cascade|restrict)?\s*")  # fmt: skip
TRUNCATE = pattern(r"truncate (?:table )?(?:only )?Q\s*;?\s*")

MATTERS = re.compile(
    "prefer-|ban-char-field|identifier-|require-table-schema|"
    "ban-concurrent-index-creation-in-transaction"
)


class NewTables:
    """The tables and indexes that the statements so far have created."""

    def __init__(self) -> None:
        self.tables: set[Key] = set()
        self.indexes: set[Key] = set()

    def follow(self, sql: str) -> bool:
        """Follow a statement; True if it works on a new table and on no other.

        ``CREATE TABLE IF NOT EXISTS`` may find a table that is old.
        """
        (statement, *more) = split_statements(sql.rstrip("; \n"))
        if more:
            return False
        if found := CREATE.fullmatch(statement):
            self.tables.add(parse_name(found[1]))
            return False
        if found := CREATE_INDEX.fullmatch(statement):
            table = parse_name(found[2])
            if table not in self.tables:
                return False
            if found[1]:
                self.indexes.add((table[0], parse_name(found[1])[1]))
            return True
        if found := DROP.fullmatch(statement):
            key = parse_name(found[2])
            known = self.tables if found["kind"].lower() == "table" else self.indexes
            is_new = key in known
            known.discard(key)
            return is_new
        if found := ALTER.fullmatch(statement):
            key = parse_name(found[1])
            is_new = key in self.tables
            for effect in read_sql(statement) if is_new else ():
                if effect.kind == "rename_table" and effect.new_name:
                    self.tables.discard(key)
                    self.tables.add((effect.new_schema, effect.new_name))
            return is_new
        found = TRUNCATE.fullmatch(statement)
        return found is not None and parse_name(found[1]) in self.tables


def matters_for_new(rule: str) -> bool:
    """True if a rule also matters for a new table, which has no locks, rows or readers.

    That is how a thing is defined, and what fails in any case.
    """
    return MATTERS.match(rule) is not None
