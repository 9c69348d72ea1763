"""Tables that go while other packages still refer to them: which script has to run first.

A new foreign key makes its package need the other. One that goes makes the other need its package:
the table, or a column or key that it refers to, can be dropped only behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from alembic.operations import ops
from sqlalchemy import Constraint, ForeignKeyConstraint

from websauna_migrate.autogenerate.compare.leaning_keys import columns_of_dropped_key
from websauna_migrate.autogenerate.operations.ordering import referred_key
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.results import CreatedScript

__all__ = ["DropDependencies"]

#: A table, and the columns that are meant; ``None`` for all.
Columns = tuple[Key, frozenset[str] | None]

#: By table, the columns that scripts let go of, or drop.
Noted: TypeAlias = dict[Key, list[tuple[frozenset[str] | None, CreatedScript]]]


class DropDependencies:
    """What the scripts of one command let go of, and what they drop."""

    def __init__(self) -> None:
        self.released: Noted = {}
        self.dropped: Noted = {}

    def note(self, script: CreatedScript, operations: Sequence[ops.MigrateOperation]) -> None:
        """Remember what a script that was written does."""
        for key, columns in released_by(operations):
            self.released.setdefault(key, []).append((columns, script))
        for key, columns in dropped_by(operations):
            self.dropped.setdefault(key, []).append((columns, script))

    def requires(
        self,
        package: str,
        operations: Sequence[ops.MigrateOperation],
        is_retyped: Callable[[Key], bool],
    ) -> list[str]:
        """Return the scripts that have to run before some operations.

        :param is_retyped: tells of which tables a key changes its type
        """
        going = [*dropped_by(operations), *retyped_by(operations, is_retyped)]
        return named(package, self.released, going)

    def run_before(self, package: str, operations: Sequence[ops.MigrateOperation]) -> list[str]:
        """Return the scripts that some operations have to run before."""
        return named(package, self.dropped, released_by(operations))


def named(package: str, noted: Noted, wanted: Iterable[Columns]) -> list[str]:
    """Return ``package@revision`` of other packages' scripts that are about some columns."""
    return sorted(
        {
            f"{script.package}@{script.revision}"
            for key, columns in wanted
            for others, script in noted.get(key, ())
            if script.package != package and overlap(columns, others)
        }
    )


def folded(names: Iterable[str]) -> frozenset[str]:
    """Return columns as they are compared: databases differ in whether case counts."""
    return frozenset(name.casefold() for name in names)


def overlap(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Tell whether two sets of a table's columns have one in common; ``None`` is all of them."""
    return one is None or other is None or bool(one & other)


def dropped_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield the tables of which operations drop all, or columns a foreign key may refer to."""
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            yield (op.schema, op.table_name), None
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                key = op.schema, op.table_name
                is_plain = isinstance(inner, ops.DropIndexOp) and not inner.to_index().unique
                columns = columns_of_dropped_key(inner)
                if isinstance(inner, ops.DropColumnOp):
                    yield key, folded([inner.column_name])
                elif columns and not is_plain:
                    # An expression in an index has no name: it may be any column.
                    yield key, folded(columns) if "" not in columns else None


def retyped_by(
    operations: Sequence[ops.MigrateOperation], is_retyped: Callable[[Key], bool]
) -> Iterator[Columns]:
    """Yield the tables of which operations change the type of a key."""
    for op in operations:
        changed = [
            one for one in getattr(op, "ops", ()) if getattr(one, "modify_type", None) is not None
        ]
        if isinstance(op, ops.ModifyTableOps) and changed:
            key = (op.schema, op.table_name)
            if is_retyped(key):
                yield key, None


def released_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield what the foreign keys refer to which operations drop."""
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
                    names = (one.target_fullname for one in constraint.elements)
                    yield key, folded(name.rpartition(".")[2] for name in names)
