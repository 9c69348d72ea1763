"""CHECK constraints that PostgreSQL makes anew where the type of a column in them changes.

It writes a cast to the former type into one that stays, which is still there once the column has
that type again. On PostgreSQL itself both sides tell of it; another database sees nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.alembic_adapter.written_expressions import dialect_of
from websauna_migrate.autogenerate.compare.constraints import check_addition
from websauna_migrate.autogenerate.compare.unnamed_checks import check_named_by_postgresql
from websauna_migrate.autogenerate.operations.script_op import mark
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.operations.type_change import INTEGERS, conversion, name_of
from websauna_migrate.models.model_sql import applicable_checks
from websauna_migrate.models.sqlalchemy_internals import is_created

#: The database that they go and come on.
ONLY = ("postgresql",)


def freed_checks(
    table: Table, changes: TableChanges, context: AutogenContext
) -> Iterator[ops.MigrateOperation]:
    """Yield the drop and the creation of each CHECK of a table that is equal on both sides.

    One without a name is left alone where others would have the same one on PostgreSQL.

    :param changes: those of the table that were found so far
    """
    retyped = {
        op.column_name
        for op in changes.ops
        if isinstance(op, ops.AlterColumnOp)
        and conversion(op) is not None
        and not {name_of(op.existing_type), name_of(op.modify_type)} <= INTEGERS
        and "postgresql" in (getattr(op, "only", ()) or ONLY)
    }
    if not retyped:
        return
    assert context.connection is not None
    there = {str(getattr(op, "constraint_name", "")) for op in changes.ops}
    columns = [str(column.name) for column in table.columns]
    found = []
    for model in applicable_checks(table, context.connection):
        creation = check_addition(context, table, model)
        text = str(creation.condition)
        if creation.constraint_name is None:
            named = check_named_by_postgresql(table, text, columns)
            creation.constraint_name = named.constraint_name
        found.append((str(creation.constraint_name), model, creation, text))
    names = [name for name, *_ in found]
    for name, model, creation, text in found:
        if (
            retyped & {*re.findall(r"\w+", text)}
            and names.count(name) == 1
            and name not in there
            and is_created(model, dialect_of("postgresql"))
        ):
            for op in (creation.reverse(), creation):
                mark(op, only=ONLY)
                yield op
