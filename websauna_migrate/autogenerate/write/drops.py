"""Scripts that would drop most tables of a package: rarely what the author of the models means.

Models whose module was only not imported look like models that were removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from alembic.operations import ops

from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.interfaces import Question


@dataclass(frozen=True, slots=True)
class ManyDrops:
    """A script that would drop half of a package's tables, or more.

    :ivar existing: how many of the package's tables the database has
    :ivar packages: those that the command is about, as ``-x packages=`` has them
    """

    package: str
    tables: tuple[str, ...]
    existing: int
    packages: str

    @property
    def option(self) -> str:
        """The option of ``revision`` that allows it."""
        return "--allow-drops"

    @property
    def question(self) -> str:
        """What to ask the models' author."""
        return (
            f'{self.number} of package "{self.package}" would be dropped with all rows: '
            f"{', '.join(self.tables)}. Write that script?"
        )

    @property
    def number(self) -> str:
        """How many of the tables go, in words."""
        if self.existing == 1:
            return "The only table"
        if len(self.tables) == self.existing:
            return f"All {self.existing} tables"
        return f"{len(self.tables)} of the {self.existing} tables"

    @property
    def warning(self) -> str:
        """What would be lost, and the remedies."""
        return (
            f"the models lack {self.number.lower()} that the package has in the database, and the "
            f"script would drop with all rows: {', '.join(self.tables)}. If a module with models "
            "was not imported, import it where the package registers its MetaData. If the tables "
            f"are to go, run: ws-alembic -x packages={self.packages} revision --autogenerate "
            f"{self.option}"
        )


def require_meant(
    owned: PackageObjects,
    reflection: Reflection,
    operations: Sequence[ops.MigrateOperation],
    ask: Callable[[Question], bool] | None,
    packages: Collection[str],
) -> None:
    """Refuse to drop all tables of a package, and half or more unless the author says yes.

    :param ask: asks the author; ``None`` where that is not possible
    :param packages: those that the command is about
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
    names = tuple(f"{schema}.{name}" if schema else name for schema, name in gone)
    is_all = len(packages) > 1 and len(packages) == len(owned.snapshot.packages)
    scope = "all" if is_all else ",".join(packages)
    drops = ManyDrops(owned.package, names, len(existing), scope)
    new = any(isinstance(op, ops.CreateTableOp) for op in operations)
    if len(gone) == len(existing) and not new:
        ask = None
    if ask is None or not ask(drops):
        raise RevisionFailed(owned.package, drops.warning, kind="drops")
