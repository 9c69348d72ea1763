"""What plain Alembic has to know of the service: a plugin that Alembic loads by its entry point.

``alembic check`` and ``alembic revision --autogenerate`` see every table of the database. The
service's own tables are in no model, and are not to be dropped for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.runtime.plugins import Plugin

__all__ = ["setup"]

#: The ledger, the lease of a lock, and the history tables of all packages.
OWN_PREFIXES = ("websauna_migrate_", "alembic_history_")


def setup(plugin: Plugin) -> None:
    """Take part in Alembic's comparison, behind what compares tables."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(
        keep_own_tables, "schema", "websauna_migrate", priority=DispatchPriority.LAST
    )


def keep_own_tables(autogen_context: Any, upgrade_ops: Any, schemas: Any) -> Any:
    """Leave the service's tables out of what is to be dropped."""
    from alembic.operations.ops import DropTableOp, ModifyTableOps
    from alembic.util import PriorityDispatchResult

    upgrade_ops.ops[:] = [
        one
        for one in upgrade_ops.ops
        if not isinstance(one, (DropTableOp, ModifyTableOps))
        or not one.table_name.startswith(OWN_PREFIXES)
    ]
    return PriorityDispatchResult.CONTINUE
