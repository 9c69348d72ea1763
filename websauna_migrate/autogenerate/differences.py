"""What a comparison finds besides that which Alembic finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from websauna_migrate.autogenerate.enums import NamedTypes
from websauna_migrate.autogenerate.ordering import arrange
from websauna_migrate.autogenerate.tables import TableChanges

if TYPE_CHECKING:
    from websauna_migrate.autogenerate.comparison import Comparison

__all__ = ["complete"]


def complete(comparison: Comparison, directives: list[Any]) -> None:
    """Complete the operations that Alembic found, upgrade and downgrade."""
    for script in directives:
        for upgrade, downgrade in zip(
            script.upgrade_ops_list, script.downgrade_ops_list, strict=True
        ):
            forget_info(upgrade)
            types = NamedTypes(comparison.owned, comparison.reflection).operations(upgrade)
            arrange(upgrade)
            upgrade.ops[:] = [
                *(one for one in types if one.diff[0] != "remove_type"),
                *upgrade.ops,
                *(one for one in types if one.diff[0] == "remove_type"),
            ]
            upgrade.ops[:] = [TableChanges.of(one) for one in upgrade.ops]
            upgrade.reverse_into(downgrade)
            forget_info(downgrade)


def forget_info(container: Any) -> None:
    """Keep ``Table.info`` out of scripts: it is the models' own, and may hold anything."""
    for operation in container.ops:
        if isinstance(operation, ops.CreateTableOp):
            operation.info = {}
