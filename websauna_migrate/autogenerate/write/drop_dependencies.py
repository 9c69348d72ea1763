"""Tables that go while other packages still refer to them: which script has to run first.

A new foreign key makes its package need the other. One that goes makes the other need its package:
the table, or its key, can be dropped only behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from alembic.operations import ops
from sqlalchemy import Constraint, ForeignKeyConstraint

from websauna_migrate.autogenerate.compare.leaning_keys import columns_of_dropped_key
from websauna_migrate.autogenerate.operations.ordering import referred_key
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.results import CreatedScript

__all__ = ["DropDependencies"]


class DropDependencies:
    """What the scripts of one command let go of, and what they drop."""

    def __init__(self) -> None:
        self.released: dict[Key, list[CreatedScript]] = {}
        self.dropped: dict[Key, list[CreatedScript]] = {}

    def note(self, script: CreatedScript, operations: Sequence[ops.MigrateOperation]) -> None:
        """Remember what a script that was written does."""
        for key in released_by(operations):
            self.released.setdefault(key, []).append(script)
        for key in dropped_by(operations):
            self.dropped.setdefault(key, []).append(script)

    def requires(
        self,
        package: str,
        operations: Sequence[ops.MigrateOperation],
        is_retyped: Callable[[Key], bool],
    ) -> list[str]:
        """Return the scripts that have to run before some operations.

        :param is_retyped: tells of which tables a key changes its type
        """
        keys = [*dropped_by(operations), *retyped_by(operations, is_retyped)]
        return named(package, self.released, keys)

    def run_before(self, package: str, operations: Sequence[ops.MigrateOperation]) -> list[str]:
        """Return the scripts that some operations have to run before."""
        return named(package, self.dropped, released_by(operations))


def named(package: str, scripts: dict[Key, list[CreatedScript]], keys: Iterable[Key]) -> list[str]:
    """Return ``package@revision`` of other packages' scripts that are about some tables."""
    return sorted(
        {
            f"{script.package}@{script.revision}"
            for key in keys
            for script in scripts.get(key, ())
            if script.package != package
        }
    )


def dropped_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Key]:
    """Yield the tables of which operations drop all, or what a foreign key may refer to."""
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            yield op.schema, op.table_name
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                is_plain = isinstance(inner, ops.DropIndexOp) and not inner.to_index().unique
                is_key = bool(columns_of_dropped_key(inner)) and not is_plain
                if is_key or isinstance(inner, ops.DropColumnOp):
                    yield op.schema, op.table_name


def retyped_by(
    operations: Sequence[ops.MigrateOperation], is_retyped: Callable[[Key], bool]
) -> Iterator[Key]:
    """Yield the tables of which operations change the type of a key."""
    for op in operations:
        changed = [
            one for one in getattr(op, "ops", ()) if getattr(one, "modify_type", None) is not None
        ]
        if isinstance(op, ops.ModifyTableOps) and changed:
            key = (op.schema, op.table_name)
            if is_retyped(key):
                yield key


def released_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Key]:
    """Yield the tables that the foreign keys refer to which operations drop."""
    for op in operations:
        constraints: list[Constraint] = []
        if isinstance(op, ops.DropTableOp):
            constraints = list(op.to_table().foreign_key_constraints)
        elif isinstance(op, ops.ModifyTableOps):
            constraints = [
                inner.to_constraint()
                for inner in op.ops
                if isinstance(inner, ops.DropConstraintOp) and inner.constraint_type == "foreignkey"
            ]
        for constraint in constraints:
            if isinstance(constraint, ForeignKeyConstraint):
                key = referred_key(constraint)
                if key is not None:
                    yield key
