"""Expression indexes beside batches: Alembic's batch neither keeps nor makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Index, Table

from websauna_migrate.autogenerate.operations import ScriptOp, on_dialect
from websauna_migrate.autogenerate.owned import Key
from websauna_migrate.autogenerate.tables import TableChanges, WithTable

__all__ = ["with_expression_indexes"]


def with_expression_indexes(op: Any, models: Mapping[Key, Table], inspector: Any) -> Iterator[Any]:
    """Yield an operation with what it needs for expression indexes.

    Those that change are taken out of a batch; those that stay are made again behind it on
    SQLite, where a batch makes the table anew.
    """
    if not isinstance(op, TableChanges) or isinstance(op, WithTable) or not op.needs_batch:
        yield op
        return
    drops: list[Any] = [
        one for one in op.ops if isinstance(one, ops.DropIndexOp) and is_expression(one)
    ]
    creates: list[Any] = [
        one for one in op.ops if isinstance(one, ops.CreateIndexOp) and is_expression(one)
    ]
    op.ops[:] = [one for one in op.ops if one not in drops and one not in creates]
    changed = {str(one.index_name) for one in [*drops, *creates]}
    kept = []
    table = models.get((op.schema, op.table_name))
    if table is not None and op.ops and has_expressions(table):
        there = {str(one["name"]) for one in inspector.get_indexes(op.table_name, schema=op.schema)}
        kept = [
            index
            for index in sorted(table.indexes, key=lambda one: str(one.name))
            if str(index.name) in there - changed and has_expression(index)
        ]
    if drops:
        yield TableChanges(op.table_name, drops, schema=op.schema)
    for index in kept:
        yield around(index, first=True)
    if op.ops or op.recreate:
        yield op
    for index in kept:
        yield around(index, first=False)
    if creates:
        yield TableChanges(op.table_name, creates, schema=op.schema)


def existing_indexes(op: Any, inspector: Any) -> set[str]:
    """Return the names of the indexes that an operation's table has in the database."""
    if op.table_name not in inspector.get_table_names(schema=op.schema):
        return set()
    return {str(one["name"]) for one in inspector.get_indexes(op.table_name, schema=op.schema)}


def has_expressions(table: Table) -> bool:
    """Tell whether a model has an expression index."""
    return any(has_expression(index) for index in table.indexes)


def is_expression(op: Any) -> bool:
    """Tell whether an operation is about an expression index."""
    return has_expression(op.to_index())


def has_expression(index: Index) -> bool:
    """Tell whether an index is on something besides plain columns."""
    return not all(isinstance(one, Column) for one in index.expressions)


def around(index: Index, *, first: bool) -> ScriptOp:
    """Return the drop of an index before a batch, or its creation behind it, on SQLite."""
    create = ops.CreateIndexOp.from_index(index)
    drop = ops.DropIndexOp.from_index(index)

    def lines(context: AutogenContext, op: Any) -> list[str]:
        return on_dialect(context, "sqlite", [str(renderers.dispatch(op)(context, op))])

    before, after = (drop, create) if first else (create, drop)
    return ScriptOp(
        ("kept_index", str(index.name)),
        lambda context: lines(context, before),
        lambda context: lines(context, after),
    )
