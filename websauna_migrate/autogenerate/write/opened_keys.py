"""Foreign keys that go by a revision of their own, before all else of their package's changes.

Each of several packages may drop what the next one refers to, and refer to what is new in another:
no order of their scripts will do. So their foreign keys to each other go first, and come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from alembic.operations import ops
from sqlalchemy import ForeignKeyConstraint

from websauna_migrate.autogenerate.operations.naming import name_constraints
from websauna_migrate.autogenerate.operations.ordering import (
    computed_before,
    foreign_keys_of,
    target_of,
    without,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.write.later_keys import points_at, unnamed_checks


def take_out_drops(
    directives: Sequence[ops.MigrationScript], is_apart: Callable[[Key], bool]
) -> list[TableChanges]:
    """Take drops of foreign keys out of scripts, and return them as changes of their tables.

    :param is_apart: tells by schema and name of which tables the keys go apart
    """
    found: list[TableChanges] = []
    for script in directives:
        for upgrade, downgrade in zip(
            script.upgrade_ops_list, script.downgrade_ops_list, strict=True
        ):
            found += dropped_in(upgrade, is_apart)
            # What the upgrade does not drop, the downgrade does not make.
            for place, op in enumerate(downgrade.ops):
                if isinstance(op, ops.CreateTableOp):
                    downgrade.ops[place] = without(op, far_keys(op, is_apart))
                elif isinstance(op, TableChanges):
                    split(op, ops.CreateForeignKeyOp, is_apart)
    return found


def dropped_in(upgrade: ops.UpgradeOps, is_apart: Callable[[Key], bool]) -> Iterator[TableChanges]:
    """Take the drops out of an upgrade, table by table."""
    for place, op in enumerate(upgrade.ops):
        if isinstance(op, ops.DropTableOp):
            cut = far_keys(op, is_apart)
            changes = TableChanges(
                op.table_name,
                [ops.DropConstraintOp.from_constraint(one) for one in cut],
                schema=op.schema,
            )
            sources = unnamed_checks(op)
            changes.table_args = (sources, sources)
            upgrade.ops[place] = without(op, cut) if cut else op
        elif isinstance(op, TableChanges):
            keys = split(op, ops.DropConstraintOp, is_apart)
            changes = TableChanges(op.table_name, keys, schema=op.schema)
            changes.computed = [*computed_before(op)]
            changes.naming_convention = op.naming_convention
            changes.table_args = (op.table_args[1], op.table_args[1])
        else:
            continue
        if changes.ops:
            name_constraints(changes, set(), [])
            yield changes


def far_keys(
    op: ops.CreateTableOp | ops.DropTableOp, is_apart: Callable[[Key], bool]
) -> list[ForeignKeyConstraint]:
    """Return the foreign keys of a whole table that go apart."""
    return [one for one in foreign_keys_of(op) if points_at(one, is_apart)]


def split(
    changes: TableChanges, kind: type[ops.MigrateOperation], is_apart: Callable[[Key], bool]
) -> list[ops.MigrateOperation]:
    """Take the operations about such foreign keys out of a table's changes, and return them."""
    found = [
        one for one in changes.ops if isinstance(one, kind) and any(map(is_apart, target_of(one)))
    ]
    changes.ops[:] = [one for one in changes.ops if one not in found]
    return found
