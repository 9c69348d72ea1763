"""Scripts that would drop most tables of a package: rarely what the author of the models means.

Models whose module was only not imported look like models that were removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from alembic.operations import ops

from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import TableRename
from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.interfaces import Question


@dataclass(frozen=True, slots=True)
class ManyDrops:
    """The question of a script that would drop half of a package's tables, or more."""

    question: str
    option: str = "--allow-drops"


def require_meant(
    owned: PackageObjects,
    reflection: Reflection,
    operations: Sequence[ops.MigrateOperation],
    ask: Callable[[Question], bool | None] | None,
    packages: Collection[str],
    renames: Sequence[TableRename] = (),
) -> None:
    """Refuse to drop all tables of a package, and half or more unless the author says yes.

    :param ask: asks the author; ``None`` where that is not possible
    :param packages: those that the command is about
    :param renames: what the drops may really be, beside new tables
    :raises RevisionFailed: naming the tables
    """
    gone = sorted(
        {owned.key_of(op) for op in operations if isinstance(op, ops.DropTableOp)},
        key=lambda key: (key[0] or "", key[1]),
    )
    existing = {
        key for key in owned.keys if reflection.has_table(*key) and not reflection.is_child(key)
    }
    existing.update(gone)
    if len(gone) * 2 < len(existing) or not gone:
        return
    names = ", ".join(f"{schema}.{name}" if schema else name for schema, name in gone)
    number = f"{len(gone)} of the {len(existing)} tables"
    if len(gone) == len(existing):
        number = "The only table" if len(gone) == 1 else f"All {len(gone)} tables"
    drops = ManyDrops(
        f'{number} of package "{owned.package}" would be dropped with all rows: {names}. '
        "Write that script?"
    )
    new = any(isinstance(op, ops.CreateTableOp) for op in operations)
    if len(gone) == len(existing) and not new:
        ask = None
    if ask is None or not ask(drops):
        is_all = len(packages) > 1 and len(packages) == len(owned.snapshot.packages)
        scope = "all" if is_all else ",".join(packages)
        command = f"ws-alembic -x packages={scope} revision --autogenerate"
        renamed = " and ".join(f'"{one.old}" was renamed to "{one.new}"' for one in renames)
        options = " ".join(one.option for one in renames)
        hint = f"\nIf {renamed}, run: {command} {options}\n" if renames else " "
        problem = (
            f"the models lack {number.lower()} that the package has in the database, and the "
            f"script would drop with all rows: {names}.{hint}If a module with models was not "
            "imported, import it where the package registers its MetaData. If the tables are to "
            f"go, run: {command} {drops.option}"
        )
        raise RevisionFailed(owned.package, problem, kind="drops")
