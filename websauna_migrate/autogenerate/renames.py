"""Renames of tables and columns, which a comparison alone cannot tell from a drop and an add."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from alembic.ddl.impl import DefaultImpl
from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.base_errors import UsageError
from websauna_migrate.facts.brackets import renamed_in
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.planning.accesses import full_name

#: What comes before the command that writes a rename, where there is a script without it.
DELETE_FIRST = "delete the script and run"


def bad_rename(option: str, problem: str) -> UsageError:
    """Return the error of an option that asks for a rename which cannot be made."""
    return UsageError(f'The rename "{option}" cannot be made: {problem}')


def instead(package: str, rename: TableRename | ColumnRename) -> str:
    """Return what to do if a drop and an addition are a rename."""
    command = f"ws-alembic -x packages={package} revision --autogenerate {rename.option}"
    return f"{DELETE_FIRST}: {command}"


@dataclass(frozen=True, slots=True)
class TableRename:
    """A table that gets a new name within its schema."""

    schema: str | None
    old: str
    new: str

    @property
    def option(self) -> str:
        """The option of ``revision`` that asks for it."""
        return f"--rename-table {full_name(self.schema, self.old)}:{self.new}"

    @property
    def question(self) -> str:
        """What to ask the models' author."""
        return f'Was the table "{full_name(self.schema, self.old)}" renamed to "{self.new}"?'

    def warning(self, package: str) -> str:
        """Return what is lost if it is a rename, and the remedy."""
        return (
            f'The table "{full_name(self.schema, self.old)}" is dropped with its rows, and '
            f'"{self.new}" is made with the same columns. If it was '
            f"renamed, {instead(package, self)}"
        )

    @classmethod
    def parse(cls, text: str) -> TableRename:
        """Read ``old:new`` or ``schema.old:new``."""
        match = re.fullmatch(r"(?:([^:.]+)\.)?([^:.]+):(?:\1\.)?([^:.]+)", text.strip())
        if not match:
            raise bad_rename(text, "write --rename-table old:new, or schema.old:new.")
        return cls(match[1], match[2], match[3])


@dataclass(frozen=True, slots=True)
class ColumnRename:
    """A column that gets a new name; ``table`` is the table's name after the revision."""

    schema: str | None
    table: str
    old: str
    new: str

    @property
    def option(self) -> str:
        """The option of ``revision`` that asks for it."""
        return f"--rename-column {full_name(self.schema, self.table)}.{self.old}:{self.new}"

    @property
    def question(self) -> str:
        """What to ask the models' author."""
        return (
            f'Was the column "{self.old}" of table "{full_name(self.schema, self.table)}" renamed '
            f'to "{self.new}"?'
        )

    def warning(self, package: str) -> str:
        """Return what is lost if it is a rename, and the remedy."""
        return (
            f'The column "{self.old}" of table "{full_name(self.schema, self.table)}" is dropped '
            f'with its values, and "{self.new}" of the same type is added. If it was renamed, '
            f"{instead(package, self)}"
        )

    @classmethod
    def parse(cls, text: str) -> ColumnRename:
        """Read ``table.old:new`` or ``schema.table.old:new``."""
        match = re.fullmatch(r"(?:([^:.]+)\.)?([^:.]+)\.([^:.]+):([^:.]+)", text.strip())
        if not match:
            raise bad_rename(text, "write --rename-column table.old:new, or schema.table.old:new.")
        return cls(match[1], match[2], match[3], match[4])


