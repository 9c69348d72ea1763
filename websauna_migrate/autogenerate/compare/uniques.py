"""SQLite's UNIQUE constraints without a name, whose removal Alembic does not see."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, MetaData, Table, UniqueConstraint

__all__ = ["lost_uniques"]


def lost_uniques(table: Table, inspector: Any) -> list[Any]:
    """Return the drops of unnamed constraints that a model no longer has."""
    wanted = {
        frozenset(column.name for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    }
    found = []
    for one in inspector.get_unique_constraints(table.name, schema=table.schema):
        columns = one["column_names"]
        if one["name"] or frozenset(columns) in wanted:
            continue
        copy = Table(
            table.name,
            MetaData(),
            *(Column(name) for name in columns),
            schema=table.schema,
        )
        constraint = UniqueConstraint(*(copy.c[name] for name in columns))
        copy.append_constraint(constraint)
        found.append(ops.DropConstraintOp.from_constraint(constraint))
    return found
