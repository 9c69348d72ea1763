"""What plain Alembic has to know of the service: a plugin that Alembic loads by its entry point.

``alembic check`` and ``alembic revision --autogenerate`` see every table of the database. The
service's own tables are in no model, and are not to be dropped for that. Alembic before 1.18 knows
no plugins.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

#: The ledger, the lease of a lock, and the history tables of all packages.
OWN_PREFIXES = ("websauna_migrate_", "alembic_history_")


def setup(plugin: Plugin) -> None:
    """Take part in Alembic's comparison, behind what compares tables."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(
        keep_own_tables, "schema", "websauna_migrate", priority=DispatchPriority.LAST
    )


def keep_own_tables(
    autogen_context: AutogenContext, upgrade_ops: UpgradeOps, schemas: Collection[str | None]
) -> PriorityDispatchResult:
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


class PluginModule(ModuleType):
    """The class of this module, which is its own one item as well.

    Alembic 1.18 and 1.19 fail at their import unless an entry point names a collection of modules;
    later ones want a module.
    """

    def __iter__(self) -> Iterator[ModuleType]:
        """Yield the module."""
        yield self


sys.modules[__name__].__class__ = PluginModule