@dataclass(frozen=True)
class Renames:
    """The renames of one revision, and how facts about the database read after them.

    :ivar constraints: for each table, by its new key, the new names of constraints and indexes
    """

    tables: tuple[TableRename, ...] = ()
    columns: tuple[ColumnRename, ...] = ()
    constraints: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)

    @property
    def everything(self) -> tuple[TableRename | ColumnRename, ...]:
        """The renames of tables, then those of columns."""
        return (*self.tables, *self.columns)

    @classmethod
    def parse(cls, tables: Iterable[str], columns: Iterable[str]) -> Renames:
        """Read the options.

        :raises UsageError: for one that is not of the form ``old:new``
        """
        found = tuple(TableRename.parse(text) for text in tables)
        news = {(one.schema, one.old): one.new for one in found}
        return cls(
            found,
            tuple(
                # The table may be called by its old name as well.
                ColumnRename(c.schema, news.get((c.schema, c.table), c.table), c.old, c.new)
                for c in map(ColumnRename.parse, columns)
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.tables or self.columns)

    def also(self, rename: TableRename | ColumnRename) -> Renames:
        """Return these renames and one more."""
        if isinstance(rename, TableRename):
            return replace(self, tables=(*self.tables, rename))
        return replace(self, columns=(*self.columns, rename))

    def beside(self, others: Renames) -> Renames:
        """Return these renames and others, those of other packages."""
        tables, columns = (*self.tables, *others.tables), (*self.columns, *others.columns)
        return replace(self, tables=tables, columns=columns)

    def new_table(self, schema: str | None, old: str) -> str:
        """Return the name of a table after the renames."""
        for one in self.tables:
            if (one.schema, one.old) == (schema, old):
                return one.new
        return old

    def old_table(self, schema: str | None, new: str) -> str:
        """Return the name of a table before the renames."""
        for one in self.tables:
            if (one.schema, one.new) == (schema, new):
                return one.old
        return new

    def columns_of(self, schema: str | None, table: str) -> dict[str, str]:
        """Return the new names of a table's columns by the old ones; the table's name is new."""
        return {
            one.old: one.new for one in self.columns if (one.schema, one.table) == (schema, table)
        }

    def translate(self, kind: str, schema: str | None, old_table: str, facts: Any) -> Any:
        """Return what SQLAlchemy reflects of a table as it will be after the renames.

        :param facts: they are changed in place
        """
        if not self:
            return facts
        table = self.new_table(schema, old_table)
        columns = self.columns_of(schema, table)
        names = self.constraints.get((schema, table), {})

        def new(column: str | None) -> str | None:
            return columns.get(column, column) if column is not None else None

        if kind == "columns":
            for one in facts:
                one["name"] = new(one["name"])
                if one.get("computed"):
                    text = renamed_in(str(one["computed"]["sqltext"]), columns)
                    one["computed"] = {**one["computed"], "sqltext": text}
            return facts
        for one in facts if isinstance(facts, list) else [facts]:
            if "name" in one:
                one["name"] = names.get(one["name"], one["name"])
            for key in ("constrained_columns", "column_names", "include_columns"):
                if one.get(key):
                    one[key] = [new(column) for column in one[key]]
            if kind == "foreign_keys":
                referred_schema = one.get("referred_schema")
                referred = self.new_table(referred_schema, one["referred_table"])
                theirs = self.columns_of(referred_schema, referred)
                one["referred_table"] = referred
                one["referred_columns"] = [theirs.get(c, c) for c in one["referred_columns"]]
            if one.get("expressions"):
                one["expressions"] = [renamed_in(text, columns) for text in one["expressions"]]
            if one.get("sqltext"):
                one["sqltext"] = renamed_in(str(one["sqltext"]), columns)
            for key, value in list((one.get("dialect_options") or {}).items()):
                if isinstance(value, list):
                    one["dialect_options"][key] = [new(column) for column in value]
                elif key.endswith("_where") and value is not None:
                    one["dialect_options"][key] = renamed_in(str(value), columns)
        return facts


NO_RENAMES = Renames()


# Facts of a database as they will be once tables and columns are renamed


def renamed_facts(facts: Facts, renames: Renames) -> Facts:
    """Return facts under the new names of tables, columns, and what is named after them."""
    if not renames:
        return facts
    renamer = FactRenamer(facts, renames)
    return Facts.make(facts.default_schema, map(renamer.fact, facts.objects))


#: Attributes whose texts name no tables and columns.
NO_SQL = frozenset({"comment", "type", "collation"})


@dataclass
class FactRenamer:
    """Renames what facts speak of."""

    facts: Facts
    renames: Renames

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
            fact.with_texts(lambda text: self.text(text, columns), but=NO_SQL),
            name=name,
            server_named=fact.server_named and not outdated,
            table=None if fact.table is None else new,
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


RenameCandidate = TableRename | ColumnRename


# Drops beside additions that may be renames: only the author of the models knows

#: Tells of schema, table, and a column's name in the database and in the model whether both have
#: one type, and allow NULL or both do not.
SameColumn = Callable[[str | None, str, str, str], bool]


def rename_candidates(
    operations: Sequence[ops.MigrateOperation], impl: DefaultImpl, is_same: SameColumn
) -> list[RenameCandidate]:
    """Return the renames that some operations may really be, tables first.

    :param impl: Alembic's implementation of the database, which compares types
    """
    return [*tables_in(operations, impl), *columns_in(operations, is_same)]


def tables_in(
    operations: Sequence[ops.MigrateOperation], impl: DefaultImpl
) -> Iterator[TableRename]:
    """Yield a rename for each table that is dropped while one with the same columns is new."""
    dropped = {op.table_name: op for op in operations if isinstance(op, ops.DropTableOp)}
    for op in operations:
        if not isinstance(op, ops.CreateTableOp):
            continue
        new = op.to_table()
        candidates = [
            name
            for name, drop in dropped.items()
            if drop.schema == op.schema and has_columns(drop.to_table(), new, impl)
        ]
        if candidates:
            old = max(candidates, key=lambda name: likeness(name, op.table_name))
            del dropped[old]
            yield TableRename(op.schema, old, op.table_name)


def has_columns(old: Table, new: Table, impl: DefaultImpl) -> bool:
    """Tell whether two tables have the same columns: names, types and nullability."""
    columns = {column.name: column for column in old.columns}
    if set(columns) != {column.name for column in new.columns}:
        return False
    return all(
        not impl.compare_type(columns[one.name], one)
        and (one.primary_key or columns[one.name].nullable == one.nullable)
        for one in new.columns
    )


def columns_in(
    operations: Sequence[ops.MigrateOperation], is_same: SameColumn
) -> Iterator[ColumnRename]:
    """Yield a rename for each column that is dropped while one of its kind is added."""
    changed: dict[Key, list[ops.MigrateOperation]] = {}
    for table in operations:
        if isinstance(table, ops.ModifyTableOps):
            changed.setdefault((table.schema, table.table_name), []).extend(table.ops)
    for key, changes in changed.items():
        new = [op for op in changes if isinstance(op, ops.AddColumnOp)]
        dropped = [op for op in changes if isinstance(op, ops.DropColumnOp)]
        # What is dropped and added under one name is made anew.
        anew = {op.column.name for op in new} & {op.column_name for op in dropped}
        dropped = [op for op in dropped if op.column_name not in anew]
        for added in [op for op in new if op.column.name not in anew]:
            candidates = [op for op in dropped if is_same(*key, op.column_name, added.column.name)]
            if candidates:
                old = max(candidates, key=lambda op: likeness(op.column_name, added.column.name))
                dropped.remove(old)
                yield ColumnRename(*key, old.column_name, added.column.name)


def likeness(first: str, second: str) -> float:
    """Return how much two names are alike, from 0 to 1."""
    return SequenceMatcher(None, first, second).ratio()
