"""A change of an enum type's values: added, removed, renamed, reordered.

On PostgreSQL values are added and renamed in place; where one goes or moves, or where the same
script needs a new one, the type is made anew and every column that has it is converted, whichever
package's table it is in. Elsewhere the values are part of each column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CheckConstraint, DefaultClause

from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["EnumChange", "constant", "literal", "source_of"]

#: Makes a type anew. What depends on its values by name (defaults, CHECK constraints, expression
#: and partial indexes) is taken away first and put back afterwards, as it was written.
REBUILD = """\
DO $do$
DECLARE
    type_oid oid := {literal}::regtype;
    item record;
    later text[] := '{{}}';
    columns text[] := '{{}}';
BEGIN
    FOR item IN
        SELECT conrelid::regclass AS relation, conname, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c
        WHERE c.contype = 'c' AND c.conrelid <> 0 AND c.conislocal AND EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass
            AND d.objid = c.oid AND d.refclassid = 'pg_type'::regclass AND d.refobjid = type_oid)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.relation, item.conname);
        later := later || format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                                 item.relation, item.conname, item.definition);
    END LOOP;
    FOR item IN
        SELECT i.indexrelid::regclass AS relation, pg_get_indexdef(i.indexrelid) AS definition
        FROM pg_index i
        WHERE EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_type'::regclass
            AND d.refobjid = type_oid)
    LOOP
        EXECUTE format('DROP INDEX %s', item.relation);
        later := later || item.definition;
    END LOOP;
    FOR item IN
        SELECT a.attrelid::regclass AS relation, a.attname, t.oid <> type_oid AS is_array,
               pg_get_expr(d.adbin, d.adrelid) AS value
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid AND (t.oid = type_oid OR t.typelem = type_oid)
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE NOT a.attisdropped AND a.attislocal AND NOT c.relispartition
    LOOP
        IF item.value IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',
                           item.relation, item.attname);
            later := format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s',
                            item.relation, item.attname, item.value) || later;
        END IF;
        columns := columns || format(
            CASE WHEN item.is_array
            THEN 'ALTER TABLE %1$s ALTER COLUMN %2$I TYPE {name}[] USING %2$I::text[]::{name}[]'
            ELSE 'ALTER TABLE %1$s ALTER COLUMN %2$I TYPE {name} USING %2$I::text::{name}' END,
            item.relation, item.attname);
    END LOOP;
    ALTER TYPE {name} RENAME TO {old};
    CREATE TYPE {name} AS ENUM ({values});
    FOR item IN SELECT unnest(columns || later) AS statement LOOP
        EXECUTE item.statement;
    END LOOP;
    DROP TYPE {qualified_old};
