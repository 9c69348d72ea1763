"""Drops beside additions that may be renames: only the author of the models knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.renames import ColumnRename, TableRename

if TYPE_CHECKING:
    from alembic.ddl.impl import DefaultImpl

RenameCandidate = TableRename | ColumnRename


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
    for key in dict.fromkeys(
        (op.schema, op.table_name) for op in operations if isinstance(op, ops.ModifyTableOps)
    ):
        changes = [
            inner
            for op in operations
            if isinstance(op, ops.ModifyTableOps) and (op.schema, op.table_name) == key
            for inner in op.ops
        ]
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


def warning_comment(warnings: Sequence[str]) -> ScriptOp:
    """Return an operation that is a comment in the upgrade."""
    lines = [f"# WARNING: {line}" for text in warnings for line in text.splitlines()]
    return ScriptOp(("warning", *warnings), lambda context: lines, lambda context: [])
