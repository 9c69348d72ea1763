"""A change of an enum type's values: added, removed, renamed, reordered.

On PostgreSQL values are added and renamed in place; where one goes or moves, or where the same
script needs a new one, the type is made anew and every column that has it is converted, whichever
package's table it is in. Elsewhere the values are part of each column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from sqlalchemy import Column
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.schema import CheckConstraint, DefaultClause

from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.column_types import character_words
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, branches, rendered
from websauna_migrate.autogenerate.operations.table_changes import ComputedColumns, TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.enums import literal, qualified_name
from websauna_migrate.models.sqlalchemy_internals import escaped

#: The server default before a change, and behind it; ``None`` for none.
Defaults = tuple[Any, Any]


class EnumChange(ScriptOp):
    """A change of the values of an enum type.

    :ivar columns: the package's own columns of the type, as the models have them
    :ivar computed: by the names of their tables, the computed columns that are there meanwhile,
        each with the name of the column before it
    """

    computed: Mapping[str, ComputedColumns] = {}

    def __init__(
        self,
        key: Key,
        before: tuple[str, ...],
        after: tuple[str, ...],
        type_: sa.Enum,
        columns: Sequence[Column[Any]],
        facts: Mapping[tuple[str, str], ReflectedColumn],
        *,
        in_keys: bool = False,
        new_columns: Sequence[Column[Any]] = (),
        at_once: tuple[bool, bool] = (False, False),
    ) -> None:
        """Keep the change.

        :param facts: what the columns are in the database now, by table and name
        :param in_keys: true if one of the columns is at an end of a foreign key
        :param new_columns: the package's columns that get the type, new ones and others
        :param at_once: true if other columns get the type in the same script, there and on the way
            back: their rows and defaults may have the new values
        """
        self.key = key
        self.before = before
        self.after = after
        self.type = type_
        self.columns = tuple(columns)
        self.facts = facts
        #: Server defaults that have to go before the values change, and to come behind that, since
        #: both sides have values that the other has not; by table and name.
        self.defaults: dict[tuple[str, str], Defaults] = {}
        self.in_keys = in_keys
        self.new_columns = new_columns
        self.at_once = at_once
        super().__init__(("change_type", *key, before, after), self.lines, self.lines)

    def reverse(self) -> EnumChange:
        """Return the change back."""
        back = EnumChange(
            self.key,
            self.after,
            self.before,
            self.type,
            self.columns,
            self.facts,
            in_keys=self.in_keys,
            at_once=self.at_once[::-1],
        )
        back.defaults = {column: (new, old) for column, (old, new) in self.defaults.items()}
        back.computed = self.computed
        return back

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """The values that stand in the place of others, which then are the same under a new name.

        A value that goes while a new one comes in the same place cannot be told from a rename; a
        rename keeps the rows.
        """
        pairs: list[tuple[str, str]] = []
        matcher = SequenceMatcher(None, self.before, self.after, autojunk=False)
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            old, new = self.before[i1:i2], self.after[j1:j2]
            if (
                tag == "replace"
                and len(old) == len(new)
                and not set(old) & set(self.after)
                and not set(new) & set(self.before)
            ):
                pairs += zip(old, new, strict=True)
        return tuple(pairs)

    def lines(self, context: AutogenContext) -> list[str]:
        """Return the lines for every kind of database."""
        prefix = context.opts["alembic_module_prefix"]
        lines = []
        if (statements := self.statements()) is None:
            if "postgresql" in written_for(context):
                context.imports.add("from websauna_migrate.enums import change_enum_values")
            schema = f", schema={self.key[0]!r}" if self.key[0] else ""
            lines += [f"{prefix}execute({source_of(one)})" for one in self.renames()]
            lines.append(f"change_enum_values({self.key[1]!r}, {list(self.after)!r}{schema})")
        else:
            lines += [f"{prefix}execute({source_of(one)})" for one in statements]
        changes = branches(context, {"postgresql": lines}, self.column_lines(context))
        first = self.default_lines(context, self.before, 0)
        last = self.default_lines(context, self.after, 1)
        return [*first, *([""] if first else []), *changes, *last]

    def default_lines(self, context: AutogenContext, values: Sequence[str], side: int) -> list[str]:
        """Return the lines that take away the old server defaults, or give the new ones.

        :param values: those that the type has then
        :param side: 0 for the old ones, 1 for the new ones
        """
        lines: list[str] = []
        for column in self.columns:
            defaults = self.defaults.get((column.table.name, column.name))
            if defaults is None or defaults[side] is None:
                continue
            lines += self.change_lines(
                context,
                column,
                modify_server_default=defaults[1] if side else None,
                existing_server_default=None if side else defaults[0],
                existing_type=self.with_values(values),
            )
        return lines

    def change_lines(
        self, context: AutogenContext, column: Column[Any], **changes: Any
    ) -> list[str]:
        """Return the lines of a change of a column.

        :param changes: arguments of ``AlterColumnOp``
        """
        table = column.table
        facts = self.facts[table.name, column.name]
        change = AlterColumnOp(
            table.name,
            column.name,
            schema=table.schema,
            existing_nullable=facts["nullable"],
            existing_comment=facts.get("comment"),
            **changes,
        )
        block = TableChanges(table.name, [change], schema=table.schema)
        block.computed = self.computed.get(table.name, ())
        return rendered(context, block)

    def statements(self) -> list[str] | None:
        """Return the statements for PostgreSQL; ``None`` if the type has to be made anew."""
        qualified = qualified_name(*self.key)
        statements = self.renames()
        news = dict(self.renamed)
        current = [news.get(value, value) for value in self.before]
        kept = [value for value in self.after if value in current]
        if kept == current and not self.needs_at_once(set(self.after) - set(current)):
            for place, value in enumerate(self.after):
                if value in current:
                    continue
                where = ""
                if place == 0:
                    where = f" BEFORE {literal(current[0])}" if current else ""
                elif self.after[place - 1] != current[-1]:
                    where = f" AFTER {literal(self.after[place - 1])}"
                current.insert(place, value)
                statements.append(f"ALTER TYPE {qualified} ADD VALUE {literal(value)}{where}")
            return statements
        return None

    @property
    def moves_values(self) -> bool:
        """Whether what names a value has to make room on PostgreSQL."""
        return bool(self.renamed) or self.statements() is None

    def renames(self) -> list[str]:
        """Return the statements that rename values on PostgreSQL."""
        return [
            f"ALTER TYPE {qualified_name(*self.key)} RENAME VALUE {literal(old)} TO {literal(new)}"
            for old, new in self.renamed
        ]

    def needs_at_once(self, added: set[str]) -> bool:
        """Tell whether a new value is needed in the transaction that adds it.

        PostgreSQL refuses to use it there, unless the type itself is new.
        """
        if self.at_once[0]:
            return bool(added)
        texts = [f"'{getattr(new, 'arg', '')}'" for _, new in self.defaults.values()]
        for column in (*self.columns, *self.new_columns):
            default = column.server_default
            if default is not None and hasattr(default, "arg"):
                texts.append(f"'{default.arg}'")
            table = column.table
            texts += [str(one.computed.sqltext) for one in table.columns if one.computed]
            texts += [
                str(constraint.sqltext)
                for constraint in table.constraints
                if isinstance(constraint, CheckConstraint)
            ]
            texts += [
                str(value)
                for index in table.indexes
                for value in [*index.expressions, *index.kwargs.values()]
            ]
        return any(value in text for value in added for text in texts)

    def column_lines(self, context: AutogenContext) -> list[str]:
        """Return the lines that change each column, where a type is not an object of its own.

        MariaDB changes no column of a foreign key that is there.
        """
        lines = self.plain_column_lines(context)
        if not self.in_keys or not lines or "mysql" not in written_for(context):
            return lines
        context.imports.add("from websauna_migrate.enums import foreign_keys_aside")
        names = [f"{column.table.name}.{column.name}" for column in self.plain_columns]
        return [f"with foreign_keys_aside({', '.join(map(repr, names))}):", *lines, ""]

    def plain_column_lines(self, context: AutogenContext) -> list[str]:
        """Return the lines that change each column, as if it were in no foreign key."""
        if not self.renamed:
            return self.alterations(context, self.before, self.after)
        # Both names are allowed while the rows change.
        olds = [old for old, _ in self.renamed]
        both = (*self.after, *olds)
        prefix = context.opts["alembic_module_prefix"]
        sa_prefix = context.opts["sqlalchemy_module_prefix"] or ""
        lines = self.alterations(context, self.before, both)
        for column in self.plain_columns:
            schema = f", schema={column.table.schema!r}" if column.table.schema else ""
            named = f"{sa_prefix}column({column.name!r})"
            table = f"{sa_prefix}table({column.table.name!r}, {named}{schema})"
            for old, new in self.renamed:
                lines.append(
                    f"{prefix}execute({sa_prefix}update({table}).where({named} == {old!r})"
                    f".values({{{column.name!r}: {new!r}}}))"
                )
        return lines + self.alterations(context, both, self.after)

    @property
    def plain_columns(self) -> list[Column[Any]]:
        """The columns that hold one value each."""
        return [column for column in self.columns if not isinstance(column.type, sa.ARRAY)]

    def alterations(
        self, context: AutogenContext, before: Sequence[str], after: Sequence[str]
    ) -> list[str]:
        """Return the lines that change the type of each column."""
        lines: list[str] = []
        for column in self.plain_columns:
            name = (column.table.name, column.name)
            old, new = (
                False if name in self.defaults else self.default(self.facts[name]["default"], one)
                for one in (before, after)
            )
            # A batch on SQLite changes no default that it is not told to.
            renamed = (
                new is not False
                and old is not False
                and isinstance(new.arg, str)
                and new.arg != old.arg
            )
            lines += self.change_lines(
                context,
                column,
                modify_type=self.with_values(after),
                modify_server_default=new if renamed else False,
                existing_type=self.with_values(before),
                existing_server_default=new,
            )
        return lines

    def default(self, text: str | None, values: Sequence[str]) -> DefaultClause | Literal[False]:
        """Return a column's default under the name that it has among some values."""
        if text is None:
            return False
        value = self.constant(text)
        if value is None:
            return DefaultClause(sa.text(text))
        if value not in values:
            names = dict(self.renamed)
            names.update({new: old for old, new in self.renamed})
            value = names.get(value, value)
        return DefaultClause(value)

    def constant(self, sql: str) -> str | None:
        """Return the value of a string constant, which MariaDB writes with two backslashes for one.

        ``None`` for anything else.
        """
        match = re.match(r"^\(?'((?:[^']|'')*)'", sql)
        value = match[1].replace("''", "'") if match else None
        values = {*self.before, *self.after}
        if value is None or value in values or (plain := value.replace("\\\\", "\\")) not in values:
            return value
        return plain

    def with_values(self, values: Sequence[str]) -> sa.Enum:
        """Return the type with other values."""
        length = self.type.length
        explicit = length is not None and length > max(map(len, self.type.enums))
        words = character_words(self.type)
        if words:
            # Only the enum of MySQL's dialect has any, and it takes no other words.
            return mysql.ENUM(*values, **words)
        return sa.Enum(
            *values,
            name=self.key[1],
            schema=self.key[0],
            create_constraint=self.type.create_constraint,
            **({"length": length} if explicit else {}),
        )


def source_of(statement: str) -> str:
    """Return the Python source of a statement; SQLAlchemy reads ``:name`` in it as a parameter."""
    text = escaped(statement)
    if "\n" in text:
        quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        return f'"""{quoted}"""'
    return repr(text)