END
$do$"""


#: The server default before a change, and behind it; ``None`` for none.
Defaults = tuple[Any, Any]


class EnumChange(ScriptOp):
    """A change of the values of an enum type.

    :ivar columns: the package's own columns of the type, as the models have them
    """

    def __init__(
        self,
        key: Key,
        before: tuple[str, ...],
        after: tuple[str, ...],
        type_: sa.Enum,
        columns: Sequence[Column[Any]],
        facts: Mapping[tuple[str, str], Mapping[str, Any]],
        defaults: Mapping[tuple[str, str], Defaults] | None = None,
    ) -> None:
        """Keep the change.

        :param facts: what the columns are in the database now, by table and name
        :param defaults: server defaults that have to go before the values change, and to come
            behind that, since both sides have values that the other has not
        """
        self.key = key
        self.before = before
        self.after = after
        self.type = type_
        self.columns = tuple(columns)
        self.facts = facts
        self.defaults = dict(defaults or {})
        super().__init__(("change_type", *key, before, after), self.lines, self.lines)

    def reverse(self) -> EnumChange:
        """Return the change back."""
        back = {column: (new, old) for column, (old, new) in self.defaults.items()}
        return EnumChange(
            self.key, self.after, self.before, self.type, self.columns, self.facts, back
        )

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
        lines = [f"if {prefix}get_context().dialect.name == 'postgresql':"]
        lines += [
            f"{prefix}execute({source_of(statement)})" for statement in self.statements(context)
        ]
        others = self.column_lines(context)
        lines += ["else:", *others] if others else []
        first = self.default_lines(context, self.before, 0)
        last = self.default_lines(context, self.after, 1)
        return [*first, *([""] if first else []), *lines, "", *last]

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
            change = AlterColumnOp(
                column.table.name,
                column.name,
                schema=column.table.schema,
                modify_server_default=defaults[1] if side else None,
                existing_server_default=None if side else defaults[0],
                existing_type=self.with_values(values),
                existing_nullable=self.facts[column.table.name, column.name]["nullable"],
                existing_comment=self.facts[column.table.name, column.name].get("comment"),
            )
            block = TableChanges(column.table.name, [change], schema=column.table.schema)
            lines += renderers.dispatch(block)(context, block)
        return lines

    def statements(self, context: AutogenContext) -> list[str]:
        """Return the statements for PostgreSQL."""
        preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
        schema, name = self.key
        quoted = preparer.quote(name)
        qualified = f"{preparer.quote(schema)}.{quoted}" if schema else quoted
        statements = [
            f"ALTER TYPE {qualified} RENAME VALUE {literal(old)} TO {literal(new)}"
            for old, new in self.renamed
        ]
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
        old = preparer.quote(f"{name[:57]}__old")
        statements.append(
            REBUILD.format(
                literal=literal(qualified),
                name=qualified,
                old=old,
                qualified_old=f"{preparer.quote(schema)}.{old}" if schema else old,
                values=", ".join(map(literal, self.after)),
            )
        )
        return statements

    def needs_at_once(self, added: set[str]) -> bool:
        """Tell whether a new value is needed in the transaction that adds it.

        PostgreSQL refuses to use it there, unless the type itself is new.
        """
        texts = [f"'{getattr(new, 'arg', '')}'" for _, new in self.defaults.values()]
        for column in self.columns:
            default = column.server_default
            if default is not None and hasattr(default, "arg"):
                texts.append(f"'{default.arg}'")
            table = column.table
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
        """Return the lines that change each column, where a type is not an object of its own."""
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
            facts = self.facts[column.table.name, column.name]
            change = AlterColumnOp(
                column.table.name,
                column.name,
                schema=column.table.schema,
                modify_type=self.with_values(after),
                existing_type=self.with_values(before),
                existing_nullable=facts["nullable"],
                existing_server_default=self.kept_default(column, after),
                existing_comment=facts.get("comment"),
            )
            block = TableChanges(column.table.name, [change], schema=column.table.schema)
            lines += renderers.dispatch(block)(context, block)
        return lines

    def kept_default(self, column: Column[Any], values: Sequence[str]) -> Any:
        """Return the server default that a column has while its type changes."""
        name = (column.table.name, column.name)
        return False if name in self.defaults else self.default(self.facts[name]["default"], values)

    def default(self, text: str | None, values: Sequence[str]) -> Any:
        """Return a column's default under the name that it has among some values."""
        if text is None:
            return False
        value = constant(text)
        if value is None:
            return DefaultClause(sa.text(text))
        if value not in values:
            names = dict(self.renamed)
            names.update({new: old for old, new in self.renamed})
            value = names.get(value, value)
        return DefaultClause(value)

    def with_values(self, values: Sequence[str]) -> sa.Enum:
        """Return the type with other values."""
        length = self.type.length
        explicit = length is not None and length > max(map(len, self.type.enums))
        return sa.Enum(
            *values,
            name=self.key[1],
            schema=self.key[0],
            create_constraint=self.type.create_constraint,
            **({"length": length} if explicit else {}),
        )


def constant(sql: str) -> str | None:
    """Return the value of a string constant in SQL, ``None`` for anything else."""
    match = re.match(r"^\(?'((?:[^']|'')*)'", sql)
    return match[1].replace("''", "'") if match else None


def literal(text: str) -> str:
    """Return a string constant in SQL."""
    return "'" + text.replace("'", "''") + "'"


def source_of(statement: str) -> str:
    """Return the Python source of a statement; SQLAlchemy reads ``:name`` in it as a parameter."""
    text = escaped(statement)
    if "\n" in text:
        quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        return f'"""{quoted}"""'
    return repr(text)
