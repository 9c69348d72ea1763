"""The order of an enum type's change and of what names its values, on PostgreSQL.

What names an old value goes before the type is made anew, and what names a new one comes behind it.
Else the type's change would have to put back what its values do not allow any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.autogenerate_internals import columns_that_come_back
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.model_columns import columns_of_drop
from websauna_migrate.autogenerate.operations.ordering import is_computed, part_of, target_of
from websauna_migrate.autogenerate.operations.script_op import single
from websauna_migrate.autogenerate.operations.server_statements import ServerConstraint
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, WithTable
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects


def free_values(upgrade: ops.UpgradeOps, owned: PackageObjects) -> None:
    """Move drops of what may name an enum type's values in front of the change of the values.

    :param upgrade: with the changes of types before those of tables
    """
    changes = [one for one in upgrade.ops if isinstance(one, EnumChange) and one.moves_values]
    tables = {owned.key_of(column.table) for change in changes for column in change.columns}
    types = {change.key for change in changes}
    tables |= {
        owned.key_of(op)
        for op in single(upgrade)
        if isinstance(op, (ops.DropColumnOp, ops.AlterColumnOp)) and leaves(op, types, owned)
    }
    dropped = tables_with(types, upgrade, owned)
    first: list[ops.MigrateOperation] = []
    # Foreign keys may lean on what goes.
    keys = [op for op in upgrade.ops if isinstance(op, TableChanges) and op.stage < 0]
    for op in upgrade.ops:
        if not isinstance(op, TableChanges) or isinstance(op, WithTable):
            continue
        if op in keys:
            continue
        if owned.key_of(op) in tables:
            going = [*drops_of_values(op, types, owned)]
        else:
            going = [
                one for one in op.ops if dropped & {(op.schema, op.table_name), *target_of(one)}
            ]
        if going:
            first.append(part_of(op, going))
            op.ops[:] = [one for one in op.ops if one not in going]
    if dropped:
        # A table, or what goes with one.
        first += [
            op
            for op in upgrade.ops
            if isinstance(op, ops.DropTableOp) or (isinstance(op, WithTable) and op.silent)
        ]
    if first:
        # A view may be of what goes.
        views = [op for op in upgrade.ops if type(op).__name__.startswith("Drop")]
        views = [op for op in views if not isinstance(op, ops.DropTableOp)]
        moved = {*map(id, [*views, *keys, *first])}
        upgrade.ops[:] = [one for one in upgrade.ops if id(one) not in moved]
        leave_out_gone(changes, first)
        place = upgrade.ops.index(changes[0])
        upgrade.ops[place:place] = [*views, *keys, *first]
        upgrade.ops[:] = [
            one for one in upgrade.ops if not isinstance(one, TableChanges) or one.ops
        ]


def leave_out_gone(changes: list[EnumChange], first: list[ops.MigrateOperation]) -> None:
    """Let changes of values keep no computed column that goes before them.

    :param first: the operations that are moved in front of them
    """
    gone = {
        (op.table_name, str(op.column_name))
        for op in single(*first)
        if isinstance(op, ops.DropColumnOp)
    }
    for change in changes:
        change.computed = {
            table: [
                (column, None if (table, previous) in gone else previous)
                for column, previous in found
                if (table, str(column.name)) not in gone
            ]
            for table, found in change.computed.items()
        }


def tables_with(types: set[Key], upgrade: ops.UpgradeOps, owned: PackageObjects) -> set[Key]:
    """Return the keys of all tables that go, if one of them has one of some types; else none."""
    drops = [op for op in upgrade.ops if isinstance(op, ops.DropTableOp)]
    columns = (column for op in drops for column in columns_that_come_back(op))
    if not any(type_of(column.type, owned) in types for column in columns):
        return set()
    return {(op.schema, op.table_name) for op in drops}


def drops_of_values(
    changes: TableChanges, types: set[Key], owned: PackageObjects
) -> Iterator[ops.MigrateOperation]:
    """Yield the drops of CHECKs, indexes and columns that may name a value of some types.

    Columns are those that have one of the types, and computed ones with all that is on them. A
    column that gets another type has the values no longer.
    """
    names = {
        str(op.column_name)
        for op in changes.ops
        if isinstance(op, ops.DropColumnOp)
        and (is_computed(op.to_column()) or leaves(op, types, owned))
    }
    for op in changes.ops:
        if isinstance(op, ops.DropColumnOp):
            if op.column_name in names:
                yield op
        elif isinstance(op, ops.AlterColumnOp):
            if leaves(op, types, owned):
                yield op
        elif isinstance(op, ops.DropIndexOp):
            index = op.to_index()
            plain = all(isinstance(one, sa.Column) for one in index.expressions)
            on = {str(getattr(one, "name", "")) for one in index.expressions}
            if not plain or on & names or index.dialect_options["postgresql"]["where"] is not None:
                yield op
        elif isinstance(op, ServerConstraint):
            if not op.added:
                yield op
        elif isinstance(op, ops.DropConstraintOp):
            on = {*columns_of_drop(op)}
            if op.constraint_type in ("check", "foreignkey") or names & on:
                yield op


def leaves(
    op: ops.DropColumnOp | ops.AlterColumnOp, types: set[Key], owned: PackageObjects
) -> bool:
    """Tell whether a column of one of some types goes, or gets another type."""
    if isinstance(op, ops.DropColumnOp):
        return type_of(op.to_column().type, owned) in types
    if op.modify_type is None:
        return False
    old = op.existing_type and type_of(op.existing_type, owned)
    return old in types and type_of(op.modify_type, owned) != old


def type_of(type_: TypeEngine[Any], owned: PackageObjects) -> Key | None:
    """Return the key of the enum type that a column has, also as an array; else ``None``."""
    item = type_.item_type if isinstance(type_, sa.ARRAY) else type_
    return (owned.normal(item.schema), str(item.name)) if isinstance(item, sa.Enum) else None
