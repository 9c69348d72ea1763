"""NOT NULL on tables that have rows: a warning, and the recipe in the script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column

from websauna_migrate.alembic_adapter.autogenerate_internals import render_column, render_type
from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.model_columns import changed
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, single


def not_null_advice(operations: Sequence[ops.MigrateOperation]) -> Iterator[tuple[str, ScriptOp]]:
    """Yield a warning, and the comment with its recipe, for each NOT NULL that rows may break.

    Tables that the script makes have no rows.
    """
    for op in chain.from_iterable(map(single, operations)):
        if isinstance(op, ops.AddColumnOp) and not has_value(op.column):
            name = str(op.column.name)
            warning = (
                f"The new column {of_table(op, name)} is NOT NULL without a "
                "server_default. On a table with rows PostgreSQL and SQLite refuse it, and "
                "MariaDB makes values up: give it one, or follow the recipe in the script."
            )
            yield warning, comment(warning, op, name, op.column)
        elif isinstance(op, ops.AlterColumnOp) and op.modify_nullable is False:
            name = str(op.column_name)
            warning = (
                f"The column {of_table(op, name)} becomes NOT NULL, which fails if a row "
                "has NULL in it: fill such rows before, by the recipe in the script."
            )
            yield warning, comment(warning, op, name)


def has_value(column: Column[Any]) -> bool:
    """Tell whether a new column has a value for the rows that are there."""
    return bool(column.nullable or column.primary_key or column.server_default is not None)


def of_table(table: ops.AlterTableOp, column: str) -> str:
    """Return a column and its table in words."""
    schema = f"{table.schema}." if table.schema else ""
    return f'"{column}" of table "{schema}{table.table_name}"'


def comment(
    warning: str,
    table: ops.AlterTableOp,
    column: str,
    added: Column[Any] | None = None,
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
