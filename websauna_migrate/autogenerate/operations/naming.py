"""Names for constraints whose models give them none: what has no name cannot be dropped.

A new constraint gets the name that PostgreSQL would give it. SQLite's unnamed ones get theirs when
the table is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import ops
from sqlalchemy.sql.elements import conv

from websauna_migrate.alembic_adapter.sqlite_batches import REFLECTED_NAMES
from websauna_migrate.autogenerate.operations.model_columns import columns_of_drop
from websauna_migrate.autogenerate.operations.server_statements import KeyChange
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.facts.postgresql import check_name, make_name

#: The conventions of constraints that a table has several of, and of its key.
KEYS_AND_UNIQUES = {one: REFLECTED_NAMES[one] for one in ("fk", "uq")}
PRIMARY_KEY = {"pk": REFLECTED_NAMES["pk"]}


def name_constraints(changes: TableChanges, taken: set[str], columns: Sequence[str]) -> None:
    """Name all constraints that a table's changes add or drop.

    :param taken: names that the table's constraints have, and keep
    :param columns: the table's columns, without those that go
    """
    gone = [one.column_name for one in changes.ops if isinstance(one, ops.DropColumnOp)]
    for op in changes.ops:
        if isinstance(op, ops.AddConstraintOp) and not getattr(op, "constraint_name", None):
            name = default_name(op, columns)
            if name:
                addition: Any = op
                addition.constraint_name = conv(unused(name, taken))
                taken.add(addition.constraint_name)
        elif isinstance(op, ops.DropConstraintOp) and op.constraint_type in (
            "foreignkey",
            "unique",
        ):
            ending = "fkey" if op.constraint_type == "foreignkey" else "key"
            name = "_".join([op.table_name, *columns_of_drop(op), ending])
            if op.constraint_name in (None, name):
                # It has that name on PostgreSQL, and none on SQLite.
                op.constraint_name = conv(name)
                changes.naming_convention = {
                    **(changes.naming_convention or {}),
                    **KEYS_AND_UNIQUES,
                }
        elif isinstance(op, ops.DropConstraintOp) and op.constraint_name is None:
            op.constraint_name = conv(default_name(op.reverse(), [*columns, *gone]) or "") or None
        elif isinstance(op, KeyChange):
            changes.naming_convention = {**(changes.naming_convention or {}), **PRIMARY_KEY}


def default_name(op: ops.MigrateOperation, columns: Sequence[str]) -> str | None:
    """Return the name that PostgreSQL would give to a constraint.

    :param columns: the table's columns; a CHECK of just one of them is named after it
    """
    if isinstance(op, ops.CreateForeignKeyOp):
        return make_name(op.source_table, "_".join(op.local_cols), "fkey")
    if isinstance(op, ops.CreateUniqueConstraintOp):
        return make_name(op.table_name, "_".join(op.columns), "key")
    if isinstance(op, ops.CreateCheckConstraintOp):
        return check_name(op.table_name, str(op.condition), columns)
    return None


def unused(name: str, taken: set[str]) -> str:
    """Return a name, with a number if it is taken."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}{number}"
    return candidate
