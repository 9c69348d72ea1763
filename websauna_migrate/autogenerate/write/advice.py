"""What a new script warns of, and the recipes that stand in it as comments.

Rows may break a NOT NULL, or have a value of an enum that goes. An index is not made CONCURRENTLY,
and what models say may be refused by another database of the script.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.engine import Dialect

from websauna_migrate.alembic_adapter.autogenerate_internals import render_column, render_type
from websauna_migrate.alembic_adapter.written_expressions import dialect_of, written_for
from websauna_migrate.autogenerate.compare.unnamed_checks import one_of_several_warnings
from websauna_migrate.autogenerate.comparison import Comparison
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.model_columns import changed
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, single
from websauna_migrate.enums import literal
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created

#: A warning, and the comment in the script.
Advice: TypeAlias = tuple[str, ScriptOp]


def warned(comparison: Comparison, renames: Sequence[str], dialect: Dialect) -> list[str]:
    """Write warnings and advice into a script, and return the warnings.

    :param renames: warnings of what may have been renamed
    """
    operations = comparison.operations
    advice = [*not_null_advice(operations), *lost_value_advice(operations, dialect)]
    databases = written_for(comparison.context.autogen_context)
    plain = [
        *renames,
        *one_of_several_warnings(operations, databases),
        *without_concurrently(comparison.context.generated_revisions),
        *nulls_warnings(operations, databases),
        *check_warnings(operations, comparison.owned.tables, databases),
    ]
    comments = [comment(*plain)] if plain else []
    comparison.warn([*comments, *(op for _, op in advice)])
    return [*plain, *(warning for warning, _ in advice)]


def comment(*warnings: str) -> ScriptOp:
    """Return an operation that is a comment in the upgrade."""
    lines = [f"# WARNING: {line}" for text in warnings for line in text.splitlines()]
    return ScriptOp(("warning", *warnings), lambda context: lines, lambda context: [])


# NOT NULL


def not_null_advice(operations: Sequence[ops.MigrateOperation]) -> Iterator[Advice]:
    """Yield a warning, and the comment with its recipe, for each NOT NULL that rows may break.

    A column that goes comes back by the downgrade, without the values that it had. Tables that the
    script makes have no rows.
    """
    for op in single(*operations):
        if isinstance(op, ops.AddColumnOp) and not has_value(op.column):
            name = str(op.column.name)
            warning = (
                f"The new column {of_table(op, name)} is NOT NULL without a "
                "server_default. On a table with rows PostgreSQL and SQLite refuse it, and "
                "MariaDB makes values up: give it one, or follow the recipe in the script."
            )
            yield warning, recipe(warning, op, name, op.column)
        elif isinstance(op, ops.DropColumnOp) and not has_value(op.to_column()):
            name = str(op.column_name)
            warning = (
                f"The column {of_table(op, name)} goes, and comes back NOT NULL without a "
                "server_default. On a table with rows PostgreSQL and SQLite refuse that downgrade, "
                "and MariaDB makes values up: give the column one in a revision before."
            )
            yield warning, comment(warning)
        elif isinstance(op, ops.AlterColumnOp) and op.modify_nullable is False:
            name = str(op.column_name)
            warning = (
                f"The column {of_table(op, name)} becomes NOT NULL, which fails if a row "
                "has NULL in it: fill such rows before, by the recipe in the script."
            )
            yield warning, recipe(warning, op, name)


def has_value(column: Column[Any]) -> bool:
    """Tell whether a new column has a value for the rows that are there."""
    return bool(column.nullable or column.primary_key or column.server_default is not None)


def of_table(table: ops.AlterTableOp, column: str) -> str:
    """Return a column and its table in words."""
    schema = f"{table.schema}." if table.schema else ""
    return f'"{column}" of table "{schema}{table.table_name}"'


def recipe(
    warning: str, table: ops.AlterTableOp, column: str, added: Column[Any] | None = None
) -> ScriptOp:
    """Return the comment with a warning and its recipe, which is ``op`` calls.

    :param added: the column, if it is new
    """

    def lines(context: AutogenContext) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        quote = context.dialect.identifier_preparer.quote if context.dialect else str
        schema = f", schema={table.schema!r}" if table.schema else ""
        place = f"{quote(table.schema)}." if table.schema else ""
        name = quote(column)
        update = f"UPDATE {place}{quote(table.table_name)} SET {name} = ... WHERE {name} IS NULL"
        found = [f"{prefix}execute({json.dumps(update, ensure_ascii=False)})"]
        if added is not None:
            made = render_column(changed(added, nullable=True), context)
            found.insert(0, f"{prefix}add_column({str(table.table_name)!r}, {made}{schema})")
            alter = f"existing_type={render_type(added.type, context)}, nullable=False"
            if "sqlite" in written_for(context):
                found += [
                    f"with {prefix}batch_alter_table({str(table.table_name)!r}{schema}) as "
                    "batch_op:",
                    f"    batch_op.alter_column({column!r}, {alter})",
                ]
            else:
                found.append(
                    f"{prefix}alter_column({str(table.table_name)!r}, {column!r}, {alter}{schema})"
                )
        where = "in its place" if added is not None else "before it"
        return [f"# WARNING: {warning}", f"# Write {where}:", *(f"#   {one}" for one in found)]

    return ScriptOp(("warning", warning), lines, lambda context: [])


# Values of enums that go while rows may have them

#: What the warnings have in common.
WRITE_BEFORE = "Change such rows before, in the database or above it in the script"

STRING = re.compile(r"'((?:[^']|'')*)'")

#: MariaDB and MySQL have backslashes in theirs.
ESCAPED_STRING = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)

#: A CHECK that lists the values of a column.
LISTED = re.compile(
    r"""\s*["`]?(\w+)["`]? IN \((\s*{0}(?:\s*,\s*{0})*\s*)\)\s*""".format(
        r"'(?:[^'\\]|''|\\.|\\)*'"
    ),
    re.DOTALL,
)


def lost_value_advice(
    operations: Sequence[ops.MigrateOperation], dialect: Dialect
) -> Iterator[Advice]:
    """Yield a warning, and the comment with its UPDATE, for each column that loses values.

    :param dialect: that of the database
    """
    quote = dialect.identifier_preparer.quote
    for op in operations:
        if isinstance(op, EnumChange):
            gone = [one for one in op.before if one not in (*op.after, *dict(op.renamed))]
            for column in op.columns if gone else ():
                table = column.table
                names = [quote(one) for one in (table.schema, table.name, column.name) if one]
                if isinstance(column.type, sa.ARRAY):
                    for value in gone:
                        yield advice(column.name, names, [value], listed=True)
                else:
                    yield advice(column.name, names, gone)
    for schema, table_name, name, gone in lost_in_checks(operations, dialect):
        yield advice(name, [quote(one) for one in (schema, table_name, name) if one], gone)


def lost_in_checks(
    operations: Sequence[ops.MigrateOperation], dialect: Dialect
) -> Iterator[tuple[str | None, str, str, list[str]]]:
    """Yield the columns whose CHECK comes again without some values, each with these.

    :returns: schema, table, column and values
    """
    old = {
        (op.schema, op.table_name, op.constraint_name): getattr(op.to_constraint(), "sqltext", "")
        for op in single(*operations)
        if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "check"
    }
    for op in single(*operations):
        if not isinstance(op, ops.CreateCheckConstraintOp):
            continue
        former = old.get((op.schema, op.table_name, op.constraint_name))
        match = LISTED.fullmatch(str(op.condition))
        if match is None or former is None:
            continue
        left = values_in(match[2], dialect)
        gone = [value for value in values_in(str(former), dialect) if value not in left]
        if gone:
            yield op.schema, op.table_name, match[1], gone


def values_in(sql: str, dialect: Dialect) -> list[str]:
    """Return the string constants in some SQL."""
    if dialect.name in ("mysql", "mariadb"):
        found = [re.sub(r"\\(.)", r"\1", one) for one in ESCAPED_STRING.findall(sql)]
    else:
        found = STRING.findall(sql)
    return [one.replace("''", "'") for one in found]


def advice(
    column: str, names: Sequence[str], gone: Sequence[str], *, listed: bool = False
) -> Advice:
    """Return the warning of one column, and the comment in the script.

    :param names: of schema, if there is one, table and column, as the database reads them
    :param gone: the values that go
    :param listed: true if the column is an array
    """
    *table, name = names
    values = ", ".join(map(literal, gone))
    new, where = "...", f"{name} = {values}" if len(gone) == 1 else f"{name} IN ({values})"
    if listed:
        new, where = f"array_replace({name}, {values}, ...)", f"{values} = ANY ({name})"
    update = f"UPDATE {'.'.join(table)} SET {name} = {new} WHERE {where}"
    told = ", ".join(f'"{one}"' for one in gone)
    fails = "goes, which fails if a row has it"
    if len(gone) > 1:
        fails = "go, which fails if a row has one of them"
    head = (
        f'The value{"s" * (len(gone) > 1)} {told} of column "{column}" of table '
        f'"{".".join(table)}" {fails}. {WRITE_BEFORE}'
    )
    warning = f"{head}: {update}"

    def lines(context: AutogenContext) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        call = f"{prefix}execute({json.dumps(escaped(update), ensure_ascii=False)})"
        # A value is the author's own: the warning stays one line of comment.
        return [f"# WARNING: {' '.join(head.split())}:", f"#   {call}"]

    return warning, ScriptOp(("warning", warning), lines, lambda context: [])


# Indexes that the models want CONCURRENTLY, which PostgreSQL refuses in a transaction

OPTION = "postgresql_concurrently"


def without_concurrently(scripts: Iterable[ops.MigrationScript]) -> list[str]:
    """Let scripts make and drop indexes in their transaction; return a warning for each one.

    A script that leaves its transaction is half done where it fails, so its author says so.
    """
    warnings: list[str] = []
    for script in scripts:
        new = {
            op.table_name
            for container in script.upgrade_ops_list
            for op in container.ops
            if isinstance(op, ops.CreateTableOp)
        }
        for container in [*script.upgrade_ops_list, *script.downgrade_ops_list]:
            for op in single(container):
                if not isinstance(op, (ops.CreateIndexOp, ops.DropIndexOp)):
                    continue
                wanted = op.kw.pop(OPTION, False)
                if wanted and isinstance(op, ops.CreateIndexOp) and op.table_name not in new:
                    warnings.append(
                        f'The index "{op.index_name}" of table "{op.table_name}" is made without '
                        "CONCURRENTLY, so that the script is one transaction: no session can write "
                        "to the table until it is built. Where that takes long, put it into `with "
                        f"op.get_context().autocommit_block():` with {OPTION}=True."
                    )
    return warnings


