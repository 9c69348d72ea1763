"""Names of indexes and constraints that those of another table take over.

PostgreSQL and SQLite have one index of a name, the index of a UNIQUE constraint among them on
PostgreSQL, and MariaDB one foreign key: the old one has to go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from alembic.operations import ops
from sqlalchemy import Constraint, ForeignKeyConstraint, UniqueConstraint

from websauna_migrate.autogenerate.package_objects import Key

#: Schema and name of an index or constraint that comes, and the table that gets it.
Coming: TypeAlias = set[tuple[str | None, str, str]]

#: Constraints whose names are there once.
KINDS = (ForeignKeyConstraint, UniqueConstraint)


def coming_names(found: Iterable[ops.MigrateOperation]) -> Coming:
    """Return the names of the indexes and constraints that some operations make."""
    coming: Coming = set()
    for op in found:
        if isinstance(op, ops.CreateTableOp):
            names = [one.name for one in op.columns if isinstance(one, KINDS)]
        elif isinstance(op, ops.ModifyTableOps):
            names = [name_of(one) for one in op.ops if is_creation(one)]
        else:
            continue
        coming |= {(op.schema, str(name), op.table_name) for name in names if name}
    return coming


def is_given_up(op: ops.MigrateOperation, key: Key, coming: Coming) -> bool:
    """Tell whether an operation drops what has the name of one that comes to another table."""
    dropped = isinstance(op, ops.DropIndexOp) or (
        isinstance(op, ops.DropConstraintOp) and op.constraint_type in ("unique", "foreignkey")
    )
    return dropped and is_taken(name_of(op), key, coming)


def given_up_constraints(drop: ops.DropTableOp, coming: Coming) -> Iterator[Constraint]:
    """Yield the constraints of a table that goes whose names come to another table."""
    key = drop.schema, drop.table_name
    for one in sorted(drop.to_table().constraints, key=lambda one: str(one.name)):
        if isinstance(one, KINDS) and is_taken(one.name, key, coming):
            yield one


def is_taken(name: object, key: Key, coming: Coming) -> bool:
    """Tell whether a name of a table comes to another one."""
    return any(one[:2] == (key[0], name) and one[2] != key[1] for one in coming)


def is_creation(op: ops.MigrateOperation) -> bool:
    """Tell whether an operation makes what has a name that is there once."""
    kinds = ops.CreateIndexOp, ops.CreateUniqueConstraintOp, ops.CreateForeignKeyOp
    return isinstance(op, kinds)


def name_of(op: ops.MigrateOperation) -> str | None:
    """Return the name of the index or constraint that an operation makes or drops."""
    return getattr(op, "index_name", None) or getattr(op, "constraint_name", None)