# What models say that another database refuses, be it by create_all

#: Names of databases in a sentence.
PRODUCTS = {"mysql": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}

NULLS = re.compile(r"\bNULLS\s+(FIRST|LAST)\b", re.IGNORECASE)


def nulls_warnings(
    operations: Sequence[ops.MigrateOperation], databases: Collection[str]
) -> Iterator[str]:
    """Yield the warnings of indexes that say where NULL stands."""
    refusing = " and ".join(PRODUCTS[one] for one in ("sqlite", "mysql") if one in databases)
    for op in single(*operations) if refusing else ():
        if isinstance(op, ops.CreateIndexOp) and any(
            NULLS.search(str(one)) for one in op.to_index().expressions
        ):
            yield (
                f'The index "{op.index_name}" of table "{op.table_name}" says NULLS FIRST or '
                f"NULLS LAST, which is refused by {refusing}: the script fails there, as "
                "create_all of the models does. Leave it out of the model, or let the setting "
                "websauna_migrate.databases name those that take it."
            )


def check_warnings(
    operations: Sequence[ops.MigrateOperation], tables: Iterable[Table], databases: Collection[str]
) -> Iterator[str]:
    """Yield the warnings of CHECK constraints of one name, of which SQLite alone takes several.

    :param tables: the package's models; those that no operation is about are left out
    :param databases: those that the script is written for
    """
    about = {getattr(op, "table_name", None) for op in operations}
    among = [database for database in ("postgresql", "mysql") if database in databases]
    for table, database in product([one for one in tables if one.name in about], among):
        names = Counter(
            str(one.name)
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and isinstance(one.name, str)
            and is_created(one, dialect_of(database))
        )
        for name in [name for name, count in names.items() if count > 1]:
            yield (
                f'The table "{table.name}" has several CHECK constraints "{name}", which is '
                f"refused by {PRODUCTS[database]}: the script fails there, as create_all of the "
                "models does. Give the Enum of each column a name of its own."
            )
